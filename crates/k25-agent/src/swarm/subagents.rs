//! `create_subagent` and `assign_task`, exactly as the family was trained on them.
//!
//! Source: Kimi K2.5 report, appendix E.8. Several `assign_task` calls of one turn are one group and
//! run side by side; each returns one message. A call may stand for many tasks, see
//! [`spread`](super::spread). Behind it are the contract, the limits, a second
//! attempt for stragglers, and the journal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::spread::{Lists, Spread, spread};
use super::{Swarm, digest};
use crate::contract::Contract;
use crate::event::{EventKind, MAIN, TaskEnd};
use crate::run::{Reservation, Run, RunError, Stop};
use crate::tools::{CallContext, Calling, Effect, FailureKind, Tool, ToolError, ToolOutput};

/// The tool that defines an agent.
pub const CREATE_SUBAGENT: &str = "create_subagent";
/// The tool that gives it work.
pub const ASSIGN_TASK: &str = "assign_task";

/// Longest instructions and tasks, in bytes.
const MAX_PROMPT_BYTES: usize = 16_000;
/// Most tasks of one call that are at work at the same time.
const MAX_SIDE_BY_SIDE: usize = 128;
/// A group has stragglers if it has at least so many tasks …
const STRAGGLER_GROUP: usize = 10;
/// … of which this part is done …
const STRAGGLER_DONE: f64 = 0.9;
/// … and a task takes so many times what half of the others took.
const STRAGGLER_FACTOR: u32 = 2;
/// Below this nobody counts as one.
const STRAGGLER_AT_LEAST: Duration = Duration::from_secs(5);
const STRAGGLER_LOOK: Duration = Duration::from_millis(500);

/// `create_subagent{name, system_prompt}`.
pub(super) struct CreateSubagent {
    run: Weak<Run>,
}

impl CreateSubagent {
    pub(super) fn new(run: &Arc<Run>) -> Self {
        CreateSubagent {
            run: Arc::downgrade(run),
        }
    }

    fn create(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let name = arguments["name"]
            .as_str()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let system_prompt = arguments["system_prompt"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let refused = |text: String| Err(ToolError::new(FailureKind::Refused, text));
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            return refused("a name has 1 to 100 characters".to_owned());
        }
        if system_prompt.len() > MAX_PROMPT_BYTES {
            return refused(format!(
                "system_prompt is longer than {MAX_PROMPT_BYTES} bytes"
            ));
        }
        let known = self
            .run
            .upgrade()
            .and_then(|run| run.with_state(|state| state.agents.get(&name).cloned()));
        let text = format!("created {name}");
        match known {
            Some(other) if other != system_prompt => {
                refused(format!("{name} exists; choose another name"))
            }
            Some(_) => Ok(text.into()),
            None => Ok(ToolOutput {
                text,
                events: vec![EventKind::AgentCreated {
                    name,
                    system_prompt,
                }],
                ends_task: false,
            }),
        }
    }
}

impl Tool for CreateSubagent {
    fn name(&self) -> &str {
        CREATE_SUBAGENT
    }

    fn description(&self) -> &str {
        "Define an agent that tasks can be assigned to."
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "unique"},
                "system_prompt": {"type": "string", "description": "its role and rules"},
            },
            "required": ["name", "system_prompt"],
        })
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        Box::pin(std::future::ready(self.create(&arguments)))
    }
}

/// How the tasks of each group are going, by the main agent's step.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<HashMap<usize, Vec<Duration>>>);

impl Groups {
    fn done(&self, step: usize, took: Duration) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.entry(step).or_default().push(took);
    }

    /// Whether a task that works since `began` is a straggler of its group.
    fn is_straggler(&self, step: usize, size: usize, began: Instant) -> bool {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(done) = groups.get(&step) else {
            return false;
        };
        if (done.len() as f64) < size as f64 * STRAGGLER_DONE {
            return false;
        }
        let mut sorted = done.clone();
        sorted.sort_unstable();
        let median = sorted[sorted.len() / 2];
        began.elapsed() > (median * STRAGGLER_FACTOR).max(STRAGGLER_AT_LEAST)
    }
}

/// `assign_task{agent, prompt}`.
#[derive(Clone)]
pub(super) struct AssignTask {
    swarm: Arc<Swarm>,
    contract: Contract,
}

/// A task as a call gives it.
struct Given {
    id: String,
    agent: String,
    prompt: String,
    /// The main agent's call.
    call: String,
    /// Tasks that are given at the same time.
    group: usize,
}

/// What became of one task of a call: the attempt that counts.
type Outcome = Result<String, ToolError>;

impl AssignTask {
    pub(super) fn new(swarm: &Arc<Swarm>, contract: &Contract) -> Self {
        AssignTask {
            swarm: Arc::clone(swarm),
            contract: contract.clone(),
        }
    }

