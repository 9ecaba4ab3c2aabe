//! What can be wrong with one file, told without its name.

use crate::checkpoint::error::{Facts, amount, shape_text, shown};
use crate::tensor::DType;

use super::{MAX_HEADER_BYTES, MAX_NAME_BYTES};

/// How a file departs from the format. The text is what stands after "this file …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// Not even the length of the header is there.
    #[error("is too short to be a safetensors file")]
    TooShort {
        /// The file's length in bytes.
        file_len: u64,
    },
    /// The file is something else that is often found in this place.
    #[error("is {kind}, not a safetensors file")]
    ForeignFile {
        /// What it is.
        kind: &'static str,
    },
    /// No real header is this long.
    #[error("claims a header of {header_len} bytes, more than the {MAX_HEADER_BYTES} allowed")]
    LengthAbsurd {
        /// The header's length as the file has it.
        header_len: u64,
    },
    /// The header would end after the file.
    #[error("claims a header of {header_len} bytes, but has only {file_len} bytes in all")]
    LengthBeyondFile {
        /// The header's length as the file has it.
        header_len: u64,
        /// The file's length in bytes.
        file_len: u64,
    },
    /// The header is not text.
    #[error("has a header that is not UTF-8 text (byte {at})")]
    NotUtf8 {
        /// The first wrong byte of the header.
        at: usize,
    },
    /// The header is not the JSON that the format asks for.
    #[error("has a header that is not what the format asks for: {detail}")]
    NotJson {
        /// What serde_json says, with its place.
        detail: String,
    },
    /// One tensor's entry is not a type, a shape and two offsets.
    #[error("describes a tensor wrongly: {detail}")]
    BadEntry {
        /// The tensor.
        tensor: String,
        /// What serde_json says, with its place.
        detail: String,
    },
    /// A name is longer than any real one.
    #[error("has a tensor name longer than {MAX_NAME_BYTES} bytes")]
    NameTooLong {
        /// The tensor.
        tensor: String,
    },
    /// Two entries have the same name.
    #[error("describes the same tensor twice")]
    DuplicateName {
        /// The tensor.
        tensor: String,
    },
    /// A tensor ends before it begins.
    #[error("has a tensor with reversed offsets")]
    Reversed {
        /// The tensor.
        tensor: String,
        /// Its first offset.
        begin: u64,
        /// Its second offset.
        end: u64,
    },
    /// Shape and type ask for more bytes than can be counted, or for part of a byte.
    #[error("has a tensor of an impossible size")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Shape and type ask for another number of bytes than lie between the offsets.
    #[error("has a tensor whose shape and bytes do not agree")]
    WrongLength {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that type and shape ask for.
        expected: u64,
        /// Bytes between the offsets.
        len: u64,
    },
    /// A tensor lies outside the file, and not because the file was cut.
    #[error("has a tensor with offsets outside the file")]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// Its first offset.
        begin: u64,
        /// Its second offset.
        end: u64,
        /// Bytes that follow the header.
        available: u64,
    },
    /// Two tensors share bytes.
    #[error("has two tensors that overlap")]
    Overlap {
        /// The tensor.
        tensor: String,
        /// The one that it overlaps.
        other: String,
    },
    /// Bytes between two tensors belong to none, which the format forbids.
    #[error("has bytes {begin} to {end} that belong to no tensor")]
    Hole {
        /// The tensor after the hole.
        tensor: String,
        /// The first offset of the hole.
        begin: u64,
        /// The offset after the hole.
        end: u64,
    },
    /// The header is whole and the file ends too early.
    #[error("is cut short")]
    CutShort {
        /// The first tensor that is not whole.
        tensor: String,
        /// The file's length in bytes.
        file_len: u64,
        /// The length that it should have.
        expected: u64,
    },
    /// The file goes on after its last tensor.
    #[error("has {extra} bytes after its last tensor")]
    TrailingBytes {
        /// How many.
        extra: u64,
    },
}

impl HeaderFault {
    /// The tensor that the fault is about.
    pub fn tensor(&self) -> Option<&str> {
        match self {
            Self::BadEntry { tensor, .. }
            | Self::NameTooLong { tensor }
            | Self::DuplicateName { tensor }
            | Self::Reversed { tensor, .. }
            | Self::Overflow { tensor, .. }
            | Self::WrongLength { tensor, .. }
            | Self::OutOfRange { tensor, .. }
            | Self::Overlap { tensor, .. }
            | Self::Hole { tensor, .. }
            | Self::CutShort { tensor, .. } => Some(tensor),
            _ => None,
        }
    }

    /// Adds what is known beyond the headline.
    pub(crate) fn add_facts(&self, facts: &mut Facts) {
        if let Some(tensor) = self.tensor() {
            facts.add("tensor", shown(tensor));
        }
        match self {
            Self::Reversed { begin, end, .. } => facts.add("offsets", format!("{begin} to {end}")),
            Self::Overflow { dtype, shape, .. } => {
                facts.add("shape", format!("{dtype} {}", shape_text(shape)));
            }
            Self::WrongLength {
                dtype,
                shape,
                expected,
                len,
                ..
            } => {
                let shape = shape_text(shape);
                facts.add(
                    "expected",
                    format!("{dtype} {shape}, which is {expected} bytes"),
                );
                facts.add("found", format!("{len} bytes"));
            }
            Self::OutOfRange {
                begin,
                end,
                available,
                ..
            } => facts.add(
                "offsets",
                format!("{begin} to {end}, but only {available} bytes follow the header"),
            ),
            Self::Overlap { other, .. } => facts.add("overlaps", shown(other)),
            _ => {}
        }
        facts.hint(self.hint());
    }

    /// What the file's length says, where that is the point.
    pub(crate) fn file_size(&self) -> Option<String> {
        match self {
            Self::TooShort { file_len } => Some(amount(*file_len)),
            Self::CutShort {
                file_len, expected, ..
            } => {
                let (found, whole) = (amount(*file_len), amount(*expected));
                Some(if found == whole {
                    format!("{file_len} of {expected} bytes")
                } else {
                    format!("{found} of {whole}")
                })
            }
            _ => None,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::ForeignFile {
                kind: GIT_LFS_POINTER,
            } => "run `git lfs pull` in the folder",
            Self::TooShort { .. } | Self::CutShort { .. } => {
                "the download stopped early: fetch this one file again"
            }
            Self::NameTooLong { .. } => "no model of this family has such names",
            _ => "the file is damaged or was written wrongly: fetch this one file again",
        }
    }
}

const GIT_LFS_POINTER: &str = "a Git LFS pointer";

/// Names what else begins with these bytes, as downloads that went wrong do.
pub(super) fn foreign_file(start: [u8; 8]) -> Option<&'static str> {
    match &start {
        b"version " => Some(GIT_LFS_POINTER),
        [b'P', b'K', 3, 4, ..] => Some("a zip archive (perhaps a PyTorch file)"),
        [b'G', b'G', b'U', b'F', ..] => Some("a GGUF file"),
        _ if start.to_ascii_lowercase().starts_with(b"<!doc") => Some("a web page"),
        _ if start.to_ascii_lowercase().starts_with(b"<html") => Some("a web page"),
        _ => None,
    }
}
