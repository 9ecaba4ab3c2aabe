//! What an answer is worth, and what it becomes in the journal.

use k25_chat::{ChatError, ChatErrorKind, ChatReply, ReplyEnd};

use super::ModelChoice;
use super::request::Outcome;
use crate::event::{Call, EventKind, Reply, Usage};
use crate::run::{TaskState, guessed_tokens};

/// What a stream that has ended gave.
pub(super) fn judged(reply: ChatReply) -> Outcome {
    let message = &reply.message;
    let has_text = message
        .content
        .as_deref()
        .is_some_and(|text| !text.trim().is_empty());
    match reply.end {
        None => Outcome::Error(ChatError::new(
            ChatErrorKind::Connection,
            "the answer ended without a reason",
            "is the endpoint alive?",
        )),
        Some(_) if has_text || message.has_tool_calls() => Outcome::Reply(reply),
        // Cut off while it reasoned: it is told so.
        Some(ReplyEnd::Length) => Outcome::Reply(reply),
        Some(_) => Outcome::Bad("empty"),
    }
}

/// What an answer has cost if it is of no use: as counted where it came to its end, else guessed from
/// what was read of it. An answer that never began costs nothing.
pub(super) fn wasted(reply: &ChatReply, prompt_tokens: u64) -> Usage {
    if reply.end.is_some() {
        return reply.usage.into();
    }
    let message = &reply.message;
    let texts = [message.reasoning.as_deref(), message.content.as_deref()];
    let calls = message
        .tool_calls
        .iter()
        .map(|call| call.arguments.as_str());
    let read: u64 = texts
        .into_iter()
        .flatten()
        .chain(calls)
        .map(guessed_tokens)
        .sum();
    if read == 0 {
        return Usage::default();
    }
    Usage {
        prompt: prompt_tokens,
        completion: read,
        ..Usage::default()
    }
}

/// The events of an answer.
pub(super) fn answered(
    state: &TaskState,
    model: &ModelChoice,
    answer: ChatReply,
    ms: u64,
) -> Vec<EventKind> {
    let money = model.prices.cost(&answer.usage);
    let is_cut = answer.end == Some(ReplyEnd::Length);
    let usage = answer.usage.into();
    let reply = Reply {
        reasoning: answer.message.reasoning,
        content: answer.message.content,
        calls: unique_calls(state, answer.message.tool_calls),
    };
    let has_calls = !reply.calls.is_empty();
    let mut events = vec![EventKind::Replied {
        reply,
        usage,
        money,
        ms,
    }];
    if is_cut && !has_calls {
        let text = "Your answer was cut off. Be brief.".to_owned();
        events.push(EventKind::Nudged { text });
    }
    events
}

/// The calls with ids of the model's own form, each unique in the task.
fn unique_calls(state: &TaskState, calls: Vec<k25_chat::ParsedToolCall>) -> Vec<Call> {
    let earlier = state.turns.iter().flat_map(|turn| &turn.reply.calls);
    let mut taken: std::collections::HashSet<String> =
        earlier.map(|call| call.id.clone()).collect();
    let mut next = taken.len();
    let mut unique = Vec::with_capacity(calls.len());
    for call in calls {
        let prefix = format!("functions.{}:", call.name);
        let number = call.id.strip_prefix(&prefix);
        let is_native =
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let mut id = call.id;
        while !is_native && !id.starts_with(&prefix) || taken.contains(&id) {
            id = format!("{prefix}{next}");
            next += 1;
        }
        taken.insert(id.clone());
        unique.push(Call {
            id,
            name: call.name,
            arguments: call.arguments,
        });
    }
    unique
}
