//! Products of bf16 or f32 weights with f32 activations.
//!
//! A value is a dot product in sixteen lanes (columns ≡ lane mod 16), whether for one row of activations or many.

use super::Rows;
use crate::aligned::AtLine;
use crate::dispatch::Kernel;
use crate::scalar;
use crate::shared::Columns;
use crate::simd::{LANES, Simd};
use crate::weights::{Dense, DenseType};
use std::ops::Range;

/// Columns multiplied before the lanes are put aside: 2 KiB of f32 per row.
const CHUNK: usize = 512;

/// Rows of activations per pass over a task's weights.
const PASS_ROWS: usize = 48;

/// Output columns per pass, for which a chunk of the activations stays in a second-level cache.
const PASS_COLUMNS: usize = 32;

/// Output columns whose chunk of weights is unpacked at once: half of a first-level cache.
const TILE_COLUMNS: usize = 8;

/// The most rows of activations that read the weights directly.
const DIRECT_ROWS: usize = 3;

/// Bytes ahead of its use that a row of weights is asked for when it is read once.
const PREFETCH: usize = 512;

pub(crate) struct DenseProduct<'a> {
    pub(crate) weights: Dense<'a>,
    /// Rows of `weights.cols` values.
    pub(crate) x: &'a [f32],
    pub(crate) rows: &'a Rows<'a>,
    /// Output columns; begins at a multiple of 16.
    pub(crate) out: Range<usize>,
    pub(crate) y: Columns<'a>,
}

impl Kernel for DenseProduct<'_> {
    type Output = ();

    fn scalar(self) {
        let cols = self.weights.cols;
        for i in 0..self.rows.len() {
            let row = self.rows.get(i);
            for n in self.out.clone() {
                let value =
                    scalar::dense::dot(&self.weights, n, &self.x[row * cols..(row + 1) * cols]);
                // SAFETY: the columns of this task belong to it alone.
                unsafe { self.y.store(i, n, &[value]) };
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        match self.weights.element {
            DenseType::Bf16 => self.product::<S, Bf16>(),
            DenseType::F32 => self.product::<S, F32>(),
        }
    }
}

/// How sixteen weights are read.
trait Element {
    const BYTES: usize;
    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
}

struct Bf16;
impl Element for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        S::load_bf16(p)
    }
}

struct F32;
impl Element for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        S::load(p.cast())
    }
}

/// A corner of the product: `M` rows of activations and `N` rows of weights, from some column on.
struct Corner<const M: usize, const N: usize> {
    x: [*const f32; M],
    w: [*const u8; N],
}

impl<const M: usize, const N: usize> Corner<M, N> {
    /// Adds `cols` columns to the lanes; a last incomplete sixteen is padded with zeros.
    #[inline(always)]
    unsafe fn add<S: Simd, E: Element>(
        &self,
        cols: usize,
        ahead: usize,
        lanes: &mut [[S::F; N]; M],
    ) {
        let whole = cols / LANES * LANES;
        for k in (0..whole).step_by(LANES) {
            let mut w = [S::splat(0.0); N];
            for n in 0..N {
                if ahead > 0 {
                    S::prefetch(self.w[n].wrapping_add(k * E::BYTES + ahead));
                }
                w[n] = E::load::<S>(self.w[n].add(k * E::BYTES));
            }
            for m in 0..M {
                let x = S::load(self.x[m].add(k));
                for n in 0..N {
                    lanes[m][n] = S::fma(x, w[n], lanes[m][n]);
                }
            }
        }
        if whole < cols {
            self.add_rest::<S, E>(whole, cols - whole, lanes);
        }
    }

    #[inline(always)]
    unsafe fn add_rest<S: Simd, E: Element>(
        &self,
        at: usize,
        count: usize,
        lanes: &mut [[S::F; N]; M],
    ) {
        for m in 0..M {
            let mut x = [0.0; LANES];
            self.x[m]
                .add(at)
                .copy_to_nonoverlapping(x.as_mut_ptr(), count);
            for n in 0..N {
                let mut w = [0_u8; 4 * LANES];
                self.w[n]
                    .add(at * E::BYTES)
                    .copy_to_nonoverlapping(w.as_mut_ptr(), count * E::BYTES);
                lanes[m][n] = S::fma(S::load(x.as_ptr()), E::load::<S>(w.as_ptr()), lanes[m][n]);
            }
        }
    }
}

