//! Int8 weights: quantisation, and products with int8 activations.

use super::Rows;
use super::tile::{
    Bytes, GROUP_BYTES, QUAD_BYTES, QUADS, RowPointers, multiply_rows, multiply_tile,
};
use crate::activations::{QuantRows, group_magnitude, position, scale_group};
use crate::aligned::{Aligned, AtLine};
use crate::dispatch::{Kernel, dispatch};
use crate::isa::Isa;
use crate::scalar;
use crate::shared::Columns;
use crate::simd::{GROUP, LANES, Simd};
use crate::weights::{INT8_SCALE_COLS, Int8Matrix};
use std::ops::Range;

/// Groups multiplied before the next row of activations has its turn: 16 KiB of weights, and a whole number of scales.
const TILE_GROUPS: usize = 32;

/// Blocks of weights that take turns when few rows of activations read them.
const STREAMS: usize = 2;

/// Groups of a turn: 2 KiB of weights, and a whole number of scales.
const STREAM_GROUPS: usize = 4;

/// Rows of activations whose totals are kept at once.
const TILE_ROWS: usize = 128;

/// What q + 128 stands for when q = 0.
const ZERO: u8 = 128;

pub(crate) fn quantize_matrix(
    isa: Isa,
    rows: usize,
    cols: usize,
    mut row: impl FnMut(usize, &mut [f32]),
) -> Int8Matrix {
    let groups = cols.div_ceil(GROUP);
    let scale_groups = cols.div_ceil(INT8_SCALE_COLS);
    let blocks = rows.div_ceil(LANES);
    let mut values = Aligned::zeros(blocks * groups * GROUP_BYTES);
    if !rows.is_multiple_of(LANES) {
        values[(blocks - 1) * groups * GROUP_BYTES..].fill(ZERO);
    }
    let mut scales = Aligned::zeros(blocks * scale_groups * LANES);
    // Padded with zeros to whole groups.
    let mut buffer = vec![0.0; groups * GROUP];
    for r in 0..rows {
        row(r, &mut buffer[..cols]);
        let (block, lane) = (r / LANES, r % LANES);
        dispatch(
            isa,
            QuantizeRow {
                row: &buffer,
                lane,
                values: &mut values
                    [block * groups * GROUP_BYTES..(block + 1) * groups * GROUP_BYTES],
                scales: &mut scales
                    [block * scale_groups * LANES..(block + 1) * scale_groups * LANES],
            },
        );
    }
    Int8Matrix {
        values,
        scales,
        rows,
        cols,
    }
}

/// Puts one row into a block of sixteen.
struct QuantizeRow<'a> {
    /// Whole groups.
    row: &'a [f32],
    lane: usize,
    /// `[group][quad][lane][4]`.
    values: &'a mut [u8],
    /// `[scale group][lane]`.
    scales: &'a mut [f32],
}

impl QuantizeRow<'_> {
    /// Writes group `group`, given in the order of the activations.
    #[inline(always)]
    fn put(&mut self, group: usize, quantized: &[i8; GROUP]) {
        for (quad, word) in quantized.chunks_exact(4).enumerate() {
            let at = (group * QUADS + quad) * QUAD_BYTES + self.lane * 4;
            for (into, q) in self.values[at..at + 4].iter_mut().zip(word) {
                *into = q.cast_unsigned().wrapping_add(ZERO);
            }
        }
    }
}

