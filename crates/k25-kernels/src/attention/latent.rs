//! Absorbed multi-head latent attention (architecture §3.1): all heads read one cache of latents and rotated keys, so a token's
//! heads are a matrix and the scores a matrix product.

use super::expanded::run_queries;
use super::tiles::{RowsAt, Tiles};
use crate::isa::Isa;
use crate::pool::Pool;
use crate::simd::{LANES, Simd};
use crate::weights::bf16_to_f32;

/// Cache rows of one block.
pub const LATENT_BLOCK_ROWS: usize = 64;

/// Columns that share one scale in an int8 block.
pub const INT8_LATENT_COLS: usize = 64;

/// Widths of latent attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentShape {
    /// Heads.
    pub heads: usize,
    /// Width of the latent, which is also the value: 512.
    pub latent: usize,
    /// Width of the rotated key behind it: 64.
    pub rope: usize,
}

impl LatentShape {
    /// Values of a cache row.
    pub fn width(&self) -> usize {
        self.latent + self.rope
    }
}

/// A block of up to 64 cache rows, each the normed latent and then the rotated key.
#[derive(Clone, Copy, Debug)]
pub enum LatentBlock<'a> {
    /// Values.
    F32(&'a [f32]),
    /// Values rounded to bf16.
    Bf16(&'a [u16]),
    /// Values as q · scale, one scale per 64 columns of a row (see [`quantize_latent_row`]).
    Int8 {
        /// The integers.
        values: &'a [i8],
        /// The scales, `[row][ceil(width / 64)]`.
        scales: &'a [f32],
    },
}

impl LatentBlock<'_> {
    /// Rows that the slices hold.
    fn rows(&self, width: usize) -> usize {
        match self {
            LatentBlock::F32(values) => values.len() / width,
            LatentBlock::Bf16(values) => values.len() / width,
            LatentBlock::Int8 { values, scales } => {
                (values.len() / width).min(scales.len() / width.div_ceil(INT8_LATENT_COLS))
            }
        }
    }
}

/// Quantises a cache row to int8: q = round(x / scale), scale = (largest magnitude of 64 columns)/127; the error of a value is at
/// most half a scale. Columns with a NaN or an infinity get the scale NaN.
///
/// # Panics
/// When the outputs do not have the row's length and one scale per 64 columns.
pub fn quantize_latent_row(row: &[f32], values: &mut [i8], scales: &mut [f32]) {
    assert_eq!(
        (values.len(), scales.len()),
        (row.len(), row.len().div_ceil(INT8_LATENT_COLS)),
        "row of {}",
        row.len()
    );
    let groups = row
        .chunks(INT8_LATENT_COLS)
        .zip(values.chunks_mut(INT8_LATENT_COLS));
    for ((row, values), scale) in groups.zip(scales) {
        let largest = crate::scalar::quantize::largest_magnitude(row);
        let (of_group, inverse) = crate::scalar::quantize::scale_and_inverse(largest);
        *scale = of_group;
        for (value, x) in values.iter_mut().zip(row) {
            *value = (x * inverse).round_ties_even() as i8;
        }
    }
}

/// Query rows of one sequence against its cache.
#[derive(Debug)]
pub struct MlaSequence<'a> {
    /// Absorbed queries `[rows, heads, latent + rope]`.
    pub q: &'a [f32],
    /// Cache rows before the first query row; query row r sees `past + r + 1` rows.
    pub past: usize,
    /// The cache, which holds the query rows' own entries too.
    pub blocks: &'a [LatentBlock<'a>],
    /// Contexts `[rows, heads, latent]`.
    pub out: &'a mut [f32],
}

/// Attention of all sequences in one parallel loop: `out[r, h] = Σ_t softmax_t(scale · q[r, h] · cache[t]) · latent[t]`.
///
/// # Panics
/// When a length does not fit the shape, or a sequence has fewer cache rows than its last query row sees.
pub fn mla_attention(
    pool: &Pool,
    isa: Isa,
    shape: LatentShape,
    scale: f32,
    sequences: &mut [MlaSequence<'_>],
) {
    let width = shape.width();
    let mut work = Vec::with_capacity(sequences.len());
    for sequence in sequences.iter_mut() {
        let queries = sequence.q.len() / width.max(1);
        assert_eq!(
            sequence.q.len(),
            queries * width,
            "queries of width {width}"
        );
        assert_eq!(
            sequence.out.len(),
            queries * shape.latent,
            "contexts of width {}",
            shape.latent
        );
        assert!(
            queries.is_multiple_of(shape.heads.max(1)),
            "queries for {} heads each",
            shape.heads
        );
        let tiles = LatentTiles {
            blocks: sequence.blocks,
            shape,
        };
        let seen = sequence.past + queries / shape.heads.max(1);
        assert!(
            queries == 0 || tiles.rows() >= seen,
            "the cache holds {} rows of {seen}",
            tiles.rows()
        );
        let rows: Vec<&[f32]> = sequence.q.chunks_exact(width).collect();
        let limits = (0..queries)
            .map(|i| sequence.past + i / shape.heads + 1)
            .collect();
        let out = sequence.out.chunks_exact_mut(shape.latent).collect();
        work.push(super::expanded::QuerySet {
            rows,
            limits,
            out,
            tiles,
            scale,
        });
    }
    run_queries(pool, isa, work);
}

#[derive(Clone, Copy)]
struct LatentTiles<'a> {
    blocks: &'a [LatentBlock<'a>],
    shape: LatentShape,
}

