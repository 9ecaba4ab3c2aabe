//! Trial rows: before columns that a model proposed are frozen for the fan-out, a few rows are filled,
//! and their designer sees what came out and may amend the definitions once.
//!
//! What no reader can fill alike shows in the first rows: values that are refused, places that stay
//! empty, units that differ. Amending costs three short tasks here and a whole table later.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::subagents::NewTask;
use super::{Mode, Swarm, prompts};
use crate::agent::Agent;
use crate::contract::{Contract, SUBMIT_ROWS};
use crate::event::{EventKind, MAIN};
use crate::run::{RunError, RunState, TaskState};
use crate::table::{CellStatus, display, shortened};
use crate::tools::{AmendTable, Toolset};

/// The agent that tries columns out.
const TRIAL: &str = "trial";
/// The task in which the columns are amended.
pub(super) const AMEND: &str = "amend";
/// Most steps of a trial row, and of the designer.
const ROW_STEPS: usize = 12;
const AMEND_STEPS: usize = 3;
/// Trial tasks where there are enough documents.
const TASKS: usize = 3;
/// Bytes of what came out that the designer reads.
const MAX_BYTES: usize = 12_000;

impl Swarm {
    /// The contract after a trial, where the run wants one and it is due.
    pub(super) async fn try_out(
        self: &Arc<Self>,
        contract: Contract,
    ) -> Result<Contract, RunError> {
        let wants = self.settings.trial && !self.settings.small;
        if !wants || self.settings.mode != Mode::Swarm || !self.run.with_state(is_due) {
            return Ok(contract);
        }
        self.fill_trial_rows(&contract).await?;
        self.amend(&contract).await?;
        let latest = self.run.with_state(|state| state.contract.clone());
        Ok(latest.unwrap_or(contract))
    }

    async fn fill_trial_rows(self: &Arc<Self>, contract: &Contract) -> Result<(), RunError> {
        let ids = self.assign_trials().await?;
        let mut work = JoinSet::new();
        for id in ids {
            let prompt = self.run.with_state(|state| {
                let task = state.tasks.get(&id);
                task.map(|task| task.prompt.clone()).unwrap_or_default()
            });
            let subagent = self.subagent(contract, "", &prompt);
            let agent = Agent {
                max_steps: ROW_STEPS.min(subagent.max_steps),
                ..subagent
            };
            let run = Arc::clone(&self.run);
            work.spawn(async move { agent.work(&run, &id).await });
        }
        let mut stopped = None;
        while let Some(joined) = work.join_next().await {
            if let Ok(Err(error)) = joined {
                stopped = stopped.or(Some(error));
            }
        }
        stopped.map_or(Ok(()), Err)
    }

    /// The trial's tasks; those that an interruption left out are given now.
    async fn assign_trials(&self) -> Result<Vec<String>, RunError> {
        let (prompts, is_known) = self.run.with_state(|state| {
            let is_known = state.agents.contains_key(TRIAL);
            (prompts_over(&state.documents), is_known)
        });
        if !is_known {
            let created = EventKind::AgentCreated {
                name: TRIAL.to_owned(),
                system_prompt: String::new(),
            };
            self.run.record(MAIN, vec![created]).await?;
        }
        for (number, prompt) in (1..).zip(prompts) {
            let id = format!("t{number}");
            if self.run.with_state(|state| state.tasks.contains_key(&id)) {
                continue;
            }
            let Ok(reservation) = self.run.reserve_task() else {
                break;
            };
            let task = NewTask {
                id: &id,
                agent: TRIAL,
                prompt: &prompt,
                call: None,
                columns: &[],
            };
            self.record_task(task, reservation).await?;
        }
        Ok(self.run.with_state(trial_tasks))
    }

