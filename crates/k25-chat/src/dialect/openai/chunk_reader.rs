//! Chunks of an endpoint to [`ChatEvent`]s.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::body::Usage;
use crate::client::{ChatEvent, ChatUsage, ReplyEnd, TokenLogprob, TokenLogprobs};
use crate::stream_parser::ParserEvent;

/// A stream that is not of the Chat Completions form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// Something that is no chunk.
    #[error("a chunk is not of the Chat Completions form: {0}")]
    Form(String),
    /// The endpoint says that it failed.
    #[error("the endpoint broke off: {message}")]
    Reported {
        /// Its words.
        message: String,
        /// The whole object, for its type and code.
        body: String,
    },
    /// More arguments for a call after a later one had begun.
    #[error("the arguments of call {0} go on after a later call began")]
    Interleaved(usize),
    /// It ended without saying why.
    #[error("the stream ended before the answer did")]
    CutShort,
}

/// Reads the chunks of one answer (the choice with index 0).
#[derive(Debug, Default)]
pub struct ChunkReader {
    stops: Vec<String>,
    /// The call whose arguments come: its index on the wire, and its number here.
    open_call: Option<(usize, usize)>,
    calls: usize,
    /// Something was told: it is too late for a beginning.
    has_begun: bool,
    highest: Option<usize>,
    end: Option<ReplyEnd>,
    usage: ChatUsage,
    events: VecDeque<ChatEvent>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    finish_reason: Option<String>,
    /// The stop text that was met (vLLM, SGLang, k25), or the id of a token.
    #[serde(alias = "matched_stop")]
    stop_reason: Option<Value>,
    logprobs: Option<Logprobs>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Delta {
    reasoning_content: Option<String>,
    /// What vLLM and others say for it, sometimes beside it.
    reasoning: Option<String>,
    content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    index: Option<usize>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize, Default)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Token>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(flatten)]
    chosen: TokenBody,
    #[serde(default)]
    top_logprobs: Vec<TokenBody>,
}

#[derive(Deserialize)]
struct TokenBody {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
}

impl ChunkReader {
    /// Begins an answer.
    pub fn new() -> Self {
        ChunkReader::default()
    }

    /// Begins an answer to a request with these stop texts.
    pub fn with_stops(stops: Vec<String>) -> Self {
        ChunkReader {
            stops,
            ..ChunkReader::default()
        }
    }

