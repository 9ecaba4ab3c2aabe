//! Products with bf16 and f32 weights.

use super::reduce_add;
use crate::simd::LANES;
use crate::weights::Dense;

/// Row `row` of the weights times f32 activations: lane l sums the columns ≡ l mod 16 with fused multiply-adds in order;
/// the lanes are then added as a tree.
pub(crate) fn dot(weights: &Dense<'_>, row: usize, x: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for (col, &x) in x.iter().enumerate() {
        let lane = &mut lanes[col % LANES];
        *lane = x.mul_add(weights.get(row, col), *lane);
    }
    reduce_add(lanes)
}
