//! Exact or fast: how weights, activations and cached rows are held.

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use k25_model::fast::{ActivationFormat, DenseFormat, FastOptions, LatentFormat};

use super::Execution;

/// How the fast execution computes. The defaults are exact; `k25 verify --fast` measures the error of
/// the others.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Dense matrices: as stored, or quantised at load (faster; needs --activations int8)
    #[arg(long, value_name = "FORMAT", default_value = "bf16")]
    pub dense: Dense,
    /// What experts' weights are multiplied with (int8 is faster)
    #[arg(long, value_name = "FORMAT", default_value = "f32")]
    pub activations: Activations,
    /// Cached rows (bf16 takes half the memory, int8 a quarter)
    #[arg(long, value_name = "FORMAT", default_value = "f32")]
    pub cache: Cache,
    /// Keep resident memory below this, for instance 8GiB: cold experts are given back, so that a
    /// model may be larger than memory [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<usize>,
}

/// A number of bytes with a unit.
fn size(text: &str) -> Result<usize, String> {
    let expected = || "it must be a number with a unit, for instance 8GiB or 500MB".to_owned();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: f64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "g" | "gib" => (1u64 << 30) as f64,
        "gb" => 1e9,
        "m" | "mib" => (1u64 << 20) as f64,
        "mb" => 1e6,
        _ => return Err(expected()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| expected())?;
    let bytes = number * unit;
    if (1.0..9e15).contains(&bytes) {
        Ok(bytes as usize)
    } else {
        Err(expected())
    }
}

impl ComputeArgs {
    /// The choices for `execution`.
    ///
    /// # Errors
    /// If the reference execution is asked for anything but exactness.
    pub fn fast(&self, execution: Execution) -> Result<FastOptions> {
        let options = FastOptions {
            dense: self.dense.format(),
            activations: self.activations.format(),
            memory_limit: self.memory,
            ..FastOptions::default()
        };
        let is_exact = options == FastOptions::default() && self.cache == Cache::F32;
        if execution == Execution::Reference && !is_exact {
            return Err(anyhow!(
                "--execution reference computes exactly, without a limit of memory\n  hint: leave out --dense, \
                 --activations, --cache and --memory, or take --execution fast"
            ));
        }
        Ok(options)
    }
}

/// Formats of dense matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dense {
    /// As the checkpoint has them
    #[value(name = "bf16")]
    Stored,
    /// int8, one scale per row and 128 columns
    Int8,
}

/// Formats of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    /// Exact products
    F32,
    /// int8 in groups of 32
    Int8,
}

/// Formats of cached rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cache {
    /// As computed
    F32,
    /// Half the memory
    Bf16,
    /// A quarter of the memory
    Int8,
}

impl Dense {
    /// The model's word for it.
    pub fn format(self) -> DenseFormat {
        match self {
            Self::Stored => DenseFormat::Stored,
            Self::Int8 => DenseFormat::Int8,
        }
    }
}

impl Activations {
    /// The model's word for it.
    pub fn format(self) -> ActivationFormat {
        match self {
            Self::F32 => ActivationFormat::F32,
            Self::Int8 => ActivationFormat::Int8,
        }
    }
}

impl Cache {
    /// The model's word for it.
    pub fn format(self) -> LatentFormat {
        match self {
            Self::F32 => LatentFormat::F32,
            Self::Bf16 => LatentFormat::Bf16,
            Self::Int8 => LatentFormat::Int8,
        }
    }
}
