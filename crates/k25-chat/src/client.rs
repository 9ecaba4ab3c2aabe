//! A model that answers conversations, wherever it runs.
//!
//! Agents, evaluations and the server talk to a [`ChatClient`] and do not know whether a checkpoint in
//! this process answers or an endpoint behind HTTP. Requests, events and errors are plain data; no
//! asynchronous runtime is assumed.

mod error;
mod reply;
mod request;

use std::pin::Pin;

use futures_core::Stream;

use crate::stream_parser::ParserEvent;

pub use error::{ChatError, ChatErrorKind, Retry};
pub use reply::ChatReply;
pub use request::{ChatRequest, Priority, ResponseFormat, SamplingOptions, ToolChoice};

/// A model that answers conversations.
pub trait ChatClient: Send + Sync {
    /// Begins an answer. Faults of the request too come through the stream; dropping the stream
    /// cancels the work.
    fn chat(&self, request: ChatRequest) -> ChatStream;
}

/// The events of one answer: at most one [`ChatEvent::Begun`], any number of deltas, then one [`ChatEvent::Finished`] or one error, then
/// the end.
pub type ChatStream = Pin<Box<dyn Stream<Item = Result<ChatEvent, ChatError>> + Send>>;

/// A step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// The prompt was read, before anything else; not every model tells.
    Begun {
        /// Tokens of the prompt, media included.
        prompt_tokens: u64,
    },
    /// More of the message.
    Output(ParserEvent),
    /// The tokens of the outputs since the last of these, where the request asked for them.
    Tokens(Vec<TokenLogprobs>),
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: ReplyEnd,
        /// What it cost.
        usage: ChatUsage,
    },
}

/// A generated token and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub chosen: TokenLogprob,
    /// The likeliest tokens at this place, the likeliest first; as many as were asked for.
    pub top: Vec<TokenLogprob>,
}

/// A token and its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token's id, where the model runs here and has told it.
    pub id: Option<u32>,
    /// The token's bytes, which need not be whole characters.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyEnd {
    /// The model ended it.
    Stop,
    /// The stop text with this number in the request was met. Where nobody tells which, it is `Stop`.
    StopText(usize),
    /// It waits for the results of its tool calls.
    ToolCalls,
    /// It is as long as it may be.
    Length,
    /// The provider withheld the rest.
    ContentFilter,
}

/// What an answer cost, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChatUsage {
    /// The prompt, media included.
    pub prompt_tokens: u64,
    /// Those of the prompt that were already computed for another request.
    pub cached_tokens: u64,
    /// The answer, reasoning included.
    pub completion_tokens: u64,
    /// Those of the answer that were reasoning.
    pub reasoning_tokens: u64,
}

impl std::ops::AddAssign for ChatUsage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
    }
}
