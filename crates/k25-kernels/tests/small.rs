//! A few small cases of everything, at every level: quick enough for Miri, which looks for undefined behaviour and data races.
//!
//! `MIRIFLAGS=-Zmiri-permissive-provenance cargo +nightly miri test -p k25-kernels --test small`
//! checks the scalar level; with `RUSTFLAGS="-C target-feature=+avx2,+fma"` the AVX2 level too, and with
//! `+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni` behind that all three.

use k25_kernels::{
    Activations, Attention, Dense, INT8_LATENT_COLS, Int4, Int8Matrix, Isa, LATENT_BLOCK_ROWS,
    LatentBlock, LatentShape, MlaSequence, Pool, QuantRows, Strided, Weights, attention,
    f32_to_bf16, gelu, gelu_tanh, layer_norm, mla_attention, multiply_one, quantize_latent_row,
    rms_norm, silu_mul, softmax,
};
use std::sync::atomic::{AtomicUsize, Ordering};

fn floats(seed: usize, count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i + seed) * 7919 % 2003) as f32 / 1001.0 - 1.0)
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn at_every_level(work: impl Fn(Isa) -> Vec<f32>) {
    let expected = bits(&work(Isa::Scalar));
    for isa in Isa::supported() {
        assert_eq!(expected, bits(&work(isa)), "{}", isa.name());
    }
}

#[test]
fn products() {
    for (out, cols, rows) in [(18, 96, 1), (17, 288, 2), (3, 64, 5), (16, 32, 13)] {
        let pool = Pool::new(2);
        let x = floats(1, rows * cols);
        let packed: Vec<u8> = (0..out * cols / 2).map(|i| (i * 37 + 11) as u8).collect();
        let to_bf16 = |values: Vec<f32>| -> Vec<u8> {
            values
                .into_iter()
                .flat_map(|x| f32_to_bf16(x).to_le_bytes())
                .collect()
        };
        let (scales, halves) = (
            to_bf16(floats(2, out * cols / 32)),
            to_bf16(floats(3, out * cols)),
        );
        let int4 = Int4::new(&packed, &scales, out, cols).expect("shape");
        let bf16 = Dense::bf16(&halves, out, cols).expect("shape");
        let int8 = Int8Matrix::quantize(Isa::active(), out, cols, |r, row| {
            row.copy_from_slice(&floats(r, cols));
        });
        at_every_level(|isa| {
            let mut quant = QuantRows::new();
            quant.set(&pool, isa, &x, rows, cols);
            let (exact, quant) = (
                Activations::F32 { values: &x, cols },
                Activations::Quant(&quant),
            );
            let products = [
                (Weights::Int4(int4), quant),
                (Weights::Int4(int4), exact),
                (Weights::Dense(bf16), exact),
                (Weights::Int8(&int8), quant),
            ];
            let mut all = Vec::new();
            for (weights, x) in products {
                let mut y = vec![f32::NAN; rows * out];
                multiply_one(&pool, isa, weights, x, &mut y);
                all.extend(y);
            }
            all
        });
    }
}

#[test]
fn latent_attention() {
    let shape = LatentShape {
        heads: 13,
        latent: 16,
        rope: 16,
    };
    let (width, depth) = (shape.width(), 70);
    let cache = floats(5, depth * width);
    let halves: Vec<u16> = cache.iter().map(|&x| f32_to_bf16(x)).collect();
    let groups = width.div_ceil(INT8_LATENT_COLS);
    let (mut values, mut scales) = (vec![0; depth * width], vec![0.0; depth * groups]);
    for (r, row) in cache.chunks(width).enumerate() {
        let scales = &mut scales[r * groups..(r + 1) * groups];
        quantize_latent_row(row, &mut values[r * width..(r + 1) * width], scales);
    }
    let of_block = LATENT_BLOCK_ROWS * width;
    let int8 = values
        .chunks(of_block)
        .zip(scales.chunks(LATENT_BLOCK_ROWS * groups));
    let q = floats(6, shape.heads * width);
    let pool = Pool::new(2);
    for blocks in [
        cache
            .chunks(of_block)
            .map(LatentBlock::F32)
            .collect::<Vec<_>>(),
        halves.chunks(of_block).map(LatentBlock::Bf16).collect(),
        int8.map(|(values, scales)| LatentBlock::Int8 { values, scales })
            .collect(),
    ] {
        at_every_level(|isa| {
            let mut out = vec![f32::NAN; shape.heads * shape.latent];
            let sequence = MlaSequence {
                q: &q,
                past: depth - 1,
                blocks: &blocks,
                out: &mut out,
            };
            mla_attention(&pool, isa, shape, 0.3, &mut [sequence]);
            out
        });
    }
}

#[test]
fn attention_per_head() {
    let (heads, rows, width) = (2, 5, 9);
    let x = floats(7, heads * rows * width);
    let heads_of_x = Strided::plain(&x, heads, width);
    at_every_level(|isa| {
        let mut out = vec![f32::NAN; x.len()];
        let item = Attention {
            heads,
            q_rows: rows,
            kv_rows: rows,
            q: heads_of_x,
            k: heads_of_x,
            v: heads_of_x,
            causal_past: Some(0),
            out: &mut out,
        };
        attention(&Pool::new(2), isa, 0.3, &mut [item]);
        out
    });
}

#[test]
fn functions_of_rows_and_values() {
    let (x, y) = (floats(8, 37), floats(9, 37));
    let pool = Pool::new(1);
    at_every_level(|isa| {
        let mut results = [
            x.clone(),
            x.clone(),
            x.clone(),
            x.clone(),
            vec![0.0; 37],
            vec![0.0; 37],
        ];
        silu_mul(&pool, isa, &mut results[0], &y);
        gelu(&pool, isa, &mut results[1]);
        gelu_tanh(&pool, isa, &mut results[2]);
        softmax(&pool, isa, &mut results[3], 37);
        rms_norm(&pool, isa, &x, &y, 1e-5, &mut results[4]);
        layer_norm(&pool, isa, &x, (&y, &x), 1e-5, &mut results[5]);
        results.concat()
    });
}

#[test]
fn loops_of_a_pool() {
    let pool = Pool::new(3);
    for tasks in [2, 7] {
        let total = AtomicUsize::new(0);
        pool.run(tasks, |task| {
            pool.run(2, |_| {
                total.fetch_add(task, Ordering::Relaxed);
            });
        });
        assert_eq!(total.into_inner(), tasks * (tasks - 1));
    }
}
