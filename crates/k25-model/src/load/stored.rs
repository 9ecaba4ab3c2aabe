//! How one part is stored: found among the tensors, and checked.

use std::hash::{DefaultHasher, Hash, Hasher};

use k25_config::ModelConfig;

use crate::checkpoint::{Checkpoint, CheckpointError, Located, shape_text};
use crate::linear::{Dense, INT4_GROUP, Linear, PackedInt4};
use crate::names::{Form, Part};
use crate::tensor::DType;

use super::error::Mismatch;

/// The tensors that hold one part, of the right types and shapes.
pub(crate) enum Stored<'a> {
    /// One tensor of floating-point values.
    Plain(Located<'a>),
    /// Packed INT4.
    Packed {
        /// Eight nibbles each.
        words: Located<'a>,
        /// One for each group.
        scales: Located<'a>,
        /// `weight_shape`: the shape of the matrix that the words stand for.
        declared: Located<'a>,
    },
}

/// Why a part cannot be loaded.
#[derive(Debug)]
pub(crate) enum PartFault {
    /// These tensors are not there.
    Missing(Vec<String>),
    /// A tensor has another type, shape or value.
    Mismatch(Mismatch),
    /// Its values could not be read.
    Read(CheckpointError),
}

/// The most values of a part that becomes f32 in memory. Kimi K2.5's position table, its largest,
/// has 4.7 million.
const MAX_VALUES: u64 = 1 << 28;

const MATRIX_TYPES: &[DType] = &[DType::BF16, DType::F32];
const VALUE_TYPES: &[DType] = &[DType::BF16, DType::F32, DType::F16];
const DECLARED_TYPES: &[DType] = &[DType::I32, DType::I64];

/// How many `weight_shape` tensors are read, about, when a model is opened.
///
/// They repeat what the shapes of words and scales have proved already. Reading all 69,120 of Kimi
/// K2.5 would touch as many pages all over the disk, so of large models a sample is read.
const DECLARED_SHAPES_READ: usize = 4_096;

/// Finds parts among the tensors of a checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finder<'a> {
    checkpoint: &'a Checkpoint,
    /// One of how many packed matrices has its declared shape read.
    sample: u64,
}

impl<'a> Finder<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, config: &ModelConfig) -> Self {
        let text = &config.text;
        let layers = (0..text.num_hidden_layers)
            .filter(|&i| text.is_moe_layer(i))
            .count();
        let packed = 3 * layers * text.n_routed_experts;
        Self {
            checkpoint,
            sample: packed.div_ceil(DECLARED_SHAPES_READ).max(1) as u64,
        }
    }

    pub(crate) fn checkpoint(self) -> &'a Checkpoint {
        self.checkpoint
    }

    /// Finds and checks the tensors of `part`. Whether a matrix is packed is told by the tensors
    /// alone, never by the configuration.
    pub(crate) fn find(self, part: &Part) -> Result<Stored<'a>, PartFault> {
        // The patch convolution has four dimensions and is never packed.
        if part.form == Form::Matrix && part.shape.len() == 2 {
            let names = part.packed_names();
            match names.each_ref().map(|name| self.checkpoint.find(name)) {
                [None, None, None] => {}
                [Some(words), Some(scales), Some(declared)] => {
                    let stored = Stored::packed(part, words, scales, declared)?;
                    if self.reads_declared_shape(part) {
                        stored.check_declared_shape(part)?;
                    }
                    return Ok(stored);
                }
                found => {
                    let absent = names
                        .into_iter()
                        .zip(found)
                        .filter(|(_, found)| found.is_none());
                    return Err(PartFault::Missing(absent.map(|(name, _)| name).collect()));
                }
            }
        }
        let Some(plain) = self.checkpoint.find(&part.name) else {
            return Err(PartFault::Missing(vec![part.name.clone()]));
        };
        let types = match part.form {
            Form::Matrix => MATRIX_TYPES,
            Form::Values => VALUE_TYPES,
        };
        check(&plain, types, &part.shape)?;
        if part.form == Form::Values && part.parameters() > MAX_VALUES {
            return Err(mismatch(&plain, format!("at most {MAX_VALUES} values")));
        }
        Ok(Stored::Plain(plain))
    }

    /// A choice by name is the same however the parts are walked over.
    fn reads_declared_shape(self, part: &Part) -> bool {
        let mut hasher = DefaultHasher::new();
        part.name.hash(&mut hasher);
        hasher.finish().is_multiple_of(self.sample)
    }
}

