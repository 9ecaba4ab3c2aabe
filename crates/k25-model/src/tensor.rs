//! A tensor as stored: an element type, a shape, and bytes that may lie in a mapped file.
//!
//! Nothing here computes. A [`Tensor`] is a handle: cloning it copies no values.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

mod dtype;

pub use dtype::DType;

// Checkpoint values are little-endian and are read in place.
#[cfg(target_endian = "big")]
compile_error!("k25 reads checkpoints in place and therefore runs on little-endian machines only");

/// The strictest alignment that any element type asks for; owned buffers have it.
const ALIGNMENT: usize = align_of::<u64>();

/// Whoever keeps bytes alive: a mapped file, or a vector.
pub(crate) trait ByteSource: Send + Sync {
    /// All bytes that are kept.
    fn bytes(&self) -> &[u8];

    /// Tells the system how a part will be read; memory that is there anyway ignores it.
    fn advise(&self, _part: Range<usize>, _advice: Advice) {}
}

impl<T: bytemuck::NoUninit + Send + Sync> ByteSource for Vec<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

/// How a part of a mapped file will be read. Advice never changes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// In no order: reading ahead would fetch what nobody asks for (routed experts).
    Random,
    /// Soon: start reading now, and return at once.
    WillNeed,
    /// Often: read it now and enter it in the page tables, and return when that is done.
    Populate,
    /// Not soon: the pages leave the process, and are read again when they are touched.
    Release,
}

/// An element type, a shape, and bytes aligned for that type.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Arc<[usize]>,
    source: Arc<dyn ByteSource>,
    start: usize,
    len: usize,
}

