//! Training on conversations that show pictures.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k25_chat::{SpecialToken, Tokenizer};
use k25_config::ModelConfig;
use k25_model::weights::Model;
use k25_train::TrainError;
use k25_train::arena::Arena;
use k25_train::data::{DataKind, Mixture, Packing, Source};
use k25_train::exec::{Activations, Batch, Geometry, evaluate, gradient};
use k25_train::export::export;
use k25_train::model::TrainModel;
use k25_train::optimizer::{Optimizer, OptimizerConfig};
use k25_train::random::Random;
use k25_train::run::{Run, trained};

use crate::models::tiny_config_that_sees;

const COLOURS: [(&str, [u8; 3]); 3] = [
    ("red", [220, 30, 30]),
    ("green", [30, 200, 40]),
    ("blue", [30, 50, 220]),
];

/// A picture of one colour, uncompressed (BMP, 24 bits, rows from the bottom).
fn bmp(side: usize, [red, green, blue]: [u8; 3]) -> Vec<u8> {
    let row = [blue, green, red].repeat(side);
    assert!(row.len().is_multiple_of(4), "rows are padded to four bytes");
    let size = row.len() * side;
    let mut file = b"BM".to_vec();
    for number in [54 + size, 0, 54, 40, side, side] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    for number in [0, size, 0, 0, 0, 0] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend(row.repeat(side));
    file
}

/// Shades of a colour.
fn shade(colour: [u8; 3], random: &mut Random) -> [u8; 3] {
    colour.map(|level| {
        level
            .saturating_add(random.below(41) as u8)
            .saturating_sub(20)
    })
}

/// A file of conversations about pictures beside it: `count` of every colour.
fn conversations(dir: &Path, name: &str, count: usize, seed: u64) -> PathBuf {
    let mut random = Random::new(seed, 0);
    let mut lines = String::new();
    for index in 0..count {
        for (colour, levels) in COLOURS {
            let picture = format!("{name}-{colour}-{index}.bmp");
            fs::write(dir.join(&picture), bmp(28, shade(levels, &mut random))).expect("a picture");
            let line = serde_json::json!({ "messages": [
                { "role": "user", "content": [
                    { "type": "image_url", "image_url": { "url": picture } },
                    { "type": "text", "text": "Colour?" } ] },
                { "role": "assistant", "content": colour },
            ] });
            lines.push_str(&format!("{line}\n"));
        }
    }
    let path = dir.join(format!("{name}.jsonl"));
    fs::write(&path, lines).expect("a file");
    path
}

fn config(tokenizer: &Tokenizer) -> ModelConfig {
    let mut config = tiny_config_that_sees();
    config.text.vocab_size = tokenizer.vocab_size() as usize;
    config.text.num_hidden_layers = 2;
    let vision = config.vision.as_mut().expect("a tower");
    vision.patch_size = 14;
    config
}

fn source(path: &Path, tokenizer: &Arc<Tokenizer>, config: &ModelConfig) -> Source {
    let source = Source::open(path, DataKind::Conversations, Arc::clone(tokenizer), 128);
    source.expect("a source").seeing(config.vision.as_ref())
}

/// A batch of one conversation of each colour.
fn all_colours(source: &Source) -> Batch {
    let mut packing = Packing::default();
    for item in 0..COLOURS.len() as u64 {
        for document in source.documents(item).expect("documents") {
            packing.add(&document);
        }
    }
    packing.finish()
}

/// Some steps on pictures of three colours: the loss on other shades falls to almost nothing, and rises above a blind
/// guess's when each picture is exchanged for one of another colour. So it is the picture that decides.
#[test]
fn a_tiny_model_learns_to_tell_colours_apart() {
    let tokenizer = Arc::new(Tokenizer::synthetic(300).expect("a tokenizer"));
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(&tokenizer);
    let open = |name, count, seed| {
        let path = conversations(dir.path(), name, count, seed);
        source(&path, &tokenizer, &config)
    };
    let mut data = Mixture::new(vec![(open("train", 8, 1), 1.0)], 1);
    let held_out = all_colours(&open("held-out", 1, 2));
    let pad = tokenizer.special_id(SpecialToken::MediaPad);
    for (item, rows) in held_out.pictures.items.iter().zip(&held_out.pictures.rows) {
        assert_eq!((item.grid, rows.len()), ([1, 2, 2], 1));
        assert_eq!(held_out.tokens[rows.start], pad);
    }

    let mut model = TrainModel::fresh(config.clone(), 1);
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &model.params);
    let geometry = Geometry::new(&config.text, 128);
    let mut arena = Arena::new();
    for _ in 0..60 {
        let batch = data.next_batch(256).expect("a batch");
        let weight: f32 = batch.weights.iter().sum();
        let mut grads = vec![0.0; model.params.len()];
        let keep = Activations::Keep;
        let divisor = f64::from(weight);
        gradient(
            &model, &geometry, &batch, keep, divisor, &mut grads, &mut arena,
        );
        optimizer.step(&mut model.params, &grads, 5e-3);
    }
    let mut loss = |batch: &Batch| evaluate(&model, &geometry, batch, &mut arena).0.loss;
    let right = loss(&held_out);
    let mut exchanged = held_out.clone();
    exchanged.pictures.items.rotate_left(1);
    let wrong = loss(&exchanged);
    assert!(right < 0.1 && wrong > 1.0, "{right} and {wrong}");
}

