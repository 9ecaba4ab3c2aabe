//! Products with packed INT4 weights.

use crate::activations::{QuantRows, position};
use crate::simd::GROUP;
use crate::weights::Int4;

/// Row `row` of the weights times row `x_row` of the quantised activations: per group an exact integer sum, then
/// `sum · (weight scale · activation scale)` added to the total with one rounding, groups in order.
pub(crate) fn dot_quantized(weights: &Int4<'_>, row: usize, x: &QuantRows, x_row: usize) -> f32 {
    let groups = weights.cols / GROUP;
    let mut total = 0.0_f32;
    for g in 0..groups {
        let at = x_row * groups + g;
        let mut sum = 0_i32;
        for i in 0..GROUP {
            sum += weights.code(row, g * GROUP + i) * i32::from(x.values[at * GROUP + position(i)]);
        }
        total = (sum as f32).mul_add(weights.scale(row, g) * x.scales[at], total);
    }
    total
}

/// Row `row` of the weights times f32 activations: per group four interleaved chains of fused multiply-adds over the
/// integers, added in pairs, then `sum · scale` added to the total with one rounding.
pub(crate) fn dot_f32(weights: &Int4<'_>, row: usize, x: &[f32]) -> f32 {
    let mut total = 0.0_f32;
    for (g, x) in x.chunks_exact(GROUP).enumerate() {
        let mut chains = [0.0_f32; 4];
        for (i, &x) in x.iter().enumerate() {
            let code = weights.code(row, g * GROUP + i) as f32;
            chains[i % 4] = code.mul_add(x, chains[i % 4]);
        }
        let sum = (chains[0] + chains[1]) + (chains[2] + chains[3]);
        total = sum.mul_add(weights.scale(row, g), total);
    }
    total
}
