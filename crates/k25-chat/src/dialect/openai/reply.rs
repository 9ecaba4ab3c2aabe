//! Answers as Chat Completions objects and chunks.

use serde::Serialize;

use super::body::{Call, Delta, DeltaChoice, Function, Logprobs, Message, Reply, WholeChoice};
use crate::client::{ChatEvent, ChatReply, ChatUsage, ReplyEnd, TokenLogprobs};
use crate::stream_parser::ParserEvent;

/// What every object of an answer repeats.
#[derive(Debug, Clone)]
pub struct ReplyHead {
    /// `chatcmpl-…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name, as the client asked for it.
    pub model: String,
    /// The stop texts of the request.
    pub stops: Vec<String>,
}

/// One of the answers to a request.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The answer.
    pub reply: ChatReply,
    /// Its tokens, if they were asked for.
    pub logprobs: Option<Vec<TokenLogprobs>>,
}

impl Choice {
    /// Adds one event.
    pub fn add(&mut self, event: &ChatEvent) {
        self.reply.add(event);
        if let ChatEvent::Tokens(tokens) = event {
            self.logprobs
                .get_or_insert_default()
                .extend(tokens.iter().cloned());
        }
    }
}

/// Writes whole answers.
#[derive(Debug, Clone)]
pub struct CompletionWriter {
    head: ReplyHead,
}

impl CompletionWriter {
    /// A writer of one answer.
    pub fn new(head: ReplyHead) -> Self {
        CompletionWriter { head }
    }

    /// The `chat.completion` object.
    pub fn write(&self, choices: &[Choice], usage: ChatUsage) -> String {
        let choices: Vec<_> = choices
            .iter()
            .zip(0..)
            .map(|(choice, index)| WholeChoice {
                index,
                message: Message::of(&choice.reply.message),
                logprobs: choice.logprobs.as_deref().map(Logprobs::of),
                finish_reason: choice.reply.end.map(ReplyEnd::openai_name),
                stop_reason: choice
                    .reply
                    .end
                    .and_then(|end| end.stop_text(&self.head.stops)),
            })
            .collect();
        json(&self.head.object("chat.completion", choices, Some(usage)))
    }
}

impl ReplyHead {
    fn object<C>(
        &self,
        object: &'static str,
        choices: C,
        usage: Option<ChatUsage>,
    ) -> Reply<'_, C> {
        Reply {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            choices,
            usage: usage.map(Into::into),
        }
    }
}

/// Writes the chunks of one of the answers to a request. The first one with something in it names
/// the role, so that joined chunks are exactly the whole answer.
#[derive(Debug, Clone)]
pub struct ChunkWriter {
    head: ReplyHead,
    index: u32,
    role_told: bool,
}

impl ChunkWriter {
    /// A writer of the choice with this number.
    pub fn new(head: ReplyHead, index: u32) -> Self {
        ChunkWriter {
            head,
            index,
            role_told: false,
        }
    }

    /// The `chat.completion.chunk` of an event; `None` if there is nothing to tell. The last chunk
    /// carries the usage of this choice, as Kimi's service writes it.
    pub fn write(&mut self, event: &ChatEvent) -> Option<String> {
        match event {
            ChatEvent::Output(output) => self.delta(output).map(|delta| self.chunk(delta, &[])),
            ChatEvent::Begun { .. } => None,
            ChatEvent::Tokens(tokens) if tokens.is_empty() => None,
            ChatEvent::Tokens(tokens) => Some(self.chunk(Delta::default(), tokens)),
            ChatEvent::Finished { reason, usage } => {
                let choice = DeltaChoice {
                    index: self.index,
                    delta: self.with_role(Delta::default()),
                    logprobs: None,
                    finish_reason: Some(reason.openai_name()),
                    stop_reason: reason.stop_text(&self.head.stops),
                    usage: Some((*usage).into()),
                };
                Some(json(&self.head.object(
                    "chat.completion.chunk",
                    [choice],
                    None,
                )))
            }
        }
    }

    /// The chunk without choices that tells the usage of the whole request, for
    /// `stream_options.include_usage`.
    pub fn usage(head: &ReplyHead, usage: ChatUsage) -> String {
        let none: [DeltaChoice<'_>; 0] = [];
        json(&head.object("chat.completion.chunk", none, Some(usage)))
    }

    fn chunk(&mut self, delta: Delta<'_>, tokens: &[TokenLogprobs]) -> String {
        let choice = DeltaChoice {
            index: self.index,
            delta: self.with_role(delta),
            logprobs: (!tokens.is_empty()).then(|| Logprobs::of(tokens)),
            finish_reason: None,
            stop_reason: None,
            usage: None,
        };
        json(&self.head.object("chat.completion.chunk", [choice], None))
    }

    fn with_role<'a>(&mut self, mut delta: Delta<'a>) -> Delta<'a> {
        if !self.role_told {
            self.role_told = true;
            delta.role = Some("assistant");
        }
        delta
    }

    fn delta<'a>(&self, output: &'a ParserEvent) -> Option<Delta<'a>> {
        let delta = Delta::default();
        let call = |index: &usize, id: Option<&'a String>, name: Option<&'a String>, arguments| {
            [Call {
                index: Some(*index),
                id: id.map(String::as_str),
                kind: id.map(|_| "function"),
                function: Function {
                    name: name.map(String::as_str),
                    arguments,
                },
            }]
        };
        Some(match output {
            ParserEvent::ReasoningDelta(text) => Delta {
                reasoning_content: Some(text),
                ..delta
            },
            ParserEvent::ContentDelta(text) => Delta {
                content: Some(text),
                ..delta
            },
            ParserEvent::ToolCallBegin { index, id, name } => Delta {
                tool_calls: Some(call(index, Some(id), Some(name), "")),
                ..delta
            },
            ParserEvent::ToolCallArgumentsDelta { index, delta: text } => Delta {
                tool_calls: Some(call(index, None, None, text)),
                ..delta
            },
            ParserEvent::ToolCallEnd { .. } => return None,
        })
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists are JSON")
}
