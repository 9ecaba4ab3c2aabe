//! `k25 swarm show`, `runs` and `export`: what a run found, for people, programs and files.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use k25_agent::journal::SqliteJournal;
use k25_agent::run::RunState;
use k25_agent::swarm::{Mode, Report, timeline_svg};
use k25_agent::table::{Author, display, to_csv, to_json, to_markdown, to_xlsx};
use serde::Deserialize as _;
use serde_json::json;

use super::folder::RunFolder;
use super::table::{summary, table_text};
use crate::args::{ExportArgs, RunListArgs, ShowArgs};
use crate::commands::Outcome;
use crate::output::{Screen, print_json};

/// A form of the table, by a file's ending.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Csv,
    Markdown,
    Json,
    Xlsx,
    Svg,
}

impl Form {
    /// The form that a file's name asks for.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("csv") => Ok(Form::Csv),
            Some("md") => Ok(Form::Markdown),
            Some("json") => Ok(Form::Json),
            Some("xlsx") => Ok(Form::Xlsx),
            Some("svg") => Ok(Form::Svg),
            _ => Err(super::usage(&format!(
                "{} has no ending that says its form\n  hint: .csv, .md, .json, .xlsx, or .svg for the timeline",
                path.display()
            ))),
        }
    }

    fn bytes(self, state: &RunState) -> Result<Vec<u8>> {
        if let Form::Svg = self {
            return Ok(timeline_svg(state).into_bytes());
        }
        let contract = state.contract.as_ref();
        let contract =
            contract.ok_or_else(|| anyhow!("the run has no table yet\n  hint: resume it"))?;
        let text = match self {
            Form::Xlsx => return Ok(to_xlsx(contract, &state.table)?),
            Form::Csv => to_csv(contract, &state.table),
            Form::Markdown => to_markdown(contract, &state.table),
            _ => serde_json::to_string_pretty(&to_json(contract, &state.table))? + "\n",
        };
        Ok(text.into_bytes())
    }
}

/// Writes the table and the timeline into the run's folder.
pub fn write_results(folder: &RunFolder, state: &RunState) -> Result<()> {
    if state.contract.is_some() {
        for name in ["table.csv", "table.md", "table.json"] {
            export_state(state, &folder.file(name))?;
        }
    }
    export_state(state, &folder.file("timeline.svg"))
}

/// Writes a run's table to a file.
pub fn export_to(folder: &RunFolder, out: &Path) -> Result<()> {
    export_state(&folder.state()?, out)
}

fn export_state(state: &RunState, out: &Path) -> Result<()> {
    let bytes = Form::of(out)?.bytes(state)?;
    fs::write(out, bytes).with_context(|| format!("cannot write {}", out.display()))
}

/// `k25 swarm export`.
pub fn export(args: &ExportArgs) -> Result<Outcome> {
    let folder = RunFolder::find(&args.runs.dir, &args.run)?;
    export_to(&folder, &args.out)?;
    println!("{}", args.out.display());
    Ok(Outcome::Done)
}

/// `k25 swarm runs`.
pub fn list(args: &RunListArgs) -> Result<Outcome> {
    let mut runs = Vec::new();
    for folder in RunFolder::all(&args.runs.dir) {
        // A broken journal must not hide the other runs.
        runs.push((
            folder.id.clone(),
            folder.state().map(|state| Report::of(&state)),
        ));
    }
    if args.json {
        let runs: Vec<_> = runs
            .iter()
            .map(|(id, report)| match report {
                Ok(report) => json!({"run": id, "status": report.status, "rows": report.rows,
                    "question": report.question}),
                Err(error) => json!({"run": id, "error": error.to_string()}),
            })
            .collect();
        print_json(&runs)?;
        return Ok(Outcome::Done);
    }
    if runs.is_empty() {
        println!("no runs in {}", args.runs.dir.display());
    }
    let screen = Screen::stdout();
    for (id, report) in runs {
        match report {
            Ok(report) => {
                let question: String = report.question.chars().take(60).collect();
                let question = screen.foreign(&question).into_owned();
                println!(
                    "{id}  {:<8} {:>4} rows  {question}",
                    report.status, report.rows
                );
            }
            Err(error) => println!("{id}  {error}"),
        }
    }
    Ok(Outcome::Done)
}

