//! Optimisers against their definitions.

use k25_config::ModelConfig;

use super::muon::orthogonal;
use super::*;
use crate::model::TrainModel;
use crate::random::Random;

fn tiny() -> TrainModel {
    let mut config = ModelConfig::kimi_k25();
    config.vision = None;
    let text = &mut config.text;
    (
        text.hidden_size,
        text.num_hidden_layers,
        text.intermediate_size,
    ) = (32, 2, 48);
    (
        text.moe_intermediate_size,
        text.n_routed_experts,
        text.num_experts_per_tok,
    ) = (32, 4, 2);
    (
        text.num_attention_heads,
        text.q_lora_rank,
        text.kv_lora_rank,
    ) = (2, Some(24), 16);
    (
        text.qk_nope_head_dim,
        text.qk_rope_head_dim,
        text.v_head_dim,
    ) = (12, 8, 10);
    text.vocab_size = 61;
    TrainModel::fresh(config, 1)
}

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Random::new(seed, 0).fill_normal(&mut values, 1.0);
    values
}

#[test]
fn newton_schulz_moves_singular_values_towards_one() {
    for (rows, cols) in [(24, 24), (16, 40), (40, 16)] {
        let x = orthogonal(&noise(rows * cols, 1), rows, cols);
        let (short, long) = (rows.min(cols), rows.max(cols));
        let at = |i: usize, j: usize| {
            if rows > cols {
                x[j * cols + i]
            } else {
                x[i * cols + j]
            }
        };
        for i in 0..short {
            for j in 0..short {
                let product: f32 = (0..long).map(|k| at(i, k) * at(j, k)).sum();
                // Squares of singular values end in about 0.45 to 1.5 for these coefficients; a square random matrix may
                // have one singular value near 0 that five steps do not lift.
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!(
                    (product - expected).abs() < 0.6,
                    "{rows} × {cols}, {i}, {j}: {product}"
                );
            }
        }
    }
    assert!(orthogonal(&[0.0; 6], 2, 3).iter().all(|x| *x == 0.0));
}

/// AdamW's first step is the sign of the gradient, whatever its size; the second follows the definition in f64.
#[test]
fn adamw_follows_its_definition() {
    let mut model = tiny();
    let config = OptimizerConfig {
        matrices: Matrices::Adamw,
        clip_norm: 0.0,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(config, &model.params);
    let index = model.text.embed.start + 5;
    let grads = [noise(model.params.len(), 2), noise(model.params.len(), 3)];
    let (mut value, mut first, mut second) = (f64::from(model.params.values()[index]), 0.0, 0.0);
    for (number, grads) in grads.iter().enumerate() {
        optimizer.step(&mut model.params, grads, 1e-2);
        let grad = f64::from(grads[index]);
        first = 0.9 * first + 0.1 * grad;
        second = 0.95 * second + 0.05 * grad * grad;
        let power = number as i32 + 1;
        let mean = first / (1.0 - 0.9_f64.powi(power));
        let deviation = (second / (1.0 - 0.95_f64.powi(power))).sqrt() + 1e-8;
        value = value * (1.0 - 1e-2 * 0.1) - 1e-2 * mean / deviation;
        // Roundings of f32 on a value of about 0.2.
        assert!((f64::from(model.params.values()[index]) - value).abs() < 1e-6);
    }
}

#[test]
fn muon_moves_matrices_by_its_size_and_norms_by_adamw() {
    let mut model = tiny();
    let config = OptimizerConfig {
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(config, &model.params);
    let before = model.params.values().to_vec();
    let grads = noise(before.len(), 4);
    let report = optimizer.step(&mut model.params, &grads, 1e-2);
    assert!(!report.skipped && report.gradient_norm > 100.0);
    for entry in model.params.entries() {
        let range = entry.param.range();
        let moved: Vec<f32> = range
            .clone()
            .map(|i| model.params.values()[i] - before[i])
            .collect();
        let size = (square_sum(&moved) / moved.len() as f64).sqrt() as f32;
        if entry.part.kind == Kind::Norms || entry.part.kind == Kind::Head {
            assert!((size - 1e-2).abs() < 1e-3, "{}: {size}", entry.part.name);
        } else if entry.part.kind != Kind::Embedding {
            // 0.2 for orthogonal rows; singular values of 0.7 to 1.2.
            assert!((1e-3..3e-3).contains(&size), "{}: {size}", entry.part.name);
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_moves_nothing() {
    let mut model = tiny();
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &model.params);
    let before = model.params.values().to_vec();
    let mut grads = noise(before.len(), 5);
    grads[7] = f32::NAN;
    assert!(optimizer.step(&mut model.params, &grads, 1e-2).skipped);
    assert_eq!(model.params.values(), before);
    assert_eq!(optimizer.steps, 0);
}

#[test]
fn qk_clip_scales_the_heads_that_are_too_loud() {
    let mut model = tiny();
    let before = model.params.values().to_vec();
    let scores = vec![vec![50.0, 400.0], vec![99.0, 100.0]];
    assert_eq!(qk_clip(&mut model, &scores, 100.0), 1);
    let attention = &model.text.layers[0].attention;
    let QueryWeights::LowRank { b, .. } = &attention.query else {
        panic!("a latent query");
    };
    let factor = |index: usize| model.params.values()[index] / before[index];
    let second_head = b.start + 20 * b.cols;
    assert!(
        (factor(second_head) - 0.5).abs() < 1e-6,
        "√γ for the unrotated part"
    );
    assert!(
        (factor(second_head + 12 * b.cols) - 0.25).abs() < 1e-6,
        "γ for the rotated part"
    );
    assert_eq!(factor(b.start), 1.0, "the quiet head");
    let key = attention.kv_b.start + 22 * attention.kv_b.cols;
    assert!((factor(key) - 0.5).abs() < 1e-6, "√γ for the key");
    assert_eq!(factor(key + 12 * attention.kv_b.cols), 1.0, "values stay");
}

use k25_model::weights::QueryWeights;
