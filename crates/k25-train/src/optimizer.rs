//! Optimisers: Muon for the matrices of the blocks, AdamW for the embedding, the head, the norms and adapters, and
//! QK-Clip after the step. Together they are MuonClip (Kimi K2 report, §2.1; Moonlight report for the 0.2).

mod adamw;
mod muon;
mod qk_clip;

use k25_model::names::{Form, Kind};
use rayon::prelude::*;

use crate::params::{Entry, ParamStore, Storage};
use crate::simd::square_sum;

pub use qk_clip::qk_clip;

/// Which optimiser a run uses for the matrices of the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrices {
    /// Muon.
    Muon,
    /// AdamW, as for everything else.
    Adamw,
}

/// The numbers of the optimisers.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// What moves the matrices of the blocks.
    pub matrices: Matrices,
    /// Muon's momentum.
    pub momentum: f32,
    /// AdamW's first decay.
    pub beta1: f32,
    /// AdamW's second decay.
    pub beta2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// Decoupled decay per unit of learning rate; norms and biases have none.
    pub weight_decay: f32,
    /// Gradients longer than this are scaled down to it; 0 leaves them.
    pub clip_norm: f32,
    /// QK-Clip's threshold on attention scores; 0 turns it off.
    pub qk_clip: f32,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            matrices: Matrices::Muon,
            momentum: 0.95,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip_norm: 1.0,
            qk_clip: 100.0,
        }
    }
}

/// An optimiser with its state.
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// How many parameters, from the first on, stay as they are.
    held: usize,
    /// First moments, or Muon's momentum; as long as the parameters.
    pub first: Vec<f32>,
    /// Second moments of what AdamW moves; as long as the parameters.
    pub second: Vec<f32>,
    /// Steps that were made.
    pub steps: u64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// Whether the step was left out, because the gradient was not finite.
    pub skipped: bool,
}

/// One parameter on its way through a step.
struct Moved<'a> {
    entry: &'a Entry,
    values: &'a mut [f32],
    grads: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

/// Numbers that are the same for every parameter of a step.
#[derive(Clone, Copy)]
struct Step {
    config: OptimizerConfig,
    rate: f32,
    /// Factor that clips the gradient.
    scale: f32,
    /// This step's number, counted from 1.
    number: u64,
}

impl Optimizer {
    /// An optimiser that has seen nothing.
    pub fn new(config: OptimizerConfig, params: &ParamStore) -> Self {
        Self {
            config,
            held: 0,
            first: vec![0.0; params.len()],
            second: vec![0.0; params.len()],
            steps: 0,
        }
    }

    /// Leaves the first `count` parameters as they are from now on.
    pub fn hold(&mut self, count: usize) {
        self.held = count;
    }

    /// Moves the parameters against `grads` at this learning rate. A gradient that is not finite moves nothing.
    pub fn step(&mut self, params: &mut ParamStore, grads: &[f32], rate: f32) -> StepReport {
        let first_moved = params.entries().get(self.held);
        let begin = first_moved.map_or(params.len(), |entry| entry.param.start);
        let gradient_norm = norm(&grads[begin..]);
        if !gradient_norm.is_finite() {
            return StepReport {
                gradient_norm,
                skipped: true,
            };
        }
        self.steps += 1;
        let clip = f64::from(self.config.clip_norm);
        let scale = match clip > 0.0 && gradient_norm > clip {
            true => (clip / gradient_norm) as f32,
            false => 1.0,
        };
        let step = Step {
            config: self.config,
            rate,
            scale,
            number: self.steps,
        };
        let entries = params.entries().to_vec();
        let mut moved = split(
            &entries,
            params.values_mut(),
            grads,
            &mut self.first,
            &mut self.second,
        );
        moved.drain(..self.held);
        // Large matrices first, so that no thread ends with one.
        moved.sort_by_key(|moved| std::cmp::Reverse(moved.values.len()));
        moved
            .into_par_iter()
            .with_max_len(1)
            .for_each(|moved| step.apply(moved));
        StepReport {
            gradient_norm,
            skipped: false,
        }
    }
}

impl Step {
    fn apply(&self, moved: Moved<'_>) {
        let part = &moved.entry.part;
        // A step without pictures leaves the vision tower as it is: neither momentum nor decay moves it.
        if part.kind.is_vision() && moved.grads.iter().all(|grad| *grad == 0.0) {
            return;
        }
        let is_block_matrix = part.form == Form::Matrix
            && !matches!(part.kind, Kind::Embedding | Kind::Head)
            && moved.entry.param.rows > 1
            && moved.entry.storage != Storage::F32;
        if is_block_matrix && self.config.matrices == Matrices::Muon {
            muon::apply(self, moved);
        } else {
            adamw::apply(self, moved);
        }
    }

    /// Decoupled decay of a parameter, as a factor of its values.
    fn decay(&self, entry: &Entry) -> f32 {
        match entry.part.shape.len() {
            1 => 1.0,
            _ => 1.0 - self.rate * self.config.weight_decay,
        }
    }
}

fn split<'a>(
    entries: &'a [Entry],
    mut values: &'a mut [f32],
    grads: &'a [f32],
    mut first: &'a mut [f32],
    mut second: &'a mut [f32],
) -> Vec<Moved<'a>> {
    let take = |entry: &'a Entry| {
        let len = entry.param.len();
        let head = |buffer: &mut &'a mut [f32]| {
            let (head, rest) = std::mem::take(buffer).split_at_mut(len);
            *buffer = rest;
            head
        };
        Moved {
            entry,
            values: head(&mut values),
            grads: &grads[entry.param.range()],
            first: head(&mut first),
            second: head(&mut second),
        }
    };
    entries.iter().map(take).collect()
}

/// Length of a vector, the same on any number of threads.
fn norm(values: &[f32]) -> f64 {
    let blocks: Vec<f64> = values.par_chunks(1 << 16).map(square_sum).collect();
    blocks.iter().sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests;
