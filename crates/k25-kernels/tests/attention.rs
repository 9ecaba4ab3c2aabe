//! Attention at every level against the scalar reference, bit for bit, and against f64.

use k25_kernels::{
    Attention, INT8_LATENT_COLS, Isa, LATENT_BLOCK_ROWS, LatentBlock, LatentShape, MlaSequence,
    Pool, Strided, attention, bf16_to_f32, f32_to_bf16, mla_attention, quantize_latent_row,
};

struct Numbers(u64);

impl Numbers {
    fn float(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % 20_001) as f32 / 10_000.0 - 1.0
    }
    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    F32,
    Bf16,
    Int8,
}

/// A cache in one of its forms, and what its rows stand for.
struct Cache {
    width: usize,
    floats: Vec<f32>,
    halves: Vec<u16>,
    bytes: Vec<i8>,
    scales: Vec<f32>,
    form: Form,
}

impl Cache {
    fn new(numbers: &mut Numbers, rows: usize, width: usize, form: Form) -> Cache {
        let mut floats = numbers.floats(rows * width);
        let halves: Vec<u16> = floats.iter().map(|&x| f32_to_bf16(x)).collect();
        let groups = width.div_ceil(INT8_LATENT_COLS);
        let (mut bytes, mut scales) = (vec![0; rows * width], vec![0.0; rows * groups]);
        for r in 0..rows {
            let scales = &mut scales[r * groups..(r + 1) * groups];
            quantize_latent_row(
                &floats[r * width..(r + 1) * width],
                &mut bytes[r * width..(r + 1) * width],
                scales,
            );
        }
        for i in 0..rows * width {
            match form {
                Form::F32 => {}
                Form::Bf16 => floats[i] = bf16_to_f32(halves[i]),
                Form::Int8 => {
                    let dequantized = f32::from(bytes[i])
                        * scales[i / width * groups + i % width / INT8_LATENT_COLS];
                    assert!(
                        (floats[i] - dequantized).abs()
                            <= 0.5001 * scales[i / width * groups + i % width / 64]
                    );
                    floats[i] = dequantized;
                }
            }
        }
        Cache {
            width,
            floats,
            halves,
            bytes,
            scales,
            form,
        }
    }

    fn blocks(&self) -> Vec<LatentBlock<'_>> {
        let per_block = LATENT_BLOCK_ROWS * self.width;
        match self.form {
            Form::F32 => self
                .floats
                .chunks(per_block)
                .map(LatentBlock::F32)
                .collect(),
            Form::Bf16 => self
                .halves
                .chunks(per_block)
                .map(LatentBlock::Bf16)
                .collect(),
            Form::Int8 => self
                .bytes
                .chunks(per_block)
                .zip(
                    self.scales
                        .chunks(LATENT_BLOCK_ROWS * self.width.div_ceil(INT8_LATENT_COLS)),
                )
                .map(|(values, scales)| LatentBlock::Int8 { values, scales })
                .collect(),
        }
    }
}

/// Softmax attention of one query in f64.
fn attend_f64<'a>(
    q: &[f32],
    scale: f32,
    rows: impl Iterator<Item = (&'a [f32], &'a [f32])>,
) -> Vec<f64> {
    let scored: Vec<(f64, &[f32])> = rows
        .map(|(k, v)| {
            (
                q.iter()
                    .zip(k)
                    .map(|(q, k)| f64::from(*q) * f64::from(*k))
                    .sum::<f64>()
                    * f64::from(scale),
                v,
            )
        })
        .collect();
    let largest = scored
        .iter()
        .fold(f64::NEG_INFINITY, |largest, (score, _)| largest.max(*score));
    let total: f64 = scored
        .iter()
        .map(|(score, _)| (score - largest).exp())
        .sum();
    let width = scored.first().map_or(0, |(_, v)| v.len());
    (0..width)
        .map(|i| {
            scored
                .iter()
                .map(|(score, v)| (score - largest).exp() / total * f64::from(v[i]))
                .sum()
        })
        .collect()
}

