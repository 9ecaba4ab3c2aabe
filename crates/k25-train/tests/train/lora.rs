//! Adapters: their gradients, runs that train them, and what comes of them on disk and in the engine.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use k25_chat::{SPECIAL_SLOTS, Tokenizer};
use k25_config::ModelConfig;
use k25_kernels::Pool;
use k25_model::exec::InputRow;
use k25_model::fast::{
    ActivationFormat, DenseFormat, Fast, FastBatch, FastModel, FastOptions, LatentFormat,
    PagedLatents, SequenceSpan,
};
use k25_model::names::Prefix;
use k25_model::weights::Model;
use k25_model::{
    Checkpoint, LatentCache, LoraAdapter, Reference, ReferenceOptions, SafetensorsFile,
};
use k25_train::adapter::{self, ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE};
use k25_train::arena::Arena;
use k25_train::data::DataKind;
use k25_train::exec::{Activations, Batch, Geometry, gradient, logits};
use k25_train::export::export;
use k25_train::lora::LoraSection;
use k25_train::model::TrainModel;
use k25_train::params::Param;
use k25_train::random::Random;
use k25_train::run::{Report, Run, trained};
use serde_json::Value;

use crate::models::{batch, tiny_config, tiny_config_that_sees};
use crate::vision::seeing_batch;

const EVERY_TARGET: [&str; 9] = [
    "q_a_proj",
    "q_b_proj",
    "kv_a_proj_with_mqa",
    "kv_b_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "lm_head",
];

fn section(targets: &[&str]) -> LoraSection {
    LoraSection {
        rank: 4,
        alpha: 6.0,
        targets: targets.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// A checkpoint with INT4 experts.
fn base(config: ModelConfig, dir: &Path) -> Model {
    let mut model = TrainModel::fresh(config, 11);
    let mut random = Random::new(11, 1 << 41);
    for bias in model.correction_biases_mut() {
        bias.iter_mut()
            .for_each(|bias| *bias = random.unit() as f32 * 0.1);
    }
    export(&model, None, dir).expect("an export");
    Model::open(dir).expect("the base opens")
}

/// Adapters as they are after some steps: `B` is not zero any more.
fn adapted(base: &Model, lora: &LoraSection) -> TrainModel {
    let mut model =
        TrainModel::adapted(base, Prefix::LanguageModel, lora, 5).expect("known targets");
    let entries = model.params.entries().to_vec();
    for (index, entry) in entries.iter().enumerate() {
        if entry.part.name.ends_with(".lora_B.weight") {
            let values = &mut model.params.values_mut()[entry.param.range()];
            Random::new(17, index as u64).fill_normal(values, 0.05);
        }
    }
    model
}

/// Every adapter by the name of its matrix: `A`, `B`, and their factor.
fn adapters(model: &TrainModel) -> BTreeMap<String, (Param, Param, f32)> {
    let entries = model.params.frozen().entries().iter();
    entries
        .filter_map(|entry| {
            let adapter = entry.adapter?;
            Some((
                entry.part.name.clone(),
                (adapter.a, adapter.b, adapter.scale),
            ))
        })
        .collect()
}

/// The same model with whole matrices `W + scale · B · A` that are trained.
fn whole(base: &Model, adapted: &TrainModel) -> TrainModel {
    let mut model = TrainModel::from_checkpoint(base);
    let adapters = adapters(adapted);
    let values = adapted.params.values();
    for entry in model.params.entries().to_vec() {
        let Some((a, b, scale)) = adapters.get(&entry.part.name) else {
            continue;
        };
        let into = &mut model.params.values_mut()[entry.param.range()];
        for (index, value) in into.iter_mut().enumerate() {
            let (i, j) = (index / entry.param.cols, index % entry.param.cols);
            let product: f64 = (0..a.rows)
                .map(|k| {
                    let (b, a) = (
                        values[b.start + i * b.cols + k],
                        values[a.start + k * a.cols + j],
                    );
                    f64::from(b) * f64::from(a)
                })
                .sum();
            *value += (f64::from(*scale) * product) as f32;
        }
    }
    model
}

fn gradients(model: &TrainModel, batch: &Batch, activations: Activations) -> (f64, Vec<f32>) {
    let geometry = Geometry::new(&model.config.text, 128);
    let mut grads = vec![0.0; model.params.len()];
    let stats = gradient(
        model,
        &geometry,
        batch,
        activations,
        1.0,
        &mut grads,
        &mut Arena::new(),
    );
    (stats.loss, grads)
}

fn all_logits(model: &TrainModel, batch: &Batch) -> Vec<f32> {
    let geometry = Geometry::new(&model.config.text, 128);
    let all: Vec<usize> = (0..batch.tokens.len()).collect();
    logits(model, &geometry, batch, &all, &mut Arena::new())
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

/// Root mean square of the differences.
fn deviation(found: &[f32], expected: &[f32]) -> f32 {
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2));
    (differences.sum::<f32>() / found.len() as f32).sqrt()
}

/// dA = scale · Bᵀ · dW and dB = scale · dW · Aᵀ, with dW from the same model whose whole matrices are trained: for attention, the
/// dense layer, the shared expert, INT4 experts and the head, with and without pictures. Sums of up to 61 rows in another order,
/// relative to the largest gradient of the matrix.
#[test]
fn gradients_of_adapters_are_those_of_whole_matrices() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base(tiny_config_that_sees(), &dir.path().join("base"));
    let model = adapted(&base, &section(&EVERY_TARGET));
    let whole = whole(&base, &model);
    for batch in [batch(61, &[40, 21], 3), seeing_batch()] {
        let (loss, grads) = gradients(&model, &batch, Activations::Keep);
        let (whole_loss, whole_grads) = gradients(&whole, &batch, Activations::Keep);
        assert!(
            (loss - whole_loss).abs() < 1e-5 * whole_loss,
            "{loss} and {whole_loss}"
        );
        compare_gradients(&model, &grads, &whole, &whole_grads);
        let (_, again) = gradients(&model, &batch, Activations::Recompute);
        assert_eq!(grads, again, "recomputing changes no bit");
    }
}

