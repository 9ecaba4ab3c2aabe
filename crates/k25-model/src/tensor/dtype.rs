//! Element types of the safetensors format.

use std::fmt;

macro_rules! dtypes {
    ($($name:ident $text:literal $bits:literal $doc:literal,)*) => {
        /// An element type. All that the format knows can be opened; few can be computed with.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType {
            $(#[doc = $doc] $name,)*
        }

        impl DType {
            /// Every element type.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in a file's header.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The type of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }

            /// Bits of one element.
            pub fn bits(self) -> usize {
                match self { $(Self::$name => $bits,)* }
            }
        }
    };
}

dtypes! {
    F64 "F64" 64 "IEEE double.",
    F32 "F32" 32 "IEEE single.",
    F16 "F16" 16 "IEEE half.",
    BF16 "BF16" 16 "The upper half of an IEEE single.",
    F8_E4M3 "F8_E4M3" 8 "Eight bits, four of them exponent.",
    F8_E5M2 "F8_E5M2" 8 "Eight bits, five of them exponent.",
    F8_E8M0 "F8_E8M0" 8 "A power of two (microscaling).",
    F6_E2M3 "F6_E2M3" 6 "Six bits, two of them exponent, densely packed.",
    F6_E3M2 "F6_E3M2" 6 "Six bits, three of them exponent, densely packed.",
    F4 "F4" 4 "Four bits, densely packed.",
    I64 "I64" 64 "Signed integer.",
    I32 "I32" 32 "Signed integer.",
    I16 "I16" 16 "Signed integer.",
    I8 "I8" 8 "Signed integer.",
    U64 "U64" 64 "Unsigned integer.",
    U32 "U32" 32 "Unsigned integer.",
    U16 "U16" 16 "Unsigned integer.",
    U8 "U8" 8 "Unsigned integer.",
    C64 "C64" 64 "A complex number of two singles.",
    Bool "BOOL" 8 "One byte, 0 or 1.",
}

impl DType {
    /// Bytes of a tensor of this type and shape; `None` where the count overflows or where packed
    /// elements end within a byte.
    pub fn byte_len(self, shape: &[usize]) -> Option<usize> {
        // A zero anywhere empties the tensor, however absurd the other sizes are.
        if shape.contains(&0) {
            return Some(0);
        }
        let count = shape
            .iter()
            .try_fold(1usize, |count, &size| count.checked_mul(size))?;
        let bits = count.checked_mul(self.bits())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Bytes that an address of this type must be a multiple of.
    pub(crate) fn alignment(self) -> usize {
        (self.bits() / 8).next_power_of_two()
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for DType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for &dtype in DType::ALL {
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(DType::from_name("bfloat16"), None);
    }

    #[test]
    fn byte_lengths() {
        assert_eq!(DType::BF16.byte_len(&[3, 5]), Some(30));
        assert_eq!(DType::F32.byte_len(&[]), Some(4));
        assert_eq!(DType::F4.byte_len(&[3]), None);
        assert_eq!(DType::F6_E2M3.byte_len(&[4]), Some(3));
        assert_eq!(DType::I64.byte_len(&[usize::MAX, 2]), None);
        assert_eq!(DType::I64.byte_len(&[usize::MAX / 4]), None);
        assert_eq!(DType::I64.byte_len(&[usize::MAX, 2, 0]), Some(0));
    }
}
