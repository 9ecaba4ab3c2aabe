//! Speed of each kernel beside the roof measured in the same run, in turn with it; the best of many repetitions counts,
//! because other programs only take speed away.
//!
//! `cargo bench -p k25-kernels -- [word]` runs the sections whose name contains the word. `K25_THREADS` sets the threads.

use k25_kernels::*;
use std::time::Instant;

struct Bench {
    isa: Isa,
    pool: Pool,
    memory: Vec<u64>,
}

/// Seconds of the fastest of `count` turns of `work`, and the best of `roof` measured between them.
fn best_of(count: usize, mut roof: impl FnMut() -> f64, mut work: impl FnMut()) -> (f64, f64) {
    let (mut seconds, mut best_roof) = (f64::INFINITY, 0.0_f64);
    for _ in 0..count {
        best_roof = best_roof.max(roof());
        let begin = Instant::now();
        work();
        seconds = seconds.min(begin.elapsed().as_secs_f64());
    }
    (seconds, best_roof)
}

fn report(name: &str, seconds: f64, amount: f64, roof: f64, unit: &str) {
    println!(
        "{name:<58} {:>10.3} ms {:>8.1} {unit} {:>6.1} % of {:.1}",
        seconds * 1e3,
        amount / seconds / 1e9,
        100.0 * amount / seconds / roof,
        roof / 1e9
    );
}

fn words(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..count.div_ceil(8))
        .flat_map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state ^ (state >> 29)).to_le_bytes()
        })
        .take(count)
        .collect()
}

fn bf16_ones(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|_| f32_to_bf16(0.01).to_le_bytes())
        .collect()
}

fn floats(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0)
        .collect()
}

impl Bench {
    fn bandwidth(&self) -> f64 {
        STREAMS_TRIED
            .iter()
            .map(|&s| roof::read_bandwidth(self.isa, &self.pool, &self.memory, s))
            .fold(0.0, f64::max)
    }

    fn gemv(&self) {
        let out = 65536;
        let cols = 7168;
        let packed = words(out * cols / 2);
        let scales = bf16_ones(out * cols / 32);
        let x = floats(16 * cols);
        let mut y = vec![0.0; 16 * out];
        for rows in [1, 2, 4, 8, 16] {
            let mut quant = QuantRows::new();
            quant.set(&self.pool, self.isa, &x[..rows * cols], rows, cols);
            let w = Int4::new(&packed, &scales, out, cols).expect("shape");
            let (s, roof) = best_of(
                12,
                || self.bandwidth(),
                || {
                    multiply_one(
                        &self.pool,
                        self.isa,
                        Weights::Int4(w),
                        Activations::Quant(&quant),
                        &mut y[..rows * out],
                    );
                },
            );
            report(
                &format!("int4 x int8, {rows} rows, 65536x7168"),
                s,
                w.bytes() as f64,
                roof,
                "GB/s",
            );
        }
        let w = Int4::new(&packed, &scales, out, cols).expect("shape");
        let (s, roof) = best_of(
            6,
            || self.bandwidth(),
            || {
                multiply_one(
                    &self.pool,
                    self.isa,
                    Weights::Int4(w),
                    Activations::F32 {
                        values: &x[..cols],
                        cols,
                    },
                    &mut y[..out],
                );
            },
        );
        report(
            "int4 x f32, 1 row, 65536x7168",
            s,
            w.bytes() as f64,
            roof,
            "GB/s",
        );
        let out = out / 4;
        let w = Dense::bf16(&packed[..out * cols * 2], out, cols).expect("shape");
        let (s, roof) = best_of(
            12,
            || self.bandwidth(),
            || {
                multiply_one(
                    &self.pool,
                    self.isa,
                    Weights::Dense(w),
                    Activations::F32 {
                        values: &x[..cols],
                        cols,
                    },
                    &mut y[..out],
                );
            },
        );
        report(
            "bf16 x f32, 1 row, 16384x7168",
            s,
            w.bytes() as f64,
            roof,
            "GB/s",
        );
        let w = Int8Matrix::quantize(self.isa, out, cols, |r, row| {
            row.copy_from_slice(&x[r % 8 * cols..(r % 8 + 1) * cols]);
        });
        for rows in [1, 4, 8, 16] {
            let mut quant = QuantRows::new();
            quant.set(&self.pool, self.isa, &x[..rows * cols], rows, cols);
            let (s, roof) = best_of(
                12,
                || self.bandwidth(),
                || {
                    multiply_one(
                        &self.pool,
                        self.isa,
                        Weights::Int8(&w),
                        Activations::Quant(&quant),
                        &mut y[..rows * out],
                    );
                },
            );
            report(
                &format!("int8 x int8, {rows} rows, 16384x7168"),
                s,
                w.bytes() as f64,
                roof,
                "GB/s",
            );
        }
    }

