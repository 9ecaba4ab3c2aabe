//! `k25 train reproduce`: a model from nothing, by the recipe that the program carries.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use k25_train::data::DataKind;
use k25_train::recipe::{LessonSet, Recipe, Step};

use super::train::{ExportArgs, LessonsArgs, RunArgs, export_run, train, write_lessons};
use super::{Outcome, tokenizer};
use crate::interrupt::Interrupt;

/// `k25 train reproduce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes up the lessons, a vocabulary from them, and trains in phases: copying first, then reading, then
agents at work, then longer contexts in INT4. The folder gets everything, the model at last in
DIR/model. Ctrl-C saves; the same command goes on where it stopped. Takes about 2½ hours on two cores.

Example:
  k25 train reproduce nano --out runs/nano
  k25 train evaluate runs/nano/model
  k25 train reproduce nano --out runs/trial --share 0.01    # whether all of it works here")]
pub struct ReproduceArgs {
    /// What to make
    #[arg(value_enum)]
    pub recipe: RecipeName,
    /// Folder for lessons, runs and the model
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Part of the lessons and of the steps, to try in minutes whether everything works; the model can nothing then
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = share)]
    pub share: f64,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Print every metric as a line of JSON
    #[arg(long)]
    pub json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    match number > 0.0 && number <= 1.0 {
        true => Ok(number),
        false => Err("more than 0 and at most 1".to_owned()),
    }
}

/// Recipes that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecipeName {
    /// The small model that k25 carries
    Nano,
}

pub fn run(args: &ReproduceArgs) -> Result<Outcome> {
    let recipe = match args.recipe {
        RecipeName::Nano => Recipe::nano(),
    };
    let recipe = match args.share < 1.0 {
        true => recipe.shortened(args.share),
        false => recipe,
    };
    lay_out(&recipe, &args.out)?;
    super::train::use_threads(args.threads)?;
    // Watched once for all phases: a program can ask for Ctrl-C no second time.
    let interrupt = Interrupt::watch()?;
    let all = recipe.steps.len();
    for (index, step) in recipe.steps.iter().enumerate() {
        if !args.json {
            let what = title(step);
            writeln!(io::stdout(), "{} of {all}  {what}", index + 1)?;
        }
        if work(step, args, &interrupt)? == Outcome::Interrupted {
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(Outcome::Done)
}

/// Writes the recipe's files; those of another version of the recipe are refused, since its runs could not be continued.
fn lay_out(recipe: &Recipe, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, text) in &recipe.files {
        let path = dir.join(name);
        match fs::read_to_string(&path) {
            Ok(there) if there == *text => {}
            Ok(_) => anyhow::bail!(
                "{} belongs to another recipe of {}, or to another share of it\n  hint: give a new folder",
                path.display(),
                recipe.name
            ),
            Err(_) => fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?,
        }
    }
    Ok(())
}

fn title(step: &Step) -> String {
    match step {
        Step::Lessons { file, count, .. } => {
            format!("lessons {} ({count})", file.display())
        }
        Step::Vocabulary { dir, size, .. } => format!("{} of {size} ids", dir.display()),
        Step::Pretrain { run, .. } | Step::Sft { run, .. } => format!("training {}", run.display()),
        Step::Export { dir, .. } => format!("export {}", dir.display()),
    }
}

/// Does one step, unless it is done.
fn work(step: &Step, args: &ReproduceArgs, interrupt: &Interrupt) -> Result<Outcome> {
    let at = |path: &PathBuf| args.out.join(path);
    let run = |config: &PathBuf, run: &PathBuf, kind| {
        let run = RunArgs {
            config: at(config),
            out: at(run),
            threads: None,
            json: args.json,
        };
        train(&run, kind, interrupt)
    };
    match step {
        Step::Lessons { file, .. } if at(file).exists() => Ok(Outcome::Done),
        Step::Lessons {
            file,
            kind,
            count,
            seed,
            held_out,
            pieces,
        } => write_lessons(&LessonsArgs {
            file: at(file),
            count: *count,
            seed: *seed,
            held_out: *held_out,
            kind: (*kind).into(),
            pieces: pieces.as_ref().map(at),
        }),
        Step::Vocabulary { dir, .. } if at(dir).join("tokenizer_config.json").exists() => {
            Ok(Outcome::Done)
        }
        Step::Vocabulary { dir, size, files } => tokenizer::train(&tokenizer::TokenizerTrainArgs {
            files: files.iter().map(at).collect(),
            out: at(dir),
            vocab_size: *size,
            words_alone: true,
            json: args.json,
        }),
        Step::Pretrain { config, run: dir } => run(config, dir, DataKind::Text),
        Step::Sft { config, run: dir } => run(config, dir, DataKind::Conversations),
        Step::Export { dir, .. } if at(dir).join("config.json").exists() => Ok(Outcome::Done),
        Step::Export { run, dir } => export_run(&ExportArgs {
            run: at(run),
            dir: at(dir),
            merge: false,
            mean_with: None,
            share: 0.5,
            json: args.json,
        }),
    }
}

impl From<LessonSet> for super::train::LessonSet {
    fn from(set: LessonSet) -> Self {
        match set {
            LessonSet::Answers => Self::Answers,
            LessonSet::Thinking => Self::Thinking,
            LessonSet::Runs => Self::Runs,
            LessonSet::LongRuns => Self::LongRuns,
            LessonSet::Echo => Self::Echo,
            LessonSet::Recall => Self::Recall,
            LessonSet::Several => Self::Several,
            LessonSet::Copies => Self::Copies,
            LessonSet::Sight => Self::Sight,
        }
    }
}
