//! Weight matrices as views of a checkpoint's bytes, and the int8 form that is made at load.
//!
//! Every matrix is `[out, in]`: `out` rows, each of `in` values ("cols").

use crate::aligned::Aligned;
use crate::isa::Isa;
use crate::linear::int8;
use crate::simd::GROUP;

/// A matrix's buffers do not fit its shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A buffer has the wrong length.
    #[error(
        "{what} of a [{rows}, {cols}] matrix is {found} bytes, expected {expected}; hint: the tensor is truncated or its shape is another"
    )]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Rows (`out`).
        rows: usize,
        /// Columns (`in`).
        cols: usize,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The row length is not a whole number of groups.
    #[error(
        "a packed INT4 matrix has rows of {cols} values, which is no multiple of {GROUP}; hint: only groups of {GROUP} along the input are supported"
    )]
    Groups {
        /// Columns (`in`).
        cols: usize,
    },
    /// The size overflows the address space.
    #[error("a [{rows}, {cols}] matrix does not fit in memory; hint: its shape is wrong")]
    TooLarge {
        /// Rows (`out`).
        rows: usize,
        /// Columns (`in`).
        cols: usize,
    },
}

fn expect_length(
    what: &'static str,
    (rows, cols): (usize, usize),
    found: usize,
    bytes_per_row: Option<usize>,
) -> Result<(), ShapeError> {
    let expected = bytes_per_row
        .and_then(|bytes| bytes.checked_mul(rows))
        .ok_or(ShapeError::TooLarge { rows, cols })?;
    if found == expected {
        Ok(())
    } else {
        Err(ShapeError::Length {
            what,
            rows,
            cols,
            found,
            expected,
        })
    }
}

/// Packed INT4 with groups of 32, as it lies in the checkpoint (architecture §2): word c of a row holds the values
/// 8c..8c+8, value 8c+j in bits 4j..4j+4 as q + 8, little-endian; the weight is q times the group's bf16 scale.
#[derive(Clone, Copy, Debug)]
pub struct Int4<'a> {
    pub(crate) packed: &'a [u8],
    pub(crate) scales: &'a [u8],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl<'a> Int4<'a> {
    /// A view of `packed` (`rows · cols / 2` bytes) and `scales` (`rows · cols / 32` bf16); neither need be aligned.
    pub fn new(
        packed: &'a [u8],
        scales: &'a [u8],
        rows: usize,
        cols: usize,
    ) -> Result<Int4<'a>, ShapeError> {
        if !cols.is_multiple_of(GROUP) {
            return Err(ShapeError::Groups { cols });
        }
        expect_length(
            "the packed values",
            (rows, cols),
            packed.len(),
            Some(cols / 2),
        )?;
        expect_length(
            "the scales",
            (rows, cols),
            scales.len(),
            Some(cols / GROUP * 2),
        )?;
        Ok(Int4 {
            packed,
            scales,
            rows,
            cols,
        })
    }

    /// Rows (`out`) and columns (`in`).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.packed.len() + self.scales.len()
    }

    /// The integer −8..=7 of a weight.
    pub(crate) fn code(&self, row: usize, col: usize) -> i32 {
        let byte = self.packed[row * self.cols / 2 + col / 2];
        i32::from((byte >> (4 * (col % 2))) & 15) - 8
    }

    /// The scale of a group of 32 columns.
    pub(crate) fn scale(&self, row: usize, group: usize) -> f32 {
        bf16_at(self.scales, row * self.cols / GROUP + group)
    }
}

/// Element type of a [`Dense`] matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenseType {
    Bf16,
    F32,
}

/// A matrix of bf16 or f32 values.
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) element: DenseType,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl<'a> Dense<'a> {
    /// A view of little-endian bf16 values as they lie in the checkpoint; the bytes need not be aligned.
    pub fn bf16(bytes: &'a [u8], rows: usize, cols: usize) -> Result<Dense<'a>, ShapeError> {
        expect_length(
            "the bf16 values",
            (rows, cols),
            bytes.len(),
            cols.checked_mul(2),
        )?;
        Ok(Dense {
            bytes,
            element: DenseType::Bf16,
            rows,
            cols,
        })
    }

    /// A view of f32 values.
    pub fn f32(values: &'a [f32], rows: usize, cols: usize) -> Result<Dense<'a>, ShapeError> {
        let bytes = bytes_of(values);
        expect_length(
            "the f32 values",
            (rows, cols),
            bytes.len(),
            cols.checked_mul(4),
        )?;
        Ok(Dense {
            bytes,
            element: DenseType::F32,
            rows,
            cols,
        })
    }

    /// Rows (`out`) and columns (`in`).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// One weight.
    pub fn get(&self, row: usize, col: usize) -> f32 {
        let index = row * self.cols + col;
        match self.element {
            DenseType::Bf16 => bf16_at(self.bytes, index),
            DenseType::F32 => {
                let b = &self.bytes[4 * index..4 * index + 4];
                f32::from_ne_bytes([b[0], b[1], b[2], b[3]])
            }
        }
    }
}

/// Bf16 number `index` of little-endian bytes.
pub(crate) fn bf16_at(bytes: &[u8], index: usize) -> f32 {
    bf16_to_f32(u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]))
}

/// A bf16's value: exact.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// The memory of plain values.
pub(crate) fn bytes_of(values: &[f32]) -> &[u8] {
    // SAFETY: any initialised memory may be read as bytes; the length is that of the slice.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Columns that share one scale in an [`Int8Matrix`].
pub const INT8_SCALE_COLS: usize = 128;

/// A matrix quantised by us: q in −127..=127 with one f32 scale per row and 128 columns, scale = (largest magnitude)/127.
///
/// For normally distributed weights the error of a weight is 0.65 % of their standard deviation (root mean square, measured in the tests), against
/// 0.9 % with one scale per row of 7168, for 3 % more bytes.
///
/// Sixteen rows lie interleaved, four values at a time, in the order in which [`crate::QuantRows`] keeps activations; values are
/// stored as q + 128.
#[derive(Clone, Debug)]
pub struct Int8Matrix {
    /// `[row block][group of 32][quad][row in block][4]`.
    pub(crate) values: Aligned<u8>,
    /// `[row block][scale group][row in block]`.
    pub(crate) scales: Aligned<f32>,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Int8Matrix {
    /// Quantises a matrix given by its rows: `row(r, out)` must fill `out` with the `cols` values of row `r`.
    pub fn quantize(
        isa: Isa,
        rows: usize,
        cols: usize,
        row: impl FnMut(usize, &mut [f32]),
    ) -> Int8Matrix {
        int8::quantize_matrix(isa, rows, cols, row)
    }

    /// Writes the weights of row `row` into `into`, which holds `cols` values.
    pub fn row_to_f32(&self, row: usize, into: &mut [f32]) {
        int8::dequantize_row(self, row, into);
    }

    /// Rows (`out`) and columns (`in`).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.values.len() + size_of_val(&*self.scales)
    }
}
