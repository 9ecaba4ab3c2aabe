//! A checkpoint folder: safetensors shards, mapped, and the names of their tensors.
//!
//! Opening reads headers and the index, never values. What comes out is consistent: every offset
//! lies in its file, every tensor has exactly one place, and index and shards agree.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

mod error;
mod file;
pub mod header;
mod index;
mod mmap;

pub use error::{CheckpointError, Place};
pub use file::SafetensorsFile;
pub use header::{HeaderFault, TensorInfo};

pub(crate) use error::{Facts, amount, file_name, first_few, shape_text, shown};

use crate::tensor::Tensor;
use file::OpenFault;
use index::Index;

/// The name of the index file.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// The most shards of a checkpoint; Kimi K2.5 has 64, the family's most are 163.
pub const MAX_SHARDS: usize = 4_096;

/// The most tensors of a checkpoint; Kimi K2.5 has 208,550.
pub const MAX_TENSORS: usize = 4_000_000;

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    shards: Vec<SafetensorsFile>,
    /// Every tensor as shard and number within it, sorted by name.
    tensors: Vec<(u32, u32)>,
    notes: Notes,
}

/// What is odd about a checkpoint that can be opened all the same.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Notes {
    /// Tensors that lie in a shard and that the index does not name.
    pub not_in_index: Vec<String>,
    /// `total_size` of the index and the bytes that the tensors have, where they differ.
    pub total_size: Option<(u64, u64)>,
}

/// A tensor and the shard that holds it.
#[derive(Debug, Clone, Copy)]
pub struct Located<'a> {
    /// Its place in the order of names.
    pub number: usize,
    /// Name, type, shape, place.
    pub info: TensorInfo<'a>,
    /// The file.
    pub shard: &'a SafetensorsFile,
}

impl Located<'_> {
    /// A handle to the values, which stay in the file.
    pub fn tensor(&self) -> Tensor {
        self.shard.tensor_of(&self.info)
    }

    /// The file's name, for messages.
    pub fn file_name(&self) -> String {
        file_name(self.shard.path())
    }

    /// The values of a small integer tensor, read past the map so that no page of it comes into
    /// memory. `None` where the type is not an integer.
    pub(crate) fn small_integers(&self) -> Result<Option<Vec<i64>>, CheckpointError> {
        let bytes = self
            .shard
            .read_small(&self.info)
            .map_err(|source| CheckpointError::Io {
                action: "read",
                path: self.shard.path().to_owned(),
                source,
            })?;
        let range = 0..bytes.len();
        let source = std::sync::Arc::new(bytes);
        Ok(Tensor::in_source(self.info.dtype, self.info.shape.clone(), source, range).to_i64_vec())
    }
}

