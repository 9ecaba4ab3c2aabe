//! A run: batches in, steps, metrics and states out.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use k25_chat::{SpecialToken, Tokenizer};
use k25_config::{ModelConfig, VisionConfig};
use k25_model::names::Prefix;
use k25_model::weights::Model;
use k25_model::{Checkpoint, LoadError};
use serde::Serialize;

use crate::arena::Arena;
use crate::balance::{Balance, correct};
use crate::config::{ModelSection, RunConfig};
use crate::data::{DataKind, Mixture, Source};
use crate::error::TrainError;
use crate::exec::{Activations, Batch, Geometry, PassStats, evaluate, gradient};
use crate::lora::LoraSection;
use crate::model::TrainModel;
use crate::optimizer::{Optimizer, qk_clip};
use crate::quantize;
use crate::state::{self, Progress, State};

/// The file of metrics in a run's folder, one JSON object per line.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// The configuration in a run's folder, its paths absolute.
pub const CONFIG_FILE: &str = "run.json";

/// One step in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepMetrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Mean loss of the predictions that count, in nats.
    pub loss: f64,
    /// Fraction of them whose target was the likeliest token.
    pub accuracy: f64,
    /// Learning rate.
    pub rate: f32,
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// Load of the busiest expert over the mean, minus 1, in the worst layer.
    pub max_violation: f64,
    /// Experts without a visit, over all layers.
    pub idle_experts: usize,
    /// Largest attention score.
    pub max_score: f32,
    /// Heads that QK-Clip scaled.
    pub clipped_heads: usize,
    /// Rows trained on since the run began.
    pub tokens: u64,
    /// Rows per second of this step.
    pub tokens_per_second: f64,
    /// Whether the forward pass read quantised values.
    pub quantized: bool,
}

/// One measurement on data that is not trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationMetrics {
    /// The step after which it was made.
    pub step: u64,
    /// The evaluation's name.
    pub evaluation: String,
    /// Mean loss of the predictions that count, in nats, with the values that training reads at this step.
    pub loss: f64,
    /// Fraction of them whose target was the likeliest token.
    pub accuracy: f64,
    /// The loss with the values that an export would write now: INT4 experts, the rest bf16. Of a run
    /// without quantisation this is what rounding after training costs.
    pub exported_loss: f64,
}

/// Means over the predictions of an evaluation that count.
#[derive(Debug, Clone)]
struct Mean {
    loss: f64,
    accuracy: f64,
}

/// What a run tells while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A step was made.
    Step(StepMetrics),
    /// An evaluation was made.
    Evaluation(EvaluationMetrics),
    /// The state was written.
    Saved(u64),
}

/// A run that can make steps.
pub struct Run {
    config: RunConfig,
    dir: PathBuf,
    model: TrainModel,
    optimizer: Optimizer,
    geometry: Geometry,
    data: Mixture,
    evaluations: Vec<(String, Vec<Batch>)>,
    progress: Progress,
    metrics: File,
    grads: Vec<f32>,
    arena: Arena,
}

impl Run {
    /// Opens the run in `dir`: a new one, or the one that was interrupted there.
    ///
    /// # Errors
    /// Where a file cannot be read, or what is in `dir` belongs to another configuration.
    pub fn open(config_path: &Path, kind: DataKind, dir: &Path) -> Result<Self, TrainError> {
        let config = RunConfig::read(config_path)?;
        fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
        let tokenizer = Arc::new(Tokenizer::open(&config.model.tokenizer)?);
        let mut model = start_model(&config, config_path, &tokenizer)?;
        let mut optimizer = Optimizer::new(config.optimizer, &model.params);
        if config.run.vision_only {
            if model.vision.is_none() {
                return Err(TrainError::Config {
                    path: config_path.to_owned(),
                    problem: "there is run.vision_only, and the model has no vision tower"
                        .to_owned(),
                    hint: "give the shape a vision_config, or leave it out",
                });
            }
            optimizer.hold(model.params.text_entries());
        }
        let vision = model.config.vision.clone();
        let (data, evaluations) = open_data(&config, kind, &tokenizer, vision.as_ref())?;
        let mut progress = Progress {
            step: 0,
            optimizer_steps: 0,
            tokens: 0,
            seconds: 0.0,
            metrics_bytes: 0,
            positions: data.positions().to_vec(),
        };
        keep_config(&config, config_path, dir)?;
        if let Some(state) = State::open(dir)? {
            progress = state.progress()?;
            state.load_model(&mut model)?;
            state.load_optimizer(&mut optimizer)?;
            optimizer.steps = progress.optimizer_steps;
        }
        let metrics = open_metrics(dir, progress.metrics_bytes)?;
        let mut run = Self {
            geometry: Geometry::new(&model.config.text, config.run.context),
            grads: vec![0.0; model.params.len()],
            arena: Arena::new(),
            dir: dir.to_owned(),
            config,
            model,
            optimizer,
            data,
            evaluations,
            progress,
            metrics,
        };
        if !run.data.seek(&run.progress.positions.clone()) {
            return Err(TrainError::State {
                path: dir.join(state::STATE_FILE),
                problem: "the run had another number of [[data]] sources".to_owned(),
                hint: "give the run's own configuration, or a new folder",
            });
        }
        Ok(run)
    }

