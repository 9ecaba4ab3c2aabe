//! `k25 swarm`: a wide question over documents becomes a table with evidence.

mod approve;
mod cancel;
mod code;
mod compare;
mod ending;
pub mod example;
pub mod folder;
pub mod live;
pub mod model;
mod replay;
pub mod settings;
pub mod show;
pub mod sources;
mod table;
pub mod tools;
pub mod work;

use anyhow::{Context as _, Result, anyhow};
use k25_agent::contract::{Contract, parse_columns};
use k25_agent::swarm::{Edit, Mode, Settings};
use k25_agent::table::ConflictRule;

use super::Outcome;
use crate::args::{
    Conflicts, EditArgs, GoOnArgs, StartArgs, SwarmArgs, SwarmCommand, SwarmMode, Trial,
};
use crate::input::UsageError;
use folder::{RunFolder, RunNote};
use model::Models;
use sources::Sources;
use work::{Printing, Work};

pub fn run(args: SwarmArgs) -> Result<Outcome> {
    match args.command {
        None => start(args.start),
        Some(SwarmCommand::Runs(args)) => show::list(&args),
        Some(SwarmCommand::Show(args)) => show::show(&args),
        Some(SwarmCommand::Resume(args)) => resume(args),
        Some(SwarmCommand::Cancel(args)) => cancel::cancel(&args),
        Some(SwarmCommand::Edit(args)) => edit(args),
        Some(SwarmCommand::Export(args)) => show::export(&args),
        Some(SwarmCommand::Replay(args)) => replay::replay(&args),
    }
}

/// A fault in how the program was called.
pub fn usage(message: &str) -> anyhow::Error {
    UsageError(message.to_owned()).into()
}

fn start(args: StartArgs) -> Result<Outcome> {
    if args.documents.lists_examples() {
        return example::list();
    }
    let example = example::named(&args.documents)?.map(|example| example.question);
    let question = args.question.clone().or(example.map(str::to_owned));
    let question = question.ok_or_else(|| {
        usage("there is no question\n  hint: k25 swarm \"For each …: version, license\" --docs DIR, or k25 swarm --example crates")
    })?;
    let sources = sources(&args)?;
    let columns = args
        .columns
        .as_deref()
        .map(|text| parse_columns(text).and_then(Contract::new));
    let contract = columns.transpose()?;
    if let Some(out) = &args.out {
        show::Form::of(out)?;
    }
    let note = RunNote::new(&sources, &args.model)?.with_tools(&args.tools)?;
    let documents = note.open_documents()?;
    let models = Models::open(&args.model, None)?;
    let (mode, thinks) = mode_of(args.mode);
    let settings = Settings {
        subagents_think: args.subagents_think,
        conflicts: conflict_rule(args.conflicts),
        rows_per_task: args.rows_per_task,
        trial: match args.trial {
            None => contract.is_none(),
            Some(when) => when == Trial::Always,
        },
        outlines: !args.no_outlines,
        ..settings::settings(mode, thinks, &args.main, &args.budget, &models)
    };
    let work = Work {
        folder: RunFolder::create(&args.runs.dir, &note)?,
        note,
        models,
        budget: args.budget.budget(),
        // Of a comparison there is one object, of both.
        printing: match args.compare {
            Some(_) if args.json => Printing::Nothing,
            _ => Printing::of(args.json),
        },
    };
    let begin = work::Begin {
        question: &question,
        contract,
        settings: &settings,
        documents,
        chooses_mode: args.mode == SwarmMode::Auto,
    };
    let outcome = work.begin(begin)?;
    let is_table = work.folder.state()?.contract.is_some();
    if let Some(out) = args.out.as_ref().filter(|_| is_table) {
        show::export_to(&work.folder, out)?;
    }
    if args.compare.is_some() {
        let is_compared = is_table && outcome != Outcome::Interrupted;
        compare::compare(&work, &question, &settings, &args.runs.dir, is_compared)?;
    }
    Ok(outcome)
}

/// The documents that the flags name, which some modes do without.
fn sources(args: &StartArgs) -> Result<Sources> {
    let needs_documents = match args.mode {
        SwarmMode::Swarm | SwarmMode::Single | SwarmMode::Agent => true,
        SwarmMode::Auto | SwarmMode::Thinking | SwarmMode::Instant => false,
    };
    match Sources::of(&args.documents)? {
        None if needs_documents => Err(usage(
            "there are no documents\n  hint: name their folder with --docs DIR",
        )),
        sources => Ok(sources.unwrap_or_default()),
    }
}