impl LatentTiles<'_> {
    /// Rows that the cache holds: all blocks but the last are full.
    fn rows(&self) -> usize {
        let width = self.shape.width();
        let mut rows = 0;
        for block in self.blocks {
            let held = block.rows(width).min(LATENT_BLOCK_ROWS);
            rows += held;
            if held < LATENT_BLOCK_ROWS {
                break;
            }
        }
        rows
    }
}

impl Tiles for LatentTiles<'_> {
    fn widths(&self) -> (usize, usize) {
        (self.shape.width(), self.shape.latent)
    }

    fn scalar_row(&self, t: usize, key: &mut [f32], value: &mut [f32]) {
        let width = self.shape.width();
        let at = t % LATENT_BLOCK_ROWS * width;
        for (w, key) in key.iter_mut().enumerate() {
            *key = match self.blocks[t / LATENT_BLOCK_ROWS] {
                LatentBlock::F32(values) => values[at + w],
                LatentBlock::Bf16(values) => bf16_to_f32(values[at + w]),
                LatentBlock::Int8 { values, scales } => {
                    let groups = width.div_ceil(INT8_LATENT_COLS);
                    f32::from(values[at + w]) * scales[at / width * groups + w / INT8_LATENT_COLS]
                }
            };
        }
        value.copy_from_slice(&key[..value.len()]);
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(
        &self,
        first: usize,
        count: usize,
        staging: &mut [f32],
    ) -> (RowsAt, RowsAt) {
        let width = self.shape.width();
        let row = first % LATENT_BLOCK_ROWS;
        let block = self.blocks[first / LATENT_BLOCK_ROWS];
        // Values are read in whole vectors: in place only where those end within the row.
        if let (LatentBlock::F32(values), true) =
            (block, self.shape.latent.next_multiple_of(LANES) <= width)
        {
            let rows = RowsAt {
                base: values[row * width..(row + count) * width].as_ptr(),
                stride: width,
            };
            return (rows, rows);
        }
        let stride = width.next_multiple_of(LANES);
        for i in 0..count {
            let to = &mut staging[i * stride..(i + 1) * stride];
            let range = (row + i) * width..(row + i + 1) * width;
            match block {
                LatentBlock::F32(values) => to[..width].copy_from_slice(&values[range]),
                LatentBlock::Bf16(values) => convert_bf16::<S>(&values[range], to),
                LatentBlock::Int8 { values, scales } => {
                    let groups = width.div_ceil(INT8_LATENT_COLS);
                    let scales = &scales[(row + i) * groups..(row + i + 1) * groups];
                    convert_int8::<S>(&values[range], scales, to);
                }
            }
        }
        let rows = RowsAt {
            base: staging.as_ptr(),
            stride,
        };
        (rows, rows)
    }

    fn staging(&self) -> usize {
        super::TILE * self.shape.width().next_multiple_of(LANES)
    }
}

/// `to` is `from`, padded to whole vectors.
#[inline(always)]
unsafe fn convert_bf16<S: Simd>(from: &[u16], to: &mut [f32]) {
    let whole = from.len() / LANES * LANES;
    for w in (0..whole).step_by(LANES) {
        S::store(
            to.as_mut_ptr().add(w),
            S::load_bf16(from.as_ptr().add(w).cast()),
        );
    }
    for w in whole..from.len() {
        to[w] = bf16_to_f32(from[w]);
    }
}

#[inline(always)]
unsafe fn convert_int8<S: Simd>(from: &[i8], scales: &[f32], to: &mut [f32]) {
    let whole = from.len() / LANES * LANES;
    for w in (0..whole).step_by(LANES) {
        let scale = S::splat(scales[w / INT8_LATENT_COLS]);
        S::store(
            to.as_mut_ptr().add(w),
            S::mul(S::load_i8(from.as_ptr().add(w)), scale),
        );
    }
    for w in whole..from.len() {
        to[w] = f32::from(from[w]) * scales[w / INT8_LATENT_COLS];
    }
}