    /// The model in training.
    pub fn model(&self) -> &TrainModel {
        &self.model
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Where the run is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Makes all steps that are left, telling `report` of each; `Break` ends the run early with its state saved.
    ///
    /// # Errors
    /// Where data cannot be read, the system refuses, or the loss is no number any more.
    pub fn run(
        &mut self,
        report: &mut dyn FnMut(&Report) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let total = self.config.run.steps;
        while self.progress.step < total {
            let metrics = self.step()?;
            self.write_metrics(&metrics)?;
            let step = metrics.step;
            let mut flow = report(&Report::Step(metrics));
            if step == total || is_due(step, self.config.run.evaluate_every) {
                for metrics in self.evaluate() {
                    self.write_metrics(&metrics)?;
                    let _ = report(&Report::Evaluation(metrics));
                }
            }
            if step == total || flow.is_break() || is_due(step, self.config.run.checkpoint_every) {
                self.save()?;
                if report(&Report::Saved(step)).is_break() {
                    flow = ControlFlow::Break(());
                }
            }
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Measures the loss of every evaluation as the model is now, and as an export of it would be.
    pub fn evaluate(&mut self) -> Vec<EvaluationMetrics> {
        let step = self.progress.step;
        let quantized = self.refresh(step);
        let now = self.losses();
        // Adapters are exported as they are.
        let exported = match quantized || self.model.is_adapted() {
            true => now.clone(),
            false => {
                self.model.params.refresh(Some(quantize::round));
                self.losses()
            }
        };
        let measured = self.evaluations.iter().zip(now).zip(exported);
        measured
            .map(|(((name, _), now), exported)| EvaluationMetrics {
                step,
                evaluation: name.clone(),
                loss: now.loss,
                accuracy: now.accuracy,
                exported_loss: exported.loss,
            })
            .collect()
    }

    /// The mean loss and accuracy of every evaluation with the values that the forward pass now reads.
    fn losses(&mut self) -> Vec<Mean> {
        let (model, geometry, arena) = (&self.model, &self.geometry, &mut self.arena);
        let mean = |batches: &Vec<Batch>| {
            let passes: Vec<PassStats> = batches
                .iter()
                .map(|batch| evaluate(model, geometry, batch, arena).0)
                .collect();
            let weight: f64 = passes.iter().map(|pass| pass.weight).sum();
            let mean = |value: fn(&PassStats) -> f64| {
                let parts = passes.iter().map(|pass| pass.weight * value(pass));
                parts.sum::<f64>() / weight
            };
            Mean {
                loss: mean(|pass| pass.loss),
                accuracy: mean(|pass| pass.accuracy),
            }
        };
        self.evaluations
            .iter()
            .map(|(_, batches)| batches)
            .map(mean)
            .collect()
    }

    /// Makes one step.
    fn step(&mut self) -> Result<StepMetrics, TrainError> {
        let begin = Instant::now();
        let step = self.progress.step;
        let quantized = self.refresh(step);
        let run = &self.config.run;
        let batches = (0..run.passes)
            .map(|_| self.data.next_batch(run.batch_tokens))
            .collect::<Result<Vec<_>, _>>()?;
        let passes = self.gradient(&batches);
        let total = Totals::of(&passes);
        if !total.loss.is_finite() {
            return Err(TrainError::NotFinite {
                step: step + 1,
                what: "loss",
            });
        }
        let rate = self.config.schedule.rate(step, self.config.run.steps);
        let report = self
            .optimizer
            .step(&mut self.model.params, &self.grads, rate);
        if report.skipped {
            return Err(TrainError::NotFinite {
                step: step + 1,
                what: "gradient",
            });
        }
        let clipped_heads = self.after_step(&total);
        let rows: usize = batches.iter().map(|batch| batch.tokens.len()).sum();
        let seconds = begin.elapsed().as_secs_f64();
        self.progress.step += 1;
        self.progress.optimizer_steps = self.optimizer.steps;
        self.progress.tokens += rows as u64;
        self.progress.seconds += seconds;
        self.progress.positions = self.data.positions().to_vec();
        let balances: Vec<Balance> = total.loads.iter().map(|loads| Balance::of(loads)).collect();
        Ok(StepMetrics {
            step: step + 1,
            loss: total.loss,
            accuracy: total.accuracy,
            rate,
            gradient_norm: report.gradient_norm,
            max_violation: balances.iter().map(|b| b.max_violation).fold(0.0, f64::max),
            idle_experts: balances.iter().map(|b| b.idle).sum(),
            max_score: total
                .max_scores
                .iter()
                .flatten()
                .copied()
                .fold(f32::NEG_INFINITY, f32::max),
            clipped_heads,
            tokens: self.progress.tokens,
            tokens_per_second: rows as f64 / seconds,
            quantized,
        })
    }

    fn gradient(&mut self, batches: &[Batch]) -> Vec<PassStats> {
        let activations = match self.config.run.recompute {
            true => Activations::Recompute,
            false => Activations::Keep,
        };
        let weights = batches.iter().flat_map(|batch| &batch.weights);
        let divisor: f64 = weights
            .map(|weight| f64::from(*weight))
            .sum::<f64>()
            .max(1e-9);
        self.grads.fill(0.0);
        let (model, geometry) = (&self.model, &self.geometry);
        let (grads, arena) = (&mut self.grads, &mut self.arena);
        batches
            .iter()
            .map(|batch| gradient(model, geometry, batch, activations, divisor, grads, arena))
            .collect()
    }

    /// QK-Clip and router balancing, which change the language model where it is trained; returns how many heads were clipped.
    fn after_step(&mut self, total: &Totals) -> usize {
        if self.model.is_adapted() || self.config.run.vision_only {
            return 0;
        }
        let rate = self.config.run.router_bias_rate;
        for (bias, loads) in self.model.correction_biases_mut().zip(&total.loads) {
            correct(bias, loads, rate);
        }
        let threshold = self.config.optimizer.qk_clip;
        match threshold > 0.0 {
            true => qk_clip(&mut self.model, &total.max_scores, threshold),
            false => 0,
        }
    }

    /// Rounds the values that the forward pass reads, where it is time to.
    fn refresh(&mut self, step: u64) -> bool {
        let quantized = self
            .config
            .run
            .quantize_from
            .is_some_and(|from| step >= from);
        self.model
            .params
            .refresh(quantized.then_some(quantize::round));
        quantized
    }

    fn write_metrics(&mut self, metrics: &impl Serialize) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(metrics).expect("numbers can always be written");
        line.push(b'\n');
        let path = self.dir.join(METRICS_FILE);
        self.metrics
            .write_all(&line)
            .map_err(TrainError::io("write", &path))?;
        self.progress.metrics_bytes += line.len() as u64;
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let path = self.dir.join(METRICS_FILE);
        self.metrics
            .sync_all()
            .map_err(TrainError::io("write", &path))?;
        state::save(&self.dir, &self.model, &self.optimizer, &self.progress)
    }
}

/// The passes of a step taken together.
struct Totals {
    loss: f64,
    accuracy: f64,
    loads: Vec<Vec<u32>>,
    max_scores: Vec<Vec<f32>>,
}

impl Totals {
    fn of(passes: &[PassStats]) -> Self {
        let weight: f64 = passes
            .iter()
            .map(|pass| pass.weight)
            .sum::<f64>()
            .max(1e-20);
        let mut total = Self {
            loss: passes
                .iter()
                .map(|pass| pass.weight * pass.loss)
                .sum::<f64>()
                / weight,
            accuracy: passes
                .iter()
                .map(|pass| pass.weight * pass.accuracy)
                .sum::<f64>()
                / weight,
            loads: passes[0].loads.clone(),
            max_scores: passes[0].max_scores.clone(),
        };
        for pass in &passes[1..] {
            let loads = total
                .loads
                .iter_mut()
                .flatten()
                .zip(pass.loads.iter().flatten());
            loads.for_each(|(total, load)| *total += load);
            let scores = total
                .max_scores
                .iter_mut()
                .flatten()
                .zip(pass.max_scores.iter().flatten());
            scores.for_each(|(total, score)| *total = total.max(*score));
        }
        total
    }
}

fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

fn start_model(
    config: &RunConfig,
    config_path: &Path,
    tokenizer: &Tokenizer,
) -> Result<TrainModel, TrainError> {
    let section = &config.model;
    let fault = |problem: String, hint| TrainError::Config {
        path: section.config.clone(),
        problem,
        hint,
    };
    let shape = shape(config, tokenizer)?;
    if let (None, Some(dir)) = (&config.lora, &section.start_from) {
        let mut model = TrainModel::from_checkpoint(&Model::open(dir)?);
        let mut expected = shape.text.clone();
        expected.rope_scaling = model.config.text.rope_scaling;
        expected.rope_theta = model.config.text.rope_theta;
        expected.max_position_embeddings = model.config.text.max_position_embeddings;
        let towers = shape.vision.as_ref().zip(model.config.vision.as_ref());
        if expected != model.config.text || towers.is_some_and(|(ours, loaded)| ours != loaded) {
            return Err(fault(
                "start_from has another shape, or another vocabulary".to_owned(),
                "give that checkpoint's config.json",
            ));
        }
        model.set_positions(&shape);
        model.set_vision(shape.vision, section.seed);
        return Ok(model);
    }
    let mut model = fresh_model(config, config_path, shape)?;
    if let Some(dir) = &section.continue_run {
        let Some(state) = State::open(dir)? else {
            return Err(fault(
                format!("continue_run: {} holds no state", dir.display()),
                "give the folder of a run",
            ));
        };
        state.load_model(&mut model)?;
    }
    Ok(model)
}

/// A model of a run's shape with fresh values, or fresh adapters.
fn fresh_model(
    config: &RunConfig,
    config_path: &Path,
    shape: ModelConfig,
) -> Result<TrainModel, TrainError> {
    match (&config.lora, &config.model.start_from) {
        (Some(lora), Some(dir)) => adapted_model(lora, dir, &shape, &config.model, config_path),
        _ => Ok(TrainModel::fresh(shape, config.model.seed)),
    }
}

/// The frozen model in `dir` with fresh adapters.
fn adapted_model(
    lora: &LoraSection,
    dir: &Path,
    shape: &ModelConfig,
    section: &ModelSection,
    config_path: &Path,
) -> Result<TrainModel, TrainError> {
    let open = || -> Result<(Model, Prefix), LoadError> {
        let config = ModelConfig::from_file(dir.join("config.json"))?;
        let checkpoint = Checkpoint::open(dir)?;
        let prefix = Prefix::detect(|name| checkpoint.find(name).is_some());
        Ok((
            Model::from_checkpoint(Arc::new(config), &checkpoint)?,
            prefix,
        ))
    };
    let (base, prefix) = open().map_err(|source| TrainError::Base {
        dir: dir.to_owned(),
        source: Box::new(source),
    })?;
    if base.config.text != shape.text {
        return Err(TrainError::Config {
            path: section.config.clone(),
            problem: format!(
                "the model in {} has another shape, other positions, or another vocabulary",
                dir.display()
            ),
            hint: "give that checkpoint's config.json and tokenizer: adapters change neither",
        });
    }
    TrainModel::adapted(&base, prefix, lora, section.seed).map_err(|unknown| TrainError::Config {
        path: config_path.to_owned(),
        problem: unknown.to_string(),
        hint: "give one of these, or a longer end of a name such as shared_experts.gate_proj",
    })
}

type Opened = (Mixture, Vec<(String, Vec<Batch>)>);

fn open_data(
    config: &RunConfig,
    kind: DataKind,
    tokenizer: &Arc<Tokenizer>,
    vision: Option<&VisionConfig>,
) -> Result<Opened, TrainError> {
    let context = config.run.context;
    let open = |path: &Path| {
        let source = Source::open(path, kind, Arc::clone(tokenizer), context)?;
        Ok::<_, TrainError>(source.seeing(vision))
    };
    let sources = config
        .data
        .iter()
        .map(|data| Ok((open(&data.path)?, data.weight)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let evaluations = config
        .evaluation
        .iter()
        .map(|section| {
            // One batch after the other of a stream of its own, until enough rows are read.
            let mut stream = Mixture::new(vec![(open(&section.path)?, 1.0)], 0);
            let (mut batches, mut rows) = (Vec::new(), 0);
            while rows < section.tokens {
                let batch = stream.next_batch(config.run.batch_tokens)?;
                rows += batch.tokens.len();
                batches.push(batch);
            }
            Ok((section.name.clone(), batches))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    Ok((Mixture::new(sources, config.model.seed), evaluations))
}

/// Writes the configuration beside the state; an interrupted run must be continued with the one it began with.
fn keep_config(config: &RunConfig, from: &Path, dir: &Path) -> Result<(), TrainError> {
    let kept = dir.join(CONFIG_FILE);
    if dir.join(state::STATE_FILE).exists() {
        return match kept_config(dir)? == *config {
            true => Ok(()),
            false => Err(TrainError::State {
                path: kept,
                problem: format!(
                    "the run began with another configuration than {}",
                    from.display()
                ),
                hint: "give a new folder, and start from this run with model.continue_run",
            }),
        };
    }
    let text = serde_json::to_string_pretty(config).expect("a configuration can always be written");
    fs::write(&kept, text).map_err(TrainError::io("write", &kept))
}

fn kept_config(dir: &Path) -> Result<RunConfig, TrainError> {
    let path = dir.join(CONFIG_FILE);
    let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
    serde_json::from_str(&text).map_err(|error| TrainError::State {
        path,
        problem: error.to_string(),
        hint: "the folder is no run of this version: begin anew",
    })
}

/// The model of a run as its last state has it, and the run's configuration.
///
/// # Errors
/// Where the folder is no run with a state.
pub fn trained(dir: &Path) -> Result<(RunConfig, TrainModel), TrainError> {
    let config = kept_config(dir)?;
    let tokenizer = Tokenizer::open(&config.model.tokenizer)?;
    let shape = shape(&config, &tokenizer)?;
    let mut model = fresh_model(&config, &dir.join(CONFIG_FILE), shape)?;
    let Some(state) = State::open(dir)? else {
        return Err(TrainError::State {
            path: dir.join(state::STATE_FILE),
            problem: "there is no state yet".to_owned(),
            hint: "let the run make some steps first",
        });
    };
    state.load_model(&mut model)?;
    Ok((config, model))
}

/// The shape that a run's configuration names, with the ids of its tokenizer.
fn shape(config: &RunConfig, tokenizer: &Tokenizer) -> Result<ModelConfig, TrainError> {
    let path = &config.model.config;
    let mut shape = ModelConfig::from_file(path).map_err(|error| TrainError::Config {
        path: path.clone(),
        problem: error.to_string(),
        hint: "the file is a checkpoint's config.json",
    })?;
    let id = |token| Some(tokenizer.special_id(token));
    shape.text.vocab_size = tokenizer.vocab_size() as usize;
    shape.bos_token_id = id(SpecialToken::Bos);
    shape.eos_token_ids = vec![tokenizer.special_id(SpecialToken::Eos)];
    shape.pad_token_id = id(SpecialToken::Pad);
    shape.media_placeholder_token_id = id(SpecialToken::MediaPad);
    Ok(shape)
}

/// Opens the metrics for writing after the first `len` bytes: later lines are of steps that will be made again.
fn open_metrics(dir: &Path, len: u64) -> Result<File, TrainError> {
    let path = dir.join(METRICS_FILE);
    let open = || -> std::io::Result<File> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(len)?;
        Ok(file)
    };
    open().map_err(TrainError::io("open", &path))
}
