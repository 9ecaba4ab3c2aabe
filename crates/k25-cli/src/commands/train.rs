//! `k25 train`: train a model of the family, and write it as a checkpoint.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use k25_chat::Tokenizer;
use k25_local::{FileAccess, LocalClient, LocalModel, LocalOptions};
use k25_train::adapter::{self, Merged};
use k25_train::data::DataKind;
use k25_train::evaluate::{
    Candidate, Leader, OpenedScore, Score, TableScore, answers, opened, pictures, tables,
};
use k25_train::export::{Exported, export};
use k25_train::lessons::record::{self, Length};
use k25_train::lessons::{Lesson, Pieces, copy, echo, recall, sight};
use k25_train::plot::svg;
use k25_train::run::{METRICS_FILE, Report, Run, StepMetrics, trained};
use k25_train::world::Split;

use super::Outcome;
use crate::interrupt::Interrupt;
use crate::output::{Status, bytes, grouped};

/// `k25 train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k25 train lessons runs.jsonl --kind runs --count 10000
  k25 train sft sft.toml --out runs/sft
  k25 train export runs/sft ./my-model")]
pub struct TrainArgs {
    /// What to do
    #[command(subcommand)]
    pub command: TrainCommand,
}

/// The subcommands of `k25 train`.
#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    /// Train on plain text: lines of {"text": …}
    Pretrain(RunArgs),
    /// Train on conversations in the OpenAI form; what the assistant says counts
    Sft(RunArgs),
    /// Write a run's model as a checkpoint (INT4 experts, the rest bf16), or its adapters in PEFT's layout
    Export(ExportArgs),
    /// Measure a model on lessons that it was never trained on
    Evaluate(EvaluateArgs),
    /// Make up lessons: reading values out of documents, saying that they are not there, arithmetic
    Lessons(LessonsArgs),
    /// Make a model from nothing, by a recipe that k25 carries
    Reproduce(super::reproduce::ReproduceArgs),
}

/// `k25 train pretrain` and `k25 train sft`.
#[derive(Debug, Args)]
#[command(after_help = "\
A run is a TOML file and a folder. Called again with the same two, an interrupted run goes on
where its last state was written, as if it had never stopped. Ctrl-C saves the state and ends.

Examples:
  k25 train pretrain run.toml --out runs/base
  k25 train sft sft.toml --out runs/sft --threads 2
  k25 train export runs/sft ./my-model && k25 generate ./my-model \"Hello\"")]