impl Checkpoint {
    /// Opens the checkpoint in `dir`: by its index, or `model.safetensors`, or numbered shards.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        match locate(dir)? {
            Layout::Indexed(index) => Self::open_indexed(dir, &index),
            Layout::Files(files) => Self::open_files(dir, files),
        }
    }

    fn open_indexed(dir: &Path, index_path: &Path) -> Result<Self, CheckpointError> {
        let text = index::read_text(index_path)?;
        let index = Index::parse(&text, index_path)?;
        let files: Vec<_> = index.shards.iter().map(|name| dir.join(&**name)).collect();
        let missing: Vec<_> = files
            .iter()
            .filter(|file| !file.exists())
            .map(|file| file_name(file))
            .collect();
        if !missing.is_empty() {
            let (dir, total) = (dir.to_owned(), files.len());
            return Err(CheckpointError::MissingShards {
                dir,
                missing,
                total,
            });
        }
        let mut checkpoint = Self::open_files(dir, files)?;
        checkpoint.compare_with(&index)?;
        Ok(checkpoint)
    }

    fn open_files(dir: &Path, files: Vec<PathBuf>) -> Result<Self, CheckpointError> {
        let shards = open_shards(&files)?;
        let count = shards.iter().map(|shard| shard.header().len()).sum();
        if count > MAX_TENSORS {
            let (dir, limit) = (dir.to_owned(), MAX_TENSORS);
            return Err(CheckpointError::TooMany {
                dir,
                what: "tensors",
                count,
                limit,
            });
        }
        let tensors = order_by_name(&shards)?;
        Ok(Self {
            dir: dir.to_owned(),
            shards,
            tensors,
            notes: Notes::default(),
        })
    }

    /// Index and shards must agree on where each tensor is. Both are in the order of names.
    fn compare_with(&mut self, index: &Index<'_>) -> Result<(), CheckpointError> {
        let mut missing = Vec::new();
        let mut unnamed = Vec::new();
        let mut found = self
            .tensors
            .iter()
            .map(|&place| (self.info(place).name, place.0))
            .peekable();
        for (name, expected_shard) in &index.tensors {
            while let Some((stray, _)) = found.next_if(|&(found, _)| found < &**name) {
                unnamed.push(stray.to_owned());
            }
            let Some((_, shard)) = found.next_if(|&(found, _)| found == &**name) else {
                let shard = &index.shards[*expected_shard as usize];
                missing.push(format!("{name} ({shard})"));
                continue;
            };
            if shard != *expected_shard {
                return Err(CheckpointError::WrongShard {
                    tensor: name.to_string(),
                    expected: index.shards[*expected_shard as usize].to_string(),
                    found: index.shards[shard as usize].to_string(),
                });
            }
        }
        unnamed.extend(found.map(|(stray, _)| stray.to_owned()));
        if !missing.is_empty() {
            let total = index.tensors.len();
            return Err(CheckpointError::MissingTensors { missing, total });
        }
        self.notes.not_in_index = unnamed;
        let bytes = self.tensors().map(|tensor| tensor.info.byte_len).sum();
        self.notes.total_size = index
            .total_size
            .filter(|&size| size != bytes)
            .map(|size| (size, bytes));
        Ok(())
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files, in the order of their names.
    pub fn shards(&self) -> &[SafetensorsFile] {
        &self.shards
    }

    /// What is odd though harmless.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Every tensor in the order of names.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Located<'_>> {
        (0..self.len()).map(|number| self.located(number))
    }

    /// The tensor of this name, with its file.
    pub fn find(&self, name: &str) -> Option<Located<'_>> {
        let found = self
            .tensors
            .binary_search_by_key(&name, |&place| self.info(place).name);
        found.ok().map(|number| self.located(number))
    }

    /// A handle to the tensor of this name; its values stay in the file.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        self.find(name).map(|located| located.tensor())
    }

    /// Bytes of the tensors that lie misaligned for their type. A [`Tensor`] of them is a copy.
    pub fn misaligned_bytes(&self) -> u64 {
        let misaligned =
            |info: &TensorInfo<'_>| !info.begin.is_multiple_of(info.dtype.alignment() as u64);
        self.tensors()
            .map(|tensor| tensor.info)
            .filter(misaligned)
            .map(|info| info.byte_len)
            .sum()
    }

    fn info(&self, place: (u32, u32)) -> TensorInfo<'_> {
        self.shards[place.0 as usize]
            .header()
            .tensor_at(place.1 as usize)
    }

    fn located(&self, number: usize) -> Located<'_> {
        let place = self.tensors[number];
        Located {
            number,
            info: self.info(place),
            shard: &self.shards[place.0 as usize],
        }
    }
}

/// How the files of a folder make a checkpoint.
enum Layout {
    Indexed(PathBuf),
    Files(Vec<PathBuf>),
}

fn locate(dir: &Path) -> Result<Layout, CheckpointError> {
    let io = |source| CheckpointError::Io {
        action: "open",
        path: dir.to_owned(),
        source,
    };
    if !fs::metadata(dir).map_err(io)?.is_dir() {
        let hint = "give the folder that holds config.json and the shards, not a file";
        return Err(CheckpointError::NotFound {
            dir: dir.to_owned(),
            hint,
        });
    }
    let index = dir.join(INDEX_FILE);
    if index.exists() {
        return Ok(Layout::Indexed(index));
    }
    let single = dir.join("model.safetensors");
    if single.exists() {
        return Ok(Layout::Files(vec![single]));
    }
    numbered_shards(dir)
}

