//! The vision tower in training: gradients, the forward pass, what becomes of it in a checkpoint.

use k25_model::VisionReference;
use k25_model::exec::InputRow;
use k25_model::vision::VisionItem;
use k25_model::weights::Model;
use k25_train::arena::Arena;
use k25_train::exec::{Activations, Batch, Geometry, Pictures, logits};
use k25_train::export::export;
use k25_train::model::TrainModel;
use k25_train::optimizer::{Optimizer, OptimizerConfig};
use k25_train::params::Entry;
use k25_train::quantize::round;
use k25_train::state::{self, Progress, State};

use crate::gradients::{agree_with_differences, all_gradients, reference_logits, stirred_model};
use crate::models::{batch, item, tiny_config, tiny_config_that_sees};

/// A random batch whose sequences of 25 and 12 rows show a picture, another of the position table's own size, and a
/// chunk of three frames; about a third of the rows do not count.
pub fn seeing_batch() -> Batch {
    let mut batch = batch(61, &[25, 12], 4);
    batch.pictures = pictures(4, [(2, [1, 4, 6]), (12, [1, 6, 4]), (30, [3, 2, 4])]);
    batch
}

/// Items and their places: first row and grid. Windows are 2 × 2.
fn pictures<const N: usize>(patch: usize, places: [(usize, [usize; 3]); N]) -> Pictures {
    let items = places.map(|(row, grid)| item(grid, patch, row as u64));
    let rows = places.map(|(row, [_, height, width])| row..row + height * width / 4);
    Pictures {
        items: items.to_vec(),
        rows: rows.to_vec(),
    }
}

fn seeing(seed: u64) -> TrainModel {
    stirred_model(TrainModel::fresh(tiny_config_that_sees(), seed), seed)
}

/// Under layers without experts, whose choice would jump where a feature moves a little.
#[test]
fn the_tower_agrees_with_finite_differences() {
    let mut config = tiny_config_that_sees();
    config.text.first_k_dense_replace = config.text.num_hidden_layers;
    let model = stirred_model(TrainModel::fresh(config, 5), 5);
    let is_vision = |entry: &Entry| entry.part.kind.is_vision();
    let checked = agree_with_differences(model, &seeing_batch(), is_vision);
    // 12 tensors in each of two blocks; embedding 2, positions, last norm 2, projector 6.
    assert_eq!(checked, 35);
}

/// The embedding has no gradient from rows where features stand, and the rest of the model has one through them.
#[test]
fn the_language_model_agrees_with_finite_differences_beside_pictures() {
    let wanted = |entry: &Entry| {
        let name = &entry.part.name;
        name.contains("embed_tokens") || name.contains("layers.0.")
    };
    let checked = agree_with_differences(seeing(6), &seeing_batch(), wanted);
    assert_eq!(checked, 13, "the embedding and the first layer");
}

/// The second computation repeats the first bit for bit, and no sum depends on the threads.
#[test]
fn neither_recomputing_nor_threads_change_a_bit() {
    let (model, batch) = (seeing(7), seeing_batch());
    let kept = all_gradients(&model, &batch, Activations::Keep);
    assert_eq!(kept, all_gradients(&model, &batch, Activations::Recompute));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    let threads = pool
        .expect("a pool")
        .install(|| all_gradients(&model, &batch, Activations::Keep));
    assert_eq!(kept, threads);
}

/// Logits of a fixture behind pictures and a chunk of frames: f32 noise on values of about 9, where two orders of summation
/// differ by 1e-4 (the tolerance that the text alone has).
#[test]
fn the_forward_pass_equals_the_reference() {
    for name in ["t1", "t2"] {
        let dir = format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let model = Model::open(dir).expect("a fixture opens");
        let config = model.config.vision.as_ref().expect("a tower");
        let mut batch = batch(model.config.text.vocab_size, &[40, 9], 9);
        batch.pictures = pictures(
            config.patch_size,
            [(3, [1, 4, 6]), (20, [4, 2, 6]), (42, [1, 2, 2])],
        );
        let train = TrainModel::from_checkpoint(&model);
        let geometry = Geometry::new(&model.config.text, 128);
        let all: Vec<usize> = (0..batch.tokens.len()).collect();
        let found = logits(&train, &geometry, &batch, &all, &mut Arena::new());
        let worst = difference(&found, &reference(&model, &batch));
        assert!(worst < 1e-3, "{name}: {worst}");

        batch.pictures.items[0].patches[0] += 0.5;
        let other = logits(&train, &geometry, &batch, &all, &mut Arena::new());
        assert!(difference(&found, &other) > 1e-2, "{name}: pictures count");
    }
}

