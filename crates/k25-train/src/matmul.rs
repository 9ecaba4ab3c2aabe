//! Matrix products in f32 over the `gemm` kernels: the one place of this crate with `unsafe`.
//!
//! A product is cut into pieces whose sizes depend on the shapes alone, so a result does not depend
//! on the number of threads.

#![allow(unsafe_code)]

use std::cell::RefCell;

use gemm_common::Parallelism;
use rayon::prelude::*;

use crate::simd::wide;

/// A matrix in a slice: element `(i, j)` is at `i · row_stride + j · col_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix without gaps.
    ///
    /// # Panics
    /// Where `values` holds another number of values.
    pub fn new(values: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(
            values.len(),
            rows * cols,
            "values of a {rows} × {cols} matrix"
        );
        Self::strided(values, rows, cols, cols)
    }

    /// A row-major matrix whose rows begin `row_stride` values apart.
    ///
    /// # Panics
    /// Where `values` ends before the last row does.
    pub fn strided(values: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            row_stride >= cols,
            "rows of {cols} values {row_stride} apart"
        );
        let needed = if rows == 0 {
            0
        } else {
            (rows - 1) * row_stride + cols
        };
        assert!(
            needed <= values.len(),
            "a {rows} × {cols} matrix in {} values",
            values.len()
        );
        Self {
            values,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose, without moving a value.
    pub fn t(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// The values that it lies in.
    pub fn values(self) -> &'a [f32] {
        self.values
    }

    /// How many rows it has.
    pub fn row_count(self) -> usize {
        self.rows
    }

    /// Columns `first..first + count`.
    ///
    /// # Panics
    /// Where there are fewer.
    pub fn cols(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.cols, "columns of a matrix");
        let start = (first * self.col_stride).min(self.values.len());
        Self {
            values: &self.values[start..],
            cols: count,
            ..self
        }
    }

    /// Rows `first..first + count`.
    fn rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "rows of a matrix");
        let start = (first * self.row_stride).min(self.values.len());
        Self {
            values: &self.values[start..],
            rows: count,
            ..self
        }
    }
}

/// What a product does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Replaces it.
    Set,
    /// Adds to it.
    Add,
}

/// `dst ←  lhs · rhs` on the calling thread; `dst` is row-major without gaps.
///
/// # Panics
/// Where the shapes do not fit together.
pub fn multiply(dst: &mut [f32], mode: Store, lhs: Mat<'_>, rhs: Mat<'_>) {
    multiply_strided(dst, rhs.cols, mode, lhs, rhs);
}

/// [`multiply`] into rows that begin `dst_stride` values apart.
///
/// # Panics
/// As [`multiply`].
pub fn multiply_strided(
    dst: &mut [f32],
    dst_stride: usize,
    mode: Store,
    lhs: Mat<'_>,
    rhs: Mat<'_>,
) {
    assert_eq!(lhs.cols, rhs.rows, "inner sizes of a product");
    let (rows, cols, inner) = (lhs.rows, rhs.cols, lhs.cols);
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(
        dst_stride >= cols,
        "rows of {cols} values {dst_stride} apart"
    );
    assert!(
        (rows - 1) * dst_stride + cols <= dst.len(),
        "a product that fits"
    );
    if inner == 0 {
        if mode == Store::Set {
            for row in dst.chunks_mut(dst_stride).take(rows) {
                row[..cols].fill(0.0);
            }
        }
        return;
    }
    match dst_stride.is_multiple_of(ALIASED) && rows > FEW_ROWS {
        true => multiply_by_tiles(dst, dst_stride, mode, lhs, rhs),
        false => multiply_in_place(dst, dst_stride, mode, lhs, rhs),
    }
}

/// Values between the beginnings of rows that fall onto the same few places of the first cache. The kernels write several rows at
/// once, and into such rows they run at a half to two thirds of their speed (measured: 256 columns 100 GFLOP/s, 272 columns 146).
const ALIASED: usize = 256;

/// Rows that the kernels write at once, about.
const FEW_ROWS: usize = 8;

/// Rows and columns of a tile: half a megabyte, which the second cache holds, or most of it.
const TILE: [usize; 2] = [128, 1024];

/// Values between the beginnings of a tile's rows, which fall onto different places.
const TILE_STRIDE: usize = TILE[1] + 16;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A product by way of tiles whose rows the kernels can write fast.
fn multiply_by_tiles(dst: &mut [f32], dst_stride: usize, mode: Store, lhs: Mat<'_>, rhs: Mat<'_>) {
    let mut scratch = SCRATCH.take();
    scratch.resize(TILE[0] * TILE_STRIDE, 0.0);
    for first_row in (0..lhs.rows).step_by(TILE[0]) {
        let rows = TILE[0].min(lhs.rows - first_row);
        for first_col in (0..rhs.cols).step_by(TILE[1]) {
            let cols = TILE[1].min(rhs.cols - first_col);
            multiply_in_place(
                &mut scratch,
                TILE_STRIDE,
                Store::Set,
                lhs.rows(first_row, rows),
                rhs.cols(first_col, cols),
            );
            let tile = scratch.chunks(TILE_STRIDE).take(rows);
            let to = dst.chunks_mut(dst_stride).skip(first_row);
            for (tile, to) in tile.zip(to) {
                let (tile, to) = (&tile[..cols], &mut to[first_col..first_col + cols]);
                match mode {
                    Store::Set => to.copy_from_slice(tile),
                    Store::Add => add(to, tile),
                }
            }
        }
    }
    SCRATCH.set(scratch);
}

