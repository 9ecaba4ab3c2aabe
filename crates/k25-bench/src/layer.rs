//! One attention layer of the real width, without a checkpoint.

use std::time::Instant;

use k25_kernels::{
    Isa, LATENT_BLOCK_ROWS, LatentBlock, LatentShape, MlaSequence, Pool, mla_attention,
};

use crate::machine::Machine;
use crate::{Figure, median};

/// K2.5's attention: 64 heads over a latent of 512 and a rotated key of 64.
const SHAPE: LatentShape = LatentShape {
    heads: 64,
    latent: 512,
    rope: 64,
};
const DEPTH: usize = 4096;
const REPETITIONS: usize = 30;

/// One row's attention at depth 4,096: 570 MFLOP.
pub fn attention(machine: &Machine, pool: &Pool) -> Figure {
    let values = |count: usize| {
        (0..count)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0)
            .collect::<Vec<f32>>()
    };
    let (queries, cache) = (
        values(SHAPE.heads * SHAPE.width()),
        values(DEPTH * SHAPE.width()),
    );
    let blocks: Vec<LatentBlock<'_>> = cache
        .chunks(LATENT_BLOCK_ROWS * SHAPE.width())
        .map(LatentBlock::F32)
        .collect();
    let mut out = vec![0.0; SHAPE.heads * SHAPE.latent];
    let mut once = || {
        let start = Instant::now();
        let sequence = MlaSequence {
            q: &queries,
            past: DEPTH - 1,
            blocks: &blocks,
            out: &mut out,
        };
        mla_attention(pool, Isa::active(), SHAPE, 0.1, &mut [sequence]);
        start.elapsed().as_secs_f64()
    };
    once();
    let seconds = median((0..REPETITIONS).map(|_| once()).collect());
    let operations = 2.0 * (SHAPE.heads * DEPTH * (SHAPE.width() + SHAPE.latent)) as f64;
    let floor = operations / machine.f32_ops_per_second;
    Figure::time(
        "attention layer, 64 heads, depth 4096",
        seconds * 1e3,
        "ms",
        floor * 1e3,
    )
}