/// `k25 swarm show`.
pub fn show(args: &ShowArgs) -> Result<Outcome> {
    let folder = RunFolder::find(&args.runs.dir, &args.run)?;
    if args.events {
        let mut stdout = io::stdout().lock();
        for event in SqliteJournal::look(&folder.file("journal.db"))? {
            writeln!(stdout, "{}", serde_json::to_string(&event)?)?;
        }
        return Ok(Outcome::Done);
    }
    let state = folder.state()?;
    if let Some(cell) = &args.cell {
        return show_cell(&folder, &state, cell, args.json);
    }
    if args.report || args.json {
        if args.json {
            print_json(&json_result(&folder, &state))?;
        } else {
            print_json(&Report::of(&state))?;
        }
        return Ok(Outcome::Done);
    }
    print_state(&state);
    Ok(Outcome::Done)
}

/// The table in columns, or the answer in words.
pub fn print_state(state: &RunState) {
    if is_words(state) {
        println!("{}", Screen::stdout().foreign(state.answer.trim()));
        return;
    }
    print!("{}", table_text(state, Screen::stdout()));
    println!("{}", summary(state));
}

/// Whether the run's result is words and no table.
pub fn is_words(state: &RunState) -> bool {
    let mode = Mode::deserialize(&state.settings["mode"]);
    mode.is_ok_and(Mode::is_words)
}

fn show_cell(folder: &RunFolder, state: &RunState, cell: &str, as_json: bool) -> Result<Outcome> {
    let (row, column) = folder.place(cell)?;
    let row = row.to_lowercase();
    if !state.table.rows().any(|key| key == row) {
        return Err(anyhow!(
            "no row {row:?}\n  hint: `k25 swarm show {}` prints the rows",
            folder.id
        ));
    }
    let place = state.table.get(&row, &column);
    if as_json {
        print_json(
            &json!({"row": row, "column": column, "status": place.status, "cell": place.cell,
            "claims": place.claims, "settlement": place.settlement}),
        )?;
        return Ok(Outcome::Done);
    }
    let screen = Screen::stdout();
    let value = place
        .cell
        .map(|cell| display(&cell.value))
        .unwrap_or_default();
    println!(
        "{}",
        screen.foreign(&format!(
            "{row}.{column} = {value}        {}",
            place.status.as_str()
        ))
    );
    if let Some(settlement) = place.settlement {
        let why = format!("  judged: {}", settlement.why);
        println!("{}", screen.foreign(&why));
    }
    for claim in place.claims {
        let author = match &claim.author {
            Author::User => "set by hand".to_owned(),
            Author::Agent { name, task } => format!("{name} {task}"),
        };
        let value = display(&claim.value);
        let place = claim.evidence.as_ref().map_or_else(
            || {
                if claim.value.is_null() {
                    "not stated".to_owned()
                } else {
                    String::new()
                }
            },
            |evidence| format!("{}:{}   {}", evidence.source, evidence.line, evidence.quote),
        );
        let line = format!(
            "  {value:<20} {author} · contract v{}\n    {place}",
            claim.contract
        );
        println!("{}", screen.foreign(&line));
    }
    Ok(Outcome::Done)
}

/// Everything as one JSON object.
pub fn json_result(folder: &RunFolder, state: &RunState) -> serde_json::Value {
    let table = state
        .contract
        .as_ref()
        .map(|contract| to_json(contract, &state.table));
    json!({"run": folder.id, "report": Report::of(state), "table": table})
}
