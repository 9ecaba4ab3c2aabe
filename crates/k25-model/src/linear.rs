//! Weight matrices as they are stored: one enum, so that no other code asks for the storage kind.

use std::sync::Arc;

use half::bf16;
use k25_kernels::{self as kernels, Int8Matrix, Isa, Weights};

use crate::tensor::{Advice, Tensor};

/// Values per quantisation group of the packed INT4 layout (spec: architecture §2).
pub const INT4_GROUP: usize = 32;

/// A weight matrix `[out, in]` that multiplies from the left: `y = W·x`.
#[derive(Debug, Clone)]
pub enum Linear {
    /// bf16 values, row-major, read in place from the mapped file.
    Bf16(Dense),
    /// f32 values, row-major, read in place from the mapped file.
    F32(Dense),
    /// Offset-8 nibbles in groups of 32 with one bf16 scale each.
    Int4(PackedInt4),
    /// int8 with one scale per row and 128 columns: made by us at load, never stored.
    Int8(Arc<Int8Matrix>),
    /// Any of the others, and an adapter on top.
    Adapted(Arc<Adapted>),
}

/// A matrix `W` with an adapter: `W + B · A`.
#[derive(Debug)]
pub struct Adapted {
    /// `W`, which has no adapter itself.
    pub base: Linear,
    /// `B` and `A`.
    pub low_rank: LowRank,
}

/// Two thin matrices whose product is added to a matrix (LoRA).
#[derive(Debug, Clone)]
pub struct LowRank {
    rank: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

/// A dense matrix `[out, in]` in its stored type.
#[derive(Debug, Clone)]
pub struct Dense {
    /// Row-major values.
    pub values: Tensor,
    /// Rows: the width of the result.
    pub out_features: usize,
    /// Columns: the width of the input.
    pub in_features: usize,
}

/// A matrix `[out, in]` in compressed-tensors' `pack-quantized` layout, symmetric, group size 32.
///
/// Element `8c + j` of a row is the nibble at bits `4j..4j+4` of word `c`; a nibble `n` encodes the
/// integer `n − 8`; the value is that integer times the scale of its group (exact in f32).
#[derive(Debug, Clone)]
pub struct PackedInt4 {
    /// 32-bit little-endian words `[out, in / 8]`.
    pub packed: Tensor,
    /// bf16 `[out, in / 32]`.
    pub scales: Tensor,
    /// Rows: the width of the result.
    pub out_features: usize,
    /// Columns: the width of the input, a multiple of 32.
    pub in_features: usize,
}

impl Linear {
    /// Width of the result.
    pub fn out_features(&self) -> usize {
        match self {
            Self::Bf16(dense) | Self::F32(dense) => dense.out_features,
            Self::Int4(packed) => packed.out_features,
            Self::Int8(matrix) => matrix.shape().0,
            Self::Adapted(adapted) => adapted.base.out_features(),
        }
    }

    /// Width of the input.
    pub fn in_features(&self) -> usize {
        match self {
            Self::Bf16(dense) | Self::F32(dense) => dense.in_features,
            Self::Int4(packed) => packed.in_features,
            Self::Int8(matrix) => matrix.shape().1,
            Self::Adapted(adapted) => adapted.base.in_features(),
        }
    }

    /// How the values are stored, for people.
    pub fn storage(&self) -> &'static str {
        match self {
            Self::Bf16(_) => "BF16",
            Self::F32(_) => "F32",
            Self::Int4(_) => "INT4 g32",
            Self::Int8(_) => "INT8 g128",
            Self::Adapted(adapted) => adapted.base.storage(),
        }
    }

    /// The matrix without its adapter.
    pub fn stored(&self) -> &Self {
        match self {
            Self::Adapted(adapted) => &adapted.base,
            other => other,
        }
    }

    /// What is added to it.
    pub fn adapter(&self) -> Option<&LowRank> {
        match self {
            Self::Adapted(adapted) => Some(&adapted.low_rank),
            _ => None,
        }
    }

