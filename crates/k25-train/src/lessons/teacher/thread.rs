//! What a request shows of the conversation so far.

use std::collections::HashMap;

use k25_chat::{Arguments, ChatRequest, Content, Message, Role};
use serde_json::Value;

/// A call in a conversation, with its result.
pub(super) struct Done<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: Value,
    pub(super) result: &'a str,
}

impl Done<'_> {
    pub(super) fn failed(&self) -> bool {
        self.result.starts_with("error")
    }

    pub(super) fn is(&self, name: &str, key: &str, value: &str) -> bool {
        self.name == name && self.arguments[key] == value && !self.failed()
    }
}

/// What a request shows of the conversation so far.
pub(super) struct Thread<'a> {
    pub(super) id: String,
    pub(super) tools: Vec<&'a str>,
    pub(super) user: &'a str,
    pub(super) done: Vec<Done<'a>>,
    /// What the runtime said last, if nobody has answered yet.
    pub(super) nudge: Option<&'a str>,
    /// Texts of users behind the first.
    pub(super) notes: Vec<&'a str>,
}

pub(super) fn text(message: &Message) -> &str {
    match &message.content {
        Some(Content::Text(text)) => text,
        _ => "",
    }
}

impl<'a> Thread<'a> {
    pub(super) fn of(request: &'a ChatRequest) -> Self {
        let messages = &request.conversation.messages;
        let tools = request.conversation.tools.iter().filter_map(|tool| {
            tool.as_object()?
                .get("function")?
                .as_object()?
                .get("name")?
                .as_str()
        });
        let results: HashMap<&str, &str> = messages
            .iter()
            .filter_map(|message| Some((message.tool_call_id.as_deref()?, text(message))))
            .collect();
        let calls = messages.iter().flat_map(|message| &message.tool_calls);
        let done = calls.map(|call| Done {
            name: &call.name,
            arguments: match &call.arguments {
                Arguments::Text(text) => serde_json::from_str(text).unwrap_or_default(),
                Arguments::Json(_) => Value::Null,
            },
            result: results.get(call.id.as_str()).copied().unwrap_or_default(),
        });
        let users = messages.iter().filter(|message| message.role == Role::User);
        let notes: Vec<&str> = users.skip(1).map(text).collect();
        let last_is_user = messages.last().is_some_and(|last| last.role == Role::User);
        Self {
            id: messages
                .iter()
                .take(2)
                .map(text)
                .collect::<Vec<_>>()
                .join("\n\n"),
            tools: tools.collect(),
            user: messages.get(1).map(text).unwrap_or_default(),
            done: done.collect(),
            nudge: notes.last().copied().filter(|_| last_is_user),
            notes,
        }
    }

    pub(super) fn has(&self, tool: &str) -> bool {
        self.tools.contains(&tool)
    }

    /// The windows of a document that were shown: last line of each, and whether there is more.
    pub(super) fn shown(&self, path: &str) -> Vec<(usize, bool)> {
        let opens = self
            .done
            .iter()
            .filter(|done| done.is("open", "path", path));
        opens.map(|done| window_end(done.result)).collect()
    }
}

/// The last numbered line of what `open` printed, and whether it says that there is more.
fn window_end(result: &str) -> (usize, bool) {
    let more = result
        .lines()
        .last()
        .is_some_and(|line| line.starts_with("more from line"));
    let numbers = result
        .lines()
        .filter_map(|line| line.split_once(':')?.0.parse().ok());
    (numbers.max().unwrap_or(0), more)
}

/// The entries of a note of the runtime about what nobody has opened.
pub(super) fn not_opened(note: &str) -> Option<Vec<String>> {
    let line = note
        .lines()
        .find(|line| line.starts_with("Not opened yet ("))?;
    let (_, entries) = line.split_once("): ")?;
    Some(
        entries
            .split(", ")
            .filter(|entry| *entry != "…")
            .map(str::to_owned)
            .collect(),
    )
}