fn compare_gradients(model: &TrainModel, grads: &[f32], whole: &TrainModel, whole_grads: &[f32]) {
    let adapters = adapters(model);
    // Per layer 5 of attention; 3 of the dense one; 9 experts of 3 in each of the other two; the head.
    assert_eq!(adapters.len(), 3 * 5 + 3 + 2 * 9 * 3 + 1);
    let (values, mut visited) = (model.params.values(), 0);
    for entry in whole.params.entries() {
        let Some((a, b, scale)) = adapters.get(&entry.part.name) else {
            continue;
        };
        let (rows, cols, rank) = (entry.param.rows, entry.param.cols, a.rows);
        let dw = &whole_grads[entry.param.range()];
        let (mut da, mut db) = (vec![0.0; rank * cols], vec![0.0; rows * rank]);
        for i in 0..rows {
            for j in 0..cols {
                for k in 0..rank {
                    let dw = scale * dw[i * cols + j];
                    da[k * cols + j] += values[b.start + i * rank + k] * dw;
                    db[i * rank + k] += values[a.start + k * cols + j] * dw;
                }
            }
        }
        visited += usize::from(largest(&da) > 0.0);
        for (param, expected) in [(a, da), (b, db)] {
            let found = &grads[param.range()];
            let (worst, largest) = (worst(found, &expected), largest(&expected));
            assert!(
                worst <= 1e-4 * largest,
                "{}: {worst} of {largest}",
                entry.part.name
            );
        }
    }
    assert!(visited > 50, "{visited} adapters have a gradient");
}

/// Whatever is not named has no adapter, and has no gradient to hold.
#[test]
fn only_targets_are_trained() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base(tiny_config(), &dir.path().join("base"));
    let model = adapted(&base, &section(&["o_proj", "shared_experts.down_proj"]));
    let names: Vec<String> = adapters(&model).into_keys().collect();
    let layer = |index, end: &str| format!("language_model.model.layers.{index}.{end}.weight");
    let expected = [
        layer(0, "self_attn.o_proj"),
        layer(1, "mlp.shared_experts.down_proj"),
        layer(1, "self_attn.o_proj"),
        layer(2, "mlp.shared_experts.down_proj"),
        layer(2, "self_attn.o_proj"),
    ];
    assert_eq!(names, expected);
    let text = &model.config.text;
    let attention = text.hidden_size + text.num_attention_heads * text.v_head_dim;
    let shared = text.hidden_size + text.moe_intermediate_size;
    assert_eq!(model.params.len(), 4 * (3 * attention + 2 * shared));

    let default = TrainModel::adapted(&base, Prefix::LanguageModel, &LoraSection::default(), 1);
    assert_eq!(adapters(&default.expect("attention is there")).len(), 15);
    let unknown = TrainModel::adapted(&base, Prefix::LanguageModel, &section(&["proj"]), 1);
    let message = unknown.expect_err("no matrix is named so").to_string();
    assert!(
        message.contains("named proj") && message.contains("kv_b_proj"),
        "{message}"
    );
}

