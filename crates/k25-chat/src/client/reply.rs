//! A whole answer.

use super::{ChatEvent, ChatUsage, ReplyEnd};
use crate::message::{Arguments, Content, Message, ToolCall};
use crate::stream_parser::ParsedMessage;

/// The events of an answer added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatReply {
    /// The message so far.
    pub message: ParsedMessage,
    /// Why it ended; `None` while it has not.
    pub end: Option<ReplyEnd>,
    /// What it cost; zero until it has ended.
    pub usage: ChatUsage,
}

impl ChatReply {
    /// Adds one event.
    pub fn add(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Output(output) => self.message.add(output),
            ChatEvent::Begun { .. } | ChatEvent::Tokens(_) => {}
            ChatEvent::Finished { reason, usage } => {
                self.end = Some(*reason);
                self.usage = *usage;
            }
        }
    }

    /// The answer as a message of the history.
    pub fn into_message(self) -> Message {
        let calls = self.message.tool_calls.into_iter().map(|call| ToolCall {
            id: call.id,
            name: call.name,
            arguments: Arguments::Text(call.arguments),
        });
        Message {
            content: self.message.content.map(Content::Text),
            reasoning: self.message.reasoning,
            tool_calls: calls.collect(),
            ..Message::assistant("")
        }
    }
}
