//! Gradients against finite differences, and the forward pass against `Reference`.

use std::sync::Arc;

use k25_model::exec::InputRow;
use k25_model::weights::Model;
use k25_model::{LatentCache, Reference, ReferenceOptions};
use k25_train::arena::Arena;
use k25_train::exec::{Activations, Batch, Geometry, Pictures, evaluate, gradient, logits};
use k25_train::model::TrainModel;
use k25_train::params::Entry;
use k25_train::random::Random;
use k25_train::tape::Segment;

use crate::models::{batch, tiny_config};

fn total_loss(model: &TrainModel, geometry: &Geometry, batch: &Batch) -> f64 {
    let (stats, _) = evaluate(model, geometry, batch, &mut Arena::new());
    stats.loss * stats.weight
}

pub fn all_gradients(model: &TrainModel, batch: &Batch, activations: Activations) -> Vec<f32> {
    let geometry = Geometry::new(&model.config.text, 512);
    let mut grads = vec![0.0; model.params.len()];
    gradient(
        model,
        &geometry,
        batch,
        activations,
        1.0,
        &mut grads,
        &mut Arena::new(),
    );
    grads
}

/// A model whose norms and biases are not at their fresh values, and whose scores are not all alike.
fn stirred(seed: u64) -> TrainModel {
    stirred_model(TrainModel::fresh(tiny_config(), seed), seed)
}

/// A fresh model with noise on all of its values.
pub fn stirred_model(mut model: TrainModel, seed: u64) -> TrainModel {
    let mut noise = vec![0.0; model.params.len()];
    Random::new(seed, 1 << 40).fill_normal(&mut noise, 0.1);
    for (value, noise) in model.params.values_mut().iter_mut().zip(noise) {
        *value += noise;
    }
    let mut random = Random::new(seed, 1 << 41);
    for bias in model.correction_biases_mut() {
        bias.iter_mut()
            .for_each(|bias| *bias = random.unit() as f32 * 0.1);
    }
    model
}

#[test]
fn every_parameter_agrees_with_finite_differences() {
    let model = stirred(5);
    let checked = agree_with_differences(model, &batch(61, &[17, 1, 9], 3), |_| true);
    assert!(checked > 60, "{checked} parameters have a gradient");
}

/// Along a direction within one parameter the loss changes as the gradient says, for every parameter that `wanted` names; returns
/// how many those were.
///
/// Central differences with step h have an error of h²·f‴/6 and rounding noise of 6e-8·|loss|/h; a choice of experts may flip
/// within the step. Two steps are tried, and the better one must be within 2 % of the direction's size.
pub fn agree_with_differences(
    mut model: TrainModel,
    batch: &Batch,
    wanted: impl Fn(&Entry) -> bool,
) -> usize {
    let geometry = Geometry::new(&model.config.text, 512);
    let grads = all_gradients(&model, batch, Activations::Keep);
    let entries = model.params.entries().to_vec();
    let visited = |range: std::ops::Range<usize>| grads[range].iter().any(|g| *g != 0.0);
    let mut checked = 0;
    for entry in entries.iter().filter(|entry| wanted(entry)) {
        let range = entry.param.range();
        if !visited(range.clone()) {
            // An expert that no row visits has no gradient.
            assert!(entry.part.name.contains(".experts."), "{}", entry.part.name);
            continue;
        }
        checked += 1;
        // The gradient's own direction has the largest change for a step of its length.
        let norm = grads[range.clone()]
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>()
            .sqrt();
        let saved = model.params.values()[range.clone()].to_vec();
        let mut best = f64::INFINITY;
        for step in [1e-2, 2e-3] {
            let mut losses = [0.0; 2];
            for (loss, sign) in losses.iter_mut().zip([1.0, -1.0]) {
                let values = &mut model.params.values_mut()[range.clone()];
                for ((value, saved), grad) in
                    values.iter_mut().zip(&saved).zip(&grads[range.clone()])
                {
                    *value = (f64::from(*saved) + sign * step * f64::from(*grad) / norm) as f32;
                }
                *loss = total_loss(&model, &geometry, batch);
            }
            let slope = (losses[0] - losses[1]) / (2.0 * step);
            best = best.min((slope - norm).abs() / norm);
        }
        model.params.values_mut()[range].copy_from_slice(&saved);
        assert!(best < 0.02, "{}: relative error {best}", entry.part.name);
    }
    checked
}