/// A fresh adapter changes nothing, to the last bit.
#[test]
fn a_fresh_adapter_computes_the_base() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base(tiny_config(), &dir.path().join("base"));
    let lora = section(&EVERY_TARGET);
    let fresh = TrainModel::adapted(&base, Prefix::LanguageModel, &lora, 5).expect("known targets");
    let batch = batch(61, &[30], 4);
    let expected = all_logits(&TrainModel::from_checkpoint(&base), &batch);
    assert_eq!(all_logits(&fresh, &batch), expected);
}

const RUN: &str = r#"
[model]
config = "base/config.json"
tokenizer = "vocabulary"
start_from = "base"
seed = 7
[run]
steps = 40
batch_tokens = 192
context = 96
checkpoint_every = 100
[schedule]
peak = 2e-2
[lora]
rank = 4
alpha = 8
targets = ["q_b_proj", "kv_b_proj", "o_proj", "gate_proj", "down_proj"]
[[data]]
path = "text.jsonl"
"#;

/// A folder with a vocabulary, a base model, texts and a configuration.
fn project(dir: &Path) -> PathBuf {
    let tokenizer = Tokenizer::synthetic(300).expect("a tokenizer");
    fs::create_dir(dir.join("vocabulary")).expect("a folder");
    tokenizer
        .write(dir.join("vocabulary"))
        .expect("a vocabulary");
    let model = TrainModel::fresh(config(tokenizer.vocab_size()), 2);
    export(&model, Some(&dir.join("vocabulary")), &dir.join("base")).expect("an export");
    let lines: Vec<String> = (0..9)
        .map(|i| {
            serde_json::json!({ "text": format!("the value of key {i} is {}", i * 7) }).to_string()
        })
        .collect();
    fs::write(dir.join("text.jsonl"), lines.join("\n")).expect("a file");
    let path = dir.join("run.toml");
    fs::write(&path, RUN).expect("a file");
    path
}

fn config(vocab_size: u32) -> ModelConfig {
    let mut config = tiny_config();
    let specials = vocab_size - SPECIAL_SLOTS;
    config.bos_token_id = Some(specials);
    config.eos_token_ids = vec![specials + 1];
    config.media_placeholder_token_id = Some(specials + 21);
    config.pad_token_id = Some(specials + 255);
    config.text.vocab_size = vocab_size as usize;
    config
}

