//! What a run cost and how it went, for people and programs.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::budget::Spent;
use crate::event::MAIN;
use crate::run::{RunState, RunStatus};
use crate::table::CellStatus;

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was asked.
    pub question: String,
    /// `running`, `paused`, `ended`.
    pub status: &'static str,
    /// Why it rests.
    pub paused: Option<String>,
    /// Which limit left the main agent one last turn.
    pub cut_short: Option<String>,
    /// Rows of the table.
    pub rows: usize,
    /// Rows of which nothing but the key is stated: a heading, perhaps, that was taken for a thing.
    pub bare_rows: Vec<String>,
    /// Places of the table by state.
    pub cells: BTreeMap<&'static str, usize>,
    /// Steps that nothing could have run beside.
    pub critical_steps: u64,
    /// Steps of all agents.
    pub total_steps: u64,
    /// Most sub-agents side by side.
    pub peak_width: u64,
    /// Total steps over critical steps times peak width.
    pub parallel_efficiency: f64,
    /// Tokens, money, time, calls.
    pub spent: Spent,
    /// Failed calls by kind.
    pub failures: BTreeMap<String, u64>,
    /// Tasks that were given more than once.
    pub duplicate_tasks: usize,
    /// Each task.
    pub agents: Vec<AgentReport>,
    /// The main agent's last words.
    pub answer: String,
}

/// The figures of one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentReport {
    /// The task.
    pub task: String,
    /// Its agent.
    pub agent: String,
    /// How it ended.
    pub end: Option<&'static str>,
    /// Its steps.
    pub steps: usize,
    /// Its tokens.
    pub tokens: u64,
    /// Its money.
    pub money: f64,
    /// Its time.
    pub ms: u64,
}

impl Report {
    /// The figures of a state.
    pub fn of(state: &RunState) -> Self {
        let (status, paused) = match &state.status {
            RunStatus::Empty => ("empty", None),
            RunStatus::Running => ("running", None),
            RunStatus::Paused(reason) => ("paused", Some(reason.clone())),
            RunStatus::Ended => ("ended", None),
        };
        let cells = state
            .contract
            .as_ref()
            .map(|contract| state.table.count(contract));
        let mut prompts: HashMap<&str, usize> = HashMap::new();
        for id in &state.order {
            *prompts.entry(&state.tasks[id].prompt).or_default() += 1;
        }
        Report {
            question: state.question.clone(),
            status,
            paused,
            cut_short: state
                .tasks
                .get(MAIN)
                .and_then(|main| main.cut_short.as_ref())
                .map(|cut| cut.why.clone()),
            rows: state.table.row_count(),
            bare_rows: bare_rows(state),
            cells: cells.unwrap_or_default(),
            critical_steps: state.critical.total(),
            total_steps: state.critical.all_steps(),
            peak_width: state.critical.peak_width(),
            parallel_efficiency: state.critical.efficiency(),
            spent: state.spent,
            failures: state.failures.clone(),
            duplicate_tasks: prompts.values().map(|count| count - 1).sum(),
            agents: agents(state),
            answer: state.answer.clone(),
        }
    }
}

fn bare_rows(state: &RunState) -> Vec<String> {
    let columns = state.contract.iter().flat_map(|contract| &contract.columns);
    let others: Vec<&str> = columns
        .filter(|column| !column.is_key)
        .map(|column| column.name.as_str())
        .collect();
    let is_unstated =
        |row: &str, column: &str| state.table.get(row, column).status == CellStatus::NotStated;
    let is_bare = |row: &&str| others.iter().all(|column| is_unstated(row, column));
    let rows = state.table.rows().filter(|_| !others.is_empty());
    rows.filter(is_bare).map(str::to_owned).collect()
}

fn agents(state: &RunState) -> Vec<AgentReport> {
    let main = state.tasks.contains_key(MAIN).then_some(MAIN);
    let ids = main
        .into_iter()
        .chain(state.order.iter().map(String::as_str));
    let report = |id: &str| {
        let task = &state.tasks[id];
        AgentReport {
            task: id.to_owned(),
            agent: if id == MAIN {
                MAIN.to_owned()
            } else {
                task.agent.clone()
            },
            end: task.end.map(|end| end.as_str()),
            steps: task.steps(),
            tokens: task.tokens,
            money: task.money,
            ms: task.last_ms.saturating_sub(task.began_ms),
        }
    };
    ids.map(report).collect()
}
