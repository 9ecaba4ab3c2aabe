//! The configuration of a run: one TOML file.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::lora::{LoraSection, MAX_RANK};
use crate::optimizer::OptimizerConfig;
use crate::schedule::Schedule;

/// A run, as its TOML file says. Paths are relative to the file's folder.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What is trained.
    pub model: ModelSection,
    /// How long, and in what pieces.
    pub run: RunSection,
    /// Learning rates.
    pub schedule: Schedule,
    /// Optimisers.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Adapters in place of the model's own values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSection>,
    /// What it is trained on.
    pub data: Vec<DataSection>,
    /// What it is measured on and never trained on.
    #[serde(default)]
    pub evaluation: Vec<EvaluationSection>,
}

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// `config.json` of the shape, in the published form; the vocabulary's size and ids are the tokenizer's.
    pub config: PathBuf,
    /// Folder with `tiktoken.model` and `tokenizer_config.json`.
    pub tokenizer: PathBuf,
    /// Folder of a checkpoint to start from.
    #[serde(default)]
    pub start_from: Option<PathBuf>,
    /// Folder of a run to start from, with its unrounded values. Its shape must be the same but for the positions. With `[lora]` it
    /// is a run of the same adapters, beside `start_from`.
    #[serde(default)]
    pub continue_run: Option<PathBuf>,
    /// Decides fresh values and the order of the data.
    #[serde(default)]
    pub seed: u64,
}

/// `[run]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// Optimiser steps.
    pub steps: u64,
    /// Rows of one pass.
    pub batch_tokens: usize,
    /// Passes whose gradients one step adds up.
    #[serde(default = "one")]
    pub passes: usize,
    /// Longest sequence.
    pub context: usize,
    /// Steps between checkpoints.
    #[serde(default = "hundred")]
    pub checkpoint_every: u64,
    /// Steps between evaluations; 0 for none but at the end.
    #[serde(default)]
    pub evaluate_every: u64,
    /// First step that reads INT4 experts and bf16 for the rest (quantisation-aware training).
    #[serde(default)]
    pub quantize_from: Option<u64>,
    /// Whether each layer is computed a second time for its gradient, to save memory.
    #[serde(default)]
    pub recompute: bool,
    /// Whether the vision tower alone is trained, below a language model that stays as it is.
    #[serde(default)]
    pub vision_only: bool,
    /// How far a router's correction bias moves per step.
    #[serde(default = "bias_rate")]
    pub router_bias_rate: f32,
}

/// `[[data]]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// A JSONL file.
    pub path: PathBuf,
    /// Its part of all tokens, relative to the others'.
    #[serde(default = "whole")]
    pub weight: f64,
}

/// `[[evaluation]]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSection {
    /// Its name in the metrics.
    pub name: String,
    /// A JSONL file.
    pub path: PathBuf,
    /// Rows that are read of it.
    #[serde(default = "evaluation_tokens")]
    pub tokens: usize,
}

fn one() -> usize {
    1
}

fn hundred() -> u64 {
    100
}

fn whole() -> f64 {
    1.0
}

fn bias_rate() -> f32 {
    1e-3
}

fn evaluation_tokens() -> usize {
    16_384
}

