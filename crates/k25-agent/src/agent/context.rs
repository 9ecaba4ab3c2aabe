//! What a model is shown of a long history.

use std::sync::Arc;

use k25_chat::{Arguments, Content, Media, MediaKind, Message, Part, ToolCall};
use serde::{Deserialize, Serialize};

use super::Agent;
use crate::event::EventKind;
use crate::run::{Run, RunError, TaskState, Turn};
use crate::tools::Toolset;

/// What to do when a history fills the context. (Sharding, the fifth of the family's ways, is what
/// sub-agents are: each has a history of its own.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextPolicy {
    /// Nothing: a full context ends the task.
    None,
    /// All results but those of the last turn are hidden; reasoning and calls stay.
    #[default]
    HideToolResult,
    /// The model sums up what it knows; that stands for the history.
    Summary,
    /// The history goes; the task and what is in the table stay.
    DiscardAll,
}

impl ContextPolicy {
    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    /// Whether the history can still be made shorter.
    pub(super) fn can_shorten(self, state: &TaskState) -> bool {
        let shown = state.turns.len() - state.summary.as_ref().map_or(0, |(_, turns)| *turns);
        self != ContextPolicy::None && shown > 1
    }
}

/// Part of the context that a history may fill before it is shortened.
const FULL: f64 = 0.75;
const HIDDEN: &str = "(result no longer shown)";
const SUM_UP: &str = "Sum up in a few lines what you have found and what is left to do. No calls.";

impl Agent {
    /// The state, shortened if it fills the context.
    pub(super) async fn shorten(
        &self,
        run: &Arc<Run>,
        task: &str,
        state: &TaskState,
    ) -> Result<TaskState, RunError> {
        let room = (self.model.context_tokens as f64 * FULL) as u64;
        if self.context == ContextPolicy::None || state.shown_tokens() <= room {
            return Ok(state.clone());
        }
        if self.context.can_shorten(state) {
            self.shorten_now(run, task, state).await?;
        }
        Ok(run
            .with_state(|run| run.tasks.get(task).cloned())
            .unwrap_or_default())
    }

    /// Replaces the history by what the policy leaves of it.
    pub(super) async fn shorten_now(
        &self,
        run: &Arc<Run>,
        task: &str,
        state: &TaskState,
    ) -> Result<(), RunError> {
        let text = match self.context {
            // `messages` hides what is marked here by its number.
            ContextPolicy::None | ContextPolicy::HideToolResult => String::new(),
            ContextPolicy::DiscardAll => progress(run, state),
            ContextPolicy::Summary => {
                let mut messages = self.messages(state);
                messages.push(Message::user(SUM_UP));
                match self.ask_aside(run, task, "summary", messages).await? {
                    Some(text) => format!("Your notes so far:\n{text}"),
                    None => progress(run, state),
                }
            }
        };
        let turns = match self.context {
            ContextPolicy::HideToolResult => state.turns.len().saturating_sub(1),
            _ => state.turns.len(),
        };
        run.record(task, vec![EventKind::Summarised { text, turns }])
            .await
    }

    /// The conversation as the model reads it.
    pub(super) fn messages(&self, state: &TaskState) -> Vec<Message> {
        let mut messages = vec![Message::system(&self.system), Message::user(&self.user)];
        let (text, replaced) = match &state.summary {
            Some((text, turns)) => (text.as_str(), *turns),
            None => ("", 0),
        };
        let hides = self.context == ContextPolicy::HideToolResult;
        if !hides && !text.is_empty() {
            messages.push(Message::user(text));
        }
        for (index, turn) in state.turns.iter().enumerate() {
            match index < replaced {
                true if hides => add_turn(&mut messages, turn, true),
                true => {}
                false => add_turn(&mut messages, turn, false),
            }
        }
        messages
    }

    /// The tools as they are declared.
    pub(super) fn declared(&self, tools: &Toolset) -> Vec<k25_chat::JsonValue> {
        tools.declarations()
    }
}

fn add_turn(messages: &mut Vec<Message>, turn: &Turn, hides_results: bool) {
    let calls = turn.reply.calls.iter().map(|call| ToolCall {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: Arguments::Text(call.arguments.clone()),
    });
    messages.push(Message {
        content: turn.reply.content.clone().map(Content::Text),
        reasoning: turn.reply.reasoning.clone(),
        tool_calls: calls.collect(),
        ..Message::assistant("")
    });
    // In the order of the calls, not of their arrival: the same history gives the same bytes.
    for call in &turn.reply.calls {
        let text = if hides_results {
            HIDDEN
        } else {
            turn.result(&call.id).unwrap_or_default()
        };
        let mut message = Message::tool_result(&call.id, text);
        if !hides_results {
            add_pictures(&mut message, turn, &call.id);
        }
        messages.push(message);
    }
    messages.extend(turn.nudges.iter().map(Message::user));
}

/// What a call gave to see, behind what it gave to read.
fn add_pictures(message: &mut Message, turn: &Turn, call: &str) {
    let mut pictures = turn.pictures.iter().filter(|(id, _)| id == call).peekable();
    if pictures.peek().is_none() {
        return;
    }
    let text = match message.content.take() {
        Some(Content::Text(text)) => text,
        other => {
            message.content = other;
            return;
        }
    };
    let shown = pictures.map(|(_, picture)| {
        Part::Media(Media {
            kind: MediaKind::Image,
            source: Some(picture.data.to_string()),
        })
    });
    let parts = std::iter::once(Part::Text(text)).chain(shown);
    message.content = Some(Content::Parts(parts.collect()));
}

/// What an agent that has forgotten everything else should know.
fn progress(run: &Arc<Run>, state: &TaskState) -> String {
    let mut text = format!(
        "You have worked {} steps on this; the history is gone.",
        state.steps()
    );
    run.with_state(|run| {
        let rows: Vec<&str> = run.table.rows().take(60).collect();
        if !rows.is_empty() {
            text.push_str(&format!(
                "\nRows in the table ({}): {}",
                run.table.row_count(),
                rows.join(", ")
            ));
        }
        if let Some(left) = run.left_note() {
            text.push('\n');
            text.push_str(&left);
        }
    });
    text
}
