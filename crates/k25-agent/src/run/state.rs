//! The state of a run: a fold over its events and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::budget::{CriticalSteps, Place, Spent};
use crate::contract::Contract;
use crate::event::{Event, EventKind, MAIN, Picture, Reply, TaskEnd, Usage};
use crate::table::{CellStatus, Table};
use crate::tools::FailureKind;

/// Beyond this many, what is left is not spelled out: most of them have nothing to do with it.
const MAX_LEFT: usize = 400;
/// How many are named.
const SHOWN_LEFT: usize = 40;

/// A guess at the tokens of a picture: what a large one takes.
const PICTURE_TOKENS: u64 = 4_000;

/// A guess at the tokens of a text where no count is known.
pub(crate) fn guessed_tokens(text: &str) -> u64 {
    text.len() as u64 / 3 + 4
}

/// Whether a run goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RunStatus {
    /// It was never opened.
    #[default]
    Empty,
    /// It goes, or its process ended without a word.
    Running,
    /// It rests.
    Paused(String),
    /// It is over.
    Ended,
}

/// What is known of a run.
#[derive(Debug, Clone, Default)]
pub struct RunState {
    /// What is asked.
    pub question: String,
    /// How it is to be worked on.
    pub settings: Value,
    /// What lies at the top of the documents.
    pub documents: Vec<String>,
    /// Those of them that an agent has opened.
    pub opened: BTreeSet<String>,
    /// How often it was begun or resumed.
    pub parts: u64,
    /// Whether it goes.
    pub status: RunStatus,
    /// The latest contract.
    pub contract: Option<Contract>,
    /// The cells.
    pub table: Table,
    /// The sub-agents' own instructions, by name.
    pub agents: BTreeMap<String, String>,
    /// All tasks, by id.
    pub tasks: BTreeMap<String, TaskState>,
    /// Ids of tasks in the order of their assignment.
    pub order: Vec<String>,
    /// What it has cost.
    pub spent: Spent,
    /// Its longest branch.
    pub critical: CriticalSteps,
    /// Failed tool calls by kind.
    pub failures: BTreeMap<String, u64>,
    /// The mode that was chosen for the question, and why, where nobody gave one.
    pub chosen: Option<(String, String)>,
    /// What stands where in long documents, by the hash of their content and the contract's version.
    pub outlines: BTreeMap<String, Arc<str>>,
    /// The main agent's last words.
    pub answer: String,
    /// When the latest event happened.
    pub last_ms: u64,
    /// When the part of the run that goes now began.
    part_began_ms: u64,
    branches: HashMap<String, (usize, usize)>,
}

/// What is known of a task.
#[derive(Debug, Clone, Default)]
pub struct TaskState {
    /// Its agent.
    pub agent: String,
    /// What the agent is to do.
    pub prompt: String,
    /// The main agent's call that it answers.
    pub call: Option<String>,
    /// The columns to fill; empty for all.
    pub columns: Vec<String>,
    /// The conversation so far.
    pub turns: Vec<Turn>,
    /// Values that it handed in, by row.
    pub rows: BTreeMap<String, usize>,
    /// The part of the run in which it was assigned.
    pub part: u64,
    /// What stands for the turns before it, and how many these are.
    pub summary: Option<(String, usize)>,
    /// Which limit gave its agent a last turn, if one did.
    pub cut_short: Option<CutShort>,
    /// How it ended, if it has.
    pub end: Option<TaskEnd>,
    /// Its agent's last words.
    pub text: String,
    /// `Once` calls that began and have no result.
    pub intents: Vec<String>,
    /// When it began.
    pub began_ms: u64,
    /// When it last did something.
    pub last_ms: u64,
    /// Tokens.
    pub tokens: u64,
    /// Money.
    pub money: f64,
}

/// A limit that left a task one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutShort {
    /// The limit.
    pub why: String,
    /// Turns before the last one.
    pub turns: usize,
}

/// One answer of the model and what it led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// The answer.
    pub reply: Reply,
    /// Its tokens.
    pub usage: Usage,
    /// Results of its calls, by id, in the order of their arrival.
    pub returns: Vec<(String, String)>,
    /// Which of them failed.
    pub failed: Vec<String>,
    /// Pictures that calls gave, by the call's id.
    pub pictures: Vec<(String, Picture)>,
    /// What the runtime said afterwards.
    pub nudges: Vec<String>,
}

impl Turn {
    /// The result of a call.
    pub fn result(&self, call: &str) -> Option<&str> {
        self.returns
            .iter()
            .find(|(id, _)| id == call)
            .map(|(_, text)| text.as_str())
    }

    /// Whether every call has its result.
    pub fn is_closed(&self) -> bool {
        self.reply
            .calls
            .iter()
            .all(|call| self.result(&call.id).is_some())
    }
}

impl TaskState {
    /// How many answers of the model it took.
    pub fn steps(&self) -> usize {
        self.turns.len()
    }