    /// Products of one token in the shapes of a small model: what short matrices cost beside long ones.
    fn token(&self) {
        let (experts, hidden, inner) = (128, 2048, 768);
        let one = inner * hidden;
        let packed = words(experts * 3 * one / 2);
        let scales = bf16_ones(experts * 3 * one / 32);
        let matrix = |index: usize, out: usize, cols: usize| {
            let packed = &packed[index * one / 2..(index + 1) * one / 2];
            let scales = &scales[index * one / 16..(index + 1) * one / 16];
            Weights::Int4(Int4::new(packed, scales, out, cols).expect("shape"))
        };
        let mut state = 0_usize;
        let mut next = || {
            state = (state * 25 + 17) % experts;
            state
        };
        for (name, first, out, cols, each) in [
            ("16 x int4 768x2048 (gate and up)", 0, inner, hidden, 2),
            ("8 x int4 2048x768 (down)", 2, hidden, inner, 1),
        ] {
            let mut quant = QuantRows::new();
            quant.set(&self.pool, self.isa, &floats(cols), 1, cols);
            let mut y = vec![0.0; 8 * each * out];
            let turns = || {
                for _ in 0..experts / 8 {
                    let mut products: Vec<Product<'_>> = y
                        .chunks_mut(each * out)
                        .flat_map(|y| {
                            let expert = next();
                            y.chunks_mut(out)
                                .enumerate()
                                .map(move |(i, y)| (expert, i, y))
                        })
                        .map(|(expert, i, y)| Product {
                            weights: matrix(3 * expert + first + i, out, cols),
                            x: Activations::Quant(&quant),
                            rows: Rows::Range(0..1),
                            y,
                        })
                        .collect();
                    multiply(&self.pool, self.isa, &mut products);
                }
            };
            let bytes = (experts * each) as f64 * matrix(0, out, cols).bytes() as f64;
            let (s, roof) = best_of(12, || self.bandwidth(), turns);
            report(name, s, bytes, roof, "GB/s");
        }
        for (count, out, cols) in [
            (1, 32768, 2048),
            (1, 5632, 2048),
            (1, 2048, 5632),
            (1, 768, 2048),
            (1, 576, 2048),
            (1, 3072, 768),
            (16, 512, 128),
            (16, 128, 512),
            (1, 2048, 2048),
            (2, 768, 2048),
            (1, 2048, 768),
        ] {
            // Enough copies that none is found in a cache.
            let copies = (256 << 20) / (count * out * cols);
            let row: Vec<f32> = floats(cols);
            let matrix =
                Int8Matrix::quantize(self.isa, out, cols, |_, into| into.copy_from_slice(&row));
            let matrices: Vec<Int8Matrix> = (0..copies * count).map(|_| matrix.clone()).collect();
            let mut quant = QuantRows::new();
            quant.set(&self.pool, self.isa, &row, 1, cols);
            let mut y = vec![0.0; count * out];
            let turns = || {
                for matrices in matrices.chunks(count) {
                    let mut products: Vec<Product<'_>> = matrices
                        .iter()
                        .zip(y.chunks_mut(out))
                        .map(|(matrix, y)| Product {
                            weights: Weights::Int8(matrix),
                            x: Activations::Quant(&quant),
                            rows: Rows::Range(0..1),
                            y,
                        })
                        .collect();
                    multiply(&self.pool, self.isa, &mut products);
                }
            };
            let bytes = (copies * count * matrix.bytes()) as f64;
            let (s, roof) = best_of(8, || self.bandwidth(), turns);
            report(
                &format!("{count} x int8 {out}x{cols}"),
                s,
                bytes,
                roof,
                "GB/s",
            );
        }
    }

