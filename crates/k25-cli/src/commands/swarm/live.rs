//! What a person sees while a run goes: a few lines that change on a terminal, a line per event
//! elsewhere.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k25_agent::event::{Event, EventKind, MAIN};
use k25_agent::run::{Observer, RunState, TaskState};
use k25_agent::swarm::{ASSIGN_TASK, CREATE_SUBAGENT};

use super::ending::{cost_line, time_of};
use crate::output::Screen;

/// Agents that are shown at once, where the terminal has the lines.
const SHOWN_AGENTS: usize = 10;
/// Lines of the view beside those of agents, and one for what stands above.
const OTHER_LINES: usize = 7;
const BAR: usize = 32;
/// Parts of the orchestrator's way that are shown.
const SHOWN_WAY: usize = 4;
/// The terminal does not wrap what comes between these: a line that wraps would leave its rest behind.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

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
    /// Since when the clock runs; without it, time is what events tell.
    since: Option<Instant>,
}

impl Live {
    /// Shows nothing where nobody looks.
    pub fn new(is_shown: bool) -> Self {
        Live {
            is_shown,
            lines: 0,
            since: None,
        }
    }

    /// The same for a run that goes on now, whose time passes between its events too.
    pub fn of_now(is_shown: bool) -> Self {
        Live {
            since: Some(Instant::now()),
            ..Live::new(is_shown)
        }
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
        let passed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let time = time_of(state).max(passed);
        let text = view(state, currency, time, Screen::stderr());
        // In one piece, so that nothing flickers. Nobody is left to see it where standard error is
        // closed.
        let drawn = format!("{}{NO_WRAP}{text}{WRAP}", self.back());
        let _ = io::stderr().write_all(drawn.as_bytes());
        self.lines = text.lines().count();
    }

    /// Takes away what was drawn.
    pub fn clear(&mut self) {
        let _ = io::stderr().write_all(self.back().as_bytes());
        self.lines = 0;
    }

