//! What is asked of the engine, and what it answers.

use std::fmt;
use std::sync::mpsc;

use crate::grammar::Grammar;
use crate::prompt::Prompt;
use crate::sampling::{SamplingParams, TokenLogprobs};

/// One request in the life of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One of the samples of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId {
    /// The request.
    pub request: RequestId,
    /// Which of its samples, from 0.
    pub sample: u32,
}

/// How soon a request's turn comes.
///
/// A class is a head start, not a wall: a request goes before every request of a lower class that
/// arrived within a certain amount of work before it, and after those that have waited longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Someone watches the answer grow.
    Interactive,
    /// An agent waits for the answer.
    #[default]
    Normal,
    /// Nobody waits: batches, evaluations.
    Background,
}

/// A prompt to continue.
pub struct Request {
    /// What to continue.
    pub prompt: Prompt,
    /// How to choose tokens.
    pub params: SamplingParams,
    /// How many continuations; they share the prompt's computation.
    pub samples: u32,
    /// How soon.
    pub priority: Priority,
    /// What the continuation may be; every sample starts from a fork of it.
    pub grammar: Option<Box<dyn Grammar>>,
}

/// Why a sequence ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// It generated this stop token, which was delivered as its last.
    Stop(u32),
    /// It generated as many tokens as it may.
    Length,
    /// It was cancelled, or nobody listens any more.
    Cancelled,
    /// Its grammar allows no token here, or the model gave no number to choose by.
    NoCandidate,
    /// The computation or the grammar failed; the reason in words.
    Failed(String),
}

/// What a sequence cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Rows of the prompt: tokens and media rows.
    pub prompt_rows: usize,
    /// How many of them others had computed before.
    pub cached_rows: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
}

/// Something that happened to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A sample has a new token.
    Token {
        /// Which sample.
        sample: u32,
        /// The token.
        token: u32,
        /// Present where asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// A sample ended. The last event of the request comes with its last sample.
    Finished {
        /// Which sample.
        sample: u32,
        /// Why.
        reason: FinishReason,
        /// At what cost.
        usage: Usage,
    },
    /// The request was not accepted; nothing else follows.
    Rejected(crate::scheduler::AdmissionError),
}

/// Takes a request's events; returns false when nobody wants them any more, which cancels.
pub type EventSink = Box<dyn FnMut(Event) -> bool + Send>;

/// A sink that feeds a standard channel. Dropping the receiver cancels the request.
pub fn event_channel() -> (EventSink, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel();
    (Box::new(move |event| sender.send(event).is_ok()), receiver)
}

impl Request {
    /// One continuation of `prompt`.
    pub fn new(prompt: Prompt, params: SamplingParams) -> Self {
        Self {
            prompt,
            params,
            samples: 1,
            priority: Priority::default(),
            grammar: None,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("prompt_rows", &self.prompt.len())
            .field("params", &self.params)
            .field("samples", &self.samples)
            .field("priority", &self.priority)
            .field("constrained", &self.grammar.is_some())
            .finish()
    }
}
