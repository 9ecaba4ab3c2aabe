//! Products with packed INT4 weights, read in place.
//!
//! Sixteen rows of weights are read side by side. One word of each, put together by a transposition, is a vector whose low
//! nibbles are values 0, 2, 4, 6 and whose high nibbles are values 1, 3, 5, 7 of a lane's row: masked, they are the unsigned bytes
//! that the integer dot product wants. One row of activations multiplies them in registers; many rows share an unpacked tile.

use super::Rows;
use super::tile::{GROUP_BYTES, Nibbles, QUAD_BYTES, QUADS, RowPointers, multiply_rows};
use crate::activations::QuantRows;
use crate::aligned::AtLine;
use crate::dispatch::Kernel;
use crate::scalar;
use crate::shared::Columns;
use crate::simd::{GROUP, LANES, Simd};
use crate::weights::Int4;
use std::ops::Range;

/// Groups whose scales are read at once: sixteen bytes of a row.
const SCALE_GROUPS: usize = 8;

/// Groups of an unpacked tile: 16 KiB, half of a first-level cache.
const TILE_GROUPS: usize = 32;

/// Rows of activations that share a tile before the next is unpacked.
const TILE_ROWS: usize = 128;

/// Bytes of a packed row's group.
const PACKED: usize = GROUP / 2;

/// How far ahead of its use a row is asked for when it is unpacked into a tile, in bytes.
const TILE_PREFETCH: usize = 512;

/// The most rows of activations that multiply weights straight from the registers.
const DIRECT_ROWS: usize = 4;

const LOW_NIBBLES: i32 = 0x0f0f_0f0f;

/// Int8 activations.
pub(crate) struct QuantizedProduct<'a> {
    pub(crate) weights: Int4<'a>,
    pub(crate) x: &'a QuantRows,
    pub(crate) rows: &'a Rows<'a>,
    /// Output columns; begins at a multiple of 16.
    pub(crate) out: Range<usize>,
    pub(crate) y: Columns<'a>,
}

