//! What is exported computes what was trained.

use k25_model::exec::InputRow;
use k25_model::weights::{FeedForward, Model};
use k25_model::{LatentCache, Reference, ReferenceOptions};
use k25_train::arena::Arena;
use k25_train::exec::{Activations, Batch, Geometry, gradient, logits};
use k25_train::export::export;
use k25_train::model::TrainModel;
use k25_train::optimizer::{Optimizer, OptimizerConfig};
use k25_train::quantize::round;

use crate::models::{batch, tiny_config};

fn steps(
    model: &mut TrainModel,
    geometry: &Geometry,
    batch: &Batch,
    count: usize,
    quantized: bool,
) -> f64 {
    let config = OptimizerConfig::default();
    let mut optimizer = Optimizer::new(config, &model.params);
    let mut loss = 0.0;
    for _ in 0..count {
        model.params.refresh(quantized.then_some(round));
        let mut grads = vec![0.0; model.params.len()];
        let stats = gradient(
            model,
            geometry,
            batch,
            Activations::Keep,
            40.0,
            &mut grads,
            &mut Arena::new(),
        );
        loss = stats.loss;
        optimizer.step(&mut model.params, &grads, 2e-2);
    }
    loss
}

#[test]
fn a_mean_lies_between_two_models_of_one_shape() {
    let [mut mean, other] = [3, 4].map(|seed| TrainModel::fresh(tiny_config(), seed));
    for bias in mean.correction_biases_mut() {
        bias.fill(1.0);
    }
    let expected: Vec<f32> = (mean.params.values().iter())
        .zip(other.params.values())
        .map(|(own, other)| 0.75 * own + 0.25 * other)
        .collect();
    assert!(mean.average(&other, 0.75));
    assert_eq!(mean.params.values(), expected);
    let biases: Vec<f32> = mean
        .correction_biases()
        .flat_map(|(_, bias)| bias.to_vec())
        .collect();
    assert!(!biases.is_empty() && biases.iter().all(|bias| *bias == 0.75));

    let mut config = tiny_config();
    config.text.hidden_size = 64;
    assert!(!mean.average(&TrainModel::fresh(config, 3), 0.5));
    assert_eq!(mean.params.values(), expected);
}

/// The exported checkpoint read by `Reference` against the rounded values on the tape: equal up to the order of sums.
#[test]
fn exported_logits_are_those_of_the_rounded_model() {
    let mut config = tiny_config();
    config.text.hidden_size = 64;
    let mut model = TrainModel::fresh(config, 3);
    let geometry = Geometry::new(&model.config.text, 64);
    let batch = batch(61, &[40], 1);
    let first = steps(&mut model, &geometry, &batch, 1, true);
    let last = steps(&mut model, &geometry, &batch, 30, true);
    assert!(
        last < 0.7 * first,
        "training through the rounding learns: {first} to {last}"
    );

    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("exported");
    export(&model, None, &dir).expect("an export");
    let exported = Model::open(&dir).expect("the exported checkpoint opens");
    let FeedForward::Moe(moe) = &exported.text.layers[1].feed_forward else {
        panic!("a layer with experts");
    };
    assert_eq!(moe.experts[0].gate.storage(), "INT4 g32");
    assert_eq!(exported.text.lm_head.storage(), "BF16");

    model.params.refresh(Some(round));
    let all: Vec<usize> = (0..40).collect();
    let found = logits(&model, &geometry, &batch, &all, &mut Arena::new());
    let rows: Vec<_> = batch.tokens.iter().map(|id| InputRow::Token(*id)).collect();
    let positions: Vec<u32> = (0..40).collect();
    let mut cache = LatentCache::new(&exported.config.text);
    let expected = Reference::new(
        &exported.config.text,
        ReferenceOptions::default(),
        &mut cache,
        &positions,
    )
    .logits(&exported.text, &rows, &all);
    let largest = expected
        .values()
        .iter()
        .fold(0.0_f32, |max, x| max.max(x.abs()));
    for (found, expected) in found.iter().zip(expected.values()) {
        assert!(
            (found - expected).abs() < 1e-4 * largest,
            "{found} {expected} of {largest}"
        );
    }
    assert!(
        export(&model, None, &dir).is_err(),
        "nothing is overwritten"
    );
}
