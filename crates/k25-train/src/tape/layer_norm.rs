//! Layer norm: mean and variance of a row taken out, then scale and shift.

use k25_model::vision::weights::LayerNorm;
use rayon::prelude::*;

use super::norm::ROWS;
use super::{Act, Backward, Operator, Tape};
use crate::arena::Arena;
use crate::params::Param;
use crate::simd::{accumulate, dot, sum, wide};

struct Normed {
    norm: LayerNorm<Param>,
    x: Act,
    y: Act,
    /// Mean, and 1 / √(variance + ε), of every row: `[rows, 2]`.
    moments: Vec<f32>,
}

impl Tape<'_> {
    /// Norms every row of `x`, statistics in f32.
    pub fn layer_norm(&mut self, norm: &LayerNorm<Param>, x: Act) -> Act {
        let (rows, cols) = self.shape(x);
        assert_eq!(cols, norm.weight.len(), "width of a norm");
        let mut y = self.arena.take(rows * cols);
        let mut moments = self.arena.take(2 * rows);
        let weight = &self.params[norm.weight.range()];
        let bias = &self.params[norm.bias.range()];
        y.par_chunks_mut(ROWS * cols)
            .zip(self.data(x).par_chunks(ROWS * cols))
            .zip(moments.par_chunks_mut(ROWS * 2))
            .for_each(|((y, x), moments)| norm_rows(weight, bias, norm.eps, x, y, moments));
        let y = self.push(y, rows, cols);
        let norm = norm.clone();
        self.record(Normed {
            norm,
            x,
            y,
            moments,
        });
        y
    }
}

wide! {
    fn norm_rows<'a>(
        weight: &'a [f32],
        bias: &'a [f32],
        eps: f32,
        x: &'a [f32],
        y: &'a mut [f32],
        moments: &'a mut [f32],
    ) -> () {
        let width = weight.len();
        let rows = y.chunks_exact_mut(width).zip(x.chunks_exact(width));
        for ((y, x), moments) in rows.zip(moments.chunks_exact_mut(2)) {
            let mean = sum(x) / width as f32;
            for (y, x) in y.iter_mut().zip(x) {
                *y = x - mean;
            }
            let scale = 1.0 / (dot(y, y) / width as f32 + eps).sqrt();
            for ((y, weight), bias) in y.iter_mut().zip(weight).zip(bias) {
                *y = *y * scale * weight + bias;
            }
            (moments[0], moments[1]) = (mean, scale);
        }
    }
}

impl Operator for Normed {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let mut grad = grads.take(self.y);
        let (_, width) = grads.shape(self.x);
        let weight = &grads.params[self.norm.weight.range()];
        let partial: Vec<_> = grad
            .par_chunks_mut(ROWS * width)
            .zip(grads.values[self.x.0].data.par_chunks(ROWS * width))
            .zip(self.moments.par_chunks(ROWS * 2))
            .map(|((grad, x), moments)| {
                let mut own = Partial::new(width);
                let Partial { weights, biases } = &mut own;
                norm_rows_backward(weight, x, moments, grad, weights, biases);
                own
            })
            .collect();
        // In the order of rows, so that the sums do not depend on the threads.
        for partial in partial {
            if let Some(weights) = grads.param_grads.get_mut(self.norm.weight) {
                accumulate(weights, &partial.weights);
            }
            if let Some(biases) = grads.param_grads.get_mut(self.norm.bias) {
                accumulate(biases, &partial.biases);
            }
        }
        grads.add(self.x, grad);
    }

    fn output(&self) -> Act {
        self.y
    }

    fn release(&mut self, arena: &mut Arena) {
        arena.give(std::mem::take(&mut self.moments));
    }
}

/// Gradients of scale and shift from some of the rows.
struct Partial {
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl Partial {
    fn new(width: usize) -> Self {
        Self {
            weights: vec![0.0; width],
            biases: vec![0.0; width],
        }
    }
}

wide! {
    /// Turns gradients of the result into those of `x` in place, and adds to those of scale and shift.
    fn norm_rows_backward<'a>(
        weight: &'a [f32],
        x: &'a [f32],
        moments: &'a [f32],
        grad: &'a mut [f32],
        weight_grad: &'a mut [f32],
        bias_grad: &'a mut [f32],
    ) -> () {
        let width = weight.len();
        let mut normed = vec![0.0; width];
        let rows = grad.chunks_exact_mut(width).zip(x.chunks_exact(width));
        for ((grad, x), moments) in rows.zip(moments.chunks_exact(2)) {
            let (mean, scale) = (moments[0], moments[1]);
            for (normed, x) in normed.iter_mut().zip(x) {
                *normed = (x - mean) * scale;
            }
            let sums = weight_grad.iter_mut().zip(bias_grad.iter_mut());
            let inputs = grad.iter_mut().zip(normed.iter().zip(weight));
            for ((weight_grad, bias_grad), (grad, (normed, weight))) in sums.zip(inputs) {
                *weight_grad += *grad * normed;
                *bias_grad += *grad;
                *grad *= weight;
            }
            let level = sum(grad) / width as f32;
            let along = dot(grad, &normed) / width as f32;
            for (grad, normed) in grad.iter_mut().zip(&normed) {
                *grad = (*grad - level - normed * along) * scale;
            }
        }
    }
}