/// Goes on with a run, whoever works in it.
pub fn resume(args: GoOnArgs) -> Result<Outcome> {
    let folder = RunFolder::find(&args.runs.dir, &args.run)?;
    again(&args, folder)?.go_on(Vec::new())
}

/// An earlier run with what it needs to go on.
fn again(args: &GoOnArgs, folder: RunFolder) -> Result<Work> {
    let note = folder.note()?;
    let models = Models::open(&args.model, Some(&note))?;
    Ok(Work {
        folder,
        note,
        models,
        budget: args.budget.budget(),
        printing: Printing::of(args.json),
    })
}

fn edit(args: EditArgs) -> Result<Outcome> {
    let folder = RunFolder::find(&args.on.runs.dir, &args.on.run)?;
    let edits = edits(&args, &folder)?;
    if edits.is_empty() {
        return Err(usage(
            "nothing to change\n  hint: --add-column, --set, --redo or --define",
        ));
    }
    let only_sets = edits.iter().all(|edit| matches!(edit, Edit::Set { .. }));
    if args.later || only_sets {
        return work::record_edits(&folder, edits);
    }
    again(&args.on, folder)?.go_on(edits)
}

/// Who works in a mode, and whether the main agent reasons, where the mode says so. The chosen mode
/// replaces `Auto` later.
fn mode_of(mode: SwarmMode) -> (Mode, Option<bool>) {
    match mode {
        SwarmMode::Auto | SwarmMode::Swarm => (Mode::Swarm, None),
        SwarmMode::Single => (Mode::Single, None),
        SwarmMode::Agent => (Mode::Answer, None),
        SwarmMode::Thinking => (Mode::Direct, Some(true)),
        SwarmMode::Instant => (Mode::Direct, Some(false)),
    }
}

fn conflict_rule(conflicts: Conflicts) -> ConflictRule {
    match conflicts {
        Conflicts::Keep => ConflictRule::Keep,
        Conflicts::Majority => ConflictRule::Majority,
        Conflicts::Judge => ConflictRule::Judge,
    }
}

fn edits(args: &EditArgs, folder: &RunFolder) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for text in &args.add_columns {
        edits.extend(parse_columns(text)?.into_iter().map(Edit::AddColumn));
    }
    for text in &args.defines {
        let (column, meaning) = pair(text, "--define COLUMN=MEANING")?;
        edits.push(Edit::Redefine { column, meaning });
    }
    for text in &args.sets {
        let (place, value) = pair(text, "--set ROW.COLUMN=VALUE")?;
        let (row, column) = folder.place(&place)?;
        edits.push(Edit::Set {
            row,
            column,
            value: value.into(),
        });
    }
    for text in &args.redos {
        edits.push(match text.strip_prefix("column:") {
            Some(column) => Edit::Redo {
                row: None,
                column: Some(column.to_owned()),
            },
            None => match folder.place(text) {
                Ok((row, column)) => Edit::Redo {
                    row: Some(row),
                    column: Some(column),
                },
                Err(_) => Edit::Redo {
                    row: Some(text.clone()),
                    column: None,
                },
            },
        });
    }
    Ok(edits)
}

fn pair(text: &str, form: &str) -> Result<(String, String)> {
    let (left, right) = text
        .split_once('=')
        .ok_or_else(|| usage(&format!("{text:?} has no =\n  hint: write {form}")))?;
    Ok((left.trim().to_owned(), right.trim().to_owned()))
}

impl crate::args::BudgetArgs {
    /// The limits that these flags set.
    pub fn budget(&self) -> k25_agent::budget::Budget {
        k25_agent::budget::Budget {
            tokens: self.max_tokens,
            money: self.max_cost,
            seconds: self.max_minutes.map(|minutes| minutes.saturating_mul(60)),
            critical_steps: self.max_critical_steps,
            tool_calls: Some(self.max_tool_calls),
            tasks: Some(self.max_tasks),
        }
    }
}

/// Reads a small file of JSON.
fn read_json<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
}