    /// The tokens of what is shown next: what the last answer was told and said, and what came since.
    /// Nothing where no answer says how many these are.
    pub(crate) fn shown_tokens(&self) -> u64 {
        let replaced = self.summary.as_ref().map_or(0, |(_, turns)| *turns);
        let Some(last) = self.turns.last().filter(|_| replaced < self.turns.len()) else {
            return 0;
        };
        let new = last.returns.iter().map(|(_, text)| guessed_tokens(text));
        let pictures = last.pictures.len() as u64 * PICTURE_TOKENS;
        last.usage.prompt + last.usage.completion + new.sum::<u64>() + pictures
    }
}

impl RunState {
    /// What follows from one more event.
    pub fn apply(&mut self, event: &Event) {
        if self.status != RunStatus::Running {
            self.part_began_ms = event.at_ms;
        }
        self.last_ms = event.at_ms;
        if self.status == RunStatus::Empty {
            self.status = RunStatus::Running;
        }
        match &event.kind {
            EventKind::RunOpened {
                question,
                settings,
                documents,
            } => {
                self.question = question.clone();
                self.settings = settings.clone();
                let rule = settings.get("conflicts").cloned().unwrap_or_default();
                self.table.rule = serde_json::from_value(rule).unwrap_or_default();
                self.documents = documents.clone();
                self.parts += 1;
            }
            EventKind::ContractFrozen { contract } => self.contract = Some(contract.clone()),
            EventKind::AgentCreated {
                name,
                system_prompt,
            } => {
                self.agents.insert(name.clone(), system_prompt.clone());
            }
            EventKind::CellsAccepted { cells } => {
                let task = self.tasks.entry(event.task.clone()).or_default();
                for cell in cells {
                    *task.rows.entry(cell.row.clone()).or_default() += 1;
                    self.table.add(cell.clone());
                }
            }
            EventKind::CellsStale { places } => {
                for (row, column) in places {
                    self.table.mark_stale(row, column);
                }
            }
            EventKind::ConflictSettled {
                row,
                column,
                settlement,
            } => self.table.settle(row, column, settlement.clone()),
            EventKind::PageOutlined { key, text, .. } => {
                self.outlines.insert(key.clone(), text.as_str().into());
            }
            EventKind::RowsDropped { rows } => {
                rows.iter().for_each(|row| self.table.remove_row(row));
            }
            EventKind::ModeChosen { mode, why } => {
                self.chosen = Some((mode.clone(), why.clone()));
            }
            EventKind::RunPaused { reason } => self.rest(RunStatus::Paused(reason.clone())),
            EventKind::RunEnded { text } => {
                self.answer = text.clone();
                self.rest(RunStatus::Ended);
            }
            EventKind::RunResumed => {
                self.status = RunStatus::Running;
                self.parts += 1;
            }
            EventKind::RequestFailed { usage, money, .. } => {
                self.spent.wasted_tokens += usage.prompt + usage.completion;
                self.pay(&event.task, *usage, *money);
            }
            EventKind::AnsweredAside { usage, money, .. } => self.pay(&event.task, *usage, *money),
            EventKind::CellRejected { .. } => {}
            _ => self.apply_to_task(event),
        }
    }

    fn rest(&mut self, status: RunStatus) {
        self.spent.ms += self.last_ms.saturating_sub(self.part_began_ms);
        self.status = status;
    }

    /// Counts what was paid for something that is no step.
    fn pay(&mut self, task: &str, usage: Usage, money: f64) {
        if usage.is_none() && money == 0.0 {
            return;
        }
        self.spent.add(&usage.into(), money);
        if let Some(task) = self.tasks.get_mut(task) {
            task.tokens += usage.prompt + usage.completion;
            task.money += money;
        }
    }

    fn apply_to_task(&mut self, event: &Event) {
        self.count(event);
        self.note_opened(event);
        let task = self.tasks.entry(event.task.clone()).or_default();
        if task.began_ms == 0 {
            task.began_ms = event.at_ms;
        }
        task.last_ms = event.at_ms;
        match &event.kind {
            EventKind::TaskAssigned {
                agent,
                prompt,
                call,
                columns,
            } => {
                task.agent = agent.clone();
                task.prompt = prompt.clone();
                task.call = call.clone();
                task.columns = columns.clone();
                task.part = self.parts;
                self.order.push(event.task.clone());
            }
            EventKind::Replied {
                reply,
                usage,
                money,
                ..
            } => {
                task.tokens += usage.prompt + usage.completion;
                task.money += money;
                task.turns.push(Turn {
                    reply: reply.clone(),
                    usage: *usage,
                    ..Turn::default()
                });
            }
            EventKind::ToolIntent { call } => task.intents.push(call.clone()),
            EventKind::ToolReturned {
                call,
                text,
                failure,
                ..
            } => {
                task.intents.retain(|intent| intent != call);
                if let Some(turn) = task.turns.last_mut() {
                    turn.returns.push((call.clone(), text.clone()));
                    if failure.is_some() {
                        turn.failed.push(call.clone());
                    }
                }
            }
            EventKind::Pictured { call, pictures } => {
                if let Some(turn) = task.turns.last_mut() {
                    let of_call = pictures
                        .iter()
                        .map(|picture| (call.clone(), picture.clone()));
                    turn.pictures.extend(of_call);
                }
            }
            EventKind::Nudged { text } => {
                if let Some(turn) = task.turns.last_mut() {
                    turn.nudges.push(text.clone());
                }
            }
            EventKind::LastTurn { why, text } => {
                let turns = task.turns.len();
                task.cut_short = Some(CutShort {
                    why: why.clone(),
                    turns,
                });
                if let Some(turn) = task.turns.last_mut() {
                    turn.nudges.push(text.clone());
                }
            }
            EventKind::Summarised { text, turns } => task.summary = Some((text.clone(), *turns)),
            EventKind::TaskEnded { end, text } => {
                task.end = Some(*end);
                task.text = text.clone();
            }
            _ => {}
        }
    }

