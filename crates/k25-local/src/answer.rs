//! An answer while it comes: tokens of the engine to reasoning, text and tool calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use k25_chat::{Detokenizer, ParserEvent, Specials, StreamParser, Tokenizer, TokenizerError};
use k25_engine::engine::EngineStopped;
use k25_engine::request::Usage;
use k25_engine::{EngineHandle, Event, FinishReason as EngineReason, RequestId};

use crate::LocalError;
use crate::runner::Runner;

/// A step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum LocalEvent {
    /// More reasoning, more text, or a part of a tool call.
    Delta(ParserEvent),
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
    /// How long it took.
    pub timing: Timing,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had said all.
    Stop,
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
            Self::Stop => "stop",
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

/// An answer while it comes: an iterator whose last item is [`LocalEvent::Finished`] or an error.
/// Dropping it cancels the request.
pub struct Answer {
    events: Receiver<Event>,
    engine: EngineHandle<Runner>,
    request: RequestId,
    reader: Option<TokenReader>,
    ready: VecDeque<LocalEvent>,
    started: Instant,
    first_token: Option<Duration>,
}

impl Answer {
    pub(crate) fn new(
        events: Receiver<Event>,
        engine: EngineHandle<Runner>,
        request: RequestId,
        reader: TokenReader,
        started: Instant,
    ) -> Self {
        let (ready, first_token) = (VecDeque::new(), None);
        Self {
            events,
            engine,
            request,
            reader: Some(reader),
            ready,
            started,
            first_token,
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
            if let Some(event) = self.ready.pop_front() {
                return Ok(Progress::Event(event));
            }
            if self.reader.is_none() {
                return Ok(Progress::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => return Ok(Progress::Waiting),
                Err(RecvTimeoutError::Disconnected) => return Err(self.end(EngineStopped)),
            }
        }
    }

    /// Turns what the engine says into steps.
    fn take(&mut self, event: Event) -> Result<(), LocalError> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        match event {
            Event::Token { token, .. } => {
                self.first_token
                    .get_or_insert_with(|| self.started.elapsed());
                match reader.read(token) {
                    Ok(deltas) => self.ready.extend(deltas.into_iter().map(LocalEvent::Delta)),
                    Err(error) => {
                        self.cancel();
                        return Err(self.end(error));
                    }
                }
            }
            Event::Finished { reason, usage, .. } => self.finish(reason, usage),
            Event::Rejected(error) => return Err(self.end(error)),
        }
        Ok(())
    }

    fn finish(&mut self, reason: EngineReason, usage: Usage) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        let (deltas, has_tool_calls) = reader.finish();
        self.ready.extend(deltas.into_iter().map(LocalEvent::Delta));
        let timing = Timing {
            first_token: self.first_token,
            total: self.started.elapsed(),
        };
        let reason = match reason {
            EngineReason::Stop(_) if has_tool_calls => FinishReason::ToolCalls,
            EngineReason::Stop(_) => FinishReason::Stop,
            EngineReason::Length => FinishReason::Length,
            EngineReason::Cancelled => FinishReason::Cancelled,
            EngineReason::NoCandidate => {
                FinishReason::Failed("the model gave no number to choose a token by".to_owned())
            }
            EngineReason::Failed(reason) => FinishReason::Failed(reason),
        };
        self.ready.push_back(LocalEvent::Finished(Finished {
            reason,
            usage,
            timing,
        }));
    }

    /// Nothing follows an error.
    fn end(&mut self, error: impl Into<LocalError>) -> LocalError {
        self.reader = None;
        error.into()
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

/// How the model's tokens are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputForm {
    /// As the answer to a rendered conversation.
    Chat {
        /// It begins in the reasoning.
        thinking: bool,
    },
    /// As text, special tokens by their names.
    Raw,
}

/// Token ids to the parts of an answer. Stop tokens have no text.
pub(crate) struct TokenReader {
    tokenizer: Arc<Tokenizer>,
    stop_ids: Vec<u32>,
    detokenizer: Detokenizer,
    /// `None` for raw text.
    parser: Option<StreamParser>,
    has_tool_calls: bool,
}