    /// The designer sees what came out and may amend the columns.
    async fn amend(&self, contract: &Contract) -> Result<(), RunError> {
        let outcome = self.run.with_state(|state| outcome(state, contract));
        let rows = self.run.with_state(|state| {
            let rows = state.table.rows().map(str::to_owned);
            rows.collect::<Vec<_>>()
        });
        let user = format!(
            "{}\n\n{}\n\n{outcome}",
            self.question(),
            contract.prompt_text()
        );
        let agent = Agent {
            max_steps: AMEND_STEPS,
            tools: Toolset::new(vec![Arc::new(AmendTable::new(contract.clone(), rows))]),
            ..self.agent(&self.main, prompts::AMEND.to_owned(), user)
        };
        agent.work(&self.run, AMEND).await.map(drop)
    }

    /// What the main agent should know of rows that are there before it begins.
    pub(super) fn trial_note(&self) -> String {
        let rows = self.run.with_state(|state| {
            let ids = trial_tasks(state);
            let rows = ids.iter().flat_map(|id| state.tasks[id].rows.keys());
            let mut rows: Vec<String> = rows
                .filter(|row| state.table.rows().any(|key| key == *row))
                .cloned()
                .collect();
            rows.sort_unstable();
            rows.dedup();
            rows
        });
        match rows.as_slice() {
            [] => String::new(),
            rows => format!("\nIn the table already, from a trial: {}", rows.join("; ")),
        }
    }
}

/// Whether the first columns wait for their trial.
fn is_due(state: &RunState) -> bool {
    let is_new = state
        .contract
        .as_ref()
        .is_some_and(|contract| contract.version == 1);
    let is_amended = state
        .tasks
        .get(AMEND)
        .is_some_and(|task| task.end.is_some());
    is_new && !is_amended && !state.tasks.contains_key(MAIN)
}

fn trial_tasks(state: &RunState) -> Vec<String> {
    let ids = state.order.iter();
    ids.filter(|id| state.tasks[*id].agent == TRIAL)
        .cloned()
        .collect()
}

/// What the trial's agents are to do: a row from each of three places among the documents, or two rows
/// where there are few.
fn prompts_over(documents: &[String]) -> Vec<String> {
    match documents.len() {
        0 => vec![prompts::trial("two things", None)],
        1..=TASKS => vec![prompts::trial("two things", documents.first())],
        count => {
            let places = [0, count / 2, count - 1].into_iter();
            places
                .map(|at| prompts::trial("one thing", documents.get(at)))
                .collect()
        }
    }
}

/// What came out of the trial, for the designer.
fn outcome(state: &RunState, contract: &Contract) -> String {
    let mut text = String::from("Filled:");
    for row in state.table.rows() {
        let _ = write!(text, "\n{row}:");
        for column in contract.columns.iter().filter(|column| !column.is_key) {
            let settled = state.table.get(row, &column.name);
            let shown = match (settled.status, settled.cell) {
                (CellStatus::NotStated, _) => "not stated".to_owned(),
                (CellStatus::Missing, _) | (_, None) => "nothing handed in".to_owned(),
                (_, Some(cell)) => {
                    let quote = cell.evidence.as_ref().map(|evidence| &evidence.quote);
                    let quote = quote.map(|quote| format!(" from {:?}", shortened(quote, 120)));
                    display(&cell.value) + &quote.unwrap_or_default()
                }
            };
            let _ = write!(text, "\n  {} = {shown}", column.name);
        }
    }
    if state.table.row_count() == 0 {
        text.push_str(" no row");
    }
    for id in trial_tasks(state) {
        add_troubles(&mut text, &state.tasks[&id]);
    }
    shortened(&text, MAX_BYTES)
}

/// What was refused in a trial task, and its agent's last words.
fn add_troubles(text: &mut String, task: &TaskState) {
    for turn in &task.turns {
        let submitted = turn
            .reply
            .calls
            .iter()
            .filter(|call| call.name == SUBMIT_ROWS);
        let results = submitted.filter_map(|call| turn.result(&call.id));
        let is_plain = |result: &&str| result.starts_with("ok") && result.lines().count() == 1;
        for result in results.filter(|result| !is_plain(result)) {
            let _ = write!(text, "\nAnswer to values: {}", shortened(result, 400));
        }
    }
    if !task.text.is_empty() {
        let _ = write!(text, "\nReader: {}", shortened(task.text.trim(), 300));
    }
}