impl Kernel for QuantizedProduct<'_> {
    type Output = ();

    fn scalar(self) {
        for i in 0..self.rows.len() {
            for n in self.out.clone() {
                let value = scalar::int4::dot_quantized(&self.weights, n, self.x, self.rows.get(i));
                // SAFETY: the columns of this task belong to it alone.
                unsafe { self.y.store(i, n, &[value]) };
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let mut padding = Padding::default();
        let mut first = self.out.start;
        if self.rows.len() <= DIRECT_ROWS {
            // Sixteen long streams: lane i reads rows i·step, i·step + 1, ...
            let step = odd((self.out.len() / LANES).max(1));
            if self.out.len() >= LANES {
                for n in first..first + step {
                    self.direct_block::<S>(&Block::stepped(&self.weights, n, step));
                }
                first += step * LANES;
            }
        }
        for n in (first..self.out.end).step_by(LANES) {
            let block = Block::new(&self.weights, n, self.out.end, &mut padding);
            if self.rows.len() <= DIRECT_ROWS {
                self.direct_block::<S>(&block);
            } else {
                self.tiled::<S>(&block);
            }
        }
    }
}

/// The largest odd number up to `step`, which is not 0.
///
/// Rows are often a large power of two long. With an even distance all sixteen streams would then fall on the same few sets of
/// the first-level cache, and lines asked for ahead would be gone before their use (half the speed, measured).
fn odd(step: usize) -> usize {
    step - usize::from(step.is_multiple_of(2))
}

/// Sixteen rows of packed weights, of which some are wanted.
struct Block {
    packed: *const u8,
    scales: *const u8,
    /// Groups per row.
    groups: usize,
    /// First output column.
    out: usize,
    /// Lanes of the results to keep.
    lanes: Range<usize>,
    /// Rows from lane to lane.
    step: usize,
}

/// A copy of a matrix of fewer than sixteen rows, padded.
#[derive(Default)]
struct Padding {
    packed: Vec<u8>,
    scales: Vec<u8>,
}

impl Block {
    /// The block whose results from row `row` on, up to `end`, are wanted. Where fewer than sixteen rows are left it
    /// begins earlier; where the matrix has fewer, it is a padded copy.
    fn new(weights: &Int4<'_>, row: usize, end: usize, padding: &mut Padding) -> Block {
        let groups = weights.cols / GROUP;
        let (packed_stride, scale_stride) = (groups * PACKED, groups * 2);
        let first = row.min(weights.rows.saturating_sub(LANES));
        let lanes = row - first..(end - first).min(LANES);
        if weights.rows >= LANES {
            let packed =
                weights.packed[first * packed_stride..(first + LANES) * packed_stride].as_ptr();
            let scales =
                weights.scales[first * scale_stride..(first + LANES) * scale_stride].as_ptr();
            return Block {
                packed,
                scales,
                groups,
                out: row,
                lanes,
                step: 1,
            };
        }
        padding.packed = weights.packed.to_vec();
        padding.packed.resize(LANES * packed_stride, 0);
        padding.scales = weights.scales.to_vec();
        padding.scales.resize(LANES * scale_stride, 0);
        Block {
            packed: padding.packed.as_ptr(),
            scales: padding.scales.as_ptr(),
            groups,
            out: row,
            lanes,
            step: 1,
        }
    }

    /// Rows `row`, `row + step`, and so on.
    fn stepped(weights: &Int4<'_>, row: usize, step: usize) -> Block {
        let groups = weights.cols / GROUP;
        let last = row + (LANES - 1) * step;
        Block {
            packed: weights.packed[row * groups * PACKED..(last + 1) * groups * PACKED].as_ptr(),
            scales: weights.scales[row * groups * 2..(last + 1) * groups * 2].as_ptr(),
            groups,
            out: row,
            lanes: 0..LANES,
            step,
        }
    }

    /// Bytes of packed values from lane to lane.
    fn packed_stride(&self) -> usize {
        self.step * self.groups * PACKED
    }

    /// The scales of groups `g..g + count`, `count` ≤ 8.
    #[inline(always)]
    unsafe fn load_scales<S: Simd>(&self, g: usize, count: usize) -> [S::F; SCALE_GROUPS] {
        let (from, stride) = (self.scales.add(2 * g), 2 * self.groups * self.step);
        let words = if count == SCALE_GROUPS {
            S::transpose_words(from, stride)
        } else {
            let mut copy = [[0_u8; 2 * SCALE_GROUPS]; LANES];
            for (row, copy) in copy.iter_mut().enumerate() {
                from.add(row * stride)
                    .copy_to_nonoverlapping(copy.as_mut_ptr(), 2 * count);
            }
            S::transpose_words(copy.as_ptr().cast(), 2 * SCALE_GROUPS)
        };
        let mut scales = [S::splat(0.0); SCALE_GROUPS];
        for (pair, words) in words.into_iter().enumerate() {
            scales[2 * pair] = S::bf16_low(words);
            scales[2 * pair + 1] = S::bf16_high(words);
        }
        scales
    }

    /// Words 0..4 of a group of the sixteen rows.
    #[inline(always)]
    unsafe fn load_words<S: Simd>(&self, g: usize) -> [S::I; 4] {
        S::transpose_words(self.packed.add(g * PACKED), self.packed_stride())
    }

    /// Asks for the data that is needed some groups after `g`; in a row's end, that of the row behind it.
    #[inline(always)]
    unsafe fn prefetch<S: Simd>(&self, g: usize) {
        let stride = self.packed_stride();
        let ahead = self.packed.wrapping_add(g * PACKED + TILE_PREFETCH);
        for row in 0..LANES {
            S::prefetch(ahead.wrapping_add(row * stride));
            S::prefetch(ahead.wrapping_add(row * stride + 64));
        }
    }

    #[inline(always)]
    unsafe fn prefetch_scales<S: Simd>(&self, g: usize) {
        // A line of scales serves four calls.
        if g.is_multiple_of(4 * SCALE_GROUPS) {
            let ahead = self.scales.wrapping_add(g * 2 + TILE_PREFETCH / 8);
            for row in 0..LANES {
                S::prefetch(ahead.wrapping_add(row * self.groups * 2 * self.step));
            }
        }
    }
}

impl QuantizedProduct<'_> {
    #[inline(always)]
    unsafe fn direct_block<S: Simd>(&self, block: &Block) {
        match self.rows.len() {
            1 => self.direct::<S, 1>(block),
            2 => self.direct::<S, 2>(block),
            3 => self.direct::<S, 3>(block),
            _ => self.direct::<S, DIRECT_ROWS>(block),
        }
    }

    /// All groups of a block times `M` rows, weights in registers.
    #[inline(always)]
    unsafe fn direct<S: Simd, const M: usize>(&self, block: &Block) {
        let mut rows = [RowPointers::new(self.x, self.rows.get(0), 0); M];
        for (m, row) in rows.iter_mut().enumerate() {
            *row = RowPointers::new(self.x, self.rows.get(m), 0);
        }
        let mut totals = [S::splat(0.0); M];
        for first in (0..block.groups).step_by(SCALE_GROUPS) {
            let count = SCALE_GROUPS.min(block.groups - first);
            block.prefetch_scales::<S>(first);
            let scales = block.load_scales::<S>(first, count);
            for i in (0..count / 2 * 2).step_by(2) {
                // Two pairs are a cache line: the first asks for one further on.
                let scales = [scales[i], scales[i + 1]];
                if i % 4 == 0 {
                    multiply_pair::<S, M, true>(block, first + i, scales, &rows, &mut totals);
                } else {
                    multiply_pair::<S, M, false>(block, first + i, scales, &rows, &mut totals);
                }
            }
            if count % 2 == 1 {
                multiply_group::<S, M>(
                    block,
                    first + count - 1,
                    scales[count - 1],
                    &rows,
                    &mut totals,
                );
            }
        }
        for (m, total) in totals.into_iter().enumerate() {
            let mut values = [0.0; LANES];
            S::store(values.as_mut_ptr(), total);
            if block.step == 1 {
                self.y.store(m, block.out, &values[block.lanes.clone()]);
            } else {
                for (lane, value) in values.iter().enumerate() {
                    self.y.store(
                        m,
                        block.out + lane * block.step,
                        std::slice::from_ref(value),
                    );
                }
            }
        }
    }

    /// All groups of a block times all rows, a tile of weights at a time.
    #[inline(always)]
    unsafe fn tiled<S: Simd>(&self, block: &Block) {
        let mut tile = AtLine([0_u8; TILE_GROUPS * GROUP_BYTES]);
        let mut scales = AtLine([0.0_f32; TILE_GROUPS * LANES]);
        let mut totals = AtLine([0.0_f32; TILE_ROWS * LANES]);
        let mut indices = [0_usize; TILE_ROWS];
        for first_row in (0..self.rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(self.rows.len() - first_row);
            for (i, index) in indices[..count].iter_mut().enumerate() {
                *index = self.rows.get(first_row + i);
            }
            totals.0[..count * LANES].fill(0.0);
            for g in (0..block.groups).step_by(TILE_GROUPS) {
                let groups = TILE_GROUPS.min(block.groups - g);
                unpack::<S>(block, g, groups, tile.0.as_mut_ptr(), scales.0.as_mut_ptr());
                let (tile, scales, totals) =
                    (tile.0.as_ptr(), scales.0.as_ptr(), totals.0.as_mut_ptr());
                if S::WIDE {
                    multiply_rows::<S, Nibbles, 8, false>(
                        tile,
                        scales,
                        groups,
                        (self.x, g),
                        &indices[..count],
                        totals,
                    );
                } else {
                    multiply_rows::<S, Nibbles, 4, false>(
                        tile,
                        scales,
                        groups,
                        (self.x, g),
                        &indices[..count],
                        totals,
                    );
                }
            }
            for (i, values) in totals.0[..count * LANES].chunks_exact(LANES).enumerate() {
                self.y
                    .store(first_row + i, block.out, &values[block.lanes.clone()]);
            }
        }
    }
}

