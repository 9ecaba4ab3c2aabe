//! The loop of one agent: ask the model, run its calls, until it answers or a limit ends it.
//!
//! Everything the loop knows is in the run's state, which is a fold over the journal: a loop that is
//! started on a task with a history goes on where that history ends, and calls without a result are
//! taken up again or, where they must not happen twice, closed.

mod calls;
mod context;
mod drift;
mod guard;
mod ladder;
mod last_turn;
mod reply;
mod request;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k25_chat::ChatClient;

use crate::budget::{Limit, Prices};
use crate::event::{EventKind, TaskEnd};
use crate::run::{Run, RunError, RunState, TaskState};
use crate::tools::Toolset;

pub use context::ContextPolicy;
pub use last_turn::LastTurn;

/// A model and how to ask it.
#[derive(Clone)]
pub struct ModelChoice {
    /// Who answers.
    pub client: Arc<dyn ChatClient>,
    /// The name of the model there.
    pub name: String,
    /// Tokens of its context.
    pub context_tokens: u64,
    /// Most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// How tokens are chosen; `None` is the model's default.
    pub temperature: Option<f32>,
    /// What its tokens cost.
    pub prices: Prices,
    /// Who is asked when this one fails again and again.
    pub fallback: Option<Box<ModelChoice>>,
}

impl std::fmt::Debug for ModelChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelChoice")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An agent for one task.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its model.
    pub model: ModelChoice,
    /// Its instructions.
    pub system: String,
    /// Its task, as the first user's message.
    pub user: String,
    /// What it can do.
    pub tools: Toolset,
    /// Whether it reasons before it answers; a failing one begins to, unless its model is small.
    pub thinking: bool,
    /// Most answers of the model.
    pub max_steps: usize,
    /// What to do when the history is long.
    pub context: ContextPolicy,
    /// How long a stream may be silent.
    pub stall: Duration,
    /// After calls of this tool it is told which documents nobody has opened yet.
    pub reminds_after: Option<&'static str>,
    /// Its model is small: it is not asked whether its work still serves the task, nor to reason its way
    /// out of failures.
    pub small: bool,
    /// What it may still do when a limit ends it.
    pub last_turn: LastTurn,
}

/// How often a long task is told its goal again.
const REMIND_EVERY: usize = 25;
/// What a cancelled call returns.
const CANCELLED: &str = "cancelled";

impl Agent {
    /// An agent without a task, whose model is asked beside the work of others.
    pub(crate) fn for_asides(model: ModelChoice, stall: Duration) -> Self {
        Agent {
            model,
            system: String::new(),
            user: String::new(),
            tools: Toolset::default(),
            thinking: false,
            max_steps: 1,
            context: ContextPolicy::None,
            stall,
            reminds_after: None,
            small: false,
            last_turn: LastTurn::No,
        }
    }

    /// Works on `task` until it ends, and says how.
    ///
    /// # Errors
    /// When the run rests, is cancelled, or its journal fails. The task is not ended then.
    pub async fn work(&self, run: &Arc<Run>, task: &str) -> Result<TaskEnd, RunError> {
        let ended = self.work_until_stopped(run, task).await;
        if let Err(RunError::Cancelled) = ended {
            cancel_task(run, task).await?;
        }
        ended
    }

    async fn work_until_stopped(&self, run: &Arc<Run>, task: &str) -> Result<TaskEnd, RunError> {
        loop {
            let state = self.state(run, task);
            if let Some(end) = state.end {
                return Ok(end);
            }
            if let Some(stop) = run.stop() {
                return Err(Run::stop_error(stop));
            }
            if state.cut_short.is_some() {
                return self.last_words(run, task).await;
            }
            if state.turns.last().is_some_and(|turn| !turn.is_closed()) {
                if self.run_calls(run, task, &state).await? {
                    return self.end(run, task, TaskEnd::Done, String::new()).await;
                }
                self.after_turn(run, task).await?;
                continue;
            }
            if let Some(turn) = state.turns.last()
                && turn.reply.calls.is_empty()
                && turn.nudges.is_empty()
            {
                let text = turn.reply.content.clone().unwrap_or_default();
                return self.end(run, task, TaskEnd::Done, text).await;
            }
            let ended = match self.limit(run, &state) {
                Some(why) => self.cut_short(run, task, &state, why).await?,
                None => self.step(run, task, &state).await?,
            };
            if let Some(end) = ended {
                return Ok(end);
            }
        }
    }

    fn state(&self, run: &Arc<Run>, task: &str) -> TaskState {
        run.with_state(|state| state.tasks.get(task).cloned())
            .unwrap_or_default()
    }