impl Kernel for QuantizeRow<'_> {
    type Output = ();

    fn scalar(mut self) {
        let row = self.row;
        for (s, part) in row.chunks(INT8_SCALE_COLS).enumerate() {
            let largest = scalar::quantize::largest_magnitude(part);
            let (scale, inverse) = scalar::quantize::scale_and_inverse(largest);
            self.scales[s * LANES + self.lane] = scale;
            for (g, x) in part.chunks(GROUP).enumerate() {
                let quantized = scalar::quantize::scaled_group(x, inverse);
                self.put(s * INT8_SCALE_COLS / GROUP + g, &quantized);
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(mut self) {
        let row = self.row;
        for (s, part) in row.chunks(INT8_SCALE_COLS).enumerate() {
            let mut largest = 0.0_f32;
            for x in part.chunks_exact(GROUP) {
                let magnitude = group_magnitude::<S>(x.as_ptr());
                // Not `max`, which would forget a NaN.
                largest = if magnitude > largest || !magnitude.is_finite() {
                    magnitude
                } else {
                    largest
                };
            }
            let (scale, inverse) = scalar::quantize::scale_and_inverse(largest);
            self.scales[s * LANES + self.lane] = scale;
            for (g, x) in part.chunks_exact(GROUP).enumerate() {
                let mut quantized = [0; GROUP];
                scale_group::<S>(x.as_ptr(), inverse, quantized.as_mut_ptr());
                self.put(s * INT8_SCALE_COLS / GROUP + g, &quantized);
            }
        }
    }
}

/// The inverse of [`quantize_matrix`] for one row.
pub(crate) fn dequantize_row(matrix: &Int8Matrix, row: usize, into: &mut [f32]) {
    let groups = matrix.cols.div_ceil(GROUP);
    let scale_groups = matrix.cols.div_ceil(INT8_SCALE_COLS);
    let (block, lane) = (row / LANES, row % LANES);
    for (col, into) in into.iter_mut().enumerate() {
        let at = position(col % GROUP);
        let quad = (block * groups + col / GROUP) * QUADS + at / 4;
        let code = matrix.values[quad * QUAD_BYTES + lane * 4 + at % 4].wrapping_sub(ZERO);
        let scale = matrix.scales[(block * scale_groups + col / INT8_SCALE_COLS) * LANES + lane];
        *into = f32::from(code.cast_signed()) * scale;
    }
}

pub(crate) struct Int8Product<'a> {
    pub(crate) weights: &'a Int8Matrix,
    pub(crate) x: &'a QuantRows,
    pub(crate) rows: &'a Rows<'a>,
    /// Output columns; begins at a multiple of 16.
    pub(crate) out: Range<usize>,
    pub(crate) y: Columns<'a>,
}

impl Kernel for Int8Product<'_> {
    type Output = ();

    fn scalar(self) {
        for i in 0..self.rows.len() {
            for n in self.out.clone() {
                let value = scalar::int8::dot_quantized(self.weights, n, self.x, self.rows.get(i));
                // SAFETY: the columns of this task belong to it alone.
                unsafe { self.y.store(i, n, &[value]) };
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        match self.rows.len() {
            1 => self.streams::<S, 1>(),
            2 => self.streams::<S, 2>(),
            _ => self.tiles::<S>(),
        }
    }
}

impl Int8Product<'_> {
    /// Few rows: blocks far apart take turns, so that several streams of memory are read.
    #[inline(always)]
    unsafe fn streams<S: Simd, const M: usize>(&self) {
        let blocks = self.out.len().div_ceil(LANES);
        let first = self.out.start / LANES;
        let step = blocks.div_ceil(STREAMS);
        let groups = self.x.groups();
        let scale_groups = self.weights.cols.div_ceil(INT8_SCALE_COLS);
        for i in 0..step {
            let mut totals = AtLine([[[0.0_f32; LANES]; M]; STREAMS]);
            for g in (0..groups).step_by(STREAM_GROUPS) {
                let count = STREAM_GROUPS.min(groups - g);
                let mut rows = [RowPointers::new(self.x, self.rows.get(0), g); M];
                for (m, row) in rows.iter_mut().enumerate() {
                    *row = RowPointers::new(self.x, self.rows.get(m), g);
                }
                for (stream, totals) in totals.0.iter_mut().enumerate() {
                    if stream * step + i < blocks {
                        let block = first + stream * step + i;
                        let tile = self
                            .weights
                            .values
                            .as_ptr()
                            .add((block * groups + g) * GROUP_BYTES);
                        let scale_group = block * scale_groups + g * GROUP / INT8_SCALE_COLS;
                        let scales = self.weights.scales.as_ptr().add(scale_group * LANES);
                        multiply_tile::<S, Bytes, M, true>(
                            tile,
                            scales,
                            count,
                            rows,
                            totals.as_mut_ptr().cast(),
                        );
                    }
                }
            }
            for (stream, totals) in totals.0.iter().enumerate() {
                let n = self.out.start + (stream * step + i) * LANES;
                let lanes = self.out.end.saturating_sub(n).min(LANES);
                for m in (0..M).take_while(|_| lanes > 0) {
                    self.y.store(m, n, &totals[m][..lanes]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tiles<S: Simd>(&self) {
        let mut totals = AtLine([0.0_f32; TILE_ROWS * LANES]);
        let mut indices = [0_usize; TILE_ROWS];
        for first_row in (0..self.rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(self.rows.len() - first_row);
            for (i, index) in indices[..count].iter_mut().enumerate() {
                *index = self.rows.get(first_row + i);
            }
            for n in self.out.clone().step_by(LANES) {
                totals.0[..count * LANES].fill(0.0);
                self.block_times_rows::<S>(n / LANES, &indices[..count], &mut totals.0);
                let lanes = LANES.min(self.out.end - n);
                for (i, values) in totals.0[..count * LANES].chunks_exact(LANES).enumerate() {
                    self.y.store(first_row + i, n, &values[..lanes]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn block_times_rows<S: Simd>(&self, block: usize, rows: &[usize], totals: &mut [f32]) {
        let groups = self.x.groups();
        let scale_groups = self.weights.cols.div_ceil(INT8_SCALE_COLS);
        let totals = totals.as_mut_ptr();
        for g in (0..groups).step_by(TILE_GROUPS) {
            let count = TILE_GROUPS.min(groups - g);
            let tile = self
                .weights
                .values
                .as_ptr()
                .add((block * groups + g) * GROUP_BYTES);
            let scale_group = block * scale_groups + g * GROUP / INT8_SCALE_COLS;
            let scales = self.weights.scales.as_ptr().add(scale_group * LANES);
            if S::WIDE {
                multiply_rows::<S, Bytes, 8, true>(tile, scales, count, (self.x, g), rows, totals);
            } else {
                multiply_rows::<S, Bytes, 4, true>(tile, scales, count, (self.x, g), rows, totals);
            }
        }
    }
}
