//! The state machine: where each text and each marker belongs.

use super::arguments::ArgumentStream;
use super::call_id::{function_name, has_index, split_unmarked};
use super::event::Events;
use super::guard::{GuardedText, MarkerGuard};
use super::marker::{Marker, Token};

/// Where in the output we are.
#[derive(Debug)]
enum State {
    Reasoning,
    Content,
    /// Behind a section of calls; blanks are kept back until other text shows that they count.
    AfterSection {
        blank: String,
    },
    /// Among calls. Text here is noise if another tool marker follows, else the rest of the answer.
    AmongCalls {
        text: GuardedText,
    },
    /// Behind the beginning of a call, before its arguments.
    CallId {
        header: GuardedText,
    },
    /// In a call's arguments.
    Arguments(ArgumentStream),
}

impl State {
    fn after_section() -> Self {
        State::AfterSection {
            blank: String::new(),
        }
    }

    fn among_calls() -> Self {
        State::AmongCalls {
            text: GuardedText::default(),
        }
    }

    fn call_id() -> Self {
        State::CallId {
            header: GuardedText::default(),
        }
    }
}

/// Turns texts and markers into events.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    /// Calls begun so far.
    calls: usize,
    reasoning: MarkerGuard,
    content: MarkerGuard,
}

impl Machine {
    pub(super) fn new(thinking: bool) -> Self {
        Machine {
            state: if thinking {
                State::Reasoning
            } else {
                State::Content
            },
            calls: 0,
            reasoning: MarkerGuard::default(),
            content: MarkerGuard::default(),
        }
    }

    pub(super) fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Reasoning)
    }

    pub(super) fn on_token(&mut self, token: Token<'_>, events: &mut Events) {
        match token {
            Token::Text(text) => self.on_text(text, events),
            Token::Marker(Marker::Think) => self.on_think("<think>", events),
            Token::Marker(Marker::ThinkEnd) => self.on_think("</think>", events),
            Token::Marker(marker) => self.on_tool_marker(marker, events),
        }
    }

    fn on_text(&mut self, text: &str, events: &mut Events) {
        match &mut self.state {
            State::Reasoning => self
                .reasoning
                .push(text, |settled| events.reasoning(settled)),
            State::Content => self.content.push(text, |settled| events.content(settled)),
            State::AfterSection { blank } => {
                blank.push_str(text);
                if !text.trim_start().is_empty() {
                    let text = std::mem::take(blank);
                    self.state = State::Content;
                    self.on_text(&text, events);
                }
            }
            State::AmongCalls { text: kept } | State::CallId { header: kept } => kept.push(text),
            State::Arguments(arguments) => arguments.push(text, events),
        }
    }

    fn on_think(&mut self, marker: &str, events: &mut Events) {
        match &mut self.state {
            State::Reasoning if marker == "</think>" => self.state = State::Content,
            State::Arguments(arguments) => arguments.push(marker, events),
            _ => {}
        }
    }

    fn on_tool_marker(&mut self, marker: Marker, events: &mut Events) {
        match (&mut self.state, marker) {
            (_, Marker::SectionBegin) => self.leave_for(State::among_calls(), events),
            (_, Marker::CallBegin) => self.leave_for(State::call_id(), events),
            (State::CallId { header }, Marker::ArgumentBegin) => {
                let id = header.take();
                self.begin_call(&id, events);
            }
            (State::AmongCalls { text }, Marker::ArgumentBegin) => {
                // The model may have left out the beginning of the call: here is its id, then.
                let id = text.take();
                if has_index(&id) {
                    self.begin_call(&id, events);
                }
            }
            (State::Reasoning | State::Content | State::AfterSection { .. }, _)
            | (_, Marker::ArgumentBegin) => {}
            (_, Marker::CallEnd) => self.leave_for(State::among_calls(), events),
            (_, Marker::SectionEnd) => self.leave_for(State::after_section(), events),
            (_, Marker::Think | Marker::ThinkEnd) => {}
        }
    }

    fn begin_call(&mut self, id: &str, events: &mut Events) {
        let id = id.trim();
        events.call_begin(self.calls, id, function_name(id));
        self.state = State::Arguments(ArgumentStream::new(self.calls));
        self.calls += 1;
    }

    /// Goes on to `next`; a call that is still open ends here, text among calls was noise.
    fn leave_for(&mut self, next: State, events: &mut Events) {
        match std::mem::replace(&mut self.state, next) {
            State::Arguments(arguments) => arguments.finish(events),
            State::CallId { mut header } => {
                let header = header.take();
                if !header.trim().is_empty() {
                    self.unmarked_call(&header, events);
                }
            }
            _ => {}
        }
    }

    /// A call whose arguments no marker announced.
    fn unmarked_call(&mut self, header: &str, events: &mut Events) {
        let (id, arguments) = split_unmarked(header);
        events.call_begin(self.calls, id, function_name(id));
        events.arguments(self.calls, arguments);
        events.call_end(self.calls);
        self.calls += 1;
    }

    /// Whether an unfinished marker at the end of the output is text here.
    pub(super) fn shows_text(&self) -> bool {
        !matches!(self.state, State::AmongCalls { .. } | State::CallId { .. })
    }

    /// The output is over.
    pub(super) fn finish(&mut self, events: &mut Events) {
        match std::mem::replace(&mut self.state, State::Content) {
            State::AmongCalls { mut text } => {
                let text = text.take();
                if !text.trim().is_empty() {
                    self.on_text(&text, events);
                }
            }
            State::CallId { mut header } => {
                let header = header.take();
                if has_index(split_unmarked(&header).0) {
                    self.unmarked_call(&header, events);
                }
            }
            State::Arguments(arguments) => arguments.finish(events),
            State::Reasoning | State::Content | State::AfterSection { .. } => {}
        }
        self.reasoning.finish(|settled| events.reasoning(settled));
        self.content.finish(|settled| events.content(settled));
    }
}