/// Buffers of a pass.
#[repr(C, align(64))]
struct Pass {
    /// Lanes of the products, kept between chunks of columns.
    lanes: [[[f32; LANES]; PASS_COLUMNS]; PASS_ROWS],
    /// A chunk of the weights as f32, padded with zeros. Packed, it has no cache set to share with other rows.
    weights: [[f32; CHUNK]; TILE_COLUMNS],
}

impl DenseProduct<'_> {
    #[inline(always)]
    unsafe fn product<S: Simd, E: Element>(&self) {
        match self.rows.len() {
            1 => self.direct::<S, E, 1, 4>(),
            2 => self.direct::<S, E, 2, 2>(),
            DIRECT_ROWS => self.direct::<S, E, DIRECT_ROWS, 2>(),
            _ => self.passes::<S, E>(),
        }
    }

    #[inline(always)]
    unsafe fn x_row(&self, i: usize) -> *const f32 {
        self.x.as_ptr().add(self.rows.get(i) * self.weights.cols)
    }

    #[inline(always)]
    unsafe fn w_row<E: Element>(&self, n: usize) -> *const u8 {
        self.weights
            .bytes
            .as_ptr()
            .add(n * self.weights.cols * E::BYTES)
    }

    /// `M` rows of activations: `N` rows of weights side by side, each read once.
    #[inline(always)]
    unsafe fn direct<S: Simd, E: Element, const M: usize, const N: usize>(&self) {
        let mut x = [self.x_row(0); M];
        for (m, x) in x.iter_mut().enumerate() {
            *x = self.x_row(m);
        }
        for n in self.out.clone().step_by(N) {
            // Rows that do not exist are replaced by the last one, and their sums dropped.
            let mut w = [self.w_row::<E>(n); N];
            for (i, w) in w.iter_mut().enumerate() {
                *w = self.w_row::<E>((n + i).min(self.out.end - 1));
            }
            let mut lanes = [[S::splat(0.0); N]; M];
            Corner { x, w }.add::<S, E>(self.weights.cols, PREFETCH, &mut lanes);
            for (m, lanes) in lanes.into_iter().enumerate() {
                for (i, lanes) in lanes.into_iter().enumerate().take(self.out.end - n) {
                    self.y.store(m, n + i, &[S::reduce_add(lanes)]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn passes<S: Simd, E: Element>(&self) {
        let mut pass = Box::new(Pass {
            lanes: [[[0.0; LANES]; PASS_COLUMNS]; PASS_ROWS],
            weights: [[0.0; CHUNK]; TILE_COLUMNS],
        });
        for first in (0..self.rows.len()).step_by(PASS_ROWS) {
            let rows = first..(first + PASS_ROWS).min(self.rows.len());
            for n in self.out.clone().step_by(PASS_COLUMNS) {
                let columns = n..(n + PASS_COLUMNS).min(self.out.end);
                self.pass::<S, E>(rows.clone(), columns, &mut pass);
            }
        }
    }

    #[inline(always)]
    unsafe fn pass<S: Simd, E: Element>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        pass: &mut Pass,
    ) {
        for row in &mut pass.lanes[..rows.len()] {
            row.fill([0.0; LANES]);
        }
        for k in (0..self.weights.cols).step_by(CHUNK) {
            let cols = CHUNK.min(self.weights.cols - k);
            for n in (0..columns.len()).step_by(TILE_COLUMNS) {
                for (w, to) in (columns.start + n..columns.end).zip(&mut pass.weights) {
                    unpack::<S, E>(self.w_row::<E>(w).add(k * E::BYTES), cols, to.as_mut_ptr());
                }
                self.tile::<S>(rows.clone(), n, (k, cols), pass);
            }
        }
        for (lanes, row) in pass.lanes.iter().zip(rows) {
            let mut values = [0.0; PASS_COLUMNS];
            for (value, lanes) in values.iter_mut().zip(lanes) {
                *value = S::reduce_add(S::load(lanes.as_ptr()));
            }
            self.y.store(row, columns.start, &values[..columns.len()]);
        }
    }

    /// All rows of the pass times the unpacked columns, which are `n` and those behind it.
    #[inline(always)]
    unsafe fn tile<S: Simd>(
        &self,
        rows: Range<usize>,
        n: usize,
        (k, cols): (usize, usize),
        pass: &mut Pass,
    ) {
        let mut i = 0;
        while i + 3 <= rows.len() {
            self.chunk::<S, 3>(rows.start + i, (i, n), (k, cols), pass);
            i += 3;
        }
        while i < rows.len() {
            self.chunk::<S, 1>(rows.start + i, (i, n), (k, cols), pass);
            i += 1;
        }
    }

    /// `M` rows of activations from `row` on, whose lanes begin at `slot` and `column`; `cols` columns of them from `k` on.
    #[inline(always)]
    unsafe fn chunk<S: Simd, const M: usize>(
        &self,
        row: usize,
        (slot, column): (usize, usize),
        (k, cols): (usize, usize),
        pass: &mut Pass,
    ) {
        const N: usize = 4;
        let mut x = [self.x_row(row).add(k); M];
        for (m, x) in x.iter_mut().enumerate() {
            *x = self.x_row(row + m).add(k);
        }
        // A last incomplete sixteen is padded, as the weights are.
        let whole = cols / LANES * LANES;
        let mut rests = AtLine([[0.0_f32; LANES]; M]);
        if whole < cols {
            for (x, rest) in x.iter().zip(&mut rests.0) {
                x.add(whole)
                    .copy_to_nonoverlapping(rest.as_mut_ptr(), cols - whole);
            }
        }
        for n in (0..TILE_COLUMNS).step_by(N) {
            let at = column + n;
            let w: [*const f32; N] = std::array::from_fn(|i| pass.weights[n + i].as_ptr());
            for part in 0..S::PARTS {
                let first = part * LANES / S::PARTS;
                let mut sums = [[S::load_part(pass.lanes[slot][at].as_ptr()); N]; M];
                for m in 0..M {
                    for i in 0..N {
                        sums[m][i] = S::load_part(pass.lanes[slot + m][at + i].as_ptr().add(first));
                    }
                }
                // Each round also asks for one of the rows that come next.
                let round = n / N * S::PARTS + part;
                let next = self
                    .x_row((row + M + round).min(self.rows.len() - 1))
                    .add(k);
                for k in (first..whole).step_by(LANES) {
                    S::prefetch(next.add(k).cast());
                    multiply_parts::<S, M, N>(&x, k, &w, k, &mut sums);
                }
                if whole < cols {
                    let rest: [*const f32; M] = std::array::from_fn(|m| rests.0[m].as_ptr());
                    multiply_parts::<S, M, N>(&rest, first, &w, whole + first, &mut sums);
                }
                for m in 0..M {
                    for i in 0..N {
                        S::store_part(
                            pass.lanes[slot + m][at + i].as_mut_ptr().add(first),
                            sums[m][i],
                        );
                    }
                }
            }
        }
    }
}

/// `sums[m][n] += x[m][k..] · w[n][j..]`, one register each.
#[inline(always)]
unsafe fn multiply_parts<S: Simd, const M: usize, const N: usize>(
    x: &[*const f32; M],
    k: usize,
    w: &[*const f32; N],
    j: usize,
    sums: &mut [[S::Part; N]; M],
) {
    let mut rows = [S::load_part(x[0].add(k)); M];
    for m in 1..M {
        rows[m] = S::load_part(x[m].add(k));
    }
    for n in 0..N {
        let column = S::load_part(w[n].add(j));
        for m in 0..M {
            sums[m][n] = S::fma_part(rows[m], column, sums[m][n]);
        }
    }
}

/// Converts a row of weights, padded with zeros to whole vectors.
///
/// # Safety
/// `to` has room for the padding.
#[inline(always)]
unsafe fn unpack<S: Simd, E: Element>(from: *const u8, count: usize, to: *mut f32) {
    let whole = count / LANES * LANES;
    for k in (0..whole).step_by(LANES) {
        S::store(to.add(k), E::load::<S>(from.add(k * E::BYTES)));
    }
    if whole < count {
        let mut rest = [0_u8; 4 * LANES];
        from.add(whole * E::BYTES)
            .copy_to_nonoverlapping(rest.as_mut_ptr(), (count - whole) * E::BYTES);
        S::store(to.add(whole), E::load::<S>(rest.as_ptr()));
    }
}