/// The second computation repeats the first bit for bit, so the gradients are equal.
#[test]
fn recomputing_activations_changes_no_bit() {
    let model = stirred(6);
    let batch = batch(61, &[80, 33], 4);
    let kept = all_gradients(&model, &batch, Activations::Keep);
    assert_eq!(kept, all_gradients(&model, &batch, Activations::Recompute));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let model = stirred(7);
    let batch = batch(61, &[300, 150, 150], 5);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool")
            .install(|| all_gradients(&model, &batch, Activations::Keep))
    };
    assert_eq!(with(1), with(3));
}

/// A sequence's gradient does not depend on what else is in the batch.
#[test]
fn packed_sequences_do_not_see_each_other() {
    let model = stirred(8);
    let both = batch(61, &[20, 30], 6);
    let part = |rows: std::ops::Range<usize>| Batch {
        pictures: Pictures::default(),
        tokens: both.tokens[rows.clone()].to_vec(),
        targets: both.targets[rows.clone()].to_vec(),
        weights: both.weights[rows.clone()].to_vec(),
        segments: Arc::new([Segment::whole(0, rows.len())]),
    };
    let whole = all_gradients(&model, &both, Activations::Keep);
    let first = all_gradients(&model, &part(0..20), Activations::Keep);
    let second = all_gradients(&model, &part(20..50), Activations::Keep);
    let largest = whole.iter().fold(0.0_f32, |max, g| max.max(g.abs()));
    for ((whole, first), second) in whole.iter().zip(&first).zip(&second) {
        // Sums of fifty terms in another order.
        assert!(
            (whole - first - second).abs() < 1e-5 * largest,
            "{whole} {first} {second}"
        );
    }
}

/// Logits of a fixture: f32 noise on values of about 9, where two orders of summation differ by 1e-4
/// (the tolerance that `Fast` has).
#[test]
fn the_forward_pass_equals_the_reference() {
    for name in ["t1", "t2", "t3g", "t1_bf16"] {
        let dir = format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let model = Model::open(dir).expect("a fixture opens");
        let lens = [70, 3, 41];
        let batch = batch(model.config.text.vocab_size, &lens, 9);
        let train = TrainModel::from_checkpoint(&model);
        let geometry = Geometry::new(&model.config.text, 128);
        let all: Vec<usize> = (0..batch.tokens.len()).collect();
        let found = logits(&train, &geometry, &batch, &all, &mut Arena::new());
        let mut expected = Vec::new();
        for segment in batch.segments.iter() {
            let tokens = &batch.tokens[segment.start..segment.start + segment.len];
            expected.extend(reference(&model, tokens));
        }
        let worst = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

fn reference(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let rows: Vec<_> = tokens.iter().map(|id| InputRow::Token(*id)).collect();
    reference_logits(model, &rows)
}

/// Logits of every row of a sequence as `Reference` computes them.
pub fn reference_logits(model: &Model, rows: &[InputRow<'_>]) -> Vec<f32> {
    let positions: Vec<u32> = (0..rows.len() as u32).collect();
    let wanted: Vec<usize> = (0..rows.len()).collect();
    let mut cache = LatentCache::new(&model.config.text);
    Reference::new(
        &model.config.text,
        ReferenceOptions::default(),
        &mut cache,
        &positions,
    )
    .logits(&model.text, rows, &wanted)
    .values()
    .to_vec()
}
