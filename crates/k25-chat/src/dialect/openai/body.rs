//! The JSON objects of replies and chunks.

use serde::{Deserialize, Serialize};

use crate::client::{ChatUsage, ReplyEnd, TokenLogprob, TokenLogprobs};
use crate::stream_parser::{ParsedMessage, ParsedToolCall};

#[derive(Serialize)]
pub(super) struct Reply<'a, C> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub choices: C,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Serialize)]
pub(super) struct WholeChoice<'a> {
    pub index: u32,
    pub message: Message<'a>,
    pub logprobs: Option<Logprobs<'a>>,
    pub finish_reason: Option<&'static str>,
    /// The stop text that was met, as vLLM tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<&'a str>,
}

/// The reasoning stands before the answer, as it was said.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a str>,
    pub content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
pub(super) struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    pub function: Function<'a>,
}

#[derive(Serialize)]
pub(super) struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    pub arguments: &'a str,
}

#[derive(Serialize)]
pub(super) struct DeltaChoice<'a> {
    pub index: u32,
    pub delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs<'a>>,
    pub finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Serialize, Default)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<[Call<'a>; 1]>,
}

#[derive(Serialize)]
pub(super) struct Logprobs<'a> {
    pub content: Vec<Token<'a>>,
}

#[derive(Serialize)]
pub(super) struct Token<'a> {
    #[serde(flatten)]
    pub chosen: TokenBody<'a>,
    pub top_logprobs: Vec<TokenBody<'a>>,
}

#[derive(Serialize)]
pub(super) struct TokenBody<'a> {
    token: std::borrow::Cow<'a, str>,
    logprob: f32,
    bytes: &'a [u8],
}

/// Tokens of a request and its answer: OpenAI's names, and Kimi's flat `cached_tokens`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default)]
pub(super) struct PromptDetails {
    pub cached_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default)]
pub(super) struct CompletionDetails {
    pub reasoning_tokens: Option<u64>,
}

impl From<ChatUsage> for Usage {
    fn from(usage: ChatUsage) -> Self {
        Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            cached_tokens: Some(usage.cached_tokens),
            prompt_tokens_details: Some(PromptDetails {
                cached_tokens: Some(usage.cached_tokens),
            }),
            completion_tokens_details: Some(CompletionDetails {
                reasoning_tokens: Some(usage.reasoning_tokens),
            }),
        }
    }
}

impl From<Usage> for ChatUsage {
    fn from(usage: Usage) -> Self {
        let detail = usage.prompt_tokens_details.and_then(|d| d.cached_tokens);
        let reasoning = usage.completion_tokens_details;
        ChatUsage {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: detail.or(usage.cached_tokens).unwrap_or(0),
            completion_tokens: usage.completion_tokens,
            reasoning_tokens: reasoning.and_then(|d| d.reasoning_tokens).unwrap_or(0),
        }
    }
}

impl ReplyEnd {
    /// The stop text that was met, of those that the request named.
    pub fn stop_text(self, stops: &[String]) -> Option<&str> {
        match self {
            ReplyEnd::StopText(number) => stops.get(number).map(String::as_str),
            _ => None,
        }
    }

    /// The word for it in the OpenAI forms.
    pub fn openai_name(self) -> &'static str {
        match self {
            ReplyEnd::Stop | ReplyEnd::StopText(_) => "stop",
            ReplyEnd::ToolCalls => "tool_calls",
            ReplyEnd::Length => "length",
            ReplyEnd::ContentFilter => "content_filter",
        }
    }
}

impl<'a> Message<'a> {
    pub(super) fn of(message: &'a ParsedMessage) -> Self {
        Message {
            role: "assistant",
            reasoning_content: message.reasoning.as_deref(),
            content: message.content.as_deref(),
            tool_calls: message.tool_calls.iter().map(Call::whole).collect(),
        }
    }
}

impl<'a> Call<'a> {
    fn whole(call: &'a ParsedToolCall) -> Self {
        Call {
            index: None,
            id: Some(&call.id),
            kind: Some("function"),
            function: Function {
                name: Some(&call.name),
                arguments: &call.arguments,
            },
        }
    }
}

impl<'a> Logprobs<'a> {
    pub(super) fn of(tokens: &'a [TokenLogprobs]) -> Self {
        let content = tokens.iter().map(|token| Token {
            chosen: TokenBody::of(&token.chosen),
            top_logprobs: token.top.iter().map(TokenBody::of).collect(),
        });
        Logprobs {
            content: content.collect(),
        }
    }
}

impl<'a> TokenBody<'a> {
    fn of(token: &'a TokenLogprob) -> Self {
        TokenBody {
            token: String::from_utf8_lossy(&token.bytes),
            // JSON has no infinity; no probability at all is told as OpenAI tells it.
            logprob: token.logprob.max(-9999.0),
            bytes: &token.bytes,
        }
    }
}