/// Adds two groups' products with `M` rows to `totals`: the rows of weights stay rows, only their sums are transposed.
#[inline(always)]
unsafe fn multiply_pair<S: Simd, const M: usize, const AHEAD: bool>(
    block: &Block,
    g: usize,
    scales: [S::F; 2],
    rows: &[RowPointers; M],
    totals: &mut [S::F; M],
) {
    let mut x = [rows[0].values; M];
    for m in 0..M {
        x[m] = rows[m].values.add(g * GROUP);
    }
    let sums = S::nibble_sums::<M, AHEAD>(block.packed.add(g * PACKED), block.packed_stride(), &x);
    for m in 0..M {
        for i in 0..2 {
            let sum = S::add_i32(sums[m][i], S::correction(*rows[m].corrections.add(g + i)));
            let scale = S::mul(scales[i], S::splat(*rows[m].scales.add(g + i)));
            totals[m] = S::fma(S::from_i32(sum), scale, totals[m]);
        }
    }
}

/// Adds one group's products with `M` rows to `totals`: the rows of weights are transposed.
#[inline(always)]
unsafe fn multiply_group<S: Simd, const M: usize>(
    block: &Block,
    g: usize,
    scale: S::F,
    rows: &[RowPointers; M],
    totals: &mut [S::F; M],
) {
    let mut sums = [S::acc4(0); M];
    for m in 0..M {
        sums[m] = S::acc4(*rows[m].corrections.add(g));
    }
    let nibbles = S::splat_i32(LOW_NIBBLES);
    for (word, words) in block.load_words::<S>(g).into_iter().enumerate() {
        let (even, odd) = (S::and(words, nibbles), S::and(S::shr::<4>(words), nibbles));
        for m in 0..M {
            sums[m] = S::dot4(sums[m], even, rows[m].word::<S>(g, word));
            sums[m] = S::dot4(sums[m], odd, rows[m].word::<S>(g, QUADS / 2 + word));
        }
    }
    for m in 0..M {
        let scale = S::mul(scale, S::splat(*rows[m].scales.add(g)));
        totals[m] = S::fma(S::acc4_sum(sums[m]), scale, totals[m]);
    }
}

