//! Tool-call ids of other systems, rewritten to the form that the model writes itself.
//!
//! The model calls `functions.NAME:IDX`, IDX counting the calls of the whole conversation from 0, and
//! the template prints ids but not names: a history with `call_9f2a` shows the model a call of an
//! unknown function. Source: specification section 7.

use std::collections::{HashMap, HashSet, VecDeque};

use thiserror::Error;

use crate::message::{Message, Role, ToolCall};

/// Why the ids of a history cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ToolIdError {
    /// A result for a call that nobody made before.
    #[error(
        "messages[{message}].tool_call_id: no earlier call has the id {id:?}; hint: keep the \
         assistant's message with the call in the history, before its result"
    )]
    UnknownCall {
        /// Number of the result's message.
        message: usize,
        /// The id.
        id: String,
    },
    /// A result without an id, and no call of the last assistant's message is left to answer.
    #[error(
        "messages[{message}].tool_call_id: missing, and no call of the message before waits for a \
         result; hint: give the id of the call that it answers"
    )]
    NoOpenCall {
        /// Number of the result's message.
        message: usize,
    },
    /// A foreign id can only be rewritten with the function's name.
    #[error(
        "messages[{message}].tool_calls[{call}].function.name: missing; hint: give the function's \
         name, or an id of the form functions.NAME:IDX"
    )]
    NoName {
        /// Number of the assistant's message.
        message: usize,
        /// Number of the call in it.
        call: usize,
    },
}

/// Rewrites the ids of all tool calls to `functions.NAME:IDX`, and the ids of their results.
///
/// Native ids stay, `NAME:IDX` only gets its prefix, and every other call is numbered on from the
/// highest number so far. The same foreign id may appear again in a later turn; a result then answers
/// the latest one, and of several calls with one id in one message the first that is still open. A
/// result without id answers the first open call of the last assistant's message that made calls.
pub fn rewrite_tool_call_ids(messages: &mut [Message]) -> Result<(), ToolIdError> {
    let mut rewriter = Rewriter {
        native: native_ids(messages),
        ..Rewriter::default()
    };
    for (index, message) in messages.iter_mut().enumerate() {
        match message.role {
            Role::Assistant if !message.tool_calls.is_empty() => {
                rewriter.calls(&mut message.tool_calls, index)?;
            }
            Role::Tool => {
                let id = message.tool_call_id.take().filter(|id| !id.is_empty());
                message.tool_call_id = Some(rewriter.result(id, index)?);
            }
            _ => {}
        }
    }
    Ok(())
}

fn native_ids(messages: &[Message]) -> HashSet<String> {
    let calls = messages.iter().flat_map(|message| &message.tool_calls);
    calls.filter_map(native_form).map(|(id, _)| id).collect()
}

#[derive(Default)]
struct Rewriter {
    /// The native ids of the whole history, so that no new one equals a later one of them.
    native: HashSet<String>,
    /// Number for the next foreign call.
    next_index: u64,
    /// By original id: the calls of the latest message with this id.
    calls: HashMap<String, Calls>,
    /// The calls of the latest message with calls as their original ids, for results without id.
    unanswered: VecDeque<String>,
}

/// The new ids of the calls that share an original id within one message.
#[derive(Default)]
struct Calls {
    message: usize,
    open: VecDeque<String>,
    /// The last one answered, for a result that comes twice.
    answered: Option<String>,
}

impl Rewriter {
    fn calls(&mut self, calls: &mut [ToolCall], message: usize) -> Result<(), ToolIdError> {
        self.unanswered.clear();
        for (index, call) in calls.iter_mut().enumerate() {
            let id = self.new_id(call).ok_or(ToolIdError::NoName {
                message,
                call: index,
            })?;
            let original = std::mem::replace(&mut call.id, id.clone());
            let same_id = self.calls.entry(original.clone()).or_default();
            if same_id.message != message {
                *same_id = Calls {
                    message,
                    ..Calls::default()
                };
            }
            same_id.open.push_back(id);
            self.unanswered.push_back(original);
        }
        Ok(())
    }

    /// The id in native form, or `None` for a foreign one without a function's name.
    fn new_id(&mut self, call: &ToolCall) -> Option<String> {
        if let Some((id, index)) = native_form(call) {
            self.next_index = self.next_index.max(u64::from(index) + 1);
            return Some(id);
        }
        if call.name.is_empty() {
            return None;
        }
        loop {
            let id = format!("functions.{}:{}", call.name, self.next_index);
            self.next_index += 1;
            if !self.native.contains(&id) {
                return Some(id);
            }
        }
    }

    fn result(&mut self, id: Option<String>, message: usize) -> Result<String, ToolIdError> {
        let original = match id {
            Some(id) => id,
            None => self
                .first_open()
                .ok_or(ToolIdError::NoOpenCall { message })?,
        };
        let Some(calls) = self.calls.get_mut(&original) else {
            return Err(ToolIdError::UnknownCall {
                message,
                id: original,
            });
        };
        if let Some(id) = calls.open.pop_front() {
            calls.answered = Some(id);
        }
        calls.answered.clone().ok_or(ToolIdError::UnknownCall {
            message,
            id: original,
        })
    }

    /// The original id of the first call that has no result yet.
    fn first_open(&mut self) -> Option<String> {
        while let Some(original) = self.unanswered.pop_front() {
            // A result with an id may have answered it already.
            if self
                .calls
                .get(&original)
                .is_some_and(|calls| !calls.open.is_empty())
            {
                return Some(original);
            }
        }
        None
    }
}

/// The native form of an id that is native, or is but for its prefix, and its number.
fn native_form(call: &ToolCall) -> Option<(String, u32)> {
    let (name, index) = call.id.rsplit_once(':')?;
    if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number beyond `u32` counts nothing: such an id is foreign.
    let index = index.parse().ok()?;
    match name.strip_prefix("functions.") {
        Some(function) if !function.is_empty() => Some((call.id.clone(), index)),
        _ if name == call.name && !name.is_empty() => {
            Some((format!("functions.{}", call.id), index))
        }
        _ => None,
    }
}
