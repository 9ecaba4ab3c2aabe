//! RMSNorm, LayerNorm and softmax of one row.

use super::math::{exp, max};
use super::reduce_add;
use crate::simd::LANES;

/// 1 / √(sum / count + eps).
pub(crate) fn rms_factor(sum_of_squares: f32, count: usize, eps: f32) -> f32 {
    1.0 / (sum_of_squares / count as f32 + eps).sqrt()
}

/// What is subtracted before the exponential: the maximum, or 0 for a row of −∞.
pub(crate) fn softmax_base(largest: f32) -> f32 {
    if largest == f32::NEG_INFINITY {
        0.0
    } else {
        largest
    }
}

fn lane_sum(values: impl Iterator<Item = f32>, add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for (i, value) in values.enumerate() {
        lanes[i % LANES] = add(value, lanes[i % LANES]);
    }
    reduce_add(lanes)
}

pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let factor = rms_factor(
        lane_sum(x.iter().copied(), |x, sum| x.mul_add(x, sum)),
        x.len(),
        eps,
    );
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = weight * (x * factor);
    }
}

pub(crate) fn layer_norm(x: &[f32], (weight, bias): (&[f32], &[f32]), eps: f32, out: &mut [f32]) {
    let mean = lane_sum(x.iter().copied(), |x, sum| sum + x) / x.len() as f32;
    let squares = lane_sum(x.iter().map(|x| x - mean), |x, sum| x.mul_add(x, sum));
    let factor = rms_factor(squares, x.len(), eps);
    for (i, out) in out.iter_mut().enumerate() {
        *out = ((x[i] - mean) * factor).mul_add(weight[i], bias[i]);
    }
}

pub(crate) fn softmax(row: &mut [f32]) {
    let largest = softmax_base(
        row.iter()
            .fold(f32::NEG_INFINITY, |largest, x| max(*x, largest)),
    );
    for x in row.iter_mut() {
        *x = exp(*x - largest);
    }
    let factor = 1.0 / lane_sum(row.iter().copied(), |x, sum| sum + x);
    for x in row.iter_mut() {
        *x *= factor;
    }
}
