//! What a run found and cost, for people, programs and files.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use k25_agent::documents::Documents;
use k25_agent::event::MAIN;
use k25_agent::journal::SqliteJournal;
use k25_agent::run::{Run, RunState};
use k25_agent::swarm::{Mode, Report, timeline_svg};
use k25_agent::table::{Author, CellStatus, display, to_csv, to_json, to_markdown, to_xlsx};
use serde::Deserialize as _;
use serde_json::json;

use super::folder::RunFolder;
use super::model::Models;
use crate::args::{ExportArgs, RunListArgs, ShowArgs};
use crate::commands::Outcome;
use crate::output::{Screen, grouped, print_json};

/// Widest column of a printed table.
const MAX_WIDTH: usize = 32;

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
            print_json_result(&folder, &state)?;
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
    print!("{}", table_text(state));
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

/// What is known before the work begins.
pub fn print_head(run: &Arc<Run>, models: &Models, documents: &Documents) {
    let screen = Screen::stderr();
    run.with_state(|state| {
        eprintln!("k25 {} · {}", env!("CARGO_PKG_VERSION"), models.title);
        eprintln!("question  {}", screen.foreign(&state.question));
        if !documents.root().as_os_str().is_empty() {
            eprintln!(
                "documents {} entries in {}",
                state.documents.len(),
                documents.root().display()
            );
        }
    });
}

/// Steps, tokens, time, money.
pub fn cost_line(state: &RunState, currency: &str) -> String {
    let report = Report::of(state);
    let spent = report.spent;
    let ms = if spent.ms > 0 {
        spent.ms
    } else {
        elapsed_ms(state)
    };
    let mut text = format!(
        "critical steps {} · total steps {} · {} tokens ({} cached) · {} calls · {:.1} s",
        report.critical_steps,
        report.total_steps,
        grouped(spent.tokens()),
        grouped(spent.cached_tokens),
        spent.tool_calls,
        ms as f64 / 1000.0,
    );
    if !currency.is_empty() {
        text.push_str(&format!(" · {currency} {:.4}", spent.money));
    }
    text
}

fn elapsed_ms(state: &RunState) -> u64 {
    let began = state
        .tasks
        .values()
        .map(|task| task.began_ms)
        .min()
        .unwrap_or(state.last_ms);
    state.last_ms.saturating_sub(began)
}

/// Whether every place is settled.
pub fn is_complete(state: &RunState) -> bool {
    let report = Report::of(state);
    let open = ["missing", "stale", "conflict"];
    report.rows > 0
        && open
            .iter()
            .all(|status| report.cells.get(status).is_none_or(|&n| n == 0))
}

/// One line on the whole table.
fn summary(state: &RunState) -> String {
    let report = Report::of(state);
    let count = |status: &str| report.cells.get(status).copied().unwrap_or(0);
    let filled = count("ok") + count("edited");
    let mut text = format!(
        "{} rows, {filled} values, {} not stated in the source, {} conflicts",
        report.rows,
        count("not_stated"),
        count("conflict")
    );
    let open = count("missing") + count("stale");
    if open > 0 {
        text.push_str(&format!(", {open} still open"));
    }
    text.push_str(". Every value has its quote.");
    text
}

/// The table in columns.
fn table_text(state: &RunState) -> String {
    let Some(contract) = &state.contract else {
        return "no table yet\n".to_owned();
    };
    let mut lines: Vec<Vec<String>> =
        vec![contract.columns.iter().map(|c| c.name.clone()).collect()];
    for row in state.table.rows() {
        let shown = contract.columns.iter().map(|column| {
            let place = state.table.get(row, &column.name);
            let value = place
                .cell
                .map(|cell| display(&cell.value))
                .unwrap_or_default();
            match place.status {
                CellStatus::NotStated => "–".to_owned(),
                CellStatus::Missing => "?".to_owned(),
                CellStatus::Conflict => format!("{value} ≠"),
                CellStatus::Stale => format!("{value} …"),
                CellStatus::Ok | CellStatus::Edited => value,
            }
        });
        lines.push(shown.map(|text| cut(&text)).collect());
    }
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..contract.columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    Screen::stdout().foreign(&text).into_owned()
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_WIDTH {
        return text.to_owned();
    }
    text.chars().take(MAX_WIDTH - 1).chain(['…']).collect()
}

