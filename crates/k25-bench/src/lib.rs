//! How fast k25 is here, as fractions of what this machine can do at all.
//!
//! Every run first measures the machine's roofs (read bandwidth, integer and f32 peaks), then the
//! work, and prints each figure beside the floor that its bytes and operations allow. Ratios travel
//! between machines and survive a busy one; absolute figures do not.

mod cost;
mod layer;
mod machine;
mod model;
mod sharing;

use std::path::PathBuf;

use k25_model::LoadError;
use k25_model::fast::{FastOptions, FastOptionsError, LatentFormat};
use serde::Serialize;
use thiserror::Error;

pub use machine::Machine;

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The checkpoint; without one, only what needs none.
    pub model: Option<PathBuf>,
    /// Threads that compute.
    pub threads: usize,
    /// Formats of weights and activations.
    pub fast: FastOptions,
    /// Format of cached rows.
    pub cache: LatentFormat,
    /// Depths at which decoding is measured.
    pub depths: Vec<usize>,
    /// Prompt lengths at which prefill is measured.
    pub prompts: Vec<usize>,
    /// Numbers of sequences that decode together.
    pub batches: Vec<usize>,
    /// Requests that share a prefix of 1,024 tokens; 0 leaves that out.
    pub sharing: usize,
    /// Row counts for the MoE layer alone.
    pub moe_rows: Vec<usize>,
}

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The median.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What bandwidth and arithmetic allow, in the same unit.
    pub roof: Option<f64>,
    /// How much of the roof was reached: 1 is all of it.
    pub of_roof: Option<f64>,
    /// Further words.
    pub note: Option<String>,
}

/// Everything that one run measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The machine and its roofs.
    pub machine: Machine,
    /// In the order of measuring.
    pub figures: Vec<Figure>,
}

/// Why nothing could be measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The checkpoint does not open.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The formats contradict each other.
    #[error(transparent)]
    Options(#[from] FastOptionsError),
    /// The model has nothing of the kind that is to be measured.
    #[error("{what}\n  hint: {hint}")]
    Unfit {
        /// What is missing.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
}

impl Figure {
    /// A rate: more is better, and the roof is the most possible.
    fn rate(name: impl Into<String>, value: f64, unit: &'static str, roof: f64) -> Self {
        let (roof, of_roof) = (Some(roof), Some(value / roof));
        Self {
            name: name.into(),
            value,
            unit,
            roof,
            of_roof,
            note: None,
        }
    }

    /// A time: less is better, and the roof is the least possible.
    fn time(name: impl Into<String>, value: f64, unit: &'static str, floor: f64) -> Self {
        let (roof, of_roof) = (Some(floor), Some(floor / value));
        Self {
            name: name.into(),
            value,
            unit,
            roof,
            of_roof,
            note: None,
        }
    }

    /// A figure without a roof.
    fn plain(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            roof: None,
            of_roof: None,
            note: None,
        }
    }

    fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Measures; each figure goes to `sink` as soon as it is known.
///
/// # Errors
/// If the checkpoint does not open, or the formats contradict each other.
pub fn run(
    options: &BenchOptions,
    sink: &mut dyn FnMut(&Machine, Option<&Figure>),
) -> Result<Report, BenchError> {
    let pool = k25_kernels::Pool::new(options.threads);
    let machine = Machine::measure(&pool);
    sink(&machine, None);
    let mut figures = Vec::new();
    let mut record = |figure: Figure| {
        sink(&machine, Some(&figure));
        figures.push(figure);
    };
    record(layer::attention(&machine, &pool));
    if let Some(dir) = &options.model {
        let bench = model::ModelBench::open(dir, options, &machine, pool, &mut record)?;
        bench.measure(options, &mut record)?;
    }
    Ok(Report { machine, figures })
}

/// The middle of the measured times.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
