//! Root-mean-square norm.

use rayon::prelude::*;

use super::{Act, Backward, Operator, Tape};
use crate::model::Norm;
use crate::params::Param;
use crate::simd::{accumulate, dot, wide};

/// Rows that one task handles.
pub(super) const ROWS: usize = 128;

struct RmsNorm {
    weight: Param,
    x: Act,
    y: Act,
    /// 1 / √(mean square + ε) of every row.
    scales: Vec<f32>,
}

impl Tape<'_> {
    /// Norms every row of `x`.
    pub fn rms_norm(&mut self, norm: Norm, x: Act) -> Act {
        let (rows, cols) = self.shape(x);
        assert_eq!(cols, norm.weight.len(), "width of a norm");
        let mut y = self.arena.take(rows * cols);
        let mut scales = self.arena.take(rows);
        let weight = &self.params[norm.weight.range()];
        rms_forward(
            weight,
            norm.eps,
            self.data(x),
            cols,
            cols,
            &mut y,
            &mut scales,
        );
        let y = self.push(y, rows, cols);
        let weight = norm.weight;
        self.record(RmsNorm {
            weight,
            x,
            y,
            scales,
        });
        y
    }
}

impl Operator for RmsNorm {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let mut grad = grads.take(self.y);
        let (_, cols) = grads.shape(self.x);
        rms_backward(
            &grads.params[self.weight.range()],
            &grads.values[self.x.0].data,
            cols,
            &self.scales,
            &mut grad,
            grads.param_grads.get_mut(self.weight),
        );
        grads.add(self.x, grad);
    }

    fn output(&self) -> Act {
        self.y
    }

    fn release(&mut self, arena: &mut crate::arena::Arena) {
        arena.give(std::mem::take(&mut self.scales));
    }
}

/// Norms the first `weight.len()` values of every row of `x`, whose rows begin `x_stride` apart,
/// into rows that begin `y_stride` apart.
pub(super) fn rms_forward(
    weight: &[f32],
    eps: f32,
    x: &[f32],
    x_stride: usize,
    y_stride: usize,
    y: &mut [f32],
    scales: &mut [f32],
) {
    y.par_chunks_mut(ROWS * y_stride)
        .zip(
            x.par_chunks(ROWS * x_stride)
                .zip(scales.par_chunks_mut(ROWS)),
        )
        .for_each(|(y, (x, scales))| norm_rows(weight, eps, x, x_stride, y, y_stride, scales));
}

wide! {
    fn norm_rows<'a>(
        weight: &'a [f32],
        eps: f32,
        x: &'a [f32],
        x_stride: usize,
        y: &'a mut [f32],
        y_stride: usize,
        scales: &'a mut [f32],
    ) -> () {
        let width = weight.len();
        let rows = y.chunks_exact_mut(y_stride).zip(x.chunks_exact(x_stride));
        for ((y, x), scale) in rows.zip(scales) {
            let x = &x[..width];
            let mean_square = dot(x, x) / width as f32;
            *scale = 1.0 / (mean_square + eps).sqrt();
            for ((y, x), weight) in y[..width].iter_mut().zip(x).zip(weight) {
                *y = weight * (x * *scale);
            }
        }
    }
}

/// Turns the gradient of the result, `[rows, width]`, into that of `x` in place, and adds to that of the weights where
/// they are trained.
/// Rows of `x` begin `x_stride` apart.
pub(super) fn rms_backward(
    weight: &[f32],
    x: &[f32],
    x_stride: usize,
    scales: &[f32],
    grad: &mut [f32],
    weight_grad: Option<&mut [f32]>,
) {
    let width = weight.len();
    let partial: Vec<Vec<f32>> = grad
        .par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * x_stride).zip(scales.par_chunks(ROWS)))
        .map(|(grad, (x, scales))| {
            let mut weight_grad = vec![0.0; width];
            norm_rows_backward(weight, x, x_stride, scales, grad, &mut weight_grad);
            weight_grad
        })
        .collect();
    if let Some(weight_grad) = weight_grad {
        // In the order of rows, so that the sum does not depend on the threads.
        for partial in partial {
            accumulate(weight_grad, &partial);
        }
    }
}

wide! {
    fn norm_rows_backward<'a>(
        weight: &'a [f32],
        x: &'a [f32],
        x_stride: usize,
        scales: &'a [f32],
        grad: &'a mut [f32],
        weight_grad: &'a mut [f32],
    ) -> () {
        let width = weight.len();
        let rows = grad.chunks_exact_mut(width).zip(x.chunks_exact(x_stride));
        for ((grad, x), scale) in rows.zip(scales) {
            rms_backward_row(weight, &x[..width], *scale, grad, weight_grad);
        }
    }
}

#[inline(always)]
fn rms_backward_row(weight: &[f32], x: &[f32], scale: f32, grad: &mut [f32], dw: &mut [f32]) {
    let x = &x[..grad.len()];
    for ((dw, grad), (x, weight)) in dw.iter_mut().zip(grad.iter_mut()).zip(x.iter().zip(weight)) {
        *dw += *grad * (x * scale);
        *grad *= weight;
    }
    let along = dot(grad, x) * scale * scale / grad.len() as f32;
    for (grad, x) in grad.iter_mut().zip(x) {
        *grad = (*grad - x * along) * scale;
    }
}
