//! The state machine: where each text and each marker belongs.

use super::call_id::{function_name, has_index, split_unmarked};
use super::event::Events;
use super::guard::MarkerGuard;
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
        text: String,
    },
    /// Behind the beginning of a call, before its arguments.
    CallId {
        header: String,
    },
    /// In a call's arguments; blanks are kept back because those at the end do not count.
    Arguments {
        begun: bool,
        blank: String,
    },
}

impl State {
    fn after_section() -> Self {
        State::AfterSection {
            blank: String::new(),
        }
    }

    fn among_calls() -> Self {
        State::AmongCalls {
            text: String::new(),
        }
    }

    fn call_id() -> Self {
        State::CallId {
            header: String::new(),
        }
    }

    fn arguments() -> Self {
        State::Arguments {
            begun: false,
            blank: String::new(),
        }
    }
}

/// Turns texts and markers into events.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    /// Calls begun so far; the current one has the index before.
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

    pub(super) fn on_token(&mut self, token: Token<'_>, events: &mut Events) {
        match token {
            Token::Text(text) => self.on_text(text, events),
            Token::Marker(marker) => self.on_marker(marker, events),
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
            State::AmongCalls { text: held } | State::CallId { header: held } => {
                held.push_str(text)
            }
            State::Arguments { begun, blank } => {
                let text = if *begun { text } else { text.trim_start() };
                let end = text.trim_end().len();
                if end > 0 {
                    *begun = true;
                    events.arguments(self.calls - 1, blank);
                    events.arguments(self.calls - 1, &text[..end]);
                    blank.clear();
                }
                if *begun {
                    blank.push_str(&text[end..]);
                }
            }
        }
    }

    fn on_marker(&mut self, marker: Marker, events: &mut Events) {
        match (&mut self.state, marker) {
            (State::Reasoning, Marker::ThinkEnd) => self.state = State::Content,
            // A tool may well be given text about thinking.
            (State::Arguments { .. }, Marker::Think) => self.on_text("<think>", events),
            (State::Arguments { .. }, Marker::ThinkEnd) => self.on_text("</think>", events),
            (_, Marker::Think | Marker::ThinkEnd) => {}
            (_, Marker::SectionBegin) => self.leave_call(State::among_calls(), events),
            (_, Marker::CallBegin) => self.leave_call(State::call_id(), events),
            (State::CallId { header }, Marker::ArgumentBegin) => {
                let id = std::mem::take(header);
                self.begin_call(id.trim(), events);
            }
            // The model left out the beginning of the call, but here is its id.
            (State::AmongCalls { text }, Marker::ArgumentBegin) if has_index(text) => {
                let id = std::mem::take(text);
                self.begin_call(id.trim(), events);
            }
            (State::AmongCalls { text }, Marker::ArgumentBegin | Marker::CallEnd) => text.clear(),
            (State::CallId { .. } | State::Arguments { .. }, Marker::CallEnd) => {
                self.leave_call(State::among_calls(), events);
            }
            (
                State::CallId { .. } | State::Arguments { .. } | State::AmongCalls { .. },
                Marker::SectionEnd,
            ) => self.leave_call(State::after_section(), events),
            (_, Marker::ArgumentBegin | Marker::CallEnd | Marker::SectionEnd) => {}
        }
    }

    fn begin_call(&mut self, id: &str, events: &mut Events) {
        events.call_begin(self.calls, id, function_name(id));
        self.calls += 1;
        self.state = State::arguments();
    }

    /// Goes to `next`; a call that is still open ends here.
    fn leave_call(&mut self, next: State, events: &mut Events) {
        match std::mem::replace(&mut self.state, next) {
            State::Arguments { .. } => events.call_end(self.calls - 1),
            State::CallId { header } if !header.trim().is_empty() => {
                self.unmarked_call(&header, events);
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
            State::AmongCalls { text } if !text.trim().is_empty() => self.on_text(&text, events),
            State::CallId { header } if has_index(split_unmarked(&header).0) => {
                self.unmarked_call(&header, events);
            }
            State::Arguments { .. } => events.call_end(self.calls - 1),
            _ => {}
        }
        self.reasoning.finish(|settled| events.reasoning(settled));
        self.content.finish(|settled| events.content(settled));
    }
}