    /// Which of the documents are looked at.
    fn note_opened(&mut self, event: &Event) {
        let EventKind::Replied { reply, .. } = &event.kind else {
            return;
        };
        for call in reply.calls.iter().filter(|call| call.name == "open") {
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            let path = arguments["path"]
                .as_str()
                .unwrap_or_default()
                .trim_start_matches("./");
            // A folder may be named without its stroke, and a row of a table as if the table were a folder.
            let top = path.split('/').next().unwrap_or_default();
            let is_it = |entry: &&String| entry.trim_end_matches('/') == top;
            if let Some(entry) = self.documents.iter().find(is_it) {
                self.opened.insert(entry.clone());
            }
        }
    }

    /// Steps, tokens, calls.
    fn count(&mut self, event: &Event) {
        match &event.kind {
            EventKind::TaskAssigned { .. } if event.task != MAIN => {
                self.spent.tasks += 1;
                let branch = self.critical.branch();
                self.branches.insert(event.task.clone(), branch);
            }
            EventKind::Replied { usage, money, .. } => {
                self.spent.add(&(*usage).into(), *money);
                self.spent.steps += 1;
                match self.branches.get(&event.task) {
                    Some(branch) => self.critical.branch_step(*branch),
                    None => self.critical.main_step(),
                }
            }
            EventKind::ToolReturned { failure, .. } => {
                if failure.as_deref().is_none_or(came_to_an_end) {
                    self.spent.tool_calls += 1;
                }
                if let Some(kind) = failure {
                    self.spent.failed_calls += 1;
                    *self.failures.entry(kind.clone()).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// Where a step of this task counts.
    pub fn place(&self, task: &str) -> Place {
        match self.branches.get(task) {
            Some((stage, branch)) => Place::Branch(*stage, *branch),
            None => Place::Main,
        }
    }

    /// The task of this call of the main agent, and with this prompt, of those that it gave: of several
    /// attempts the one that is done.
    pub fn task_of_call(&self, call: &str, prompt: &str) -> Option<&str> {
        let is_its = |id: &&String| {
            let task = &self.tasks[*id];
            task.call.as_deref() == Some(call) && task.prompt == prompt
        };
        let mut ids = self.order.iter().filter(is_its);
        let done = ids
            .clone()
            .find(|id| self.tasks[*id].end == Some(TaskEnd::Done));
        done.or_else(|| ids.next()).map(String::as_str)
    }

    /// Which documents nobody has opened yet, in words for the main agent; `None` if there are none,
    /// or too many to mean anything.
    pub fn left_note(&self) -> Option<String> {
        if self.documents.len() > MAX_LEFT {
            return None;
        }
        let is_left = |entry: &&String| !self.opened.contains(*entry);
        let left = self.documents.iter().filter(is_left);
        let left: Vec<&str> = left.map(String::as_str).collect();
        if left.is_empty() {
            return None;
        }
        let shown = left.len().min(SHOWN_LEFT);
        let dots = if left.len() > shown { ", …" } else { "" };
        Some(format!(
            "Not opened yet ({}): {}{dots}",
            left.len(),
            left[..shown].join(", ")
        ))
    }

    /// Rows and the columns that nobody has filled or that are out of date.
    pub fn open_places(&self) -> Vec<(String, Vec<String>)> {
        let Some(contract) = &self.contract else {
            return Vec::new();
        };
        let is_open = |row: &str, column: &str| {
            matches!(
                self.table.get(row, column).status,
                CellStatus::Missing | CellStatus::Stale
            )
        };
        let rows = self.table.rows().map(|row| {
            let open = contract.names().filter(|column| is_open(row, column));
            let open: Vec<String> = open.map(str::to_owned).collect();
            (row.to_owned(), open)
        });
        rows.filter(|(_, columns)| !columns.is_empty()).collect()
    }
}

/// Whether a call that failed so came to an end of its own: one that the budget refused never began.
fn came_to_an_end(failure: &str) -> bool {
    let never = [FailureKind::Budget, FailureKind::Cancelled];
    never.iter().all(|kind| kind.as_str() != failure)
}