/// Conversations that begin alike share the rows up to their pictures and no pad behind: the loss is that of each alone.
#[test]
fn a_common_beginning_ends_before_the_picture() {
    let tokenizer = Arc::new(Tokenizer::synthetic(300).expect("a tokenizer"));
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(&tokenizer);
    let path = conversations(dir.path(), "alike", 1, 3);
    let text = fs::read_to_string(&path).expect("a file");
    let system = r#"{"messages":[{"role":"system","content":"Say which colour the picture has, and nothing else."},"#;
    fs::write(&path, text.replace(r#"{"messages":["#, system)).expect("a file");
    let source = source(&path, &tokenizer, &config);
    let together = all_colours(&source);
    let shared: Vec<_> = together
        .segments
        .iter()
        .map(|segment| segment.prefix)
        .collect();
    assert!(shared[0].is_none() && shared[1].is_some() && shared[2].is_some());
    let pad = tokenizer.special_id(SpecialToken::MediaPad);
    let pads: Vec<_> = together
        .pictures
        .rows
        .iter()
        .map(|rows| rows.start)
        .collect();
    assert!(pads.iter().all(|row| together.tokens[*row] == pad));
    assert_eq!(pads.len(), COLOURS.len());

    let model = TrainModel::fresh(config.clone(), 1);
    let geometry = Geometry::new(&config.text, 128);
    let loss = |batch: &Batch| {
        let stats = evaluate(&model, &geometry, batch, &mut Arena::new()).0;
        stats.loss * stats.weight
    };
    let apart: f64 = (0..COLOURS.len() as u64)
        .map(|item| {
            let mut packing = Packing::default();
            packing.add(&source.documents(item).expect("documents")[0]);
            loss(&packing.finish())
        })
        .sum();
    // Sums of some tens of terms in another order.
    assert!((loss(&together) - apart).abs() < 1e-4 * apart);
}

/// Of runs.
const SEED: u64 = 5;

/// A folder for runs: a vocabulary, shapes with and without a tower, pictures and text. Gives the shape with a tower.
fn prepare(dir: &Path) -> ModelConfig {
    let tokenizer = Tokenizer::synthetic(300).expect("a tokenizer");
    let vocabulary = dir.join("vocabulary");
    fs::create_dir(&vocabulary).expect("a folder");
    tokenizer.write(&vocabulary).expect("a vocabulary");
    let config = config(&tokenizer);
    let write = |name: &str, config: &ModelConfig| {
        fs::write(dir.join(name), config.to_checkpoint_json()).expect("a file");
    };
    write("seeing.json", &config);
    let blind = ModelConfig {
        vision: None,
        ..config.clone()
    };
    write("blind.json", &blind);
    conversations(dir, "colours", 2, 4);
    fs::write(dir.join("text.jsonl"), "{\"text\": \"red green blue\"}\n").expect("a file");
    config
}

/// The file of a run of one step; `model` is what `[model]` says, and may begin `[run]`.
fn configuration(dir: &Path, name: &str, model: &str, data: &str) -> PathBuf {
    let run = match model.contains("[run]") {
        true => "",
        false => "[run]\n",
    };
    let text = format!(
        "[model]\ntokenizer = \"vocabulary\"\nseed = {SEED}\n{model}\n\
         {run}steps = 1\nbatch_tokens = 128\ncontext = 64\n\
         [schedule]\npeak = 1e-3\n[[data]]\npath = \"{data}\"\n"
    );
    let path = dir.join(format!("{name}.toml"));
    fs::write(&path, text).expect("a file");
    path
}

/// A run of one step, and the model it ends with.
fn run(dir: &Path, name: &str, kind: DataKind, model: &str, data: &str) -> TrainModel {
    let (config, out) = (configuration(dir, name, model, data), dir.join(name));
    let mut run = Run::open(&config, kind, &out).expect("a run opens");
    run.run(&mut |_| ControlFlow::Continue(())).expect("a step");
    let (_, model) = trained(&out).expect("a trained model");
    assert_eq!(model.params.values(), run.model().params.values());
    model
}

/// A model of text, exported or as its run left it, gets a tower, is trained on pictures, and is exported with it; one with a tower
/// keeps it through training on text.
#[test]
fn a_model_of_text_learns_to_see() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    prepare(dir);
    let (text, sft) = (DataKind::Text, DataKind::Conversations);
    let blind = run(dir, "blind", text, "config = \"blind.json\"", "text.jsonl");
    assert!(blind.vision.is_none());
    export(&blind, None, &dir.join("blind-model")).expect("an export");

    let from_checkpoint = "config = \"seeing.json\"\nstart_from = \"blind-model\"";
    let seeing = run(dir, "seeing", sft, from_checkpoint, "colours.jsonl");
    export(&seeing, None, &dir.join("seeing-model")).expect("an export");
    let from_run = "config = \"seeing.json\"\ncontinue_run = \"blind\"";
    let other = run(dir, "other", sft, from_run, "colours.jsonl");
    assert!(seeing.vision.is_some() && other.vision.is_some());

    let exported = Model::open(dir.join("seeing-model")).expect("a checkpoint");
    let loaded = TrainModel::from_checkpoint(&exported);
    let from_seeing = "config = \"seeing.json\"\nstart_from = \"seeing-model\"";
    let kept = run(dir, "kept", text, from_seeing, "text.jsonl");
    let first = kept.params.text_len();
    assert_eq!(
        kept.params.values()[first..],
        loaded.params.values()[first..]
    );
    assert_ne!(
        kept.params.values()[..first],
        loaded.params.values()[..first]
    );
}

/// Below a language model that stays as it is: its weights and its routers' biases.
#[test]
fn a_tower_is_trained_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = prepare(dir.path());
    let dir = dir.path();
    let model = "config = \"blind.json\"";
    let mut fresh = run(dir, "blind", DataKind::Text, model, "text.jsonl");
    let vision_only = "config = \"CONFIG\"\ncontinue_run = \"blind\"\n[run]\nvision_only = true";
    let model = vision_only.replace("CONFIG", "seeing.json");
    let alone = run(
        dir,
        "alone",
        DataKind::Conversations,
        &model,
        "colours.jsonl",
    );
    fresh.set_vision(config.vision, SEED);
    let (first, values) = (fresh.params.text_len(), fresh.params.values());
    assert_eq!(alone.params.values()[..first], values[..first]);
    assert_ne!(alone.params.values()[first..], values[first..]);
    let biases = |model: &TrainModel| -> Vec<f32> {
        let biases = model.correction_biases();
        biases.flat_map(|(_, bias)| bias.to_vec()).collect()
    };
    assert_eq!(biases(&alone), biases(&fresh));

    let path = configuration(
        dir,
        "no-tower",
        &vision_only.replace("CONFIG", "blind.json"),
        "text.jsonl",
    );
    let opened = Run::open(&path, DataKind::Text, &dir.join("no-tower"));
    let message = opened.err().expect("no tower").to_string();
    assert!(message.contains("vision_only"), "{message}");
}