    /// Reads the data of one server-sent event; `[DONE]` is none of them.
    ///
    /// # Errors
    /// If it is no chunk, or reports a failure.
    pub fn read(&mut self, data: &str) -> Result<(), ChunkError> {
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|error| ChunkError::Form(error.to_string()))?;
        if let Some(error) = chunk.error {
            let message = error.get("message").and_then(Value::as_str);
            return Err(ChunkError::Reported {
                message: message.unwrap_or("no reason given").to_owned(),
                body: data.to_owned(),
            });
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage.into();
            self.begin();
        }
        for choice in chunk.choices {
            if choice.index == 0 {
                self.choice(choice)?;
            }
        }
        Ok(())
    }

    /// The next event that the chunks so far make.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.events.pop_front()
    }

    /// The stream is over.
    ///
    /// # Errors
    /// If the answer is not.
    pub fn finish(&mut self) -> Result<ChatEvent, ChunkError> {
        let reason = self.end.ok_or(ChunkError::CutShort)?;
        let usage = self.usage;
        Ok(ChatEvent::Finished { reason, usage })
    }

    /// Endpoints that tell usage with every chunk (vLLM: `continuous_usage_stats`) tell the prompt's
    /// tokens before the first word.
    fn begin(&mut self) {
        let prompt_tokens = self.usage.prompt_tokens;
        if !self.has_begun && prompt_tokens > 0 {
            self.has_begun = true;
            self.events.push_back(ChatEvent::Begun { prompt_tokens });
        }
    }

    fn choice(&mut self, choice: Choice) -> Result<(), ChunkError> {
        if let Some(delta) = choice.delta {
            self.delta(delta)?;
        }
        if let Some(tokens) = choice.logprobs.and_then(|logprobs| logprobs.content) {
            let tokens = tokens.into_iter().map(Token::into_logprobs).collect();
            self.has_begun = true;
            self.events.push_back(ChatEvent::Tokens(tokens));
        }
        if let Some(usage) = choice.usage {
            self.usage = usage.into();
        }
        if let Some(reason) = choice.finish_reason {
            self.end_call();
            let met = choice.stop_reason.as_ref().and_then(Value::as_str);
            let met = met.and_then(|met| self.stops.iter().position(|stop| stop == met));
            self.end = Some(match reason.as_str() {
                "length" => ReplyEnd::Length,
                "tool_calls" | "function_call" => ReplyEnd::ToolCalls,
                "content_filter" => ReplyEnd::ContentFilter,
                // Some endpoints say "stop" where tools were called.
                _ if self.calls > 0 => ReplyEnd::ToolCalls,
                _ => met.map_or(ReplyEnd::Stop, ReplyEnd::StopText),
            });
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta) -> Result<(), ChunkError> {
        let reasoning = delta.reasoning_content.or(delta.reasoning);
        let texts = [
            reasoning.map(ParserEvent::ReasoningDelta),
            delta.content.map(ParserEvent::ContentDelta),
        ];
        for event in texts.into_iter().flatten() {
            let is_empty = matches!(&event, ParserEvent::ReasoningDelta(text)
                | ParserEvent::ContentDelta(text) if text.is_empty());
            if !is_empty {
                self.push(event);
            }
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(call)?;
        }
        Ok(())
    }

    fn call(&mut self, call: Call) -> Result<(), ChunkError> {
        let function = call.function.unwrap_or_default();
        let arguments = function.arguments.unwrap_or_default();
        // Without an index, an id begins a call.
        let next = self.highest.map_or(0, |highest| highest + 1);
        let index = call.index.unwrap_or(match (&call.id, self.highest) {
            (None, Some(highest)) => highest,
            _ => next,
        });
        if self.highest.is_none_or(|highest| index > highest) {
            self.begin_call(index, call.id, function.name);
        }
        match self.open_call {
            _ if arguments.is_empty() => Ok(()),
            Some((open, number)) if open == index => {
                self.push(ParserEvent::ToolCallArgumentsDelta {
                    index: number,
                    delta: arguments,
                });
                Ok(())
            }
            _ => Err(ChunkError::Interleaved(index)),
        }
    }

    fn begin_call(&mut self, index: usize, id: Option<String>, name: Option<String>) {
        self.end_call();
        let name = name.unwrap_or_default();
        self.push(ParserEvent::ToolCallBegin {
            index: self.calls,
            id: id.unwrap_or_else(|| format!("functions.{name}:{}", self.calls)),
            name,
        });
        self.open_call = Some((index, self.calls));
        self.highest = Some(index);
        self.calls += 1;
    }

    fn end_call(&mut self) {
        if let Some((_, index)) = self.open_call.take() {
            self.push(ParserEvent::ToolCallEnd { index });
        }
    }

    fn push(&mut self, event: ParserEvent) {
        self.has_begun = true;
        self.events.push_back(ChatEvent::Output(event));
    }
}

impl Token {
    fn into_logprobs(self) -> TokenLogprobs {
        TokenLogprobs {
            chosen: self.chosen.into_logprob(),
            top: self
                .top_logprobs
                .into_iter()
                .map(TokenBody::into_logprob)
                .collect(),
        }
    }
}

impl TokenBody {
    fn into_logprob(self) -> TokenLogprob {
        TokenLogprob {
            id: None,
            bytes: self.bytes.unwrap_or_else(|| self.token.into_bytes()),
            logprob: self.logprob,
        }
    }
}
