//! What an answer was, told to those who keep records: the audit log and the tracing of others. Nothing is put
//! together where nobody keeps any.

use std::time::{Duration, SystemTime};

use k25_chat::dialect::openai::message_value;
use k25_chat::{ChatReply, ChatRequest, ChatUsage};
use serde_json::{Value, json};

use crate::trace_context::TraceContext;

/// One request that reached a model, and what came of it.
#[derive(Debug)]
pub(crate) struct AnswerRecord {
    pub request_id: String,
    /// Whose key.
    pub key: String,
    pub model: String,
    pub trace: TraceContext,
    pub began: SystemTime,
    pub took: Duration,
    pub first_piece: Option<Duration>,
    pub max_tokens: Option<u32>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub thinking: bool,
    /// What was asked, where its words are wanted.
    pub asked: Option<Asked>,
    /// The answers, as far as they came.
    pub replies: Vec<ChatReply>,
    pub usage: ChatUsage,
    /// `stop`, `length`, …, `error` or `cancelled`.
    pub end: &'static str,
    pub error: Option<String>,
}

/// The words of a request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub messages: Value,
    pub tools: Value,
}

impl Asked {
    pub fn of(chat: &ChatRequest) -> Self {
        // Python's JSON has numbers that others cannot read; they stay as text.
        let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        let messages = chat.conversation.messages.iter();
        let tools = chat.conversation.tools.iter();
        Asked {
            messages: messages
                .map(|message| value(message_value(message).to_compact_json()))
                .collect(),
            tools: tools.map(|tool| value(tool.to_compact_json())).collect(),
        }
    }
}

/// An answer in the form of Chat Completions, reasoning included.
pub(crate) fn reply_value(reply: &ChatReply) -> Value {
    let calls = reply
        .message
        .tool_calls
        .iter()
        .map(|call| json!({"id": call.id, "name": call.name, "arguments": call.arguments}));
    json!({
        "role": "assistant",
        "reasoning_content": reply.message.reasoning,
        "content": reply.message.content,
        "tool_calls": calls.collect::<Vec<_>>(),
        "finish_reason": reply.end.map(k25_chat::ReplyEnd::openai_name),
    })
}