    async fn end(
        &self,
        run: &Arc<Run>,
        task: &str,
        end: TaskEnd,
        text: String,
    ) -> Result<TaskEnd, RunError> {
        run.record(task, vec![EventKind::TaskEnded { end, text }])
            .await?;
        Ok(end)
    }

    /// Which limit ends the task.
    fn limit(&self, run: &Arc<Run>, state: &TaskState) -> Option<String> {
        if state.steps() >= self.max_steps {
            return Some(format!("{} steps", self.max_steps));
        }
        if guard::is_hopeless(&state.turns) {
            return Some("going in circles".to_owned());
        }
        // Whether there is a step left depends on whose it is; that is asked with the step.
        let limit = run
            .exhausted()
            .filter(|limit| *limit != Limit::CriticalSteps);
        limit.map(budget_words)
    }

    /// One answer of the model. `Some` if the task ended with it.
    async fn step(
        &self,
        run: &Arc<Run>,
        task: &str,
        state: &TaskState,
    ) -> Result<Option<TaskEnd>, RunError> {
        let state = self.shorten(run, task, state).await?;
        let repeats = guard::Repeats::of(&state.turns);
        let tools = self.tools.without(repeats.removed_tools());
        match self.ask(run, task, &state, &tools).await? {
            request::Asked::Replied => Ok(None),
            request::Asked::TooLong if self.context.can_shorten(&state) => {
                self.shorten_now(run, task, &state).await?;
                Ok(None)
            }
            request::Asked::OutOf(limit) => {
                self.cut_short(run, task, &state, budget_words(limit)).await
            }
            request::Asked::TooLong => {
                let why = "the history does not fit the model's context".to_owned();
                self.end(run, task, TaskEnd::Partial, why).await.map(Some)
            }
            request::Asked::Failed(why) => {
                let has_work = !state.turns.is_empty();
                let end = if has_work {
                    TaskEnd::Partial
                } else {
                    TaskEnd::Failed
                };
                self.end(run, task, end, why).await.map(Some)
            }
        }
    }

    /// What the runtime says when the calls of a turn are closed.
    async fn after_turn(&self, run: &Arc<Run>, task: &str) -> Result<(), RunError> {
        let state = self.state(run, task);
        let mut nudges = guard::nudges(&state.turns);
        let steps = state.steps();
        if steps + 1 == self.max_steps {
            nudges.push("Last step: finish now with what you have.".to_owned());
        } else if steps.is_multiple_of(REMIND_EVERY) && steps > 0 {
            nudges.push(match self.drift(run, task, &state).await? {
                Some(why) => format!("{why}\nThe task is: {}", self.user),
                None => format!("Reminder of the task: {}", self.user),
            });
        }
        nudges.extend(self.unopened_note(run, &state));
        if nudges.is_empty() {
            return Ok(());
        }
        let kind = EventKind::Nudged {
            text: nudges.join("\n"),
        };
        run.record(task, vec![kind]).await
    }

    fn unopened_note(&self, run: &Arc<Run>, state: &TaskState) -> Option<String> {
        let tool = self.reminds_after?;
        let turn = state.turns.last()?;
        turn.reply.calls.iter().find(|call| call.name == tool)?;
        run.with_state(RunState::left_note)
    }
}

/// Ends a task whose run was cancelled, and gives every call without a result one.
///
/// # Errors
/// When the journal fails.
pub(crate) async fn cancel_task(run: &Arc<Run>, task: &str) -> Result<(), RunError> {
    let state = run
        .with_state(|state| state.tasks.get(task).cloned())
        .unwrap_or_default();
    let closed: HashSet<&str> = state
        .turns
        .last()
        .into_iter()
        .flat_map(|turn| &turn.returns)
        .map(|(id, _)| id.as_str())
        .collect();
    let calls = state
        .turns
        .last()
        .into_iter()
        .flat_map(|turn| &turn.reply.calls);
    let open = calls.filter(|call| !closed.contains(call.id.as_str()));
    let closing = open.map(|call| EventKind::ToolReturned {
        call: call.id.clone(),
        tool: call.name.clone(),
        text: CANCELLED.to_owned(),
        failure: Some(CANCELLED.to_owned()),
        ms: 0,
    });
    let end = EventKind::TaskEnded {
        end: TaskEnd::Cancelled,
        text: String::new(),
    };
    run.record(task, closing.chain([end]).collect()).await
}

/// Why a task ends that a limit of the run ends.
fn budget_words(limit: Limit) -> String {
    format!("budget: {limit}")
}