/// A batch's logits by `Reference` and `VisionReference`, sequence by sequence.
fn reference(model: &Model, batch: &Batch) -> Vec<f32> {
    let (config, weights) = (model.config.vision.as_ref(), model.vision.as_ref());
    let (config, weights) = (config.expect("a tower"), weights.expect("a tower"));
    let features = VisionReference::new()
        .features(config, weights, &batch.pictures.items)
        .expect("features");
    let mut rows: Vec<_> = batch.tokens.iter().map(|id| InputRow::Token(*id)).collect();
    for (feature, row) in batch.pictures.rows.iter().cloned().flatten().enumerate() {
        rows[row] = InputRow::Feature(features.row(feature));
    }
    let segments = batch.segments.iter();
    segments
        .flat_map(|segment| reference_logits(model, &rows[segment.start..][..segment.len]))
        .collect()
}

fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The values of the tower.
fn tower(model: &TrainModel) -> &[f32] {
    &model.params.values()[model.params.text_len()..]
}

/// Steps on text alone leave a tower to the bit, whatever decay and momentum do; the first picture moves it.
#[test]
fn text_alone_leaves_the_tower_as_it_is() {
    let mut model = seeing(8);
    let before = tower(&model).to_vec();
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &model.params);
    let mut step = |model: &mut TrainModel, batch: &Batch| {
        let grads = all_gradients(model, batch, Activations::Keep);
        optimizer.step(&mut model.params, &grads, 1e-2);
    };
    step(&mut model, &batch(61, &[20], 1));
    assert_eq!(tower(&model), before);
    step(&mut model, &seeing_batch());
    let moved = tower(&model).to_vec();
    assert_ne!(moved, before);
    step(&mut model, &batch(61, &[20], 2));
    assert_eq!(tower(&model), moved);
}

/// Values of a text model do not depend on whether a tower follows; towers come and go behind them.
#[test]
fn a_tower_comes_behind_the_text() {
    let text = TrainModel::fresh(tiny_config(), 3);
    let mut model = TrainModel::fresh(tiny_config_that_sees(), 3);
    assert_eq!(model.params.text_len(), text.params.len());
    let text_values = &model.params.values()[..text.params.len()];
    assert_eq!(text_values, text.params.values());
    assert_eq!(model.active_parameters(), text.active_parameters());

    let whole = model.params.values().to_vec();
    model.set_vision(None, 3);
    assert!(model.vision.is_none() && model.config.vision.is_none());
    assert_eq!(model.params.values(), text.params.values());
    model.set_vision(tiny_config_that_sees().vision, 3);
    assert_eq!(model.params.values(), whole);
}

/// What a run on text alone has learned goes on in a model with a tower, which stays fresh.
#[test]
fn the_state_of_a_text_model_fits_one_with_a_tower() {
    let text = stirred_model(TrainModel::fresh(tiny_config(), 4), 4);
    let optimizer = Optimizer::new(OptimizerConfig::default(), &text.params);
    let progress = Progress {
        step: 1,
        optimizer_steps: 1,
        tokens: 1,
        seconds: 0.0,
        metrics_bytes: 0,
        positions: Vec::new(),
    };
    let dir = tempfile::tempdir().expect("a folder");
    state::save(dir.path(), &text, &optimizer, &progress).expect("a state");
    let state = State::open(dir.path()).expect("a file").expect("a state");
    let mut model = TrainModel::fresh(tiny_config_that_sees(), 3);
    let fresh = tower(&model).to_vec();
    state.load_model(&mut model).expect("the text's values");
    assert_eq!(
        &model.params.values()[..text.params.len()],
        text.params.values()
    );
    assert_eq!(tower(&model), fresh);
    let mut other = tiny_config();
    other.text.intermediate_size = 64;
    let mut other = TrainModel::fresh(other, 3);
    assert!(state.load_model(&mut other).is_err(), "another shape");
}

/// A tower is exported under its published names and comes back: what a checkpoint holds is what was trained, rounded to bf16.
#[test]
fn an_exported_tower_is_read_back() {
    let mut model = seeing(9);
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("exported");
    export(&model, None, &dir).expect("an export");
    let exported = Model::open(&dir).expect("the exported checkpoint opens");
    let batch = seeing_batch();

    model.params.refresh(Some(round));
    let geometry = Geometry::new(&model.config.text, 64);
    let all: Vec<usize> = (0..batch.tokens.len()).collect();
    let found = logits(&model, &geometry, &batch, &all, &mut Arena::new());
    let expected = reference(&exported, &batch);
    let largest = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    // The same values in another order of summation.
    assert!(difference(&found, &expected) < 1e-4 * largest);

    let again = TrainModel::from_checkpoint(&exported);
    assert_eq!(again.config.vision, model.config.vision);
    let effective = model.params.effective();
    assert_eq!(tower(&again), &effective[model.params.text_len()..]);
}

/// A picture that the tower cannot read is the caller's fault, and said so.
#[test]
#[should_panic(expected = "pictures are checked")]
fn pictures_of_another_size_are_refused() {
    let mut batch = seeing_batch();
    batch.pictures.items[0] = VisionItem {
        grid: [1, 3, 5],
        patches: vec![0.0; 15 * 48],
    };
    all_gradients(&seeing(1), &batch, Activations::Keep);
}
