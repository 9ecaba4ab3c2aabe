//! How far the fast execution is from the exact one, with quantised weights, activations or cache.
//!
//! Logits of every position of some prompts, computed both ways. A folder with expectations brings
//! its own prompts, and [`Reference`] is exact; any other checkpoint reads random tokens, and the fast
//! execution without quantisation is exact, whose distance from `Reference` is the noise of f32.

use std::path::{Path, PathBuf};
use std::thread;

use k25_kernels::Pool;
use k25_model::exec::InputRow;
use k25_model::fast::{
    Fast, FastBatch, FastModel, FastOptions, FastOptionsError, LatentFormat, PagedLatents,
    SequenceSpan,
};
use k25_model::weights::Model;
use k25_model::{LatentCache, LoadError, Reference, ReferenceOptions, Rows};
use thiserror::Error;

use crate::VerifyError;
use crate::fixture::Fixture;

/// Prompts for a checkpoint without expectations, and their length.
const PROMPTS: usize = 4;
const PROMPT_TOKENS: usize = 64;
/// Longest prompt of a fixture that is computed.
const MAX_PROMPT_TOKENS: usize = 1024;

/// What the fast execution was asked to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FastChoice {
    /// Weights and activations.
    pub options: FastOptions,
    /// Cached rows.
    pub cache: LatentFormat,
    /// Threads; `None` for all cores.
    pub threads: Option<usize>,
}

/// The error of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct FastError {
    /// The model's folder.
    pub folder: PathBuf,
    /// What counts as exact.
    pub baseline: &'static str,
    /// Positions compared.
    pub positions: usize,
    /// Largest exact logit by amount: what the errors are to be seen beside.
    pub largest_logit: f64,
    /// Largest error of a logit.
    pub worst_error: f64,
    /// Mean error of a logit.
    pub mean_error: f64,
    /// Fraction of the positions at which both have the same likeliest token.
    pub top1_agreement: f64,
    /// Mean and largest divergence of the distributions at temperature 1, KL(exact ‖ fast), in nats.
    pub mean_kl: f64,
    /// The largest.
    pub worst_kl: f64,
}

/// Why no error could be measured.
#[derive(Debug, Error)]
pub enum FastErrorFault {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] VerifyError),
    /// The checkpoint.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The choices contradict each other.
    #[error(transparent)]
    Options(#[from] FastOptionsError),
    /// No checkpoint in it.
    #[error(
        "{} holds no checkpoint\n  hint: give a folder with config.json, or a folder of such folders",
        .0.display()
    )]
    Empty(PathBuf),
}

/// Token ids and their positions.
struct Prompt {
    ids: Vec<u32>,
    positions: Vec<u32>,
}

/// Measures every checkpoint in `folder`, or the one that it is.
///
/// # Errors
/// If there is none, or one cannot be read.
pub fn fast_errors(
    folder: &Path,
    choice: &FastChoice,
    sink: &mut dyn FnMut(&FastError),
) -> Result<Vec<FastError>, FastErrorFault> {
    let fixture = Fixture::read(folder).map_err(|source| VerifyError::Folder {
        path: folder.to_owned(),
        source,
    })?;
    let mut errors = Vec::new();
    for model in &fixture.models {
        let expected = model.tensors.iter().map(|file| &file.tensors);
        let prompts: Vec<Prompt> = expected.flat_map(prompts_of).collect();
        let error = measure(&model.path, prompts, choice)?;
        sink(&error);
        errors.push(error);
    }
    match errors.is_empty() {
        true => Err(FastErrorFault::Empty(folder.to_owned())),
        false => Ok(errors),
    }
}

/// The prompts of a file of expectations.
fn prompts_of(expected: &crate::expected::Expected) -> Vec<Prompt> {
    let names = expected.names_ending_with("input_ids");
    let prompt = |name: &String| {
        let ids = expected.unsigned(&format!("{name}.input_ids"))?;
        let positions = expected
            .unsigned(&format!("{name}.position_ids"))
            .unwrap_or((0..ids.len() as u32).collect());
        let is_usable = !ids.is_empty() && ids.len() == positions.len();
        (is_usable && ids.len() <= MAX_PROMPT_TOKENS).then_some(Prompt { ids, positions })
    };
    names.iter().filter_map(prompt).collect()
}

fn measure(
    dir: &Path,
    mut prompts: Vec<Prompt>,
    choice: &FastChoice,
) -> Result<FastError, FastErrorFault> {
    let exact = Model::open(dir)?;
    let vocab_size = exact.config.text.vocab_size;
    prompts.retain(|prompt| prompt.ids.iter().all(|&id| (id as usize) < vocab_size));
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let pool = Pool::new(choice.threads.unwrap_or_else(cores));
    let fast = FastModel::new(Model::open(dir)?, choice.options)?;
    let mut sums = Sums::default();
    let baseline = if prompts.is_empty() {
        let exact = FastModel::new(exact, FastOptions::default())?;
        for prompt in random_prompts(vocab_size) {
            let logits = fast_logits(&exact, LatentFormat::F32, &pool, &prompt);
            sums.add(&logits, &fast_logits(&fast, choice.cache, &pool, &prompt));
        }
        "fast execution, nothing quantised"
    } else {
        for prompt in &prompts {
            let logits = reference_logits(&exact, prompt);
            sums.add(&logits, &fast_logits(&fast, choice.cache, &pool, prompt));
        }
        "reference"
    };
    Ok(sums.error(dir, baseline))
}

