//! Speed of each kernel beside the roof measured in the same run, in turn with it; the best of many repetitions counts,
//! because other programs only take speed away.
//!
//! `cargo bench -p k25-kernels -- [word]` runs the sections whose name contains the word. `K25_THREADS` sets the threads.

use k25_kernels::*;

unsafe extern "C" {
    fn clock_gettime(id: i32, t: *mut [i64; 2]) -> i32;
}
/// 3 = thread CPU time
fn now() -> f64 {
    let mut t = [0i64; 2];
    let id = if std::env::var("CPU").is_ok() { 3 } else { 1 };
    unsafe { clock_gettime(id, &mut t) };
    t[0] as f64 + t[1] as f64 * 1e-9
}

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
        let begin = now();
        work();
        seconds = seconds.min(now() - begin);
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
        let w = Int8Matrix::quantize(out, cols, |r, row| {
            row.copy_from_slice(&x[r % 8 * cols..(r % 8 + 1) * cols])
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
        let w = Int8Matrix::quantize(out, cols, |r, row| {
            row.copy_from_slice(&x[r % 512 * cols..(r % 512 + 1) * cols])
        });
        let (s, roof) = best_of(20, int8, || {
            run(Weights::Int8(&w), Activations::Quant(&quant))
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

const STREAMS_TRIED: [usize; 3] = [4, 8, 16];

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
    let sections: [(&str, fn(&Bench)); 2] = [("gemv", Bench::gemv), ("gemm", Bench::gemm)];
    for (name, section) in sections {
        if name.contains(&word) {
            section(&bench);
        }
    }
}
