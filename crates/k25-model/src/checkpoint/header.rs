//! The header of a safetensors file, read strictly.
//!
//! A file is a little-endian 64-bit length, that many bytes of JSON, then the values:
//! `{"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, …}`, offsets counted
//! from the end of the JSON. Every value byte belongs to exactly one tensor.
//! Source: the format's own description, <https://github.com/huggingface/safetensors#format>.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::tensor::DType;

mod fault;
mod json;

pub use fault::HeaderFault;

/// The longest header that is read, the limit of the format's own library. A single file with all
/// 208,550 tensors of Kimi K2.5 would need a third of it.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The longest tensor name; the family's longest have 80 bytes.
pub const MAX_NAME_BYTES: usize = 1_000;

/// The most dimensions of a tensor; the family's tensors have at most 4.
pub const MAX_RANK: usize = 8;

/// What the header of one file says, checked in itself and against the file's length.
#[derive(Debug)]
pub struct Header {
    /// All names, end to end.
    names: String,
    /// Sorted by name.
    entries: Vec<Entry>,
    /// Every shape that occurs; there are few.
    shapes: Vec<Arc<[usize]>>,
    /// Where the values begin, counted from the start of the file.
    values_start: u64,
}

/// One tensor of a header. Offsets count from [`Header::values_start`].
#[derive(Debug, Clone, Copy)]
struct Entry {
    begin: u64,
    end: u64,
    name_start: u32,
    name_len: u16,
    dtype: DType,
    shape: u32,
}

/// One tensor as its file's header describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its element type.
    pub dtype: DType,
    /// Sizes of its dimensions, outermost first.
    pub shape: &'a Arc<[usize]>,
    /// Where its bytes begin, counted from the start of the file.
    pub begin: u64,
    /// How many bytes it has.
    pub byte_len: u64,
}

/// Why a header could not be read: the system's fault or the file's.
#[derive(Debug)]
pub enum HeaderError {
    /// Reading failed.
    Io(io::Error),
    /// The file is not as the format asks.
    Fault(HeaderFault),
}

impl From<HeaderFault> for HeaderError {
    fn from(fault: HeaderFault) -> Self {
        Self::Fault(fault)
    }
}

impl Header {
    /// Reads the header from the start of a file of `file_len` bytes.
    ///
    /// Memory stays in proportion to the header, which is at most [`MAX_HEADER_BYTES`] long.
    pub fn read(file: &mut impl Read, file_len: u64) -> Result<Self, HeaderError> {
        if file_len < 8 {
            return Err(HeaderFault::TooShort { file_len }.into());
        }
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(HeaderError::Io)?;
        let header_len = u64::from_le_bytes(prefix);
        if let Some(kind) = fault::foreign_file(prefix) {
            return Err(HeaderFault::ForeignFile { kind }.into());
        }
        if header_len > MAX_HEADER_BYTES {
            return Err(HeaderFault::LengthAbsurd { header_len }.into());
        }
        if header_len > file_len - 8 {
            return Err(HeaderFault::LengthBeyondFile {
                header_len,
                file_len,
            }
            .into());
        }
        // At most MAX_HEADER_BYTES, and no more than the file has.
        let mut json = Vec::with_capacity(header_len as usize);
        let read = file.take(header_len).read_to_end(&mut json);
        if read.map_err(HeaderError::Io)? as u64 != header_len {
            return Err(HeaderError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Self::parse(&json, file_len)?)
    }

    /// Parses the JSON of a header that stands at the start of a file of `file_len` bytes.
    pub fn parse(json: &[u8], file_len: u64) -> Result<Self, HeaderFault> {
        let text = std::str::from_utf8(json).map_err(|error| HeaderFault::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        let raw = json::parse(text)?;
        let mut header = Self {
            names: raw.names,
            entries: raw.entries,
            shapes: raw.shapes.list,
            values_start: 8 + json.len() as u64,
        };
        header.check_offsets(file_len)?;
        header.sort_by_name()?;
        Ok(header)
    }

    /// Every byte after the header belongs to exactly one tensor.
    fn check_offsets(&mut self, file_len: u64) -> Result<(), HeaderFault> {
        let available = file_len.saturating_sub(self.values_start);
        self.entries
            .sort_unstable_by_key(|entry| (entry.begin, entry.end));
        let mut end = 0;
        let mut first_cut = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let tensor = || self.name(entry).to_owned();
            if entry.begin != end {
                if entry.end > available {
                    let (begin, end) = (entry.begin, entry.end);
                    return Err(HeaderFault::OutOfRange {
                        tensor: tensor(),
                        begin,
                        end,
                        available,
                    });
                }
                if entry.begin > end {
                    let (begin, end) = (end, entry.begin);
                    return Err(HeaderFault::Hole {
                        tensor: tensor(),
                        begin,
                        end,
                    });
                }
                let other = self.name(&self.entries[index - 1]).to_owned();
                return Err(HeaderFault::Overlap {
                    tensor: tensor(),
                    other,
                });
            }
            end = entry.end;
            if end > available && first_cut.is_none() {
                first_cut = Some(tensor());
            }
        }
        if let Some(tensor) = first_cut {
            let expected = self.values_start.saturating_add(end);
            return Err(HeaderFault::CutShort {
                tensor,
                file_len,
                expected,
            });
        }
        if end < available {
            return Err(HeaderFault::TrailingBytes {
                extra: available - end,
            });
        }
        Ok(())
    }

    fn sort_by_name(&mut self) -> Result<(), HeaderFault> {
        let names = &self.names;
        self.entries
            .sort_unstable_by_key(|entry| entry.name_in(names));
        for pair in self.entries.windows(2) {
            if pair[0].name_in(names) == pair[1].name_in(names) {
                let tensor = pair[0].name_in(names).to_owned();
                return Err(HeaderFault::DuplicateName { tensor });
            }
        }
        Ok(())
    }

    fn name(&self, entry: &Entry) -> &str {
        entry.name_in(&self.names)
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The tensors in the order of their names.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        (0..self.len()).map(|index| self.tensor_at(index))
    }

    /// The `index`-th tensor in the order of names.
    pub fn tensor_at(&self, index: usize) -> TensorInfo<'_> {
        let entry = &self.entries[index];
        TensorInfo {
            name: self.name(entry),
            dtype: entry.dtype,
            shape: &self.shapes[entry.shape as usize],
            begin: self.values_start + entry.begin,
            byte_len: entry.end - entry.begin,
        }
    }

    /// The tensor of this name.
    pub fn find(&self, name: &str) -> Option<TensorInfo<'_>> {
        let found = self
            .entries
            .binary_search_by_key(&name, |entry| self.name(entry));
        found.ok().map(|index| self.tensor_at(index))
    }
}

impl Entry {
    fn name_in(self, names: &str) -> &str {
        let start = self.name_start as usize;
        &names[start..start + usize::from(self.name_len)]
    }
}

/// Shapes, each kept once.
#[derive(Debug, Default)]
struct Shapes {
    list: Vec<Arc<[usize]>>,
    numbers: HashMap<Arc<[usize]>, u32>,
}

impl Shapes {
    fn number_of(&mut self, shape: &[usize]) -> u32 {
        if let Some(&number) = self.numbers.get(shape) {
            return number;
        }
        // A header of at most 100 MB holds far fewer than 2³² tensors.
        let number = self.list.len() as u32;
        let shape: Arc<[usize]> = shape.into();
        self.list.push(shape.clone());
        self.numbers.insert(shape, number);
        number
    }
}

#[cfg(test)]
mod tests;