    async fn assign(
        &self,
        arguments: Value,
        context: CallContext,
    ) -> Result<ToolOutput, ToolError> {
        let agent = arguments["agent"].as_str().unwrap_or_default().trim();
        let prompt = arguments["prompt"].as_str().unwrap_or_default();
        let (_, number) = context.call.rsplit_once(':').unwrap_or(("", &context.call));
        let given = Given {
            id: number.to_owned(),
            agent: agent.to_owned(),
            prompt: prompt.to_owned(),
            call: context.call.clone(),
            group: context.group,
        };
        let lists = Lists {
            columns: self.contract.names().collect(),
            part: self.swarm.settings.part(),
        };
        let spread = spread(prompt, &self.swarm.documents, &lists)
            .map_err(|problem| ToolError::new(FailureKind::Refused, problem))?;
        match spread {
            Some(tasks) => self.assign_each(&given, tasks).await,
            None => self.assign_one(given).await,
        }
    }

    async fn assign_one(&self, given: Given) -> Result<ToolOutput, ToolError> {
        let winner = self.give(given).await?;
        let run = &self.swarm.run;
        let end = run.with_state(|state| state.tasks.get(&winner).and_then(|task| task.end));
        let text = run.with_state(|state| digest::of_task(state, &winner));
        match end {
            Some(TaskEnd::Failed) => Err(ToolError::new(FailureKind::Internal, text)),
            _ => Ok(text.into()),
        }
    }

    /// Gives a task for each document that a pattern stands for, side by side.
    async fn assign_each(
        &self,
        given: &Given,
        tasks: Vec<Spread>,
    ) -> Result<ToolOutput, ToolError> {
        let group = given.group.max(tasks.len());
        let mut outcomes: Vec<Option<Outcome>> = tasks.iter().map(|_| None).collect();
        let mut left = tasks.iter().enumerate();
        let mut stopped = None;
        let mut at_work = JoinSet::new();
        loop {
            while at_work.len() < MAX_SIDE_BY_SIDE
                && let Some((index, task)) = left.next()
            {
                let one = Given {
                    id: format!("{}.{}", given.id, index + 1),
                    agent: given.agent.clone(),
                    prompt: task.prompt.clone(),
                    call: given.call.clone(),
                    group,
                };
                let assign = self.clone();
                at_work.spawn(async move { (index, assign.give(one).await) });
            }
            let Some(back) = at_work.join_next().await else {
                break;
            };
            let (index, outcome) = back.map_err(|fault| {
                ToolError::new(FailureKind::Internal, format!("a task broke down: {fault}"))
            })?;
            // The run rests or is cancelled: no more is given out, and those at work leave by themselves.
            if let Err(error) = &outcome
                && error.kind == FailureKind::Cancelled
            {
                stopped = Some(error.clone());
                left = [].iter().enumerate();
            }
            outcomes[index] = Some(outcome);
        }
        if let Some(error) = stopped {
            return Err(error);
        }
        let paths = tasks.iter().map(|task| task.path.as_str());
        let outcomes = paths.zip(outcomes.into_iter().flatten());
        let digest = self
            .swarm
            .run
            .with_state(|state| digest::OfTasks::of(state, outcomes));
        match digest.done {
            0 => Err(ToolError::new(FailureKind::Internal, digest.text())),
            _ => Ok(digest.text().into()),
        }
    }

    /// Records a task, if that has not been done before, and works on it. The result is the attempt
    /// that counts.
    async fn give(&self, given: Given) -> Outcome {
        let Given {
            id,
            agent,
            prompt,
            call,
            group,
        } = given;
        let run = &self.swarm.run;
        let known = run.with_state(|state| state.task_of_call(&call, &prompt).map(str::to_owned));
        let id = match known {
            Some(id) => id,
            None => {
                self.check(&agent, &prompt)?;
                let reservation = run.reserve_task().map_err(|_| {
                    let most = run.budget().tasks.unwrap_or_default();
                    ToolError::new(
                        FailureKind::Refused,
                        format!("budget used up: {most} tasks"),
                    )
                })?;
                let task = NewTask {
                    id: &id,
                    agent: &agent,
                    prompt: &prompt,
                    call: Some(&call),
                    columns: &[],
                };
                self.swarm
                    .record_task(task, reservation)
                    .await
                    .map_err(internal)?;
                id
            }
        };
        let step = run.with_state(|state| state.tasks.get(MAIN).map_or(0, |main| main.steps()));
        let began = Instant::now();
        let winner = self
            .attempts(&id, step, group, began)
            .await
            .map_err(internal)?;
        self.swarm.groups.done(step, began.elapsed());
        Ok(winner)
    }

    fn check(&self, agent: &str, prompt: &str) -> Result<(), ToolError> {
        let run = &self.swarm.run;
        let refused = |text: String| Err(ToolError::new(FailureKind::Refused, text));
        let (exists, names) = run.with_state(|state| {
            let names: Vec<&str> = state.agents.keys().map(String::as_str).collect();
            (state.agents.contains_key(agent), names.join(", "))
        });
        if !exists && names.is_empty() {
            return refused(format!("no agent {agent:?}; create it first"));
        }
        if !exists {
            return refused(format!("no agent {agent:?}; there are: {names}"));
        }
        if prompt.trim().is_empty() || prompt.len() > MAX_PROMPT_BYTES {
            return refused(format!("a prompt has 1 to {MAX_PROMPT_BYTES} bytes"));
        }
        Ok(())
    }