#[test]
fn a_picture_that_is_not_there_is_named_with_its_line() {
    let tokenizer = Arc::new(Tokenizer::synthetic(300).expect("a tokenizer"));
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(&tokenizer);
    let path = conversations(dir.path(), "gone", 1, 1);
    fs::remove_file(dir.path().join("gone-green-0.bmp")).expect("removed");
    let source = source(&path, &tokenizer, &config);
    assert_eq!(source.documents(0).expect("a document").len(), 1);
    let error = source.documents(1).expect_err("no picture");
    assert!(matches!(error, TrainError::Media { line: 2, .. }));
    let message = error.to_string();
    assert!(message.contains("gone-green-0.bmp"), "{message}");
}

/// Without a tower a picture is one pad that shows nothing; with one, a conversation whose pictures are longer than the context is left out.
#[test]
fn pictures_that_nobody_sees_are_pads_and_too_long_ones_are_left_out() {
    let tokenizer = Arc::new(Tokenizer::synthetic(300).expect("a tokenizer"));
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(&tokenizer);
    let path = conversations(dir.path(), "large", 1, 1);
    let blind = source(&path, &tokenizer, &config).seeing(None);
    let documents = blind.documents(0).expect("documents");
    assert!(documents[0].pictures.is_empty());
    let pad = tokenizer.special_id(SpecialToken::MediaPad);
    let pads = documents[0].tokens.iter().filter(|id| **id == pad);
    assert_eq!(pads.count(), 1);

    // 336 / 28 rows and columns: 144 of 128.
    fs::write(dir.path().join("large-red-0.bmp"), bmp(336, [1, 2, 3])).expect("a picture");
    let documents = source(&path, &tokenizer, &config).documents(0);
    assert!(documents.expect("no fault").is_empty());
}
