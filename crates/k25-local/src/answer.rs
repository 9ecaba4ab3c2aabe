//! An answer while it comes.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use k25_chat::{ParserEvent, TokenLogprobs};
use k25_engine::engine::EngineStopped;
use k25_engine::request::Usage;
use k25_engine::{EngineHandle, Event, FinishReason as EngineReason, RequestId};

use crate::LocalError;
use crate::runner::Runner;
use crate::token_reader::TokenReader;

/// A step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum LocalEvent {
    /// More reasoning, more text, or a part of a tool call.
    Delta(ParserEvent),
    /// A token of the deltas before, where log-probabilities were asked for.
    Token(TokenLogprobs),
    /// The answer is over; nothing follows.
    Finished(Finished),
}

/// How an answer ended, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// Rows of the prompt, rows that were cached, tokens generated (the stop token among them).
    pub usage: Usage,
    /// How many of the tokens were reasoning.
    pub reasoning_tokens: usize,
    /// How long it took.
    pub timing: Timing,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had said all.
    Stop,
    /// It said the stop text with this number.
    StopText(usize),
    /// It reached the most tokens that it was allowed.
    Length,
    /// The model called tools and waits for their results.
    ToolCalls,
    /// Someone cancelled it.
    Cancelled,
    /// The computation failed; the reason in words.
    Failed(String),
}

impl FinishReason {
    /// The word for it on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stop | Self::StopText(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

/// How long an answer took, from the request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// To the first token; `None` if there was none.
    pub first_token: Option<Duration>,
    /// To the end.
    pub total: Duration,
}

/// What [`Answer::next_within`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A step.
    Event(LocalEvent),
    /// Nothing new in this time.
    Waiting,
    /// The answer was over before.
    Ended,
}

/// Turns what the engine says of a request into steps, however it arrives.
pub(crate) struct Transcript {
    /// `None` after the end.
    reader: Option<TokenReader>,
    ready: VecDeque<LocalEvent>,
    started: Instant,
    first_token: Option<Duration>,
}

impl Transcript {
    pub(crate) fn new(reader: TokenReader, started: Instant) -> Self {
        Self {
            reader: Some(reader),
            ready: VecDeque::new(),
            started,
            first_token: None,
        }
    }

    /// The next step that is there.
    pub(crate) fn next(&mut self) -> Option<LocalEvent> {
        self.ready.pop_front()
    }

    /// Whether nothing will come beyond the steps that are there.
    pub(crate) fn is_over(&self) -> bool {
        self.reader.is_none()
    }

    /// Whether a stop text was met, and the engine has not ended yet.
    pub(crate) fn has_met_stop_text(&self) -> bool {
        let reader = self.reader.as_ref();
        reader.is_some_and(TokenReader::has_met_stop_text)
    }

    /// Takes an event of the engine. Says whether the request is to go on.
    pub(crate) fn take(&mut self, event: Event) -> Result<bool, LocalError> {
        match event {
            Event::Token {
                token, logprobs, ..
            } => {
                self.first_token
                    .get_or_insert_with(|| self.started.elapsed());
                self.read(token, logprobs.as_ref())
                    .inspect_err(|_| self.reader = None)
            }
            Event::Finished { reason, usage, .. } => {
                self.finish(reason, usage);
                Ok(false)
            }
            Event::Rejected(error) => {
                self.reader = None;
                Err(error.into())
            }
        }
    }

    /// Nothing follows an error.
    pub(crate) fn end(&mut self, error: impl Into<LocalError>) -> LocalError {
        self.reader = None;
        error.into()
    }

    fn read(
        &mut self,
        token: u32,
        logprobs: Option<&k25_engine::sampling::TokenLogprobs>,
    ) -> Result<bool, LocalError> {
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        if reader.has_met_stop_text() {
            return Ok(false);
        }
        let deltas = reader.read(token)?;
        self.ready.extend(deltas.into_iter().map(LocalEvent::Delta));
        if let Some(logprobs) = logprobs {
            let logprobs = reader.logprobs(token, logprobs)?;
            self.ready.push_back(LocalEvent::Token(logprobs));
        }
        Ok(!reader.has_met_stop_text())
    }

    fn finish(&mut self, reason: EngineReason, mut usage: Usage) {
        let Some(mut reader) = self.reader.take() else {
            return;
        };
        let deltas = reader.finish();
        self.ready.extend(deltas.into_iter().map(LocalEvent::Delta));
        // The engine may have gone on for a step beyond a stop text.
        usage.generated_tokens = usage.generated_tokens.min(reader.tokens());
        let reason = match (reason, reader.met_stop_text()) {
            (_, Some(number)) => FinishReason::StopText(number),
            (EngineReason::Stop(_), _) if reader.has_tool_calls() => FinishReason::ToolCalls,
            (EngineReason::Stop(_), _) => FinishReason::Stop,
            (EngineReason::Length, _) => FinishReason::Length,
            (EngineReason::Cancelled, _) => FinishReason::Cancelled,
            (EngineReason::NoCandidate, _) => {
                FinishReason::Failed("there was no token to choose".to_owned())
            }
            (EngineReason::Failed(reason), _) => FinishReason::Failed(reason),
        };
        let timing = Timing {
            first_token: self.first_token,
            total: self.started.elapsed(),
        };
        self.ready.push_back(LocalEvent::Finished(Finished {
            reason,
            usage,
            reasoning_tokens: reader.reasoning_tokens(),
            timing,
        }));
    }
}

/// An answer while it comes: an iterator whose last item is [`LocalEvent::Finished`] or an error.
/// Dropping it cancels the request.
pub struct Answer {
    events: Receiver<Event>,
    engine: EngineHandle<Runner>,
    request: RequestId,
    transcript: Transcript,
}

impl Answer {
    pub(crate) fn new(
        events: Receiver<Event>,
        engine: EngineHandle<Runner>,
        request: RequestId,
        transcript: Transcript,
    ) -> Self {
        Self {
            events,
            engine,
            request,
            transcript,
        }
    }

    /// Asks for the end. The computation stops after its present step; what is said until then still
    /// comes, and then [`FinishReason::Cancelled`].
    pub fn cancel(&self) {
        // An engine that is gone has nothing to cancel; reading tells of it.
        let _ = self.engine.cancel(self.request);
    }

    /// Waits for the next step, but no longer than `timeout`.
    ///
    /// # Errors
    /// If the request was not accepted, the engine is gone, or a token has no text. Nothing follows.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Progress, LocalError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.transcript.next() {
                return Ok(Progress::Event(event));
            }
            if self.transcript.is_over() {
                return Ok(Progress::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    let goes_on = self.transcript.take(event).inspect_err(|_| self.cancel())?;
                    if !goes_on && !self.transcript.is_over() {
                        self.cancel();
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(Progress::Waiting),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.transcript.end(EngineStopped));
                }
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.transcript.is_over() {
            self.cancel();
        }
    }
}

impl Iterator for Answer {
    type Item = Result<LocalEvent, LocalError>;

    fn next(&mut self) -> Option<Self::Item> {
        const LONG: Duration = Duration::from_secs(3600);
        loop {
            match self.next_within(LONG) {
                Ok(Progress::Event(event)) => return Some(Ok(event)),
                Ok(Progress::Waiting) => {}
                Ok(Progress::Ended) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
