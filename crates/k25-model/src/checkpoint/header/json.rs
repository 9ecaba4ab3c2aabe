//! The JSON of a header, taken in entry by entry as it is read.
//!
//! serde's own maps would keep the last of two equal names and forget the first; here both arrive,
//! and the caller finds them. Names go straight into one string, so no entry owns an allocation.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Entry, HeaderFault, MAX_NAME_BYTES, MAX_RANK, Shapes};
use crate::checkpoint::error::shown;
use crate::tensor::DType;

/// Entries in the order of the file.
#[derive(Default)]
pub(super) struct RawHeader {
    pub(super) names: String,
    pub(super) entries: Vec<Entry>,
    pub(super) shapes: Shapes,
    /// The fault that ended the reading; serde's own errors carry nothing but text.
    fault: Option<HeaderFault>,
}

pub(super) fn parse(text: &str) -> Result<RawHeader, HeaderFault> {
    let mut header = RawHeader::default();
    let mut json = serde_json::Deserializer::from_str(text);
    // Only the first error counts: when a fault was found, serde's own error is its echo.
    let read = HeaderVisitor(&mut header)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    match (header.fault.take(), read) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(HeaderFault::NotJson {
            detail: error.to_string(),
        }),
        (None, Ok(())) => Ok(header),
    }
}

struct HeaderVisitor<'a>(&'a mut RawHeader);

impl<'de> DeserializeSeed<'de> for HeaderVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let header = self.0;
        loop {
            let name_start = header.names.len();
            let Some(name_bytes) = map.next_key_seed(NameVisitor(&mut header.names))? else {
                return Ok(());
            };
            let name = &header.names[name_start..];
            if name == "__metadata__" {
                header.names.truncate(name_start);
                map.next_value::<Metadata>()?;
                continue;
            }
            if name_bytes > MAX_NAME_BYTES {
                let tensor = name.to_owned();
                return stop(&mut header.fault, HeaderFault::NameTooLong { tensor });
            }
            let raw: RawEntry = match map.next_value() {
                Ok(raw) => raw,
                Err(error) => {
                    let (tensor, detail) = (name.to_owned(), error.to_string());
                    return stop(&mut header.fault, HeaderFault::BadEntry { tensor, detail });
                }
            };
            if let Err(fault) = raw.check(name) {
                return stop(&mut header.fault, fault);
            }
            header.entries.push(Entry {
                begin: raw.data_offsets[0],
                end: raw.data_offsets[1],
                name_start: name_start as u32, // at most MAX_HEADER_BYTES
                name_len: name_bytes as u16,   // at most MAX_NAME_BYTES
                dtype: raw.dtype.0,
                shape: header.shapes.number_of(raw.shape.as_slice()),
            });
        }
    }
}

/// Keeps the fault and ends the reading.
fn stop<E: de::Error>(slot: &mut Option<HeaderFault>, fault: HeaderFault) -> Result<(), E> {
    *slot = Some(fault);
    Err(E::custom("stopped at the first fault"))
}

/// Appends a key to the names and returns its length in bytes.
struct NameVisitor<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for NameVisitor<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameVisitor<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor name")
    }

    fn visit_str<E>(self, name: &str) -> Result<usize, E> {
        self.0.push_str(name);
        Ok(name.len())
    }
}

/// `__metadata__`: strings by name. Nothing in it changes how a tensor is read.
struct Metadata;

impl<'de> de::Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings as `__metadata__`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                while map.next_entry::<IgnoredAny, String>()?.is_some() {}
                Ok(Metadata)
            }
        }
        deserializer.deserialize_map(MetadataVisitor)
    }
}

/// One entry as written. A field more, a field less or a field twice is refused by serde.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: RawDType,
    shape: RawShape,
    data_offsets: [u64; 2],
}

impl RawEntry {
    fn check(&self, name: &str) -> Result<(), HeaderFault> {
        let tensor = || name.to_owned();
        let [begin, end] = self.data_offsets;
        let Some(len) = end.checked_sub(begin) else {
            return Err(HeaderFault::Reversed {
                tensor: tensor(),
                begin,
                end,
            });
        };
        let (dtype, shape) = (self.dtype.0, self.shape.as_slice());
        match dtype.byte_len(shape) {
            None => Err(HeaderFault::Overflow {
                tensor: tensor(),
                dtype,
                shape: shape.into(),
            }),
            Some(expected) if expected as u64 != len => Err(HeaderFault::WrongLength {
                tensor: tensor(),
                dtype,
                shape: shape.into(),
                expected: expected as u64,
                len,
            }),
            Some(_) => Ok(()),
        }
    }
}

struct RawDType(DType);

impl<'de> de::Deserialize<'de> for RawDType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DTypeVisitor;
        impl Visitor<'_> for DTypeVisitor {
            type Value = RawDType;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an element type")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RawDType, E> {
                let unknown =
                    || E::custom(format_args!("no element type is called {}", shown(name)));
                DType::from_name(name).map(RawDType).ok_or_else(unknown)
            }
        }
        deserializer.deserialize_str(DTypeVisitor)
    }
}

#[derive(Default)]
struct RawShape {
    sizes: [usize; MAX_RANK],
    rank: usize,
}

impl RawShape {
    fn as_slice(&self) -> &[usize] {
        &self.sizes[..self.rank]
    }
}

impl<'de> de::Deserialize<'de> for RawShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = RawShape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape: at most {MAX_RANK} sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawShape, A::Error> {
                let mut shape = RawShape::default();
                while let Some(size) = seq.next_element()? {
                    if shape.rank == MAX_RANK {
                        return Err(de::Error::invalid_length(MAX_RANK + 1, &self));
                    }
                    shape.sizes[shape.rank] = size;
                    shape.rank += 1;
                }
                Ok(shape)
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}