/// Weights sum to 1 and values are at most 1, so a context is at most 1. Scores (of at most 30 here) carry a relative error
/// of a few 1e-7 from up to 600 f32 roundings; e^ turns the absolute error of 1e-5 at most into a relative one.
const TOLERANCE: f64 = 2e-5;

#[test]
fn latent_attention_matches_f64_and_itself_at_every_level() {
    let mut numbers = Numbers(1);
    for (heads, latent, rope, rows, past) in [
        (64, 64, 64, 1, 700),
        (2, 512, 64, 2, 520),
        (3, 20, 6, 5, 0),
        (1, 16, 4, 40, 33),
        (16, 32, 16, 70, 500),
    ] {
        let shape = LatentShape {
            heads,
            latent,
            rope,
        };
        let (width, total) = (latent + rope, past + rows);
        for form in [Form::F32, Form::Bf16, Form::Int8] {
            let cache = Cache::new(&mut numbers, total, width, form);
            let q = numbers.floats(rows * heads * width);
            let blocks = cache.blocks();
            let scale = 0.25;
            let run = |isa, threads| {
                let mut out = vec![f32::NAN; rows * heads * latent];
                let sequence = MlaSequence {
                    q: &q,
                    past,
                    blocks: &blocks,
                    out: &mut out,
                };
                mla_attention(&Pool::new(threads), isa, shape, scale, &mut [sequence]);
                out
            };
            let expected = run(Isa::Scalar, 1);
            for isa in Isa::supported() {
                for threads in [1, 2, 3] {
                    assert_eq!(
                        bits(&expected),
                        bits(&run(isa, threads)),
                        "{form:?} {} x{threads}",
                        isa.name()
                    );
                }
            }
            for i in [0, rows * heads / 2, rows * heads - 1] {
                let seen = past + i / heads + 1;
                let cache_rows = cache
                    .floats
                    .chunks(width)
                    .take(seen)
                    .map(|row| (row, &row[..latent]));
                let wanted = attend_f64(&q[i * width..(i + 1) * width], scale, cache_rows);
                for (wanted, found) in wanted.iter().zip(&expected[i * latent..]) {
                    assert!(
                        (wanted - f64::from(*found)).abs() < TOLERANCE,
                        "{wanted} {found}"
                    );
                }
            }
        }
    }
}

/// Decoding token by token gives the bits of the prefill, and the bits of a batch of sequences.
#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let mut numbers = Numbers(2);
    let shape = LatentShape {
        heads: 10,
        latent: 64,
        rope: 16,
    };
    let (width, rows, past) = (80, 37, 1010);
    let cache = Cache::new(&mut numbers, past + rows, width, Form::F32);
    let blocks = cache.blocks();
    let q = numbers.floats(rows * 10 * width);
    for isa in Isa::supported() {
        let pool = Pool::new(2);
        let mut together = vec![0.0; rows * 10 * 64];
        mla_attention(
            &pool,
            isa,
            shape,
            0.3,
            &mut [MlaSequence {
                q: &q,
                past,
                blocks: &blocks,
                out: &mut together,
            }],
        );
        let mut alone = vec![0.0; rows * 10 * 64];
        for (row, out) in alone.chunks_mut(640).enumerate() {
            let q = &q[row * 10 * width..(row + 1) * 10 * width];
            mla_attention(
                &pool,
                isa,
                shape,
                0.3,
                &mut [MlaSequence {
                    q,
                    past: past + row,
                    blocks: &blocks,
                    out,
                }],
            );
        }
        assert_eq!(bits(&together), bits(&alone), "{}", isa.name());
        let mut batch = vec![0.0; rows * 10 * 64];
        let mut sequences: Vec<_> = batch
            .chunks_mut(640)
            .zip(q.chunks(10 * width))
            .enumerate()
            .map(|(row, (out, q))| MlaSequence {
                q,
                past: past + row,
                blocks: &blocks,
                out,
            })
            .collect();
        mla_attention(&pool, isa, shape, 0.3, &mut sequences);
        assert_eq!(bits(&together), bits(&batch), "{}", isa.name());
    }
}