    /// Bytes that a pass over the whole matrix reads.
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Int8(matrix) => matrix.bytes(),
            Self::Adapted(adapted) => adapted.base.byte_len() + adapted.low_rank.byte_len(),
            _ => self.tensors().map(|tensor| tensor.bytes().len()).sum(),
        }
    }

    /// Bytes that lie in a mapped file rather than in memory of the process's own.
    pub fn mapped_bytes(&self) -> usize {
        self.tensors().map(|tensor| tensor.bytes().len()).sum()
    }

    /// Tells the system how the matrix will be read.
    pub fn advise(&self, advice: Advice) {
        self.tensors().for_each(|tensor| tensor.advise(advice));
    }

    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let (first, second) = match self.stored() {
            Self::Bf16(dense) | Self::F32(dense) => (Some(&dense.values), None),
            Self::Int4(int4) => (Some(&int4.packed), Some(&int4.scales)),
            Self::Int8(_) | Self::Adapted(_) => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// Writes row `row` as f32 into `into`, which holds `in_features` values.
    pub fn row_to_f32(&self, row: usize, into: &mut [f32]) {
        debug_assert_eq!(into.len(), self.in_features());
        match self {
            Self::Bf16(dense) => {
                let width = dense.in_features;
                let values = &dense.values.as_u16()[row * width..(row + 1) * width];
                for (value, &bits) in into.iter_mut().zip(values) {
                    *value = kernels::bf16_to_f32(bits);
                }
            }
            Self::F32(dense) => {
                let width = dense.in_features;
                into.copy_from_slice(&dense.values.as_f32()[row * width..(row + 1) * width]);
            }
            Self::Int4(packed) => packed.row_to_f32(row, into),
            Self::Int8(matrix) => matrix.row_to_f32(row, into),
            Self::Adapted(adapted) => {
                adapted.base.row_to_f32(row, into);
                adapted.low_rank.add_row(row, into);
            }
        }
    }

    /// The int8 form of a dense matrix; matrices that are quantised already stay as they are.
    pub fn to_int8(&self) -> Self {
        match self {
            Self::Bf16(_) | Self::F32(_) => {
                let (rows, cols) = (self.out_features(), self.in_features());
                Self::Int8(Arc::new(Int8Matrix::quantize(
                    Isa::active(),
                    rows,
                    cols,
                    |row, into| {
                        self.row_to_f32(row, into);
                    },
                )))
            }
            Self::Int4(_) | Self::Int8(_) => self.clone(),
            Self::Adapted(adapted) => Self::Adapted(Arc::new(Adapted {
                base: adapted.base.to_int8(),
                low_rank: adapted.low_rank.clone(),
            })),
        }
    }

    /// The matrix without its adapter, as the kernels read it.
    pub fn kernel_view(&self) -> Weights<'_> {
        let (rows, cols) = (self.out_features(), self.in_features());
        // The loader has checked every length against the shape.
        let checked = "a matrix has as many bytes as its shape asks for";
        match self {
            Self::Bf16(dense) => Weights::Dense(
                kernels::Dense::bf16(dense.values.bytes(), rows, cols).expect(checked),
            ),
            Self::F32(dense) => Weights::Dense(
                kernels::Dense::f32(dense.values.as_f32(), rows, cols).expect(checked),
            ),
            Self::Int4(int4) => Weights::Int4(
                kernels::Int4::new(int4.packed.bytes(), int4.scales.bytes(), rows, cols)
                    .expect(checked),
            ),
            Self::Int8(matrix) => Weights::Int8(matrix),
            Self::Adapted(adapted) => adapted.base.kernel_view(),
        }
    }
}

impl LowRank {
    /// `a` is `[rank, in]` and `b` `[out, rank]`, both row-major, the adapter's scale multiplied into one of them.
    ///
    /// # Panics
    /// Where `rank` is 0, or does not divide both lengths.
    pub fn new(rank: usize, a: Vec<f32>, b: Vec<f32>) -> Self {
        let is_whole = rank > 0 && a.len().is_multiple_of(rank) && b.len().is_multiple_of(rank);
        assert!(is_whole, "halves of an adapter of rank {rank}");
        Self { rank, a, b }
    }

    /// Width between the halves.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Width of the input.
    pub fn in_features(&self) -> usize {
        self.a.len() / self.rank
    }

    /// Width of the result.
    pub fn out_features(&self) -> usize {
        self.b.len() / self.rank
    }

    /// Bytes of both halves.
    pub fn byte_len(&self) -> usize {
        size_of_val(self.a.as_slice()) + size_of_val(self.b.as_slice())
    }

    /// `A` as the kernels read it.
    pub fn a(&self) -> Weights<'_> {
        dense(&self.a, self.rank, self.in_features())
    }

    /// `B` as the kernels read it.
    pub fn b(&self) -> Weights<'_> {
        dense(&self.b, self.out_features(), self.rank)
    }

    /// Adds row `row` of `B · A`.
    fn add_row(&self, row: usize, into: &mut [f32]) {
        let factors = &self.b[row * self.rank..(row + 1) * self.rank];
        for (factor, a) in factors.iter().zip(self.a.chunks_exact(into.len())) {
            for (into, a) in into.iter_mut().zip(a) {
                *into += factor * a;
            }
        }
    }
}

fn dense(values: &[f32], rows: usize, cols: usize) -> Weights<'_> {
    Weights::Dense(kernels::Dense::f32(values, rows, cols).expect("halves of this shape"))
}

impl PackedInt4 {
    /// Writes row `row` dequantised as f32 into `into`.
    pub fn row_to_f32(&self, row: usize, into: &mut [f32]) {
        let (words_per_row, groups_per_row) = (self.in_features / 8, self.in_features / INT4_GROUP);
        let words = &self.packed.as_u32()[row * words_per_row..(row + 1) * words_per_row];
        let scales = &self.scales.as_u16()[row * groups_per_row..(row + 1) * groups_per_row];
        for (group, (values, words)) in into
            .chunks_exact_mut(INT4_GROUP)
            .zip(words.chunks_exact(4))
            .enumerate()
        {
            let scale = bf16::from_bits(scales[group]).to_f32();
            for (values, &word) in values.chunks_exact_mut(8).zip(words) {
                for (j, value) in values.iter_mut().enumerate() {
                    let nibble = (word >> (4 * j)) & 0xF;
                    *value = (nibble as f32 - 8.0) * scale;
                }
            }
        }
    }
}