/// Tokens without sense, the same each time.
fn random_prompts(vocab_size: usize) -> Vec<Prompt> {
    let mut state = 0u64;
    let mut next = || {
        // A full-period generator; its high bits are good enough to choose tokens by.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab_size as u64) as u32
    };
    let mut prompt = |_| Prompt {
        ids: (0..PROMPT_TOKENS).map(|_| next()).collect(),
        positions: (0..PROMPT_TOKENS as u32).collect(),
    };
    (0..PROMPTS).map(&mut prompt).collect()
}

fn rows(prompt: &Prompt) -> (Vec<InputRow<'_>>, Vec<usize>) {
    let rows = prompt.ids.iter().map(|&id| InputRow::Token(id)).collect();
    (rows, (0..prompt.ids.len()).collect())
}

fn reference_logits(model: &Model, prompt: &Prompt) -> Rows {
    let (rows, wanted) = rows(prompt);
    let mut cache = LatentCache::new(&model.config.text);
    let options = ReferenceOptions::default();
    Reference::new(&model.config.text, options, &mut cache, &prompt.positions).logits(
        &model.text,
        &rows,
        &wanted,
    )
}

fn fast_logits(model: &FastModel, format: LatentFormat, pool: &Pool, prompt: &Prompt) -> Rows {
    let (rows, wanted) = rows(prompt);
    let count = prompt.ids.len().div_ceil(PagedLatents::BLOCK_ROWS);
    let mut cache = PagedLatents::new(&model.model().config.text, format, count);
    let blocks: Vec<u32> = (0..count as u32).collect();
    let span = SequenceSpan {
        rows: 0..prompt.ids.len(),
        cached_rows: 0,
        blocks: &blocks,
    };
    let batch = FastBatch {
        positions: &prompt.positions,
        sequences: &[span],
    };
    Fast::new(model, pool, &mut cache, batch).logits(&rows, &wanted)
}

/// Errors added up.
#[derive(Default)]
struct Sums {
    positions: usize,
    values: usize,
    largest_logit: f64,
    worst_error: f64,
    errors: f64,
    same_top1: usize,
    kl: f64,
    worst_kl: f64,
}

impl Sums {
    fn add(&mut self, exact: &Rows, fast: &Rows) {
        for (exact, fast) in exact.iter().zip(fast.iter()) {
            self.positions += 1;
            self.values += exact.len();
            for (&exact, &fast) in exact.iter().zip(fast) {
                let error = f64::from((exact - fast).abs());
                self.errors += error;
                self.worst_error = self.worst_error.max(error);
                self.largest_logit = self.largest_logit.max(f64::from(exact.abs()));
            }
            self.same_top1 += usize::from(top1(exact) == top1(fast));
            let kl = divergence(exact, fast);
            self.kl += kl;
            self.worst_kl = self.worst_kl.max(kl);
        }
    }

    fn error(self, dir: &Path, baseline: &'static str) -> FastError {
        let positions = self.positions.max(1) as f64;
        FastError {
            folder: dir.to_owned(),
            baseline,
            positions: self.positions,
            largest_logit: self.largest_logit,
            worst_error: self.worst_error,
            mean_error: self.errors / self.values.max(1) as f64,
            top1_agreement: self.same_top1 as f64 / positions,
            mean_kl: self.kl / positions,
            worst_kl: self.worst_kl,
        }
    }
}

fn top1(logits: &[f32]) -> usize {
    let better = |best: usize, index: usize| match logits[index] > logits[best] {
        true => index,
        false => best,
    };
    (0..logits.len()).reduce(better).unwrap_or(0)
}

/// KL(p ‖ q) of two rows of logits at temperature 1, in nats; never below 0 but for rounding.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (log_p, log_q) = (log_sum_exp(p), log_sum_exp(q));
    let term = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
        p.exp() * (p - q)
    };
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits
        .iter()
        .fold(f32::NEG_INFINITY, |max, &logit| max.max(logit));
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(logit - max).exp())
        .sum();
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_is_that_of_the_distributions() {
        // p = (1/2, 1/2), q = (1/4, 3/4): KL = 1/2 ln 2 + 1/2 ln(2/3).
        let (p, q) = ([1.0, 1.0], [0.0, 3f32.ln()]);
        let expected = 0.5 * 2f64.ln() + 0.5 * (2f64 / 3.0).ln();
        assert!((divergence(&p, &q) - expected).abs() < 1e-7);
        assert_eq!(divergence(&p, &p), 0.0);
        assert_eq!(top1(&[1.0, 3.0, 3.0]), 1);
    }
}
