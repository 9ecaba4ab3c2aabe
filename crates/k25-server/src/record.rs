//! What became of a request, told to those who keep records: the audit log and the tracing of others. Nothing
//! is put together where nobody keeps any.

use std::time::{Duration, Instant, SystemTime};

use k25_chat::dialect::openai::message_value;
use k25_chat::{ChatReply, ChatRequest, ChatUsage};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::trace_context::TraceContext;

/// One request, and what came of it.
#[derive(Debug)]
pub(crate) struct AnswerRecord {
    pub request_id: String,
    /// Whose key; nothing where none was known.
    pub key: String,
    /// Nothing where the request was refused before its model was looked for.
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
    /// `stop`, `length`, …, `error`, `cancelled` or `refused`.
    pub end: &'static str,
    pub error: Option<String>,
}

impl AnswerRecord {
    /// A request that reached no model.
    pub fn refused(
        request_id: &str,
        key: &str,
        trace: TraceContext,
        began: Instant,
        error: &ApiError,
    ) -> Self {
        let took = began.elapsed();
        AnswerRecord {
            request_id: request_id.to_owned(),
            key: key.to_owned(),
            model: String::new(),
            trace,
            began: SystemTime::now() - took,
            took,
            first_piece: None,
            max_tokens: None,
            temperature: None,
            top_p: None,
            thinking: false,
            asked: None,
            replies: Vec::new(),
            usage: ChatUsage::default(),
            end: REFUSED,
            error: Some(error.message.clone()),
        }
    }
}

/// The end of a request that reached no model.
pub(crate) const REFUSED: &str = "refused";

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