/// What is wrong, and what to do about it.
type Fault = (String, &'static str);

impl RunConfig {
    /// Reads and checks a file; its paths become absolute.
    ///
    /// # Errors
    /// Where the file cannot be read, or a field is missing, unknown or senseless.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = fs::read_to_string(path).map_err(TrainError::io("read", path))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(""))).map_err(|(problem, hint)| {
            TrainError::Config {
                path: path.to_owned(),
                problem,
                hint,
            }
        })
    }

    fn parse(text: &str, base: &Path) -> Result<Self, Fault> {
        const HINT: &str = "docs/training.md shows a whole file";
        let mut config: Self = toml::from_str(text).map_err(|error| (error.to_string(), HINT))?;
        let model = &mut config.model;
        let mut paths = vec![&mut model.config, &mut model.tokenizer];
        paths.extend(model.start_from.iter_mut().chain(&mut model.continue_run));
        paths.extend(config.data.iter_mut().map(|data| &mut data.path));
        paths.extend(
            config
                .evaluation
                .iter_mut()
                .map(|evaluation| &mut evaluation.path),
        );
        for path in paths {
            let joined = base.join(&path);
            *path = std::path::absolute(&joined).unwrap_or(joined);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Fault> {
        let (run, schedule) = (&self.run, &self.schedule);
        let must = |holds: bool, problem: &str, hint| match holds {
            true => Ok(()),
            false => Err((problem.to_owned(), hint)),
        };
        must(
            run.steps > 0,
            "run.steps is 0",
            "give the number of optimiser steps",
        )?;
        must(
            run.context > 0,
            "run.context is 0",
            "give the longest sequence in tokens",
        )?;
        must(
            run.batch_tokens >= run.context,
            "run.batch_tokens is smaller than run.context",
            "a batch holds at least one whole sequence",
        )?;
        must(run.passes > 0, "run.passes is 0", "1 is a step per batch")?;
        must(
            run.checkpoint_every > 0,
            "run.checkpoint_every is 0",
            "give steps between checkpoints",
        )?;
        must(
            schedule.peak.is_finite() && schedule.peak > 0.0,
            "schedule.peak is no positive number",
            "1e-3 suits small models",
        )?;
        must(
            !self.data.is_empty(),
            "there is no [[data]]",
            "give at least one [[data]] with a path",
        )?;
        let weights = self
            .data
            .iter()
            .all(|data| data.weight.is_finite() && data.weight > 0.0);
        must(
            weights,
            "a data weight is no positive number",
            "leave out what shall not be trained on",
        )?;
        must(
            !run.vision_only || self.lora.is_none(),
            "run.vision_only does not go with [lora]",
            "train the tower first, adapters in a run of their own",
        )?;
        let both = self.model.start_from.is_some() && self.model.continue_run.is_some();
        must(
            !both || self.lora.is_some(),
            "model.start_from and model.continue_run exclude each other",
            "keep one of them; only a run with [lora] has a base and adapters to go on with",
        )?;
        match &self.lora {
            Some(lora) => self.check_lora(lora),
            None => Ok(()),
        }
    }

    fn check_lora(&self, lora: &LoraSection) -> Result<(), Fault> {
        let fault = |problem: &str, hint| Err((problem.to_owned(), hint));
        if self.model.start_from.is_none() {
            return fault(
                "there is [lora], and no model.start_from",
                "name the folder of the checkpoint that adapters are trained for",
            );
        }
        if self.run.quantize_from.is_some() {
            return fault(
                "run.quantize_from does not go with [lora]",
                "leave it out: the base stays as its checkpoint stores it, INT4 experts among it",
            );
        }
        if !(1..=MAX_RANK).contains(&lora.rank) {
            return fault("lora.rank is not between 1 and 4096", "8 to 64 are usual");
        }
        if !(lora.alpha.is_finite() && lora.alpha > 0.0) {
            return fault(
                "lora.alpha is no positive number",
                "twice the rank is usual",
            );
        }
        if lora.targets.is_empty() {
            return fault(
                "lora.targets is empty",
                "name matrices such as o_proj, or leave it out for those of attention",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        [model]
        config = "config.json"
        tokenizer = "/vocabulary"
        [run]
        steps = 10
        batch_tokens = 512
        context = 128
        [schedule]
        peak = 1e-3
        [[data]]
        path = "text.jsonl"
    "#;

    #[test]
    fn a_short_file_has_defaults_and_paths_of_its_folder() {
        let config = RunConfig::parse(WHOLE, Path::new("/runs")).expect("a configuration");
        assert_eq!(config.model.config, Path::new("/runs/config.json"));
        assert_eq!(config.model.tokenizer, Path::new("/vocabulary"));
        assert_eq!(config.optimizer, OptimizerConfig::default());
        assert_eq!((config.run.passes, config.data[0].weight), (1, 1.0));
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("steps = 10", "steps = 0", "run.steps"),
            ("context = 128", "context = 1024", "batch_tokens is smaller"),
            ("peak = 1e-3", "peak = nan", "schedule.peak"),
            ("path = \"text", "weigth = 1\npath = \"text", "weigth"),
            ("[[data]]\n        path = \"text.jsonl\"", "", "data"),
        ];
        for (from, to, expected) in cases {
            let text = WHOLE.replace(from, to);
            assert_ne!(text, WHOLE, "{from}");
            let (problem, _) = RunConfig::parse(&text, Path::new("")).expect_err("a fault");
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