    /// Works on the task; where it becomes a straggler, a second attempt may overtake it. The result
    /// is the attempt that counts.
    async fn attempts(
        &self,
        id: &str,
        step: usize,
        group: usize,
        began: Instant,
    ) -> Result<String, RunError> {
        let first = self.swarm.work_on(&self.contract, id);
        tokio::pin!(first);
        if group < STRAGGLER_GROUP {
            first.await?;
            return Ok(id.to_owned());
        }
        let straggles = async {
            while !self.swarm.groups.is_straggler(step, group, began) {
                tokio::time::sleep(STRAGGLER_LOOK).await;
            }
        };
        tokio::select! {
            biased;
            end = &mut first => {
                end?;
                return Ok(id.to_owned());
            }
            () = straggles => {}
        }
        let Ok(reservation) = self.swarm.run.reserve_task() else {
            first.await?;
            return Ok(id.to_owned());
        };
        let second_id = format!("{id}b");
        self.swarm.repeat_task(id, &second_id, reservation).await?;
        let second = self.swarm.work_on(&self.contract, &second_id);
        tokio::pin!(second);
        let (winner, loser) = tokio::select! {
            biased;
            end = &mut first => { end?; (id, second_id.as_str()) }
            end = &mut second => { end?; (second_id.as_str(), id) }
        };
        self.swarm.give_up(loser).await?;
        Ok(winner.to_owned())
    }
}

impl Tool for AssignTask {
    fn name(&self) -> &str {
        ASSIGN_TASK
    }

    fn description(&self) -> &str {
        "Give an agent a task. Several calls in one turn run at the same time. Returns one message. \
         A pattern in braces, as {*.txt}, gives a task for each document that matches."
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "agent": {"type": "string"},
                "prompt": {"type": "string"},
            },
            "required": ["agent", "prompt"],
        })
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn timeout(&self) -> Option<Duration> {
        // Its steps and the run's budget limit it.
        None
    }

    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_> {
        Box::pin(self.assign(arguments, context))
    }
}

/// A run that stops closes its calls itself; any other error is the tool's.
fn internal(error: RunError) -> ToolError {
    let kind = match error {
        RunError::Paused(_) | RunError::Cancelled => FailureKind::Cancelled,
        RunError::Journal(_) | RunError::Invalid { .. } => FailureKind::Internal,
    };
    ToolError::new(kind, error.to_string())
}

/// A task that is to be given.
pub(super) struct NewTask<'a> {
    pub(super) id: &'a str,
    pub(super) agent: &'a str,
    pub(super) prompt: &'a str,
    /// The main agent's call that it answers.
    pub(super) call: Option<&'a str>,
    /// The columns to fill; empty for all.
    pub(super) columns: &'a [String],
}

impl Swarm {
    /// Records that a task exists, for which a part of the budget is set aside.
    pub(super) async fn record_task(
        &self,
        task: NewTask<'_>,
        reservation: Reservation,
    ) -> Result<(), RunError> {
        let assigned = EventKind::TaskAssigned {
            agent: task.agent.to_owned(),
            prompt: task.prompt.to_owned(),
            call: task.call.map(str::to_owned),
            columns: task.columns.to_vec(),
        };
        self.run
            .settle(task.id, vec![assigned], Some(reservation))
            .await
    }

    async fn repeat_task(
        &self,
        id: &str,
        second_id: &str,
        reservation: Reservation,
    ) -> Result<(), RunError> {
        let task = self
            .run
            .with_state(|state| state.tasks.get(id).cloned())
            .unwrap_or_default();
        let second = NewTask {
            id: second_id,
            agent: &task.agent,
            prompt: &task.prompt,
            call: task.call.as_deref(),
            columns: &task.columns,
        };
        self.record_task(second, reservation).await
    }

    /// A sub-agent works on a recorded task until it ends.
    pub(super) async fn work_on(&self, contract: &Contract, id: &str) -> Result<TaskEnd, RunError> {
        let (own, prompt) = self.run.with_state(|state| {
            let task = state.tasks.get(id).cloned().unwrap_or_default();
            (
                state.agents.get(&task.agent).cloned().unwrap_or_default(),
                task.prompt,
            )
        });
        self.subagent(contract, &own, &prompt)
            .work(&self.run, id)
            .await
    }

    /// Ends a task whose other attempt was faster.
    async fn give_up(&self, id: &str) -> Result<(), RunError> {
        let end = EventKind::TaskEnded {
            end: TaskEnd::Cancelled,
            text: "another attempt was faster".to_owned(),
        };
        self.run.record(id, vec![end]).await
    }

    /// Asks the run to rest; whatever is at work is taken up again by the next [`Swarm::go`].
    pub fn pause(&self, reason: &str) {
        self.run.ask_to_stop(Stop::Pause(reason.to_owned()));
    }
}
