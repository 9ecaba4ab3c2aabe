//! Products with int8 weights.

use crate::activations::QuantRows;
use crate::simd::{GROUP, LANES};
use crate::weights::{INT8_SCALE_COLS, Int8Matrix};

/// Row `row` of the weights times row `x_row` of the quantised activations; arithmetic as for INT4.
pub(crate) fn dot_quantized(weights: &Int8Matrix, row: usize, x: &QuantRows, x_row: usize) -> f32 {
    let groups = x.groups();
    let scale_groups = weights.cols.div_ceil(INT8_SCALE_COLS);
    let (block, lane) = (row / LANES, row % LANES);
    let mut total = 0.0_f32;
    for g in 0..groups {
        let at = x_row * groups + g;
        let mut sum = 0_i32;
        for i in 0..GROUP {
            let quad = (block * groups + g) * (GROUP / 4) + i / 4;
            let weight = i32::from(weights.values[(quad * LANES + lane) * 4 + i % 4]) - 128;
            sum += weight * i32::from(x.values[at * GROUP + i]);
        }
        let scale_group = block * scale_groups + g * GROUP / INT8_SCALE_COLS;
        total = (sum as f32).mul_add(
            weights.scales[scale_group * LANES + lane] * x.scales[at],
            total,
        );
    }
    total
}
