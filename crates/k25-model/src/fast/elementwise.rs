//! Elementwise operators of the fast execution.

use k25_kernels::{Isa, Pool};
pub fn rms_norm(pool: &Pool, _isa: Isa, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let width = weight.len();
    pool.run_chunks(y, width, |row, into| {
        let x = &x[row * width..(row + 1) * width];
        let ms: f32 = x.iter().map(|x| x * x).sum::<f32>() / width as f32;
        let scale = 1.0 / (ms + eps).sqrt();
        for ((into, x), w) in into.iter_mut().zip(x).zip(weight) { *into = w * (x * scale); }
    });
}
pub fn silu_mul(pool: &Pool, _isa: Isa, gate: &mut [f32], up: &[f32]) {
    pool.run_chunks(gate, 4096, |i, gate| {
        for (g, u) in gate.iter_mut().zip(&up[i * 4096..]) { *g = *g / (1.0 + (-*g).exp()) * u; }
    });
}
