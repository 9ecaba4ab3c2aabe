//! Row-wise normalisations: RMSNorm, LayerNorm, softmax. Sums run in sixteen lanes (columns ≡ lane mod 16), then as a tree.

use crate::dispatch::{Kernel, dispatch};
use crate::isa::Isa;
use crate::math;
use crate::pool::Pool;
use crate::scalar;
use crate::shared::Chunks;
use crate::simd::{LANES, Simd};

/// Values of one parallel task, at least.
const TASK_VALUES: usize = 32 << 10;

/// out = weight · (x / √(mean(x²) + eps)) for each row of `weight.len()` values; relative error below 1e-6 for rows of 7168.
///
/// # Panics
/// When `x` is not whole rows, or `out` differs in length.
pub fn rms_norm(pool: &Pool, isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    rows(pool, x, width, out, |x, out| {
        dispatch(
            isa,
            RmsNorm {
                x,
                weight,
                eps,
                out,
            },
        );
    });
}

/// out = weight · (x − mean) / √(variance + eps) + bias for each row.
///
/// # Panics
/// When `x` is not whole rows, or other lengths differ.
pub fn layer_norm(
    pool: &Pool,
    isa: Isa,
    x: &[f32],
    (weight, bias): (&[f32], &[f32]),
    eps: f32,
    out: &mut [f32],
) {
    let width = weight.len();
    assert_eq!(width, bias.len(), "weight and bias of one length");
    rows(pool, x, width, out, |x, out| {
        dispatch(
            isa,
            LayerNorm {
                x,
                weight,
                bias,
                eps,
                out,
            },
        );
    });
}

/// Each row of `width` values becomes e^(x − max) / Σ e^(x − max); relative error below 1e-6. A row with a NaN becomes NaN.
///
/// # Panics
/// When `x` is not whole rows.
pub fn softmax(pool: &Pool, isa: Isa, x: &mut [f32], width: usize) {
    if x.is_empty() {
        return;
    }
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "{} values in rows of {width}",
        x.len()
    );
    let per_task = TASK_VALUES.div_ceil(width) * width;
    let tasks = x.len().div_ceil(per_task);
    let chunks = Chunks::new(x, per_task);
    pool.run(tasks, |task| {
        // SAFETY: each task takes its own chunk, once.
        for row in unsafe { chunks.take(task) }.chunks_exact_mut(width) {
            dispatch(isa, Softmax { row });
        }
    });
}

fn rows(
    pool: &Pool,
    x: &[f32],
    width: usize,
    out: &mut [f32],
    row: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    assert_eq!(x.len(), out.len(), "input and output of one length");
    if x.is_empty() {
        return;
    }
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "{} values in rows of {width}",
        x.len()
    );
    let per_task = TASK_VALUES.div_ceil(width) * width;
    let chunks = Chunks::new(out, per_task);
    pool.run(x.len().div_ceil(per_task), |task| {
        // SAFETY: each task takes its own chunk, once.
        let out = unsafe { chunks.take(task) };
        let x = &x[task * per_task..][..out.len()];
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            row(x, out);
        }
    });
}

/// Sixteen values from `at` on; beyond the end, `fill`.
#[inline(always)]
unsafe fn load_padded<S: Simd>(x: &[f32], at: usize, fill: f32) -> S::F {
    if at + LANES <= x.len() {
        return S::load(x.as_ptr().add(at));
    }
    let mut padded = [fill; LANES];
    padded[..x.len() - at].copy_from_slice(&x[at..]);
    S::load(padded.as_ptr())
}

/// Stores what lies before the end.
#[inline(always)]
unsafe fn store_padded<S: Simd>(out: &mut [f32], at: usize, values: S::F) {
    if at + LANES <= out.len() {
        S::store(out.as_mut_ptr().add(at), values);
        return;
    }
    let mut padded = [0.0; LANES];
    S::store(padded.as_mut_ptr(), values);
    let count = out.len() - at;
    out[at..].copy_from_slice(&padded[..count]);
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    fn scalar(self) {
        scalar::norm::rms_norm(self.x, self.weight, self.eps, self.out);
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let mut squares = S::splat(0.0);
        for i in (0..self.x.len()).step_by(LANES) {
            let x = load_padded::<S>(self.x, i, 0.0);
            squares = S::fma(x, x, squares);
        }
        let factor = S::splat(scalar::norm::rms_factor(
            S::reduce_add(squares),
            self.x.len(),
            self.eps,
        ));
        for i in (0..self.x.len()).step_by(LANES) {
            let x = S::mul(load_padded::<S>(self.x, i, 0.0), factor);
            store_padded::<S>(
                self.out,
                i,
                S::mul(load_padded::<S>(self.weight, i, 0.0), x),
            );
        }
    }
}

struct LayerNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    fn scalar(self) {
        scalar::norm::layer_norm(self.x, (self.weight, self.bias), self.eps, self.out);
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let mut sum = S::splat(0.0);
        for i in (0..self.x.len()).step_by(LANES) {
            sum = S::add(sum, load_padded::<S>(self.x, i, 0.0));
        }
        let mean = S::reduce_add(sum) / self.x.len() as f32;
        let mut squares = S::splat(0.0);
        for i in (0..self.x.len()).step_by(LANES) {
            // Padding with the mean adds nothing.
            let x = S::sub(load_padded::<S>(self.x, i, mean), S::splat(mean));
            squares = S::fma(x, x, squares);
        }
        let factor = S::splat(scalar::norm::rms_factor(
            S::reduce_add(squares),
            self.x.len(),
            self.eps,
        ));
        for i in (0..self.x.len()).step_by(LANES) {
            let x = S::mul(
                S::sub(load_padded::<S>(self.x, i, 0.0), S::splat(mean)),
                factor,
            );
            let (weight, bias) = (
                load_padded::<S>(self.weight, i, 0.0),
                load_padded::<S>(self.bias, i, 0.0),
            );
            store_padded::<S>(self.out, i, S::fma(x, weight, bias));
        }
    }
}

struct Softmax<'a> {
    row: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();

    fn scalar(self) {
        scalar::norm::softmax(self.row);
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let mut largest = S::splat(f32::NEG_INFINITY);
        for i in (0..self.row.len()).step_by(LANES) {
            largest = S::max(load_padded::<S>(self.row, i, f32::NEG_INFINITY), largest);
        }
        let largest = S::splat(scalar::norm::softmax_base(S::reduce_max(largest)));
        let mut sum = S::splat(0.0);
        for i in (0..self.row.len()).step_by(LANES) {
            let weights = math::exp::<S>(S::sub(load_padded::<S>(self.row, i, 0.0), largest));
            store_padded::<S>(self.row, i, weights);
            sum = S::add(sum, load_padded::<S>(self.row, i, 0.0));
        }
        let factor = S::splat(1.0 / S::reduce_add(sum));
        for i in (0..self.row.len()).step_by(LANES) {
            store_padded::<S>(
                self.row,
                i,
                S::mul(load_padded::<S>(self.row, i, 0.0), factor),
            );
        }
    }
}