/// The table, what it cost, and what can be done next.
pub fn print_result(folder: &RunFolder, state: &RunState, models: &Models) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", cost_line(state, &models.currency))?;
    writeln!(stdout)?;
    write!(stdout, "{}", table_text(state))?;
    writeln!(stdout, "{}", summary(state))?;
    let id = &folder.id;
    if let Some(why) = cut_short(state) {
        writeln!(stdout, "  ended by   {why}")?;
    }
    writeln!(
        stdout,
        "  table      {}  .md  .json        timeline  {}",
        folder.file("table.csv").display(),
        folder.file("timeline.svg").display()
    )?;
    let key = state.table.rows().next();
    let column = state
        .contract
        .as_ref()
        .and_then(|contract| contract.columns.last());
    if let (Some(row), Some(column)) = (key, column) {
        writeln!(
            stdout,
            "  look       k25 swarm show {id} --cell \"{row}.{}\"",
            column.name
        )?;
    }
    writeln!(
        stdout,
        "  change     k25 swarm edit {id} --add-column \"…\""
    )?;
    if !is_complete(state) {
        writeln!(
            stdout,
            "  open       k25 swarm resume {id}   looks again for what is missing"
        )?;
    }
    Ok(())
}

/// The answer in words.
pub fn print_answer(state: &RunState, models: &Models) -> Result<()> {
    let screen = Screen::stdout();
    writeln!(io::stdout(), "{}", screen.foreign(state.answer.trim()))?;
    if let Some(why) = cut_short(state) {
        eprintln!(
            "ended by a limit: {why}\n  hint: the answer says what there was; give more with --max-steps, --max-tokens and so on"
        );
    }
    if Screen::stderr().is_terminal {
        eprintln!("{}", cost_line(state, &models.currency));
    }
    Ok(())
}

/// Which limit ended the main agent's work, if one did.
fn cut_short(state: &RunState) -> Option<&str> {
    let main = state.tasks.get(MAIN)?;
    main.cut_short.as_ref().map(|cut| cut.why.as_str())
}

/// What is safe, and how to go on.
pub fn print_rest(folder: &RunFolder, state: &RunState, reason: &str) {
    let reason = Screen::stderr().foreign(reason).into_owned();
    let safe = match is_words(state) {
        true => "Nothing that was read is lost".to_owned(),
        false => format!("{} rows are safe", state.table.row_count()),
    };
    let command = if is_words(state) { "agent" } else { "swarm" };
    eprintln!(
        "paused: {reason}\n{safe}. Continue with   k25 {command} resume {}",
        folder.id
    );
}

/// Everything as one JSON object.
pub fn print_json_result(folder: &RunFolder, state: &RunState) -> Result<()> {
    let table = state
        .contract
        .as_ref()
        .map(|contract| to_json(contract, &state.table));
    print_json(&json!({"run": folder.id, "report": Report::of(state), "table": table}))
}

/// Swarm and single agent side by side.
pub fn print_comparison(swarm: &RunState, single: &RunState) {
    let (a, b) = (Report::of(swarm), Report::of(single));
    let ratio = |x: f64, y: f64| {
        if x > 0.0 {
            format!("{:.1} ×", y / x)
        } else {
            "–".to_owned()
        }
    };
    let filled = |report: &Report| report.cells.get("ok").copied().unwrap_or(0) as u64;
    println!("\n                 swarm     single    ratio");
    let lines = [
        ("critical steps", a.critical_steps, b.critical_steps),
        ("total steps", a.total_steps, b.total_steps),
        ("milliseconds", a.spent.ms, b.spent.ms),
        ("tokens", a.spent.tokens(), b.spent.tokens()),
        ("values", filled(&a), filled(&b)),
    ];
    for (name, a, b) in lines {
        println!(
            "{name:<15} {:>8}   {:>8}    {}",
            grouped(a),
            grouped(b),
            ratio(a as f64, b as f64)
        );
    }
}