/// Makes steps until one of this number; returns the losses.
fn train(config: &Path, out: &Path, until: u64) -> Vec<f64> {
    let mut run = Run::open(config, DataKind::Text, out).expect("a run opens");
    let mut losses = Vec::new();
    run.run(&mut |report| match report {
        Report::Step(metrics) => {
            losses.push(metrics.loss);
            if metrics.step == until {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
        _ => ControlFlow::Continue(()),
    })
    .expect("a run goes on");
    losses
}

fn prompt() -> Vec<u32> {
    (0..40).map(|i| (i * 7919 + 13) % 300).collect()
}

fn reference_logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let wanted: Vec<usize> = (0..ids.len()).collect();
    let rows: Vec<_> = ids.iter().map(|id| InputRow::Token(*id)).collect();
    let mut cache = LatentCache::new(&model.config.text);
    let text = &model.config.text;
    Reference::new(text, ReferenceOptions::default(), &mut cache, &positions)
        .logits(&model.text, &rows, &wanted)
        .values()
        .to_vec()
}

fn fast_logits(model: Model, options: FastOptions, ids: &[u32]) -> Vec<f32> {
    let model = FastModel::new(model, options).expect("options that go together");
    let mut cache = PagedLatents::new(&model.model().config.text, LatentFormat::F32, 2);
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let wanted: Vec<usize> = (0..ids.len()).collect();
    let rows: Vec<_> = ids.iter().map(|id| InputRow::Token(*id)).collect();
    let span = SequenceSpan {
        rows: 0..ids.len(),
        cached_rows: 0,
        blocks: &[0, 1],
    };
    let batch = FastBatch {
        positions: &positions,
        sequences: &[span],
    };
    Fast::new(&model, &Pool::new(2), &mut cache, batch)
        .logits(&rows, &wanted)
        .values()
        .to_vec()
}

/// A run that is stopped and goes on ends with the bits of one that was not; its adapter is in PEFT's layout; and both executions of
/// the engine compute with it what the tape did.
#[test]
fn a_run_trains_adapters_that_the_engine_computes() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let config = project(dir);
    let losses = train(&config, &dir.join("whole"), 40);
    assert!(losses[39] < 0.8 * losses[0], "it learns: {losses:?}");
    let mut stopped = train(&config, &dir.join("stopped"), 17);
    stopped.extend(train(&config, &dir.join("stopped"), 40));
    assert_eq!(stopped, losses);
    let [whole, again] = ["whole", "stopped"].map(|name| trained(&dir.join(name)).expect("a run"));
    assert_eq!(whole.1.params.values(), again.1.params.values());

    let further = dir.join("further.toml");
    let text = RUN.replace("seed = 7", "seed = 8\ncontinue_run = \"whole\"");
    fs::write(&further, text).expect("a file");
    let further = train(&further, &dir.join("further"), 2);
    assert!(further[0] < 0.9 * losses[0], "it goes on: {further:?}");

    let (run, model) = whole;
    let (lora, start) = (
        run.lora.expect("[lora]"),
        run.model.start_from.expect("a base"),
    );
    let out = dir.join("adapter");
    let written = adapter::write(&model, &lora, &start, &out).expect("an adapter");
    check_layout(&out, &start, written.tensors);

    let open = || {
        let mut base = Model::open(dir.join("base")).expect("the base");
        let adapter = LoraAdapter::open(&out).expect("the adapter opens");
        assert_eq!(2 * adapter.len(), written.tensors);
        base.adapt(&adapter).expect("it fits");
        base
    };
    let ids = prompt();
    let mut rows = batch(300, &[ids.len()], 1);
    rows.tokens.clone_from(&ids);
    let expected = all_logits(&model, &rows);
    let plain = reference_logits(&Model::open(dir.join("base")).expect("the base"), &ids);
    let largest = largest(&expected);
    assert!(
        worst(&plain, &expected) > 0.05 * largest,
        "training changed something"
    );
    // Two orders of summation, as between the executions without an adapter.
    let noise = 1e-4 * largest;
    assert!(worst(&reference_logits(&open(), &ids), &expected) < noise);
    let exact = FastOptions::default();
    assert!(worst(&fast_logits(open(), exact, &ids), &expected) < noise);
    let quantised = FastOptions {
        dense: DenseFormat::Int8,
        activations: ActivationFormat::Int8,
        ..exact
    };
    // A row whose experts are chosen otherwise is far off, so the mean counts: with int8 the adapter still brings the logits much
    // closer than the base is.
    let rounded = deviation(&fast_logits(open(), quantised, &ids), &expected);
    let without = deviation(&plain, &expected);
    assert!(rounded < 0.3 * without, "{rounded} and {without}");
    check_merged(&model, dir);
}

fn check_layout(dir: &Path, base: &Path, tensors: usize) {
    let text = fs::read(dir.join(ADAPTER_CONFIG_FILE)).expect("settings");
    let settings: Value = serde_json::from_slice(&text).expect("JSON");
    let targets = ["q_b_proj", "kv_b_proj", "o_proj", "gate_proj", "down_proj"];
    let expected = serde_json::json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8,
        "target_modules": targets, "base_model_name_or_path": base, "bias": "none",
        "lora_dropout": 0.0, "fan_in_fan_out": false, "inference_mode": true,
        "use_rslora": false, "use_dora": false,
    });
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(&settings[field], value, "{field}");
    }
    let file = SafetensorsFile::open(dir.join(ADAPTER_WEIGHTS_FILE)).expect("values");
    let mut names: Vec<String> = Vec::new();
    let stem = "base_model.model.language_model.model.layers";
    for layer in 0..3 {
        let attention = ["q_b_proj", "kv_b_proj", "o_proj"].map(|name| format!("self_attn.{name}"));
        let mlps: Vec<String> = match layer {
            0 => vec!["mlp".to_owned()],
            _ => (0..8)
                .map(|expert| format!("mlp.experts.{expert}"))
                .chain(["mlp.shared_experts".to_owned()])
                .collect(),
        };
        let mlps = mlps
            .iter()
            .flat_map(|mlp| ["gate_proj", "down_proj"].map(|name| format!("{mlp}.{name}")));
        for module in attention.into_iter().chain(mlps) {
            for half in ["A", "B"] {
                names.push(format!("{stem}.{layer}.{module}.lora_{half}.weight"));
            }
        }
    }
    names.sort();
    let mut found: Vec<&str> = file.header().tensors().map(|info| info.name).collect();
    found.sort_unstable();
    assert_eq!(
        (found, tensors),
        (names.iter().map(String::as_str).collect(), names.len())
    );
    let shape = |name: &str| {
        let tensor = file.tensor(&format!("{stem}.1.{name}.weight"));
        tensor.expect("a tensor").shape().to_vec()
    };
    // kv_b is [2 · (12 + 10), 16]; an expert's down is [32, 32].
    assert_eq!(shape("self_attn.kv_b_proj.lora_A"), [4, 16]);
    assert_eq!(shape("self_attn.kv_b_proj.lora_B"), [44, 4]);
    assert_eq!(shape("mlp.experts.5.down_proj.lora_B"), [32, 4]);
}

