//! Activations quantised to int8, the right-hand side of the integer products.

use crate::dispatch::{Kernel, dispatch};
use crate::isa::Isa;
use crate::pool::Pool;
use crate::scalar;
use crate::simd::{GROUP, Simd};

/// Below this a group counts as zero: its scale's reciprocal would not be finite.
pub(crate) const ZERO_GROUP: f32 = 1e-30;

/// Rows of activations as int8 with one f32 scale per group of 32: x ≈ q · scale, q in −127..=127, scale = (largest magnitude)/127.
///
/// The error of a value is at most half a scale. A group that holds a NaN or an infinity gets the scale NaN, so that the products
/// with it are NaN and not quietly wrong. Rows are padded with zeros to whole groups.
///
/// Kept for the kernels: first the sixteen even values of a group, then the odd ones, as masking and shifting the words of
/// [`crate::Int4`] yields its nibbles; and each group has a correction, −8 times the sums of the values in byte positions 0, 1
/// and 2, 3 of its words, as two `i16`, by which products with q + 8 become products with q.
#[derive(Clone, Debug, Default)]
pub struct QuantRows {
    pub(crate) values: Vec<i8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) corrections: Vec<i32>,
    rows: usize,
    cols: usize,
}

/// Rows per parallel task.
const ROWS_PER_TASK: usize = 8;

impl QuantRows {
    /// No rows; memory is taken by [`QuantRows::set`] and kept for the next.
    pub fn new() -> QuantRows {
        QuantRows::default()
    }

    /// Quantises `x` (`rows · cols` values, row-major).
    ///
    /// # Panics
    /// When `x` has another length.
    pub fn set(&mut self, pool: &Pool, isa: Isa, x: &[f32], rows: usize, cols: usize) {
        assert_eq!(x.len(), rows * cols, "activations are [{rows}, {cols}]");
        let groups = cols.div_ceil(GROUP);
        (self.rows, self.cols) = (rows, cols);
        self.values.resize(rows * groups * GROUP, 0);
        self.scales.resize(rows * groups, 0.0);
        self.corrections.resize(rows * groups, 0);
        if rows == 0 || cols == 0 {
            return;
        }
        let per_task = ROWS_PER_TASK * groups;
        let values = crate::shared::Chunks::new(&mut self.values, per_task * GROUP);
        let scales = crate::shared::Chunks::new(&mut self.scales, per_task);
        let corrections = crate::shared::Chunks::new(&mut self.corrections, per_task);
        pool.run(rows.div_ceil(ROWS_PER_TASK), |task| {
            let x = &x[task * ROWS_PER_TASK * cols..((task + 1) * ROWS_PER_TASK).min(rows) * cols];
            // SAFETY: each task takes its own chunk, once.
            let (values, scales, corrections) =
                unsafe { (values.take(task), scales.take(task), corrections.take(task)) };
            dispatch(
                isa,
                Quantize {
                    x,
                    cols,
                    values,
                    scales,
                    corrections,
                },
            );
        });
    }

    /// Rows and columns (before padding).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Groups of 32 per row.
    pub(crate) fn groups(&self) -> usize {
        self.cols.div_ceil(GROUP)
    }

    /// The value that column `col` of row `row` stands for.
    pub fn get(&self, row: usize, col: usize) -> f32 {
        let group = row * self.groups() + col / GROUP;
        f32::from(self.values[group * GROUP + position(col % GROUP)]) * self.scales[group]
    }
}

/// Where value `i` of a group is kept.
pub(crate) fn position(i: usize) -> usize {
    i / 2 + GROUP / 2 * (i % 2)
}

struct Quantize<'a> {
    x: &'a [f32],
    cols: usize,
    values: &'a mut [i8],
    scales: &'a mut [f32],
    corrections: &'a mut [i32],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    fn scalar(self) {
        scalar::quantize::quantize_rows(
            self.x,
            self.cols,
            self.values,
            self.scales,
            self.corrections,
        );
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let groups = self.cols.div_ceil(GROUP);
        for (r, row) in self.x.chunks_exact(self.cols).enumerate() {
            for g in 0..groups {
                let at = r * groups + g;
                let values = self.values.as_mut_ptr().add(at * GROUP);
                let x = &row[g * GROUP..(g * GROUP + GROUP).min(self.cols)];
                self.scales[at] = if x.len() == GROUP {
                    quantize_group::<S>(x.as_ptr(), values)
                } else {
                    let mut padded = [0.0; GROUP];
                    padded[..x.len()].copy_from_slice(x);
                    quantize_group::<S>(padded.as_ptr(), values)
                };
                self.corrections[at] = scalar::quantize::correction(&*values.cast());
            }
        }
    }
}

/// Quantises 32 values and returns their scale.
#[inline(always)]
unsafe fn quantize_group<S: Simd>(x: *const f32, values: *mut i8) -> f32 {
    let (scale, inverse) = scalar::quantize::scale_and_inverse(group_magnitude::<S>(x));
    scale_group::<S>(x, inverse, values);
    scale
}

/// The largest magnitude of 32 values; infinite or NaN if one of them is.
#[inline(always)]
pub(crate) unsafe fn group_magnitude<S: Simd>(x: *const f32) -> f32 {
    let magnitude = S::splat_i32(0x7fff_ffff);
    let low = S::reduce_max_u32(S::and(S::bits(S::load(x)), magnitude));
    let high = S::reduce_max_u32(S::and(S::bits(S::load(x.add(16))), magnitude));
    // As integers, magnitudes are in order, with infinity and NaN on top.
    f32::from_bits(low.max(high))
}

/// Writes 32 values times `inverse`, rounded, in the order that [`QuantRows`] keeps; zeros where `inverse` is 0.
#[inline(always)]
pub(crate) unsafe fn scale_group<S: Simd>(x: *const f32, inverse: f32, values: *mut i8) {
    if inverse == 0.0 {
        values.write_bytes(0, GROUP);
        return;
    }
    let (low, high) = (S::load(x), S::load(x.add(16)));
    let inverse = S::splat(inverse);
    let mut natural = [0_i8; GROUP];
    S::store_low_bytes(natural.as_mut_ptr(), S::to_i32(S::mul(low, inverse)));
    S::store_low_bytes(
        natural.as_mut_ptr().add(16),
        S::to_i32(S::mul(high, inverse)),
    );
    for eight in 0..GROUP / 8 {
        let word = natural
            .as_ptr()
            .add(8 * eight)
            .cast::<u64>()
            .read_unaligned();
        let (even, odd) = (values.add(4 * eight), values.add(GROUP / 2 + 4 * eight));
        even.cast::<u32>().write_unaligned(even_bytes(word) as u32);
        odd.cast::<u32>()
            .write_unaligned(even_bytes(word >> 8) as u32);
    }
}

/// Bytes 0, 2, 4 and 6, together.
#[inline(always)]
fn even_bytes(x: u64) -> u64 {
    let x = x & 0x00ff_00ff_00ff_00ff;
    let x = (x | (x >> 8)) & 0x0000_ffff_0000_ffff;
    (x | (x >> 16)) & 0xffff_ffff
}