#[test]
fn attention_per_head_matches_f64_and_itself_at_every_level() {
    let mut numbers = Numbers(3);
    for (heads, width, value_width, q_rows, kv_rows, causal) in [
        (4, 72, 72, 100, 100, false),
        (2, 192, 128, 70, 600, true),
        (3, 5, 7, 3, 3, true),
        (1, 33, 17, 1, 65, false),
        (2, 16, 16, 0, 4, false),
    ] {
        let q = numbers.floats(q_rows * heads * width);
        let k = numbers.floats(kv_rows * heads * width);
        let v = numbers.floats(kv_rows * heads * value_width);
        let past = kv_rows - q_rows;
        let run = |isa, threads| {
            let mut out = vec![f32::NAN; q_rows * heads * value_width];
            let item = Attention {
                heads,
                q_rows,
                kv_rows,
                q: Strided::plain(&q, heads, width),
                k: Strided::plain(&k, heads, width),
                v: Strided::plain(&v, heads, value_width),
                causal_past: causal.then_some(past),
                out: &mut out,
            };
            attention(&Pool::new(threads), isa, 0.2, &mut [item]);
            out
        };
        let expected = run(Isa::Scalar, 1);
        for isa in Isa::supported() {
            for threads in [1, 2] {
                assert_eq!(bits(&expected), bits(&run(isa, threads)), "{}", isa.name());
            }
        }
        for row in 0..q_rows {
            let head = row % heads;
            let seen = if causal { past + row + 1 } else { kv_rows };
            let of = |values, t: usize, width| -> &[f32] {
                let values: &Vec<f32> = values;
                &values[(t * heads + head) * width..(t * heads + head + 1) * width]
            };
            let rows = (0..seen).map(|t| (of(&k, t, width), of(&v, t, value_width)));
            let wanted = attend_f64(of(&q, row, width), 0.2, rows);
            for (wanted, found) in wanted.iter().zip(of(&expected, row, value_width)) {
                assert!(
                    (wanted - f64::from(*found)).abs() < TOLERANCE,
                    "{wanted} {found}"
                );
            }
        }
    }
}

/// The vision tower's layout: queries, keys and values side by side in one matrix.
#[test]
fn strided_heads_equal_plain_heads() {
    let (rows, heads, width) = (21, 4, 12);
    let mut numbers = Numbers(4);
    let qkv = numbers.floats(rows * 3 * heads * width);
    let part = |i: usize| -> Vec<f32> {
        qkv.chunks(3 * heads * width)
            .flat_map(|row| &row[i * heads * width..(i + 1) * heads * width])
            .copied()
            .collect()
    };
    let strided = |i: usize| Strided {
        values: &qkv,
        offset: i * heads * width,
        row_stride: 3 * heads * width,
        head_stride: width,
        width,
    };
    let parts = [part(0), part(1), part(2)];
    let plain = |i: usize| Strided::plain(&parts[i], heads, width);
    let run = |q, k, v| {
        let mut out = vec![0.0; rows * heads * width];
        let item = Attention {
            heads,
            q_rows: rows,
            kv_rows: rows,
            q,
            k,
            v,
            causal_past: None,
            out: &mut out,
        };
        attention(&Pool::new(2), Isa::active(), 0.3, &mut [item]);
        out
    };
    assert_eq!(
        bits(&run(strided(0), strided(1), strided(2))),
        bits(&run(plain(0), plain(1), plain(2)))
    );
}

/// Rows beyond a query's limit do not leak in, whatever their size; large scores do not overflow.
#[test]
fn the_future_and_large_scores_do_no_harm() {
    let shape = LatentShape {
        heads: 1,
        latent: 16,
        rope: 16,
    };
    let mut cache = vec![1.0_f32; 40 * 32];
    cache[20 * 32..].fill(1e18);
    let blocks = [LatentBlock::F32(&cache)];
    let q = vec![1e15_f32; 32];
    for isa in Isa::supported() {
        let mut out = vec![0.0; 16];
        let sequence = MlaSequence {
            q: &q,
            past: 19,
            blocks: &blocks,
            out: &mut out,
        };
        mla_attention(&Pool::new(1), isa, shape, 1.0, &mut [sequence]);
        assert!(out.iter().all(|x| (x - 1.0).abs() < 1e-6), "{out:?}");
    }
}