pub struct RunArgs {
    /// The run's configuration (docs/training.md shows a whole one)
    pub config: PathBuf,
    /// Folder of the run: its state, metrics.jsonl and curves.svg
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Print every metric as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 train export`.
#[derive(Debug, Args)]
#[command(after_help = "\
A run with [lora] has adapters. They are written as adapter_config.json and adapter_model.safetensors,
which PEFT reads; with --merge they are added to a copy of the checkpoint they were trained for, whose
tensors keep their types: INT4 experts with an adapter are rounded to INT4 again.

Examples:
  k25 train export runs/sft ./my-model
  k25 train export runs/lora ./my-adapter
  k25 train export runs/lora ./my-model --merge
  k25 train export runs/b ./mean --mean-with runs/a --share 0.75")]
pub struct ExportArgs {
    /// Folder of the run
    pub run: PathBuf,
    /// Folder to write; must be empty or absent
    pub dir: PathBuf,
    /// Write a whole checkpoint with the adapters of a LoRA run added to it
    #[arg(long)]
    pub merge: bool,
    /// Folder of another run of the same shape: write the mean of both models
    #[arg(long, value_name = "RUN", conflicts_with = "merge")]
    pub mean_with: Option<PathBuf>,
    /// How much the run itself counts in the mean, of 1
    #[arg(long, value_name = "PART", default_value_t = 0.5, value_parser = part, requires = "mean_with")]
    pub share: f32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A number from 0 to 1.
fn part(text: &str) -> Result<f32, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "a number from 0 to 1".to_owned())
}

/// `k25 train evaluate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Tool calls are not constrained here: what counts is what the model writes by itself.

Example:
  k25 train evaluate ./my-model --count 200 --folders 40")]
pub struct EvaluateArgs {
    /// The model: a checkpoint folder
    pub model: PathBuf,
    /// Folder of a LoRA adapter to put on it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Questions of every kind
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub count: u64,
    /// Folders whose tables are filled
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub folders: u64,
    /// Decides all of them
    #[arg(long, default_value_t = 1_000)]
    pub seed: u64,
    /// Print JSON, faults included
    #[arg(long)]
    pub json: bool,
}

/// `k25 train lessons`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every line is a conversation for `k25 train sft` (of --kind echo a text for `k25 train pretrain`). The same numbers give the same lessons; the
held-out ones have words and forms of documents that the others never have.

Examples:
  k25 train lessons lessons.jsonl --count 100000
  k25 train lessons held-out.jsonl --count 1000 --held-out
  k25 train lessons runs.jsonl --kind runs --count 2000
  k25 train lessons echo.jsonl --kind echo
  k25 train lessons copies.jsonl --kind copies --pieces vocabulary")]
pub struct LessonsArgs {
    /// File to write; it must not exist yet
    pub file: PathBuf,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub count: u64,
    /// Decides all of them
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Lessons to measure with, not to train on
    #[arg(long)]
    pub held_out: bool,
    /// What they are about
    #[arg(long, value_enum, default_value_t = LessonSet::Answers)]
    pub kind: LessonSet,
    /// Of --kind copies: folder of a vocabulary whose pieces the words are made of, so that each of them is
    /// copied now and then
    #[arg(long, value_name = "DIR")]
    pub pieces: Option<PathBuf>,
}

/// Sets of lessons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LessonSet {
    /// Questions about documents, rewriting, arithmetic
    Answers,
    /// Arithmetic and comparisons, which reasoning makes easier
    Thinking,
    /// Agents and swarms at work, recorded in k25's own runtime: the count is of runs, each of which
    /// gives a conversation for every agent
    Runs,
    /// The same with longer documents and lists, for contexts of 4,096 tokens
    LongRuns,
    /// Words said three times, as text for `k25 train pretrain`: how copying is learned first
    Echo,
    /// Keys and values, then the same in another order, as text for `k25 train pretrain`: how
    /// finding a value by its key is learned
    Recall,
    /// Many values of a document, at once and in questions one by one: whose key it is
    Several,
    /// Paths out of tasks, columns out of questions, values out of records: what is copied word by word
    Copies,
    /// Shapes and colours in pictures, which are within the lines
    Sight,
}

pub fn run(args: &TrainArgs) -> Result<Outcome> {
    match &args.command {
        TrainCommand::Pretrain(args) => train_alone(args, DataKind::Text),
        TrainCommand::Sft(args) => train_alone(args, DataKind::Conversations),
        TrainCommand::Export(args) => export_run(args),
        TrainCommand::Evaluate(args) => evaluate_model(args),
        TrainCommand::Lessons(args) => write_lessons(args),
        TrainCommand::Reproduce(args) => super::reproduce::run(args),
    }
}

fn train_alone(args: &RunArgs, kind: DataKind) -> Result<Outcome> {
    use_threads(args.threads)?;
    train(args, kind, &Interrupt::watch()?)
}

/// Says once how many threads compute.
pub fn use_threads(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads else {
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.into())
        .build_global()
        .context("cannot start the threads")
}