    fn gemm(&self) {
        let (out, cols, rows) = (2048, 7168, 512);
        let packed = words(out * cols * 2);
        let scales = bf16_ones(out * cols / 32);
        let x = floats(rows * cols);
        let mut y = vec![0.0; rows * out];
        let operations = (2 * out * cols * rows) as f64;
        let mut quant = QuantRows::new();
        quant.set(&self.pool, self.isa, &x, rows, cols);
        let int8 = || roof::int8_peak(self.isa, &self.pool);
        let int4 = || roof::int4_peak(self.isa, &self.pool);
        let fma = || roof::f32_peak(self.isa, &self.pool);
        let w =
            Weights::Int4(Int4::new(&packed[..out * cols / 2], &scales, out, cols).expect("shape"));
        let mut run = |w, x| multiply_one(&self.pool, self.isa, w, x, &mut y);
        let exact = Activations::F32 { values: &x, cols };
        let (s, roof) = best_of(20, int8, || run(w, Activations::Quant(&quant)));
        report(
            "int4 x int8, 512 rows, 2048x7168 (int8 peak)",
            s,
            operations,
            roof,
            "Gop/s",
        );
        let (s, roof) = best_of(20, int4, || run(w, Activations::Quant(&quant)));
        report(
            "int4 x int8, 512 rows, 2048x7168 (int4 peak)",
            s,
            operations,
            roof,
            "Gop/s",
        );
        let (s, roof) = best_of(4, fma, || run(w, exact));
        report(
            "int4 x f32, 512 rows, 2048x7168",
            s,
            operations,
            roof,
            "GFLOP/s",
        );
        let w = Weights::Dense(Dense::bf16(&packed, out, cols).expect("shape"));
        let (s, roof) = best_of(6, fma, || run(w, exact));
        report(
            "bf16 x f32, 512 rows, 2048x7168",
            s,
            operations,
            roof,
            "GFLOP/s",
        );
        let w = Int8Matrix::quantize(self.isa, out, cols, |r, row| {
            row.copy_from_slice(&x[r % 512 * cols..(r % 512 + 1) * cols]);
        });
        let (s, roof) = best_of(20, int8, || {
            run(Weights::Int8(&w), Activations::Quant(&quant));
        });
        report(
            "int8 x int8, 512 rows, 2048x7168",
            s,
            operations,
            roof,
            "Gop/s",
        );
        let (s, _) = best_of(
            20,
            || 0.0,
            || quant.set(&self.pool, self.isa, &x, rows, cols),
        );
        println!("quantise 512 x 7168: {:.3} ms", s * 1e3);
    }
}

impl Bench {
    fn attention(&self) {
        let fma = || roof::f32_peak(self.isa, &self.pool);
        for (heads, rows, depth) in [
            (64, 1, 4096),
            (64, 1, 16384),
            (16, 1, 4096),
            (16, 1, 16384),
            (16, 128, 2048),
        ] {
            let shape = LatentShape {
                heads,
                latent: 512,
                rope: 64,
            };
            let width = shape.width();
            let cache = floats(depth * width);
            let halves: Vec<u16> = cache.iter().map(|&x| f32_to_bf16(x)).collect();
            let groups = width.div_ceil(INT8_LATENT_COLS);
            let (mut bytes, mut scales) = (vec![0; depth * width], vec![0.0; depth * groups]);
            let bytes_and_scales = bytes.chunks_mut(width).zip(scales.chunks_mut(groups));
            for (row, (bytes, scales)) in cache.chunks(width).zip(bytes_and_scales) {
                quantize_latent_row(row, bytes, scales);
            }
            let of_block = LATENT_BLOCK_ROWS * width;
            let int8 = bytes
                .chunks(of_block)
                .zip(scales.chunks(LATENT_BLOCK_ROWS * groups));
            let q = floats(rows * heads * width);
            let mut out = vec![0.0; rows * heads * 512];
            let pairs: usize = (0..rows).map(|row| heads * (depth - row)).sum();
            let operations = (2 * pairs * (width + 512)) as f64;
            for (form, blocks) in [
                (
                    "f32",
                    cache
                        .chunks(of_block)
                        .map(LatentBlock::F32)
                        .collect::<Vec<_>>(),
                ),
                (
                    "bf16",
                    halves.chunks(of_block).map(LatentBlock::Bf16).collect(),
                ),
                (
                    "int8",
                    int8.map(|(values, scales)| LatentBlock::Int8 { values, scales })
                        .collect(),
                ),
            ] {
                let (s, roof) = best_of(20, fma, || {
                    let sequence = MlaSequence {
                        q: &q,
                        past: depth - rows,
                        blocks: &blocks,
                        out: &mut out,
                    };
                    mla_attention(&self.pool, self.isa, shape, 0.1, &mut [sequence]);
                });
                let name =
                    format!("latent attention, {heads} heads, {rows} rows, depth {depth}, {form}");
                report(&name, s, operations, roof, "GFLOP/s");
            }
        }
        self.attention_per_head(
            "vision, 16 heads of 72, 1024 patches",
            16,
            1024,
            (72, 72),
            false,
        );
        self.attention_per_head(
            "expanded prefill, 16 heads, 512 rows",
            16,
            512,
            (192, 128),
            true,
        );
    }