/// Unpacks groups `first..first + groups` of a block.
///
/// # Safety
/// `tile` and `scales` have room for them.
#[inline(always)]
unsafe fn unpack<S: Simd>(
    block: &Block,
    first: usize,
    groups: usize,
    tile: *mut u8,
    scales: *mut f32,
) {
    let nibbles = S::splat_i32(LOW_NIBBLES);
    for eight in (0..groups).step_by(SCALE_GROUPS) {
        let count = SCALE_GROUPS.min(groups - eight);
        block.prefetch::<S>(first + eight);
        for (i, scale) in block
            .load_scales::<S>(first + eight, count)
            .into_iter()
            .take(count)
            .enumerate()
        {
            S::store(scales.add((eight + i) * LANES), scale);
        }
        for g in eight..eight + count {
            for (word, words) in block.load_words::<S>(first + g).into_iter().enumerate() {
                let quads = tile.add((g * QUADS + word) * QUAD_BYTES);
                S::store_i32(quads, S::and(words, nibbles));
                S::store_i32(
                    quads.add(QUADS / 2 * QUAD_BYTES),
                    S::and(S::shr::<4>(words), nibbles),
                );
            }
        }
    }
}

/// F32 activations: no error beyond f32 rounding.
pub(crate) struct ExactProduct<'a> {
    pub(crate) weights: Int4<'a>,
    /// Rows of `weights.cols` values.
    pub(crate) x: &'a [f32],
    pub(crate) rows: &'a Rows<'a>,
    /// Output columns; begins at a multiple of 16.
    pub(crate) out: Range<usize>,
    pub(crate) y: Columns<'a>,
}