/// Tensors without an adapter are copied to the byte; the others hold the sum, rounded as they are stored.
fn check_merged(model: &TrainModel, dir: &Path) {
    let (base, out) = (dir.join("base"), dir.join("merged"));
    let vocabulary = dir.join("vocabulary");
    let merged = adapter::merge(model, &base, &vocabulary, &out).expect("a merged checkpoint");
    assert_eq!(
        (merged.matrices, merged.requantized),
        (3 * 3 + 2 + 2 * 9 * 2, 2 * 8 * 2)
    );
    let [before, after] = [&base, &out].map(|dir| Checkpoint::open(dir).expect("a checkpoint"));
    let adapters = adapters(model);
    let is_changed = |name: &str| {
        let stem = name
            .strip_suffix("_packed")
            .or_else(|| name.strip_suffix("_scale"))
            .unwrap_or(name);
        adapters.contains_key(stem)
    };
    assert_eq!(before.len(), after.len());
    for (before, after) in before.tensors().zip(after.tensors()) {
        assert_eq!(before.info.name, after.info.name);
        assert_eq!(before.info.dtype, after.info.dtype);
        let is_same = before.tensor().bytes() == after.tensor().bytes();
        assert_eq!(
            is_same,
            !is_changed(before.info.name),
            "{}",
            before.info.name
        );
    }
    for name in ["config.json", "tiktoken.model", "tokenizer_config.json"] {
        let [before, after] = [&base, &out].map(|dir| fs::read(dir.join(name)).expect("a file"));
        assert_eq!(before, after, "{name}");
    }
    let [base, merged] = [&base, &out].map(|dir| Model::open(dir).expect("a model"));
    let expected = whole(&base, model);
    let merged = TrainModel::from_checkpoint(&merged);
    for entry in merged.params.entries() {
        let [found, expected] =
            [&merged, &expected].map(|model| &model.params.values()[entry.param.range()]);
        // bf16 errs by 2⁻⁸ at most; so does an INT4 scale, whose codes end at 7 where the largest value is 7.5 of it.
        let is_expert = entry.part.name.contains(".experts.");
        let step = if is_expert { 0.0704 } else { 1.0 / 256.0 };
        for (found, expected) in found.chunks(32).zip(expected.chunks(32)) {
            assert!(
                worst(found, expected) <= step * largest(expected),
                "{}",
                entry.part.name
            );
        }
    }
}

#[test]
fn faults_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let path = project(dir);
    let open = |from: &str, to: &str| {
        fs::write(&path, RUN.replace(from, to)).expect("a file");
        let run = Run::open(&path, DataKind::Text, &dir.join("run"));
        run.err().expect("a fault").to_string()
    };
    let cases = [
        ("start_from = \"base\"", "", "model.start_from"),
        ("rank = 4", "rank = 0", "lora.rank"),
        ("alpha = 8", "alpha = nan", "lora.alpha"),
        ("rank = 4", "ranks = 4", "ranks"),
        ("\"o_proj\"", "\"oproj\"", "no matrix is named oproj"),
        (
            "steps = 40",
            "steps = 40\nquantize_from = 3",
            "quantize_from",
        ),
        ("start_from = \"base\"", "start_from = \"gone\"", "gone"),
    ];
    for (from, to, expected) in cases {
        let message = open(from, to);
        assert!(
            message.contains(expected) && message.contains("hint"),
            "{message}"
        );
    }
    let config = fs::read_to_string(dir.join("base/config.json")).expect("a configuration");
    let other = config.replacen("\"hidden_size\": 32", "\"hidden_size\": 64", 1);
    assert_ne!(other, config);
    fs::write(dir.join("other.json"), other).expect("a file");
    let message = open("base/config.json", "other.json");
    assert!(message.contains("another shape"), "{message}");
}