/// Shards `STEM-00001-of-00064.safetensors` without an index: one stem, every number there.
fn numbered_shards(dir: &Path) -> Result<Layout, CheckpointError> {
    let io = |source| CheckpointError::Io {
        action: "list",
        path: dir.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if let Some(number) = name.to_str().and_then(ShardName::parse) {
            names.push(number);
        }
        if names.len() > MAX_SHARDS {
            let (dir, count, limit) = (dir.to_owned(), names.len(), MAX_SHARDS);
            return Err(CheckpointError::TooMany {
                dir,
                what: "shards",
                count,
                limit,
            });
        }
    }
    names.sort_unstable();
    let Some(first) = names.first().cloned() else {
        let hint = "give the folder that holds the model's safetensors files";
        return Err(CheckpointError::NotFound {
            dir: dir.to_owned(),
            hint,
        });
    };
    if names
        .iter()
        .any(|name| (&name.stem, name.total) != (&first.stem, first.total))
    {
        let hint = "it holds the numbered shards of several models and no index: keep those of one";
        return Err(CheckpointError::NotFound {
            dir: dir.to_owned(),
            hint,
        });
    }
    let missing: Vec<_> = (1..=first.total.min(MAX_SHARDS))
        .filter(|&number| names.iter().all(|name| name.number != number))
        .map(|number| first.with_number(number))
        .collect();
    if !missing.is_empty() {
        let (dir, total) = (dir.to_owned(), first.total);
        return Err(CheckpointError::MissingShards {
            dir,
            missing,
            total,
        });
    }
    Ok(Layout::Files(
        names
            .iter()
            .map(|name| dir.join(name.with_number(name.number)))
            .collect(),
    ))
}

/// The parts of a shard's file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ShardName {
    stem: String,
    number: usize,
    total: usize,
    /// Digits of the number and of the total, as written.
    digits: (usize, usize),
}

impl ShardName {
    fn parse(name: &str) -> Option<Self> {
        let (rest, total) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let parse = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        Some(Self {
            stem: stem.to_owned(),
            number: parse(number)?,
            total: parse(total)?,
            digits: (number.len(), total.len()),
        })
    }

    fn with_number(&self, number: usize) -> String {
        let Self {
            stem,
            total,
            digits: (a, b),
            ..
        } = self;
        format!("{stem}-{number:0a$}-of-{total:0b$}.safetensors")
    }
}

/// Opens all shards, several at a time, and tells the first fault and how many more there are.
fn open_shards(files: &[PathBuf]) -> Result<Vec<SafetensorsFile>, CheckpointError> {
    let opened: Vec<_> = files
        .par_iter()
        .map(|path| SafetensorsFile::open_unnamed(path))
        .collect();
    let faults = opened
        .iter()
        .filter(|result| matches!(result, Err(OpenFault::Header(_))))
        .count();
    let total = files.len();
    let mut shards = Vec::with_capacity(total);
    for (index, result) in opened.into_iter().enumerate() {
        let place = match total {
            1 => Place::Alone,
            _ => Place::Shard {
                number: index + 1,
                total,
            },
        };
        shards.push(
            result.map_err(|fault| fault.named(&files[index], place, faults.saturating_sub(1)))?,
        );
    }
    Ok(shards)
}

fn order_by_name(shards: &[SafetensorsFile]) -> Result<Vec<(u32, u32)>, CheckpointError> {
    let name = |&(shard, index): &(u32, u32)| {
        shards[shard as usize]
            .header()
            .tensor_at(index as usize)
            .name
    };
    // Shards and tensors are far fewer than 2³².
    let mut tensors: Vec<_> = shards
        .iter()
        .zip(0u32..)
        .flat_map(|(shard, number)| (0..shard.header().len() as u32).map(move |i| (number, i)))
        .collect();
    tensors.par_sort_unstable_by_key(name);
    if let Some(pair) = tensors
        .windows(2)
        .find(|pair| name(&pair[0]) == name(&pair[1]))
    {
        let file = |place: (u32, u32)| file_name(shards[place.0 as usize].path());
        return Err(CheckpointError::InTwoShards {
            tensor: name(&pair[0]).to_owned(),
            first: file(pair[0].min(pair[1])),
            second: file(pair[0].max(pair[1])),
        });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests;