    /// What goes back to the first line of the view and empties the screen from there.
    fn back(&self) -> String {
        match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

fn view(state: &RunState, currency: &str, time: Duration, screen: Screen) -> String {
    let (_, height) = screen.size().unwrap_or((0, 30));
    let mut lines = Vec::new();
    if let Some(contract) = &state.contract {
        let columns = contract.columns.iter();
        let columns = columns.map(|c| format!("{}{}", c.name, if c.is_key { "*" } else { "" }));
        let columns = columns.collect::<Vec<_>>().join(", ");
        lines.push(format!(" contract      {columns} · v{}", contract.version));
    }
    lines.push(format!(" orchestrator  {}", way(state)));
    lines.push(progress(state));
    lines.extend(agents(
        state,
        height.saturating_sub(OTHER_LINES).clamp(1, SHOWN_AGENTS),
    ));
    let mut text = String::new();
    for line in &lines {
        // Of what agents say, nothing begins another line.
        let line = screen.foreign(line).replace(['\n', '\t'], " ");
        let _ = writeln!(text, "{line}");
    }
    let (dim, plain) = (screen.dim(), screen.plain());
    let _ = writeln!(text, " {dim}{}{plain}", cost_line(state, currency, time));
    text
}

/// How far the run has come: of the tasks, or where one agent works, of the documents.
fn progress(state: &RunState) -> String {
    let rows = state.table.row_count();
    let (done, all, what) = match state.order.len() {
        0 => (rows, state.documents.len(), "rows"),
        all => {
            let is_over = |id: &&String| state.tasks[*id].end.is_some();
            (state.order.iter().filter(is_over).count(), all, "tasks")
        }
    };
    let filled = (BAR * done / all.max(1)).min(BAR);
    let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
    let mut text = format!(" {bar}  {done} / {all} {what}");
    if what == "tasks" {
        let _ = write!(text, " · {rows} rows");
    }
    let counts = state.contract.as_ref().map(|c| state.table.count(c));
    let counts = counts.unwrap_or_default();
    for (status, name) in [
        ("ok", "values"),
        ("not_stated", "not stated"),
        ("conflict", "conflicts"),
    ] {
        if let Some(count) = counts.get(status).filter(|count| **count > 0) {
            let _ = write!(text, " · {count} {name}");
        }
    }
    text
}

/// A line for each agent at work, as far as there is room.
fn agents(state: &RunState, room: usize) -> Vec<String> {
    let working = state.order.iter().filter(|id| {
        let task = &state.tasks[*id];
        task.end.is_none() && task.steps() > 0
    });
    let common = common_words(state.order.iter().map(|id| state.tasks[id].prompt.as_str()));
    let lines = working.clone().take(room);
    let mut lines: Vec<String> = lines
        .map(|id| agent_line(&state.tasks[id], common))
        .collect();
    let more = working.count().saturating_sub(room);
    if more > 0 {
        lines.push(format!(" … and {more} more at work"));
    }
    lines
}

fn agent_line(task: &TaskState, common: usize) -> String {
    let mark = if task.rows.is_empty() { '○' } else { '●' };
    let prompt = task.prompt.get(common..).unwrap_or(&task.prompt);
    let doing = last_call(task).unwrap_or_else(|| "thinks".to_owned());
    let steps = task.steps();
    let word = if steps == 1 { "step " } else { "steps" };
    format!(
        " {mark} {:<32} {steps:>2} {word}  {doing}",
        short(prompt, 32)
    )
}

/// Bytes of whole words with which all these texts begin: of tasks, only the rest tells them apart.
fn common_words<'a>(mut texts: impl Iterator<Item = &'a str>) -> usize {
    let Some(first) = texts.next() else {
        return 0;
    };
    let mut common = first.len();
    let mut several = false;
    for text in texts {
        several = true;
        let same = first.bytes().zip(text.bytes());
        common = common.min(same.take_while(|(a, b)| a == b).count());
    }
    match several {
        true => first.as_bytes()[..common]
            .iter()
            .rposition(|byte| *byte == b' ')
            .map_or(0, |space| space + 1),
        false => 0,
    }
}

/// What the main agent did so far, in short, the latest last.
fn way(state: &RunState) -> String {
    let Some(main) = state.tasks.get(MAIN).filter(|main| !main.turns.is_empty()) else {
        return match state.contract {
            Some(_) => "reads the question".to_owned(),
            None => "looks for the columns".to_owned(),
        };
    };
    let mut steps: Vec<(String, String, usize)> = Vec::new();
    for call in main.turns.iter().flat_map(|turn| &turn.reply.calls) {
        let arguments: serde_json::Value =
            serde_json::from_str(&call.arguments).unwrap_or_default();
        match steps.last_mut() {
            Some((name, _, count)) if *name == call.name => *count += 1,
            _ => steps.push((call.name.clone(), deed(&call.name, &arguments, state), 1)),
        }
    }
    if main
        .turns
        .last()
        .is_some_and(|turn| turn.reply.calls.is_empty())
    {
        steps.push((String::new(), "says that it is done".to_owned(), 1));
    }
    let left_out = steps.len().saturating_sub(SHOWN_WAY);
    let mut text = if left_out > 0 { "… " } else { "" }.to_owned();
    for (name, deed, count) in steps.into_iter().skip(left_out) {
        let _ = match (name.as_str(), count) {
            (ASSIGN_TASK, _) => write!(text, "▸ assigned {count} tasks "),
            (_, 1) => write!(text, "▸ {deed} "),
            ("submit_rows", _) => write!(text, "▸ {deed} {count} times "),
            _ => write!(text, "▸ {deed} and {} more ", count - 1),
        };
    }
    text
}

/// A call of the main agent in a few words.
fn deed(name: &str, arguments: &serde_json::Value, state: &RunState) -> String {
    let argument = |name: &str| short(arguments[name].as_str().unwrap_or_default(), 32);
    match name {
        "open" if matches!(argument("path").as_str(), "" | "." | "./") => {
            format!("listed {} documents", state.documents.len())
        }
        "open" => format!("opened {}", argument("path")),
        "search" => format!("searched \"{}\"", argument("query")),
        "submit_rows" => "handed in rows".to_owned(),
        CREATE_SUBAGENT => format!("created \"{}\"", argument("name")),
        other => other.to_owned(),
    }
}

/// The last call of a task in a few words.
fn last_call(task: &TaskState) -> Option<String> {
    let calls = &task.turns.last()?.reply.calls;
    let last = calls.last()?;
    let arguments: serde_json::Value = serde_json::from_str(&last.arguments).unwrap_or_default();
    let detail = ["path", "query", "name"]
        .iter()
        .find_map(|key| arguments[*key].as_str());
    let times = match calls.len() {
        1 => String::new(),
        several => format!(" × {several}"),
    };
    let name = match last.name.as_str() {
        "submit_rows" => "hands in rows",
        other => other,
    };
    Some(format!(
        "{name}{times} {}",
        short(detail.unwrap_or_default(), 40)
    ))
}

/// The beginning of a text on one line.
fn short(text: &str, most: usize) -> String {
    let text = text.trim();
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_tasks_only_what_tells_them_apart_is_shown() {
        let common = |texts: &[&str]| common_words(texts.iter().copied());
        let tasks = ["Fill the rows of serde/", "Fill the rows of serde_json/"];
        assert_eq!(common(&tasks), "Fill the rows of ".len());
        assert_eq!(common(&["Read a", "Write b"]), 0);
        assert_eq!(
            common(&["Read the one document"]),
            0,
            "one task is shown whole"
        );
        assert_eq!(common(&[]), 0);
        assert_eq!(common(&["für Äpfel", "für Ähren"]), "für ".len());
    }

    #[test]
    fn long_words_are_shortened_by_characters() {
        assert_eq!(short(" grün ", 4), "grün");
        assert_eq!(short("grüner", 4), "grü…");
    }
}