wide! {
    fn add<'a>(to: &'a mut [f32], values: &'a [f32]) -> () {
        for (to, value) in to.iter_mut().zip(values) {
            *to += value;
        }
    }
}

/// The kernels themselves.
fn multiply_in_place(dst: &mut [f32], dst_stride: usize, mode: Store, lhs: Mat<'_>, rhs: Mat<'_>) {
    let (rows, cols, inner) = (lhs.rows, rhs.cols, lhs.cols);
    assert!(
        inner == rhs.rows && dst_stride >= cols && (rows - 1) * dst_stride + cols <= dst.len(),
        "a product that fits"
    );
    let read = mode == Store::Add;
    // SAFETY: `Mat`'s constructors hold every element of both factors inside their slices (`t`, `rows` and `cols` keep that),
    // and the assertion above does so for `dst`, which is borrowed exclusively and therefore overlaps neither.
    // Strides come from lengths of slices and fit an isize.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            rows,
            cols,
            inner,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            read,
            lhs.values.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            if read { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Rows of a piece where there are many.
const TALL_PIECE: usize = 256;

/// Fewest rows of a piece where there are few.
const SHORT_PIECE: usize = 48;

/// Multiplications below which a product stays on the calling thread.
const SMALL: usize = 1 << 18;

/// [`multiply`] on all threads of the current pool.
///
/// # Panics
/// As [`multiply`].
pub fn par_multiply(dst: &mut [f32], mode: Store, lhs: Mat<'_>, rhs: Mat<'_>) {
    let (rows, cols) = (lhs.rows, rhs.cols);
    assert_eq!(
        dst.len(),
        rows * cols,
        "values of a {rows} × {cols} product"
    );
    if rows * cols * lhs.cols <= SMALL || rows < 2 * SHORT_PIECE {
        return multiply(dst, mode, lhs, rhs);
    }
    let piece = if rows >= 4 * TALL_PIECE {
        TALL_PIECE
    } else {
        rows.div_ceil(4).next_multiple_of(8).max(SHORT_PIECE)
    };
    dst.par_chunks_mut(piece * cols)
        .enumerate()
        .for_each(|(index, dst)| {
            multiply(dst, mode, lhs.rows(index * piece, dst.len() / cols), rhs);
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0)
            .collect()
    }

    fn naive(lhs: Mat<'_>, rhs: Mat<'_>) -> Vec<f64> {
        let at = |m: Mat<'_>, i: usize, j: usize| {
            f64::from(m.values[i * m.row_stride + j * m.col_stride])
        };
        (0..lhs.rows * rhs.cols)
            .map(|index| {
                let (i, j) = (index / rhs.cols, index % rhs.cols);
                (0..lhs.cols).map(|k| at(lhs, i, k) * at(rhs, k, j)).sum()
            })
            .collect()
    }

    /// Sums of up to 300 products below 1: 300 roundings of 6e-8, far below this.
    const NOISE: f64 = 1e-4;

    #[test]
    fn products_of_every_orientation_agree_with_f64() {
        for (rows, inner, cols) in [
            (1, 1, 1),
            (3, 5, 7),
            (130, 64, 33),
            (300, 48, 65),
            (1100, 31, 20),
            // Rows that begin 256 values apart go by way of tiles.
            (300, 48, 256),
            (140, 20, 1280),
            (7, 300, 9),
        ] {
            let (a, b) = (values(rows * inner, 1), values(inner * cols, 2));
            let forms = [
                (Mat::new(&a, rows, inner), Mat::new(&b, inner, cols)),
                (Mat::new(&a, inner, rows).t(), Mat::new(&b, inner, cols)),
                (Mat::new(&a, rows, inner), Mat::new(&b, cols, inner).t()),
            ];
            for (lhs, rhs) in forms {
                let expected = naive(lhs, rhs);
                let mut found = vec![0.5; rows * cols];
                par_multiply(&mut found, Store::Set, lhs, rhs);
                par_multiply(&mut found, Store::Add, lhs, rhs);
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((f64::from(*found) - 2.0 * expected).abs() < NOISE);
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (a, b) = (values(700 * 128, 3), values(128 * 96, 4));
        let product = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let mut dst = vec![0.0; 700 * 96];
            pool.expect("a pool").install(|| {
                par_multiply(
                    &mut dst,
                    Store::Set,
                    Mat::new(&a, 700, 128),
                    Mat::new(&b, 128, 96),
                );
            });
            dst
        };
        assert_eq!(product(1), product(2));
    }

    #[test]
    fn an_empty_inner_size_is_a_sum_of_nothing() {
        let mut dst = vec![1.0; 4];
        multiply(
            &mut dst,
            Store::Add,
            Mat::new(&[], 2, 0),
            Mat::new(&[], 0, 2),
        );
        assert_eq!(dst, [1.0; 4]);
        multiply(
            &mut dst,
            Store::Set,
            Mat::new(&[], 2, 0),
            Mat::new(&[], 0, 2),
        );
        assert_eq!(dst, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "inner sizes")]
    fn shapes_that_do_not_fit_are_refused() {
        multiply(
            &mut [0.0; 4],
            Store::Set,
            Mat::new(&[0.0; 4], 2, 2),
            Mat::new(&[0.0; 6], 3, 2),
        );
    }
}
