//! A swarm beside a single agent with the same model, documents and columns.

use std::path::Path;

use anyhow::Result;
use k25_agent::run::RunState;
use k25_agent::swarm::{Mode, Report, Settings};
use k25_agent::table::CellStatus;
use serde::Serialize;

use super::folder::RunFolder;
use super::show;
use super::work::{Begin, Printing, Work};
use crate::output::{grouped, print_json};

/// Asks a single agent what a swarm was asked, unless that came to nothing, and prints both side by
/// side, or as one object.
pub fn compare(
    swarm: &Work,
    question: &str,
    settings: &Settings,
    runs: &Path,
    is_compared: bool,
) -> Result<()> {
    let is_text = swarm.printing == Printing::Text;
    let single = match is_compared {
        true => Some(run_single(swarm, question, settings, runs)?),
        false => None,
    };
    let state = swarm.folder.state()?;
    let Some(single) = single else {
        return match is_text {
            true => Ok(()),
            false => print_json(&show::json_result(&swarm.folder, &state)),
        };
    };
    let single_state = single.state()?;
    let comparison = Comparison::of(&state, &single_state);
    if is_text {
        print!("{}", comparison.text(&single));
        return Ok(());
    }
    let mut result = show::json_result(&swarm.folder, &state);
    result["single"] = show::json_result(&single, &single_state);
    result["comparison"] = serde_json::to_value(comparison)?;
    print_json(&result)
}

/// The same question, columns and documents with one agent.
fn run_single(swarm: &Work, question: &str, settings: &Settings, runs: &Path) -> Result<RunFolder> {
    let work = Work {
        folder: RunFolder::create(runs, &swarm.note)?,
        note: swarm.note.clone(),
        models: swarm.models.clone(),
        budget: swarm.budget.clone(),
        printing: swarm.printing,
    };
    if work.printing == Printing::Text {
        println!("\nThe same with one agent:");
    }
    work.begin(Begin {
        question,
        contract: swarm.folder.state()?.contract,
        settings: &Settings {
            mode: Mode::Single,
            ..settings.clone()
        },
        documents: swarm.note.open_documents()?,
        chooses_mode: false,
    })?;
    Ok(work.folder)
}

/// The figures of both, and where their tables agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The swarm.
    pub swarm: Figures,
    /// The single agent.
    pub single: Figures,
    /// Places that both settled, with a value or as not stated.
    pub settled_by_both: usize,
    /// Those of them at which both say the same.
    pub agreeing: usize,
}

/// What a run found and what it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Rows of its table.
    pub rows: usize,
    /// Places with a value.
    pub values: usize,
    /// Places that the source says nothing of.
    pub not_stated: usize,
    /// Places with different values.
    pub conflicts: usize,
    /// Steps that nothing could have run beside.
    pub critical_steps: u64,
    /// Steps of all agents.
    pub total_steps: u64,
    /// Time on the clock.
    pub seconds: f64,
    /// Tokens of prompts and answers.
    pub tokens: u64,
    /// Those of the prompts that were cached.
    pub cached_tokens: u64,
}

impl Figures {
    fn of(state: &RunState) -> Self {
        let report = Report::of(state);
        let count = |status: &str| report.cells.get(status).copied().unwrap_or(0);
        Figures {
            rows: report.rows,
            values: count("ok") + count("edited"),
            not_stated: count("not_stated"),
            conflicts: count("conflict"),
            critical_steps: report.critical_steps,
            total_steps: report.total_steps,
            seconds: report.spent.ms as f64 / 1000.0,
            tokens: report.spent.tokens(),
            cached_tokens: report.spent.cached_tokens,
        }
    }
}

impl Comparison {
    /// Sets two runs on the same question side by side.
    pub fn of(swarm: &RunState, single: &RunState) -> Self {
        let columns = swarm.contract.as_ref().map(|contract| &contract.columns);
        let (mut settled_by_both, mut agreeing) = (0, 0);
        for row in swarm.table.rows() {
            for column in columns.into_iter().flatten() {
                let (a, b) = (
                    settled(swarm, row, &column.name),
                    settled(single, row, &column.name),
                );
                if let (Some(a), Some(b)) = (a, b) {
                    settled_by_both += 1;
                    agreeing += usize::from(a == b);
                }
            }
        }
        Comparison {
            swarm: Figures::of(swarm),
            single: Figures::of(single),
            settled_by_both,
            agreeing,
        }
    }

    /// Both in columns, for a person.
    pub fn text(&self, single: &RunFolder) -> String {
        let (a, b) = (&self.swarm, &self.single);
        let mut text = format!("\n{:<16}{:>10}{:>14}\n", "", "swarm", "one agent");
        let found = [
            ("rows", a.rows, b.rows),
            ("values", a.values, b.values),
            ("not stated", a.not_stated, b.not_stated),
            ("conflicts", a.conflicts, b.conflicts),
        ];
        for (name, a, b) in found {
            text.push_str(&line(name, &grouped(a as u64), &grouped(b as u64), None));
        }
        let took = [
            ("critical steps", a.critical_steps, b.critical_steps),
            ("total steps", a.total_steps, b.total_steps),
            ("tokens", a.tokens, b.tokens),
            ("cached", a.cached_tokens, b.cached_tokens),
        ];
        for (name, a, b) in took {
            let ratio = ratio(a as f64, b as f64);
            text.push_str(&line(name, &grouped(a), &grouped(b), ratio));
        }
        let seconds = |figures: &Figures| format!("{:.1} s", figures.seconds);
        let ratio = ratio(a.seconds, b.seconds);
        text.push_str(&line("time", &seconds(a), &seconds(b), ratio));
        text.push_str(&match self.settled_by_both {
            0 => "There is no place that both settled.".to_owned(),
            both => format!(
                "They agree at {} of the {both} places that both settled.",
                self.agreeing
            ),
        });
        let table = single.file("table.csv");
        text.push_str(&format!(" The other table: {}\n", table.display()));
        text
    }
}

/// What a run says of a place: a value, or that the source has none. `None` where that is open.
fn settled<'a>(
    state: &'a RunState,
    row: &str,
    column: &str,
) -> Option<Option<&'a serde_json::Value>> {
    let place = state.table.get(row, column);
    match place.status {
        CellStatus::Ok | CellStatus::Edited => Some(place.cell.map(|cell| &cell.value)),
        CellStatus::NotStated => Some(None),
        CellStatus::Missing | CellStatus::Stale | CellStatus::Conflict => None,
    }
}

fn line(name: &str, swarm: &str, single: &str, ratio: Option<String>) -> String {
    let ratio = ratio.unwrap_or_default();
    format!(
        "{}\n",
        format!("{name:<16}{swarm:>10}{single:>14}   {ratio}").trim_end()
    )
}

/// How many times the single agent took.
fn ratio(swarm: f64, single: f64) -> Option<String> {
    (swarm > 0.0 && single > 0.0).then(|| format!("{:.1} ×", single / swarm))
}
