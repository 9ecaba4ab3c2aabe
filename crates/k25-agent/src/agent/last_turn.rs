//! The last turn of an agent that a limit ends: it says what it has, so that what was paid for reaches
//! whoever asked.

use std::sync::Arc;

use super::request::Asked;
use super::{Agent, ContextPolicy};
use crate::event::{EventKind, TaskEnd};
use crate::run::{Run, RunError, Share, TaskState};
use crate::tools::Toolset;

/// What an agent may still do when a limit ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastTurn {
    /// Nothing: what it handed in stays.
    #[default]
    No,
    /// It is told this, and answers once more; it may call these tools with that.
    Offered {
        /// What it is told.
        told: &'static str,
        /// The tools.
        tools: &'static [&'static str],
    },
    /// This is it.
    Now,
}

impl Agent {
    /// Whose part of the budget it spends.
    pub(super) fn share(&self) -> Share {
        match self.last_turn {
            LastTurn::Now => Share::All,
            LastTurn::No | LastTurn::Offered { .. } => Share::Open,
        }
    }

    /// Ends a task that a limit stops, or gives it its last turn. `Some` if it ended.
    pub(super) async fn cut_short(
        &self,
        run: &Arc<Run>,
        task: &str,
        state: &TaskState,
        why: String,
    ) -> Result<Option<TaskEnd>, RunError> {
        let LastTurn::Offered { told, .. } = self.last_turn else {
            return self.end(run, task, TaskEnd::Partial, why).await.map(Some);
        };
        if state.turns.is_empty() {
            return self.end(run, task, TaskEnd::Partial, why).await.map(Some);
        }
        let text = format!("Your work ends here: {why}. {told}");
        run.record(task, vec![EventKind::LastTurn { why, text }])
            .await?;
        Ok(None)
    }

    /// Asks for the last words and runs what is called with them, once.
    pub(super) async fn last_words(&self, run: &Arc<Run>, task: &str) -> Result<TaskEnd, RunError> {
        let last = self.last();
        loop {
            let state = last.state(run, task);
            if let Some(stop) = run.stop() {
                return Err(Run::stop_error(stop));
            }
            let Some(cut) = &state.cut_short else {
                return last.end(run, task, TaskEnd::Partial, String::new()).await;
            };
            if state.turns.len() == cut.turns {
                let why = cut.why.clone();
                if let Some(end) = last.ask_last(run, task, state, why).await? {
                    return Ok(end);
                }
                continue;
            }
            if state.turns.last().is_some_and(|turn| !turn.is_closed()) {
                last.run_calls(run, task, &state).await?;
                continue;
            }
            let turn = state.turns.last();
            let text = turn.and_then(|turn| turn.reply.content.clone());
            let text = text.unwrap_or_else(|| cut.why.clone());
            return last.end(run, task, TaskEnd::Partial, text).await;
        }
    }

    /// This agent with nothing to do but end.
    fn last(&self) -> Agent {
        let names = match self.last_turn {
            LastTurn::Offered { tools, .. } => tools,
            LastTurn::No | LastTurn::Now => &[],
        };
        let tools = names
            .iter()
            .filter_map(|name| self.tools.get(name).cloned());
        Agent {
            tools: Toolset::new(tools.collect()),
            last_turn: LastTurn::Now,
            thinking: false,
            // A summary would cost what is needed for the words; one that was made stays.
            context: match self.context {
                ContextPolicy::Summary => ContextPolicy::DiscardAll,
                other => other,
            },
            ..self.clone()
        }
    }

    /// One answer; a history that leaves no room for it is shortened first. `Some` if there is none.
    async fn ask_last(
        &self,
        run: &Arc<Run>,
        task: &str,
        state: TaskState,
        why: String,
    ) -> Result<Option<TaskEnd>, RunError> {
        let asked = self.ask(run, task, &state, &self.tools).await?;
        let asked = match asked {
            Asked::TooLong | Asked::OutOf(_) if self.context.can_shorten(&state) => {
                self.shorten_now(run, task, &state).await?;
                let state = self.state(run, task);
                self.ask(run, task, &state, &self.tools).await?
            }
            asked => asked,
        };
        match asked {
            Asked::Replied => Ok(None),
            Asked::TooLong | Asked::OutOf(_) | Asked::Failed(_) => {
                self.end(run, task, TaskEnd::Partial, why).await.map(Some)
            }
        }
    }
}
