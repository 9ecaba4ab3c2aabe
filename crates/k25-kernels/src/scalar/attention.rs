//! Attention of one query, a tile of the cache at a time.

use super::math::{exp, max};
use super::reduce_add;
use crate::attention::TILE;
use crate::simd::LANES;

/// Gathers one tile: scores are dot products in the order of the width, weights e^(score − maximum), and the values are added in the
/// order of the rows. Rows beyond those given are not seen.
pub(crate) fn gather_tile(
    (query, scale): (&[f32], f32),
    (keys, values): (&[f32], &[f32]),
    largest: &mut f32,
    sum: &mut f32,
    gathered: &mut [f32],
) {
    if keys.is_empty() {
        return;
    }
    let mut weights = [0.0_f32; TILE];
    let mut now = *largest;
    for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(query.len())) {
        let dot = query
            .iter()
            .zip(key)
            .fold(0.0_f32, |dot, (q, k)| q.mul_add(*k, dot));
        *weight = dot * scale;
        now = max(*weight, now);
    }
    let rows = keys.len() / query.len();
    let mut lanes = [0.0_f32; LANES];
    for (t, weight) in weights[..rows].iter_mut().enumerate() {
        *weight = exp(*weight - now);
        lanes[t % LANES] += *weight;
    }
    let kept = exp(*largest - now);
    *sum = sum.mul_add(kept, reduce_add(lanes));
    *largest = now;
    for (v, gathered) in gathered.iter_mut().enumerate() {
        *gathered *= kept;
        for (t, weight) in weights[..rows].iter().enumerate() {
            *gathered = weight.mul_add(values[t * values.len() / rows + v], *gathered);
        }
    }
}
