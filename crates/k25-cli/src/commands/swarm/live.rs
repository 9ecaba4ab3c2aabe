//! What a person sees while a run goes: a few lines that change on a terminal, a line per event
//! elsewhere.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use k25_agent::event::{Event, EventKind, MAIN};
use k25_agent::run::{Observer, RunState, TaskState};

use super::show::cost_line;
use crate::output::Screen;

/// Agents that are shown at once.
const SHOWN_AGENTS: usize = 8;
const BAR: usize = 32;

/// Prints a line per thing that matters to someone who reads a log.
pub fn observer() -> Observer {
    Arc::new(|event, state| {
        if let Some(line) = line(event, state) {
            // What agents and endpoints say is one line each.
            eprintln!("{}", line.replace(|c: char| c.is_control(), " "));
        }
    })
}

/// What happened, for someone who reads a log; nothing for most events.
pub fn line(event: &Event, state: &RunState) -> Option<String> {
    let name = || {
        state
            .tasks
            .get(&event.task)
            .map(|task| task.agent.as_str())
            .unwrap_or(MAIN)
    };
    Some(match &event.kind {
        EventKind::ContractFrozen { contract } => {
            let names: Vec<&str> = contract.columns.iter().map(|c| c.name.as_str()).collect();
            format!("contract  v{} · {}", contract.version, names.join(", "))
        }
        EventKind::AgentCreated { name, .. } => format!("created   {name}"),
        EventKind::TaskEnded { end, .. } if event.task != MAIN => {
            let task = state.tasks.get(&event.task)?;
            let rows: Vec<&str> = task.rows.keys().map(String::as_str).collect();
            format!(
                "{:<9} {} {} · {} steps · {}",
                end.as_str(),
                name(),
                event.task,
                task.steps(),
                rows.join(", ")
            )
        }
        EventKind::PageOutlined { source, .. } => format!("outlined  {source}"),
        EventKind::LastTurn { why, .. } => format!("ends      {}, {why}", name()),
        EventKind::RequestFailed { error, then, .. } => format!("request   {error}, {then}"),
        EventKind::ModeChosen { mode, why } => format!("mode      {mode} · {why}"),
        EventKind::ConflictSettled {
            row,
            column,
            settlement,
        } => {
            let value = k25_agent::table::display(&settlement.value);
            format!("judged    {row}.{column} = {value} · {}", settlement.why)
        }
        EventKind::RunPaused { reason } => format!("rests     {reason}"),
        _ => return None,
    })
}

/// The changing lines of a terminal.
pub struct Live {
    is_shown: bool,
    lines: usize,
}

impl Live {
    /// Shows nothing where nobody looks.
    pub fn new(is_shown: bool) -> Self {
        Live { is_shown, lines: 0 }
    }

    /// Whether anything is drawn.
    pub fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Draws the state over what was drawn before.
    pub fn draw(&mut self, state: &RunState, currency: &str) {
        if !self.is_shown {
            return;
        }
        let text = view(state, currency);
        self.clear();
        self.lines = text.lines().count();
        // Nobody is left to see it where standard error is closed.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Takes away what was drawn.
    pub fn clear(&mut self) {
        if self.lines > 0 {
            let _ = write!(io::stderr(), "\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }
}

fn view(state: &RunState, currency: &str) -> String {
    let screen = Screen::stderr();
    let mut text = format!(" orchestrator  {}\n", screen.foreign(&main_line(state)));
    let ended = state
        .order
        .iter()
        .filter(|id| state.tasks[*id].end.is_some())
        .count();
    let all = state.order.len().max(1);
    let filled = BAR * ended / all;
    let _ = writeln!(
        text,
        " {}{}  {ended} / {} tasks · {} rows",
        "█".repeat(filled),
        "░".repeat(BAR - filled),
        state.order.len(),
        state.table.row_count()
    );
    let working = state.order.iter().filter(|id| {
        let task = &state.tasks[*id];
        task.end.is_none() && task.steps() > 0
    });
    for id in working.clone().take(SHOWN_AGENTS) {
        let _ = writeln!(
            text,
            " {}",
            screen.foreign(&agent_line(id, &state.tasks[id]))
        );
    }
    let more = working.count().saturating_sub(SHOWN_AGENTS);
    if more > 0 {
        let _ = writeln!(text, " … {more} more");
    }
    let _ = writeln!(
        text,
        " {}{}{}",
        screen.dim(),
        cost_line(state, currency),
        screen.plain()
    );
    // A line that wraps would leave its rest behind.
    let cut = |line: &str| line.chars().take(100).collect::<String>() + "\n";
    text.lines().map(cut).collect()
}

fn main_line(state: &RunState) -> String {
    let Some(main) = state.tasks.get(MAIN) else {
        return "reads the question".to_owned();
    };
    last_call(main).unwrap_or_else(|| "thinks".to_owned())
}

fn agent_line(id: &str, task: &TaskState) -> String {
    let prompt: String = task.prompt.chars().take(36).collect();
    let prompt = prompt.replace('\n', " ");
    let doing = last_call(task).unwrap_or_default().replace('\n', " ");
    format!(
        "{:<10} {prompt:<36} {:>2} steps  {doing}",
        format!("{} {id}", task.agent),
        task.steps()
    )
}

/// The last call of a task in a few words.
fn last_call(task: &TaskState) -> Option<String> {
    let calls = &task.turns.last()?.reply.calls;
    let last = calls.last()?;
    let mut text = last.name.clone();
    if calls.len() > 1 {
        let _ = write!(text, " × {}", calls.len());
    }
    let arguments: serde_json::Value = serde_json::from_str(&last.arguments).unwrap_or_default();
    if let Some(detail) = ["path", "query", "name"]
        .iter()
        .find_map(|key| arguments[*key].as_str())
    {
        let _ = write!(text, " {}", detail.chars().take(40).collect::<String>());
    }
    Some(text)
}