/// Trains from the first step or the last state to the end.
pub fn train(args: &RunArgs, kind: DataKind, interrupt: &Interrupt) -> Result<Outcome> {
    let status = Status::show("opening the run …");
    let mut run = Run::open(&args.config, kind, &args.out)?;
    let progress = Display {
        total: run.config().run.steps,
        first: run.progress().step,
        begin: Instant::now(),
        json: args.json,
    };
    drop(status);
    progress.headline(&run)?;
    interrupt.answering();
    let status = Status::show("first step …");
    let curves = args.out.join("curves.svg");
    let mut failed = None;
    run.run(&mut |report| {
        let shown = progress.show(report, &status).and_then(|()| match report {
            Report::Saved(_) => draw(&args.out, &curves),
            _ => Ok(()),
        });
        if let Err(error) = shown {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        match interrupt.is_asked() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    interrupt.answered();
    drop(status);
    if let Some(error) = failed {
        return Err(error);
    }
    finish(args, &run)
}

/// Tells where the run is, and what to do next.
fn finish(args: &RunArgs, run: &Run) -> Result<Outcome> {
    let (step, total) = (run.progress().step, run.config().run.steps);
    if !args.json {
        let mut stdout = io::stdout().lock();
        let out = args.out.display();
        writeln!(
            stdout,
            "{out}: {step} of {total} steps, {} tokens",
            grouped(run.progress().tokens)
        )?;
        match step == total {
            true => writeln!(stdout, "  export   k25 train export {out} ./my-model")?,
            false => writeln!(stdout, "  go on    the same command again")?,
        }
    }
    Ok(if step == total {
        Outcome::Done
    } else {
        Outcome::Interrupted
    })
}

fn draw(dir: &Path, curves: &Path) -> Result<()> {
    let path = dir.join(METRICS_FILE);
    let metrics =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(curves, svg(&metrics)).with_context(|| format!("cannot write {}", curves.display()))
}

/// What a person or a program sees of a run.
struct Display {
    total: u64,
    /// Steps that were made before.
    first: u64,
    begin: Instant,
    json: bool,
}

impl Display {
    fn headline(&self, run: &Run) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let model = run.model();
        let from = match self.first {
            0 => String::new(),
            step => format!(", going on after step {step}"),
        };
        let what = match model.is_adapted() {
            true => format!(
                "parameters in adapters over {} that stay as they are",
                grouped(model.params.frozen().len() as u64)
            ),
            false => format!(
                "parameters, {} active",
                grouped(model.active_parameters() as u64)
            ),
        };
        writeln!(
            io::stdout(),
            "{} {what}; {} steps{from}",
            grouped(model.params.len() as u64),
            self.total
        )?;
        Ok(())
    }

    fn show(&self, report: &Report, status: &Status) -> Result<()> {
        let mut stdout = io::stdout().lock();
        match report {
            Report::Step(metrics) if self.json => {
                writeln!(stdout, "{}", serde_json::to_string(metrics)?)?;
            }
            Report::Step(metrics) => {
                status.update(&self.line(metrics));
                if metrics.step.is_multiple_of(self.total.div_ceil(100).max(1)) {
                    status.update("");
                    writeln!(stdout, "{}", self.line(metrics))?;
                }
            }
            Report::Evaluation(metrics) if self.json => {
                writeln!(stdout, "{}", serde_json::to_string(metrics)?)?;
            }
            Report::Evaluation(metrics) => {
                status.update("");
                writeln!(
                    stdout,
                    "step {}: {} loss {:.4} (as exported {:.4}), {:.2} % of tokens right",
                    metrics.step,
                    metrics.evaluation,
                    metrics.loss,
                    metrics.exported_loss,
                    metrics.accuracy * 100.0
                )?;
            }
            Report::Saved(_) => {}
        }
        Ok(())
    }

    fn line(&self, metrics: &StepMetrics) -> String {
        let made = (metrics.step - self.first).max(1) as f64;
        let left = self.begin.elapsed().as_secs_f64() / made * (self.total - metrics.step) as f64;
        format!(
            "step {}/{}: loss {:.4}, {:.1} % right, {} tok/s, {} left; busiest expert +{:.0} %{}",
            metrics.step,
            self.total,
            metrics.loss,
            metrics.accuracy * 100.0,
            grouped(metrics.tokens_per_second as u64),
            duration(left as u64),
            metrics.max_violation * 100.0,
            if metrics.quantized { ", INT4" } else { "" },
        )
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Writes a run's model as a checkpoint, or its adapters.
pub fn export_run(args: &ExportArgs) -> Result<Outcome> {
    let (config, mut model) = trained(&args.run)?;
    let tokenizer = &config.model.tokenizer;
    let written = args.dir.display().to_string();
    if let Some(other) = &args.mean_with {
        let (other_config, other_model) = trained(other)?;
        let is_whole = config.lora.is_none() && other_config.lora.is_none();
        if !is_whole || !model.average(&other_model, args.share) {
            bail!(
                "{} and {} are not two models of one shape\n  hint: a mean is taken of whole models, as of a run and one that began where it ended",
                args.run.display(),
                other.display()
            );
        }
    }
    match (&config.lora, &config.model.start_from) {
        (Some(_), Some(base)) if args.merge => {
            let merged = adapter::merge(&model, base, tokenizer, &args.dir)?;
            tell_export(args, merged.exported, &written, Some(merged))
        }
        (Some(lora), Some(base)) => {
            let exported = adapter::write(&model, lora, base, &args.dir)?;
            let adapted = format!("{} --adapter {written}", base.display());
            tell_export(args, exported, &adapted, None)
        }
        _ if args.merge => bail!(
            "{} has no adapters to merge: its configuration has no [lora]\n  hint: leave out --merge",
            args.run.display()
        ),
        _ => {
            let exported = export(&model, Some(tokenizer), &args.dir)?;
            tell_export(args, exported, &written, None)
        }
    }
}

/// Says what was written, and how to try `model`.
fn tell_export(
    args: &ExportArgs,
    exported: Exported,
    model: &str,
    merged: Option<Merged>,
) -> Result<Outcome> {
    let mut stdout = io::stdout().lock();
    if args.json {
        let mut value = serde_json::json!({
            "dir": args.dir, "tensors": exported.tensors, "bytes": exported.bytes
        });
        if let Some(merged) = merged {
            value["merged_matrices"] = merged.matrices.into();
            value["requantized_matrices"] = merged.requantized.into();
        }
        writeln!(stdout, "{value}")?;
        return Ok(Outcome::Done);
    }
    writeln!(
        stdout,
        "{}: {} tensors, {}",
        args.dir.display(),
        grouped(exported.tensors as u64),
        bytes(exported.bytes as u64)
    )?;
    if let Some(merged) = merged {
        writeln!(
            stdout,
            "{} matrices have their adapters in them; {} of these are INT4 and were rounded again",
            grouped(merged.matrices as u64),
            grouped(merged.requantized as u64)
        )?;
    }
    writeln!(stdout, "  try      k25 generate {model} \"Hello\"")?;
    Ok(Outcome::Done)
}

fn evaluate_model(args: &EvaluateArgs) -> Result<Outcome> {
    let status = Status::show("opening the model …");
    let options = LocalOptions {
        adapter: args.adapter.clone(),
        files: FileAccess::Refused,
        ..LocalOptions::default()
    };
    let model = Arc::new(LocalModel::open(&args.model, &options)?);
    let sees = model.sees();
    let candidate = Candidate {
        context_tokens: model.context_tokens() as u64,
        client: Arc::new(LocalClient::new(model)?.with_free_calls()),
    };
    let figures = measure(&candidate, args, sees, &mut |what| status.update(what))?;
    drop(status);
    let mut stdout = io::stdout().lock();
    match args.json {
        true => writeln!(stdout, "{}", serde_json::to_string(&figures)?)?,
        false => figures.print(&mut stdout)?,
    }
    Ok(Outcome::Done)
}

/// What `k25 train evaluate` finds.
#[derive(serde::Serialize)]
struct Figures {
    answers: BTreeMap<&'static str, Score>,
    opened: OpenedScore,
    subagents: TableScore,
    swarms: TableScore,
}

fn measure(
    candidate: &Candidate,
    args: &EvaluateArgs,
    sees: bool,
    progress: &mut dyn FnMut(&str),
) -> Result<Figures> {
    let (seed, count, folders) = (args.seed, args.count, args.folders);
    let mut answers = answers(candidate, seed, count, progress)?;
    if sees {
        let seen = pictures(candidate, seed, count, progress)?;
        answers.insert("shapes and colours in pictures", seen);
    }
    Ok(Figures {
        answers,
        opened: opened(candidate, seed, count, progress)?,
        subagents: tables(candidate, Leader::Teacher, seed, folders, progress)?,
        swarms: tables(candidate, Leader::Candidate, seed, folders, progress)?,
    })
}

impl Figures {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut row = |name: &str, score: Score| {
            let (right, all) = (score.right, score.all);
            let percent = score.rate() * 100.0;
            writeln!(out, "{name:<34} {right:>6} of {all:<6} {percent:>5.1} %")
        };
        for (name, score) in &self.answers {
            row(name, *score)?;
        }
        row("lookup, documents opened by itself", self.opened.all())?;
        for (who, score) in [("sub-agents", &self.subagents), ("swarms", &self.swarms)] {
            let parts = [
                ("cells", score.cells),
                ("cells, known forms", score.known_forms()),
                ("cells, new forms", score.new_forms()),
                ("rows found", score.rows),
                ("valid tool calls", score.calls),
                ("runs that ended", score.ended),
            ];
            for (what, part) in parts {
                row(&format!("{who}: {what}"), part)?;
            }
        }
        for (what, by_form) in [
            ("lookup, opened", &self.opened.by_form),
            ("sub-agents: cells", &self.subagents.by_form),
        ] {
            for (form, score) in by_form {
                row(&format!("{what}, {}", form.name()), *score)?;
            }
        }
        Ok(())
    }
}

/// Writes lessons to a file, which is there when all of them are.
pub fn write_lessons(args: &LessonsArgs) -> Result<Outcome> {
    let split = if args.held_out {
        Split::HeldOut
    } else {
        Split::Train
    };
    let show = || format!("cannot write {}", args.file.display());
    if args.file.exists() {
        bail!(
            "{} is there already\n  hint: give another name",
            args.file.display()
        );
    }
    // The whole name stays, so that two files of one stem can be written at once.
    let mut part = args.file.clone().into_os_string();
    part.push(".part");
    let mut file = BufWriter::new(File::create(&part).with_context(show)?);
    if args.pieces.is_some() && args.kind != LessonSet::Copies {
        bail!("--pieces is for --kind copies\n  hint: leave it away");
    }
    let pieces = match &args.pieces {
        Some(dir) => Pieces::of(&Tokenizer::open(dir)?),
        None => Pieces::default(),
    };
    let status = Status::show("writing lessons …");
    let mut written = 0;
    for index in 0..args.count {
        let lines = match args.kind {
            LessonSet::Runs => record::lessons(args.seed, split, index, Length::Short)?,
            LessonSet::LongRuns => record::lessons(args.seed, split, index, Length::Long)?,
            LessonSet::Answers => vec![Lesson::new(args.seed, split, index).to_json()],
            LessonSet::Thinking => vec![Lesson::thinking(args.seed, split, index).to_json()],
            LessonSet::Several => vec![Lesson::several(args.seed, split, index).to_json()],
            LessonSet::Echo => vec![echo(args.seed, split, index)],
            LessonSet::Recall => vec![recall(args.seed, split, index)],
            LessonSet::Copies => vec![copy(args.seed, split, index, &pieces)],
            LessonSet::Sight => vec![sight(args.seed, split, index)],
        };
        for line in &lines {
            writeln!(file, "{line}").with_context(show)?;
        }
        written += lines.len() as u64;
        if index.is_multiple_of(256) {
            status.update(&format!("{index} of {} …", args.count));
        }
    }
    file.flush().with_context(show)?;
    fs::rename(&part, &args.file).with_context(show)?;
    drop(status);
    writeln!(
        io::stdout(),
        "{}: {} lessons",
        args.file.display(),
        grouped(written)
    )?;
    Ok(Outcome::Done)
}