impl<'a> Stored<'a> {
    fn packed(
        part: &Part,
        words: Located<'a>,
        scales: Located<'a>,
        declared: Located<'a>,
    ) -> Result<Self, PartFault> {
        let (rows, width) = (part.shape[0], part.shape[1]);
        if !width.is_multiple_of(INT4_GROUP) {
            let expected = format!("a plain matrix: {width} columns make no whole groups of 32");
            return Err(mismatch(&words, expected));
        }
        check(&words, &[DType::I32], &[rows, width / 8])?;
        check(&scales, &[DType::BF16], &[rows, width / INT4_GROUP])?;
        check(&declared, DECLARED_TYPES, &[2])?;
        Ok(Self::Packed {
            words,
            scales,
            declared,
        })
    }

    /// Reads `weight_shape` of a packed matrix and compares it with the part's.
    fn check_declared_shape(&self, part: &Part) -> Result<(), PartFault> {
        let Self::Packed { declared, .. } = self else {
            return Ok(());
        };
        let found = declared
            .small_integers()
            .map_err(PartFault::Read)?
            .unwrap_or_default();
        let expected = part.shape.iter().map(|&size| size as i64);
        if found.iter().copied().eq(expected) {
            return Ok(());
        }
        Err(PartFault::Mismatch(Mismatch {
            tensor: declared.info.name.to_owned(),
            expected: format!("values {}", shape_text(&part.shape)),
            found: format!("values {found:?}"),
            file: declared.file_name(),
        }))
    }

    /// The matrix, its values left in the file. Dimensions after the first are read as one.
    pub(crate) fn linear(&self, part: &Part) -> Linear {
        let (out_features, in_features) = (part.shape[0], part.shape[1..].iter().product());
        match self {
            Self::Plain(plain) => {
                let dense = Dense {
                    values: plain.tensor(),
                    out_features,
                    in_features,
                };
                match plain.info.dtype {
                    DType::F32 => Linear::F32(dense),
                    _ => Linear::Bf16(dense), // MATRIX_TYPES has only these two.
                }
            }
            Self::Packed { words, scales, .. } => Linear::Int4(PackedInt4 {
                packed: words.tensor(),
                scales: scales.tensor(),
                out_features,
                in_features,
            }),
        }
    }

    /// The values of a plain part as f32.
    pub(crate) fn values(&self, part: &Part) -> Result<Vec<f32>, PartFault> {
        let values = match self {
            Self::Plain(plain) => plain.tensor().to_f32_vec(),
            Self::Packed { .. } => None,
        };
        // Parts kept as values are never packed and have one of VALUE_TYPES.
        values.ok_or_else(|| PartFault::Missing(vec![part.name.clone()]))
    }

    /// How it is stored, for people.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Plain(plain) => plain.info.dtype.name(),
            Self::Packed { .. } => "INT4 g32",
        }
    }

    /// The tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Located<'a>> {
        let (first, others) = match self {
            Self::Plain(plain) => (plain, None),
            Self::Packed {
                words,
                scales,
                declared,
            } => (words, Some([scales, declared])),
        };
        std::iter::once(first).chain(others.into_iter().flatten())
    }
}

fn check(found: &Located<'_>, types: &[DType], shape: &[usize]) -> Result<(), PartFault> {
    if types.contains(&found.info.dtype) && found.info.shape[..] == *shape {
        return Ok(());
    }
    let names: Vec<_> = types.iter().map(|dtype| dtype.name()).collect();
    Err(mismatch(
        found,
        format!("{} {}", names.join(" or "), shape_text(shape)),
    ))
}

fn mismatch(found: &Located<'_>, expected: String) -> PartFault {
    PartFault::Mismatch(Mismatch {
        tensor: found.info.name.to_owned(),
        expected,
        found: format!("{} {}", found.info.dtype, shape_text(found.info.shape)),
        file: found.file_name(),
    })
}