impl Tensor {
    /// A part of `source`. Where it does not lie aligned for its type, it is copied once, here.
    ///
    /// The caller has checked that the part is inside and as long as shape and type say.
    pub(crate) fn in_source(
        dtype: DType,
        shape: Arc<[usize]>,
        source: Arc<dyn ByteSource>,
        part: Range<usize>,
    ) -> Self {
        let bytes = &source.bytes()[part.clone()];
        assert_eq!(
            dtype.byte_len(&shape),
            Some(bytes.len()),
            "bytes of a {dtype} {shape:?}"
        );
        if (bytes.as_ptr() as usize).is_multiple_of(dtype.alignment()) {
            return Self {
                dtype,
                shape,
                source,
                start: part.start,
                len: part.len(),
            };
        }
        let mut words = vec![0u64; bytes.len().div_ceil(ALIGNMENT)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self {
            dtype,
            shape,
            source: Arc::new(words),
            start: 0,
            len: bytes.len(),
        }
    }

    fn owned<T: bytemuck::NoUninit + Send + Sync>(
        dtype: DType,
        shape: &[usize],
        values: Vec<T>,
    ) -> Self {
        let len = size_of_val(values.as_slice());
        assert_eq!(
            dtype.byte_len(shape),
            Some(len),
            "values for a {dtype} {shape:?}"
        );
        Self {
            dtype,
            shape: shape.into(),
            source: Arc::new(values),
            start: 0,
            len,
        }
    }

    /// An F32 tensor of these values.
    ///
    /// # Panics
    /// Where the shape does not ask for exactly that many values; so do the other constructors.
    pub fn from_f32(shape: &[usize], values: Vec<f32>) -> Self {
        Self::owned(DType::F32, shape, values)
    }

    /// A BF16 tensor of these bit patterns.
    pub fn from_bf16_bits(shape: &[usize], bits: Vec<u16>) -> Self {
        Self::owned(DType::BF16, shape, bits)
    }

    /// An I32 tensor of these bit patterns: the words of a packed INT4 matrix.
    pub fn from_packed_words(shape: &[usize], words: Vec<u32>) -> Self {
        Self::owned(DType::I32, shape, words)
    }

    /// An I64 tensor of these values.
    pub fn from_i64(shape: &[usize], values: Vec<i64>) -> Self {
        Self::owned(DType::I64, shape, values)
    }

    /// A U8 tensor of these values.
    pub fn from_u8(shape: &[usize], values: Vec<u8>) -> Self {
        Self::owned(DType::U8, shape, values)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the dimensions, outermost first; empty for a single value.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many values there are.
    pub fn element_count(&self) -> usize {
        self.len * 8 / self.dtype.bits()
    }

    /// The stored bytes, little-endian, row-major, aligned for the element type.
    pub fn bytes(&self) -> &[u8] {
        &self.source.bytes()[self.start..self.start + self.len]
    }

    /// The values of an F32 tensor.
    ///
    /// # Panics
    /// Where the tensor has another type, which is a mistake of the program: types of a checkpoint
    /// are checked when it is opened. So do the other `as_` methods.
    pub fn as_f32(&self) -> &[f32] {
        self.cast(&[DType::F32])
    }

    /// The bit patterns of a 16-bit tensor (BF16, F16, U16, I16).
    pub fn as_u16(&self) -> &[u16] {
        self.cast(&[DType::BF16, DType::F16, DType::U16, DType::I16])
    }

    /// The bit patterns of a 32-bit integer tensor (I32, U32).
    pub fn as_u32(&self) -> &[u32] {
        self.cast(&[DType::I32, DType::U32])
    }

    /// The values of an I32 tensor.
    pub fn as_i32(&self) -> &[i32] {
        self.cast(&[DType::I32])
    }

    /// The values of an I64 tensor.
    pub fn as_i64(&self) -> &[i64] {
        self.cast(&[DType::I64])
    }

    /// The values of a U8 tensor.
    pub fn as_u8(&self) -> &[u8] {
        self.cast(&[DType::U8])
    }

    fn cast<T: bytemuck::AnyBitPattern>(&self, allowed: &[DType]) -> &[T] {
        assert!(
            allowed.contains(&self.dtype),
            "a {} tensor read as {allowed:?}",
            self.dtype
        );
        bytemuck::cast_slice(self.bytes())
    }

    /// A copy of the values as f32; `None` where the type is not F32, BF16 or F16.
    pub fn to_f32_vec(&self) -> Option<Vec<f32>> {
        match self.dtype {
            DType::F32 => Some(self.as_f32().to_vec()),
            DType::BF16 => Some(
                self.as_u16()
                    .iter()
                    .map(|&b| bf16::from_bits(b).to_f32())
                    .collect(),
            ),
            DType::F16 => Some(
                self.as_u16()
                    .iter()
                    .map(|&b| f16::from_bits(b).to_f32())
                    .collect(),
            ),
            _ => None,
        }
    }

    /// A copy of the values as i64; `None` where the type is not a signed integer, U8, U16 or U32.
    pub fn to_i64_vec(&self) -> Option<Vec<i64>> {
        match self.dtype {
            DType::I64 => Some(self.as_i64().to_vec()),
            DType::I32 => Some(self.as_i32().iter().map(|&v| i64::from(v)).collect()),
            DType::U32 => Some(self.as_u32().iter().map(|&v| i64::from(v)).collect()),
            DType::I16 => Some(
                self.as_u16()
                    .iter()
                    .map(|&v| i64::from(v.cast_signed()))
                    .collect(),
            ),
            DType::U16 => Some(self.as_u16().iter().map(|&v| i64::from(v)).collect()),
            DType::I8 => Some(
                self.bytes()
                    .iter()
                    .map(|&v| i64::from(v.cast_signed()))
                    .collect(),
            ),
            DType::U8 => Some(self.as_u8().iter().map(|&v| i64::from(v)).collect()),
            _ => None,
        }
    }

    /// Tells the system how these bytes will be read. Only mapped tensors care.
    pub fn advise(&self, advice: Advice) {
        self.source
            .advise(self.start..self.start + self.len, advice);
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_values_read_back() {
        let tensor = Tensor::from_f32(&[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(
            (tensor.dtype(), tensor.shape(), tensor.element_count()),
            (DType::F32, &[2, 3][..], 6)
        );
        assert_eq!(tensor.as_f32()[4], 4.0);
        assert_eq!(tensor.clone().bytes().as_ptr(), tensor.bytes().as_ptr());
        assert_eq!(
            tensor.to_f32_vec(),
            Some(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        );
    }

    #[test]
    fn a_misaligned_part_is_copied_into_an_aligned_one() {
        let source: Arc<dyn ByteSource> = Arc::new(vec![0u64, 0x0807_0605_0403_0201]);
        let tensor = Tensor::in_source(DType::I32, [1].into(), source.clone(), 9..13);
        assert_eq!(tensor.as_i32(), [0x0504_0302]);
        let in_place = Tensor::in_source(DType::I32, [1].into(), source.clone(), 8..12);
        assert_eq!(in_place.bytes().as_ptr(), source.bytes()[8..].as_ptr());
    }

    #[test]
    fn values_convert() {
        let halves = Tensor::from_bf16_bits(&[2], vec![0x3F80, 0xC000]);
        assert_eq!(halves.to_f32_vec(), Some(vec![1.0, -2.0]));
        assert_eq!(halves.to_i64_vec(), None);
        assert_eq!(
            Tensor::from_u8(&[2], vec![7, 255]).to_i64_vec(),
            Some(vec![7, 255])
        );
        assert_eq!(
            Tensor::from_packed_words(&[1], vec![u32::MAX]).to_i64_vec(),
            Some(vec![-1])
        );
    }

    #[test]
    fn a_scalar_has_one_value_and_an_empty_tensor_none() {
        assert_eq!(Tensor::from_f32(&[], vec![3.0]).as_f32(), [3.0]);
        assert!(Tensor::from_i64(&[0, 5], vec![]).as_i64().is_empty());
    }

    #[test]
    #[should_panic(expected = "read as")]
    fn reading_as_another_type_is_a_mistake_of_the_program() {
        Tensor::from_f32(&[1], vec![1.0]).as_u16();
    }
}
