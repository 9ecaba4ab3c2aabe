//! The head and the cross-entropy in one: logits exist for a few rows at a time, and become gradients where they lie.

use rayon::prelude::*;

use crate::arena::Arena;
use crate::matmul::{Mat, Store, par_multiply};
use crate::params::Param;
use crate::simd::{exp, max, sum, wide};
use crate::values::{Gradients, Values};

/// Rows whose logits exist at a time.
const CHUNK: usize = 512;

/// Rows that one task turns from logits into gradients.
const TASK: usize = 16;

/// What the head says about rows whose next token is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeadLoss {
    /// −log p of every row's target.
    pub losses: Vec<f32>,
    /// Whether the target was the likeliest token.
    pub hits: Vec<bool>,
}

/// Where gradients go.
pub struct HeadGradients<'a> {
    /// Gradient of the rows, `[rows, hidden]`; overwritten.
    pub x: &'a mut [f32],
    /// Gradients of all parameters; that of the head is added to.
    pub params: &'a mut [f32],
    /// Factor of every row's loss in the total.
    pub weights: &'a [f32],
}

/// Cross-entropy of `targets` under the head's logits of rows `x`; with `gradients`, those of Σ weight · loss.
pub fn cross_entropy<'a>(
    params: impl Into<Values<'a>>,
    head: Param,
    x: &[f32],
    targets: &[u32],
    mut gradients: Option<HeadGradients<'_>>,
    arena: &mut Arena,
) -> HeadLoss {
    let (vocab, hidden) = (head.rows, head.cols);
    let params = params.into();
    let mut scratch = arena.take(params.scratch_len(head));
    let matrix = params.par_matrix(head, &mut scratch);
    let mut result = HeadLoss::default();
    let mut logits = arena.take(CHUNK.min(targets.len()) * vocab);
    for (index, targets) in targets.chunks(CHUNK).enumerate() {
        let (first, rows) = (index * CHUNK, targets.len());
        let x = Mat::new(&x[first * hidden..(first + rows) * hidden], rows, hidden);
        let logits = &mut logits[..rows * vocab];
        par_multiply(logits, Store::Set, x, matrix.t());
        let weights = gradients.as_ref().map(|g| &g.weights[first..first + rows]);
        let losses = to_gradients(logits, vocab, targets, weights);
        for (loss, hit) in losses {
            result.losses.push(loss);
            result.hits.push(hit);
        }
        if let Some(gradients) = &mut gradients {
            let logits = Mat::new(logits, rows, vocab);
            let dx = &mut gradients.x[first * hidden..(first + rows) * hidden];
            par_multiply(dx, Store::Set, logits, matrix);
            Gradients::new(params, gradients.params).par_add(head, logits, x);
        }
    }
    arena.give(scratch);
    arena.give(logits);
    result
}

/// Losses and hits of rows of logits; with weights, the logits become gradients of the weighted losses.
fn to_gradients(
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    weights: Option<&[f32]>,
) -> Vec<(f32, bool)> {
    logits
        .par_chunks_mut(TASK * vocab)
        .zip(targets.par_chunks(TASK))
        .enumerate()
        .flat_map_iter(|(task, (logits, targets))| {
            let rows = logits.chunks_exact_mut(vocab).zip(targets).enumerate();
            rows.map(move |(row, (logits, target))| {
                let weight = weights.map(|weights| weights[task * TASK + row]);
                row_loss(logits, *target as usize, weight)
            })
            .collect::<Vec<_>>()
        })
        .collect()
}

wide! {
    /// Loss and hit of one row; with a weight, its logits become their gradients.
    fn row_loss<'a>(logits: &'a mut [f32], target: usize, weight: Option<f32>) -> (f32, bool) {
        let largest = max(logits);
        let logit = logits[target];
        for value in logits.iter_mut() {
            *value = exp(*value - largest);
        }
        let total = sum(logits);
        if let Some(weight) = weight {
            let factor = weight / total;
            for value in logits.iter_mut() {
                *value *= factor;
            }
            logits[target] -= weight;
        }
        (total.ln() + largest - logit, logit >= largest)
    }
}