/// Rows of activations that share a group's unpacked weights.
const EXACT_ROWS: usize = 64;

impl Kernel for ExactProduct<'_> {
    type Output = ();

    fn scalar(self) {
        let cols = self.weights.cols;
        for i in 0..self.rows.len() {
            let row = self.rows.get(i);
            for n in self.out.clone() {
                let value =
                    scalar::int4::dot_f32(&self.weights, n, &self.x[row * cols..(row + 1) * cols]);
                // SAFETY: the columns of this task belong to it alone.
                unsafe { self.y.store(i, n, &[value]) };
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let mut padding = Padding::default();
        for n in self.out.clone().step_by(LANES) {
            let block = Block::new(&self.weights, n, self.out.end, &mut padding);
            for first in (0..self.rows.len()).step_by(EXACT_ROWS) {
                self.rows_times_block::<S>(&block, first, EXACT_ROWS.min(self.rows.len() - first));
            }
        }
    }
}

impl ExactProduct<'_> {
    #[inline(always)]
    unsafe fn rows_times_block<S: Simd>(&self, block: &Block, first: usize, count: usize) {
        let cols = self.weights.cols;
        let mut totals = AtLine([[0.0_f32; LANES]; EXACT_ROWS]);
        let mut weights = AtLine([[0.0_f32; LANES]; GROUP]);
        for eight in (0..block.groups).step_by(SCALE_GROUPS) {
            let scale_count = SCALE_GROUPS.min(block.groups - eight);
            block.prefetch::<S>(eight);
            let scales = block.load_scales::<S>(eight, scale_count);
            for (i, scale) in scales.into_iter().take(scale_count).enumerate() {
                unpack_group_f32::<S>(block, eight + i, &mut weights.0);
                for (m, total) in totals.0[..count].iter_mut().enumerate() {
                    let x = self
                        .x
                        .as_ptr()
                        .add(self.rows.get(first + m) * cols + (eight + i) * GROUP);
                    let sum = S::fma(
                        dot_group::<S>(&weights.0, x),
                        scale,
                        S::load(total.as_ptr()),
                    );
                    S::store(total.as_mut_ptr(), sum);
                }
            }
        }
        for (m, total) in totals.0[..count].iter().enumerate() {
            self.y
                .store(first + m, block.out, &total[block.lanes.clone()]);
        }
    }
}

/// The integers −8..=7 of a group of sixteen rows, as floats, in the order of the columns.
#[inline(always)]
unsafe fn unpack_group_f32<S: Simd>(block: &Block, g: usize, values: &mut [[f32; LANES]; GROUP]) {
    let (nibble, offset) = (S::splat_i32(15), S::splat_i32(8));
    for (word, words) in block.load_words::<S>(g).into_iter().enumerate() {
        let mut words = words;
        for value in &mut values[8 * word..8 * word + 8] {
            let float = S::from_i32(S::sub_i32(S::and(words, nibble), offset));
            S::store(value.as_mut_ptr(), float);
            words = S::shr::<4>(words);
        }
    }
}

/// Sixteen rows' sums over a group: four chains, added in pairs.
#[inline(always)]
unsafe fn dot_group<S: Simd>(weights: &[[f32; LANES]; GROUP], x: *const f32) -> S::F {
    let mut chains = [S::splat(0.0); 4];
    // Kept rolled: unrolled, the compiler would spill.
    let steps = std::hint::black_box(GROUP / 4);
    for step in 0..steps {
        for (i, chain) in chains.iter_mut().enumerate() {
            let w = S::load(weights.as_ptr().add(4 * step + i).cast());
            *chain = S::fma(w, S::splat(*x.add(4 * step + i)), *chain);
        }
    }
    S::add(S::add(chains[0], chains[1]), S::add(chains[2], chains[3]))
}
