//! Why a model cannot be loaded: the tensors at fault, what was expected, what is there.

use std::fmt;
use std::path::PathBuf;

use k25_config::{ConfigError, ModelConfig, Quantization};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, CheckpointError, Facts, amount, first_few, shown};

use super::Survey;

/// Why a checkpoint folder is no model that k25 can run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Its `config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its files.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tensors.
    #[error(transparent)]
    Tensors(#[from] TensorFaults),
    /// It has more layers than its configuration says.
    #[error("the checkpoint has more layers than the {layers} of its config.json{}", Facts::new()
        .with("folder", dir.display())
        .with("hint", "num_hidden_layers is wrong, or config.json belongs to another checkpoint"))]
    MoreLayers {
        /// The folder.
        dir: PathBuf,
        /// `num_hidden_layers`.
        layers: usize,
    },
    /// Its tensors do not lie at addresses that processors read.
    #[error("{} of tensors are misaligned in their files{}", amount(*bytes), Facts::new()
        .with("folder", dir.display())
        .with("hint", "they would have to be copied into memory: write the checkpoint again with a current safetensors library"))]
    Misaligned {
        /// The folder.
        dir: PathBuf,
        /// How many bytes.
        bytes: u64,
    },
}

/// A tensor that is there and is not as the configuration asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its name.
    pub tensor: String,
    /// Type and shape, or values, that were expected.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// The file that holds it.
    pub file: String,
}

/// The first of many, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shortlist<T> {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub first: Vec<T>,
}

impl<T> Shortlist<T> {
    const KEPT: usize = 100;

    pub(crate) fn push(&mut self, item: T) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(item);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T> Default for Shortlist<T> {
    fn default() -> Self {
        Self {
            count: 0,
            first: Vec::new(),
        }
    }
}

/// All that is wrong with the tensors of a checkpoint.
#[derive(Debug)]
pub struct TensorFaults {
    /// The folder.
    pub dir: PathBuf,
    /// Tensors that are not there.
    pub missing: Shortlist<String>,
    /// Tensors of another type, shape or value.
    pub mismatches: Shortlist<Mismatch>,
    /// How the configuration says that weights are stored, where k25 does not read that.
    unsupported: Option<String>,
}

impl TensorFaults {
    pub(super) fn new(survey: Survey, checkpoint: &Checkpoint, config: &ModelConfig) -> Self {
        Self {
            dir: checkpoint.dir().to_owned(),
            missing: survey.missing,
            mismatches: survey.mismatches,
            unsupported: match &config.quantization {
                Quantization::Unsupported { method, .. } => Some(method.clone()),
                _ => None,
            },
        }
    }

    fn hint(&self) -> String {
        match &self.unsupported {
            Some(method) => format!(
                "config.json says that weights are stored as {}, which k25 does not read: use the \
                 INT4 (compressed-tensors) or the BF16 checkpoint",
                shown(method)
            ),
            None => "config.json and the shards must belong to the same model: fetch config.json, \
                     the index and the named files again"
                .to_owned(),
        }
    }
}

impl std::error::Error for TensorFaults {}

impl fmt::Display for TensorFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, wrong) = (self.missing.count, self.mismatches.count);
        match (missing, wrong) {
            (0, 1) => write!(f, "a tensor is not as config.json asks")?,
            (0, _) => write!(f, "{wrong} tensors are not as config.json asks")?,
            (1, 0) => write!(f, "a tensor is missing")?,
            (_, 0) => write!(f, "{missing} tensors are missing")?,
            _ => write!(
                f,
                "{missing} tensors are missing, {wrong} are not as config.json asks"
            )?,
        }
        let mut facts = Facts::new().with("folder", self.dir.display());
        if missing > 0 {
            facts.add("missing", first_few(&self.missing.first, missing));
        }
        for mismatch in self.mismatches.first.iter().take(3) {
            facts.add("tensor", shown(&mismatch.tensor));
            facts.add("expected", &mismatch.expected);
            facts.add("found", &mismatch.found);
            facts.add("file", shown(&mismatch.file));
        }
        facts.hint(self.hint());
        write!(f, "{facts}")
    }
}