impl TokenReader {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, stop_ids: Vec<u32>, form: OutputForm) -> Self {
        let parser = match form {
            OutputForm::Chat { thinking } => Some(StreamParser::new(thinking)),
            OutputForm::Raw => None,
        };
        let detokenizer = Detokenizer::new(Arc::clone(&tokenizer), Specials::Keep);
        Self {
            tokenizer,
            stop_ids,
            detokenizer,
            parser,
            has_tool_calls: false,
        }
    }

    fn read(&mut self, token: u32) -> Result<Vec<ParserEvent>, TokenizerError> {
        if self.stop_ids.contains(&token) || self.is_structure(token) {
            return Ok(Vec::new());
        }
        let Some(parser) = &mut self.parser else {
            let mut text = String::new();
            self.detokenizer.push(token, &mut text)?;
            return Ok(content(text));
        };
        let decoded = self.detokenizer.decode(token)?;
        let mut deltas = parser.feed(&decoded.text);
        if let Some(special) = decoded.special {
            deltas.extend(parser.feed_special(special));
        }
        self.note_tool_calls(&deltas);
        Ok(deltas)
    }

    /// Whether a token is one of those around messages, which say nothing within an answer. The
    /// markers of reasoning and tool calls are not among them.
    fn is_structure(&self, token: u32) -> bool {
        let is_marker = || {
            self.tokenizer
                .special_of(token)
                .is_some_and(|special| !special.is_special())
        };
        self.parser.is_some() && self.tokenizer.is_special(token) && !is_marker()
    }

    fn finish(mut self) -> (Vec<ParserEvent>, bool) {
        let mut text = String::new();
        self.detokenizer.finish(&mut text);
        let Some(mut parser) = self.parser.take() else {
            return (content(text), false);
        };
        let mut deltas = parser.feed(&text);
        deltas.extend(parser.finish());
        self.note_tool_calls(&deltas);
        (deltas, self.has_tool_calls)
    }

    fn note_tool_calls(&mut self, deltas: &[ParserEvent]) {
        let begins = |delta: &ParserEvent| matches!(delta, ParserEvent::ToolCallBegin { .. });
        self.has_tool_calls |= deltas.iter().any(begins);
    }
}

fn content(text: String) -> Vec<ParserEvent> {
    if text.is_empty() {
        Vec::new()
    } else {
        vec![ParserEvent::ContentDelta(text)]
    }
}

#[cfg(test)]
mod tests {
    use k25_chat::{ParsedMessage, SpecialToken};

    use super::*;

    fn tokenizer() -> Arc<Tokenizer> {
        Arc::new(Tokenizer::synthetic(300).expect("a small vocabulary"))
    }

    /// Reads text, specials by their names, as a model's tokens.
    fn read(text: &str, form: OutputForm) -> (ParsedMessage, bool) {
        let tokenizer = tokenizer();
        let mut reader =
            TokenReader::new(Arc::clone(&tokenizer), tokenizer.stop_ids().to_vec(), form);
        let mut message = ParsedMessage::default();
        for token in tokenizer.encode_with_specials(text) {
            message.extend(&reader.read(token).expect("a known token"));
        }
        let (deltas, has_tool_calls) = reader.finish();
        message.extend(&deltas);
        (message, has_tool_calls)
    }

    #[test]
    fn stop_tokens_and_structure_have_no_text() {
        let thinking = OutputForm::Chat { thinking: true };
        let (message, has_tool_calls) =
            read("so</think>Hi<|im_user|> you[EOT]<|im_end|>", thinking);
        assert_eq!(message.reasoning.as_deref(), Some("so"));
        assert_eq!(message.content.as_deref(), Some("Hi you"));
        assert!(!has_tool_calls);
    }

    #[test]
    fn tool_calls_are_read_from_their_markers() {
        let text = "ok<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0\
                    <|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|><|im_end|>";
        let (message, has_tool_calls) = read(text, OutputForm::Chat { thinking: false });
        assert!(has_tool_calls);
        assert_eq!(message.content.as_deref(), Some("ok"));
        assert_eq!(
            (
                message.tool_calls[0].name.as_str(),
                message.tool_calls[0].arguments.as_str()
            ),
            ("f", "{\"a\": 1}")
        );
    }

    #[test]
    fn raw_text_keeps_its_markers_but_not_the_stop_token() {
        let (message, _) = read("a<think>b<|im_user|>c<|im_end|>", OutputForm::Raw);
        assert_eq!(message.content.as_deref(), Some("a<think>b<|im_user|>c"));
    }

    #[test]
    fn half_a_character_at_the_end_is_shown_as_one_that_is_missing() {
        let tokenizer = tokenizer();
        let form = OutputForm::Chat { thinking: false };
        let mut reader = TokenReader::new(
            Arc::clone(&tokenizer),
            vec![SpecialToken::ImEnd.id(300)],
            form,
        );
        let half = tokenizer.encode_text("é")[0];
        assert_eq!(reader.read(half).expect("a known token"), Vec::new());
        assert_eq!(reader.finish().0, content("\u{fffd}".to_owned()));
    }

    #[test]
    fn a_token_beyond_the_vocabulary_is_an_error() {
        let mut reader = TokenReader::new(tokenizer(), Vec::new(), OutputForm::Raw);
        assert!(reader.read(9999).is_err());
    }
}
