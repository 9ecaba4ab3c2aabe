//! What a person is told when a run begins, rests and ends.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k25_agent::documents::Documents;
use k25_agent::event::MAIN;
use k25_agent::run::{Run, RunState};
use k25_agent::swarm::Report;

use super::folder::{RunFolder, RunNote};
use super::model::Models;
use super::show::is_words;
use super::table::{summary, table_text};
use crate::machine;
use crate::output::{Screen, bytes, grouped};

/// What is known before the work begins.
pub fn print_head(run: &Arc<Run>, models: &Models, documents: &Documents, note: &RunNote) {
    let screen = Screen::stderr();
    let memory = machine::memory_bytes();
    let memory = memory.map_or_else(String::new, |size| format!(" · {}", bytes(size)));
    run.with_state(|state| {
        eprintln!(
            "k25 {} · {} · {} cores{memory}",
            env!("CARGO_PKG_VERSION"),
            models.title,
            machine::cores(),
        );
        eprintln!("question  {}", screen.foreign(&state.question));
        let root = documents.root();
        if !root.as_os_str().is_empty() {
            let read = match note.sample.as_deref() {
                Some([entry]) => screen.foreign(entry).into_owned(),
                Some(_) => format!("{} entries, a sample,", state.documents.len()),
                None => format!("{} entries", state.documents.len()),
            };
            eprintln!("documents {read} in {}", machine::spoken_path(root));
        }
    });
}

/// Steps, tokens, time, money.
pub fn cost_line(state: &RunState, currency: &str, time: Duration) -> String {
    let report = Report::of(state);
    let spent = report.spent;
    let mut text = format!(
        "critical steps {} · total steps {} · {} tokens ({} cached) · {} calls · {:.1} s",
        report.critical_steps,
        report.total_steps,
        grouped(spent.tokens()),
        grouped(spent.cached_tokens),
        spent.tool_calls,
        time.as_secs_f64(),
    );
    if !currency.is_empty() {
        text.push_str(&format!(" · {currency} {:.4}", spent.money));
    }
    text
}

/// How long the run was worked on, as far as its events tell.
pub fn time_of(state: &RunState) -> Duration {
    let began = state.tasks.values().map(|task| task.began_ms).min();
    let ms = match state.spent.ms {
        0 => state.last_ms.saturating_sub(began.unwrap_or(state.last_ms)),
        spent => spent,
    };
    Duration::from_millis(ms)
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

/// The table, what it cost, and what can be done next.
pub fn print_result(
    folder: &RunFolder,
    state: &RunState,
    models: &Models,
    note: &RunNote,
) -> Result<()> {
    let screen = Screen::stdout();
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "{}",
        cost_line(state, &models.currency, time_of(state))
    )?;
    writeln!(stdout)?;
    write!(stdout, "{}", table_text(state, screen))?;
    writeln!(stdout, "{}", summary(state))?;
    if let Some(why) = cut_short(state) {
        writeln!(stdout, "  ended by   {}", screen.foreign(why))?;
    }
    if let Some(rows) = bare(state) {
        writeln!(stdout, "  look at    {}", screen.foreign(&rows))?;
    }
    writeln!(
        stdout,
        "  table      {}  .md  .json        timeline  {}",
        folder.file("table.csv").display(),
        folder.file("timeline.svg").display()
    )?;
    for (name, command) in next_steps(folder, state, note) {
        let command = screen.foreign(&command);
        writeln!(stdout, "  {name:<10} {command}")?;
    }
    Ok(())
}

/// Rows that may be none, in words.
fn bare(state: &RunState) -> Option<String> {
    const MOST_NAMED: usize = 5;
    let rows = Report::of(state).bare_rows;
    let named = rows.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>();
    let (last, before) = named.split_last()?;
    let more = rows.len() - named.len();
    let names = match (before, more) {
        ([], 0) => last.clone(),
        (_, 0) => format!("{} and {last}", before.join(", ")),
        _ => format!("{} and {more} more", named.join(", ")),
    };
    let its = if rows.len() == 1 { "its" } else { "their" };
    Some(format!("{names}: nothing but {its} name is stated"))
}

/// What can be done next: with this table first, then beyond it.
fn next_steps(folder: &RunFolder, state: &RunState, note: &RunNote) -> Vec<(&'static str, String)> {
    let id = &folder.id;
    let mut steps = Vec::new();
    let key = state.table.rows().next();
    let columns = state.contract.as_ref().map(|contract| &contract.columns);
    if let (Some(row), Some(column)) = (key, columns.and_then(|columns| columns.last())) {
        let look = format!("k25 swarm show {id} --cell \"{row}.{}\"", column.name);
        steps.push(("look", look));
    }
    let change = format!("k25 swarm edit {id} --add-column \"…\"");
    steps.push(("change", change));
    if !is_complete(state) {
        let open = format!("k25 swarm resume {id}   looks again for what is missing");
        steps.push(("open", open));
    }
    if note
        .sample
        .as_ref()
        .is_some_and(|entries| entries.len() > 1)
    {
        let own = "k25 swarm \"…\" --docs DIR   asks about all documents of a folder";
        steps.push(("your own", own.to_owned()));
    }
    if note.is_nano() {
        let model = "k25 swarm … --model DIR|URL   for what a small model cannot (docs/models.md)";
        steps.push(("real model", model.to_owned()));
    }
    steps
}

/// The answer in words.
pub fn print_answer(state: &RunState, models: &Models) -> Result<()> {
    let screen = Screen::stdout();
    writeln!(io::stdout(), "{}", screen.foreign(state.answer.trim()))?;
    if let Some(why) = cut_short(state) {
        eprintln!(
            "ended by a limit: {}\n  hint: the answer says what there was; give more with --max-steps, --max-tokens and so on",
            Screen::stderr().foreign(why)
        );
    }
    if Screen::stderr().is_terminal {
        eprintln!("{}", cost_line(state, &models.currency, time_of(state)));
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