    fn attention_per_head(
        &self,
        name: &str,
        heads: usize,
        rows: usize,
        widths: (usize, usize),
        causal: bool,
    ) {
        let (q, k, v) = (
            floats(rows * heads * widths.0),
            floats(rows * heads * widths.0),
            floats(rows * heads * widths.1),
        );
        let mut out = vec![0.0; rows * heads * widths.1];
        let pairs = if causal {
            rows * (rows + 1) / 2
        } else {
            rows * rows
        };
        let operations = (2 * heads * pairs * (widths.0 + widths.1)) as f64;
        let (s, roof) = best_of(
            10,
            || roof::f32_peak(self.isa, &self.pool),
            || {
                let item = Attention {
                    heads,
                    q_rows: rows,
                    kv_rows: rows,
                    q: Strided::plain(&q, heads, widths.0),
                    k: Strided::plain(&k, heads, widths.0),
                    v: Strided::plain(&v, heads, widths.1),
                    causal_past: causal.then_some(0),
                    out: &mut out,
                };
                attention(&self.pool, self.isa, 0.1, &mut [item]);
            },
        );
        report(name, s, operations, roof, "GFLOP/s");
    }

    /// Small operations, as time: there is no roof but memory, and their data lies in a cache.
    fn small(&self) {
        let (rows, width) = (512, 7168);
        let x = floats(rows * width);
        let weight = floats(width);
        let mut out = vec![0.0; x.len()];
        let time = |name: &str, work: &mut dyn FnMut()| {
            let (seconds, _) = best_of(20, || 0.0, work);
            println!(
                "{name:<58} {:>10.3} ms {:>8.2} ns per value",
                seconds * 1e3,
                seconds * 1e9 / (rows * width) as f64
            );
        };
        let mut quant = QuantRows::new();
        time("quantise 512 x 7168", &mut || {
            quant.set(&self.pool, self.isa, &x, rows, width);
        });
        time("rms_norm 512 x 7168", &mut || {
            rms_norm(&self.pool, self.isa, &x, &weight, 1e-5, &mut out);
        });
        time("silu_mul 512 x 7168", &mut || {
            silu_mul(&self.pool, self.isa, &mut out, &x);
        });
        time("gelu_tanh 512 x 7168", &mut || {
            gelu_tanh(&self.pool, self.isa, &mut out);
        });
        time("softmax 512 x 7168", &mut || {
            softmax(&self.pool, self.isa, &mut out, width);
        });
        let empty = || self.pool.run(self.pool.threads(), |_| {});
        let (seconds, _) = best_of(2000, || 0.0, empty);
        println!(
            "a loop with one empty task per thread: {:.2} us",
            seconds * 1e6
        );
    }
}

const STREAMS_TRIED: [usize; 3] = [4, 8, 16];

/// A part of the run.
type Section = fn(&Bench);

fn main() {
    let word = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let threads = std::env::var("K25_THREADS")
        .ok()
        .and_then(|threads| threads.parse().ok())
        .unwrap_or(2);
    let isa = Isa::active();
    println!("level {}, {threads} threads", isa.name());
    let bench = Bench {
        isa,
        pool: Pool::new(threads),
        memory: vec![1; 512 << 17],
    };
    let sections: [(&str, Section); 5] = [
        ("token", Bench::token),
        ("attention", Bench::attention),
        ("small", Bench::small),
        ("gemv", Bench::gemv),
        ("gemm", Bench::gemm),
    ];
    for (name, section) in sections {
        if name.contains(&word) {
            section(&bench);
        }
    }
}
