//! A model's output taken apart while it arrives: reasoning, answer, tool calls.
//!
//! ```text
//! reasoning</think>answer<|tool_calls_section_begin|>
//!   <|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}<|tool_call_end|> …
//! <|tool_calls_section_end|>
//! ```
//!
//! One state machine reads it, whether the markers come as text or as special tokens
//! ([`StreamParser::feed`], [`StreamParser::feed_special`]) and however the text is cut. It takes
//! time linear in the text and keeps back only what it cannot judge yet: the beginning of a marker,
//! blanks at the end of arguments, a call's id, and text among calls.
//!
//! Models leave markers out, double and misplace them. What happens then, in the order of the
//! specification (section 7) and, where that is silent, so that nothing the model said is lost and
//! no marker is shown:
//!
//! | output | result |
//! |---|---|
//! | thinking on | starts in the reasoning; a `<think>` there is removed |
//! | `</think>`, a section or a call begins in the reasoning | the reasoning ends; the first of them counts |
//! | none of these | all is reasoning |
//! | thinking off | all is answer |
//! | `<think>`, `</think>` in the answer or among calls | removed; the text behind stays what it was |
//! | `<think>`, `</think>` in arguments | part of the arguments |
//! | singular `<\|tool_call_section_begin\|>`, `…_end\|>` | as the plural |
//! | a call without a section | as if a section had begun |
//! | several sections, text between or behind them | the text is answer; blanks alone behind a section are not |
//! | text among calls | noise, dropped when another tool marker follows; else, at the end of the output, answer unless blank |
//! | blanks around id and arguments | removed |
//! | id without `functions.` | the name begins with the id; a second prefix is part of the name |
//! | id without `:digits` | all of it is the name; of several colons the last counts |
//! | id without a name | a call with an empty name |
//! | no marker before the arguments | they begin at the first `{`; none: empty arguments |
//! | no marker before the id, but `name:digits` before the arguments | a call |
//! | a call, section or section end begins before the call's end | the call ends there |
//! | output ends in the arguments | a call with what there is |
//! | output ends in the id | a call if the id has its `:digits`, else dropped: half a name must not be called |
//! | a second marker before the arguments, stray ends | removed |
//! | unfinished marker at the end of the output | text; among calls and in an id it is dropped |
//! | a removed marker joins two halves of another | that one is removed too |
//!
//! Other special tokens are no markers here and are text; the engine stops before the stop tokens.

mod arguments;
mod call_id;
mod event;
mod guard;
mod machine;
mod marker;

pub use self::event::{ParsedMessage, ParsedToolCall, ParserEvent};

use self::event::Events;
use self::machine::Machine;
use self::marker::{Marker, MarkerScanner, Token};
use crate::special::SpecialToken;

/// Takes one output apart while it arrives.
///
/// ```
/// use k25_chat::{ParsedMessage, StreamParser};
///
/// let mut parser = StreamParser::new(true);
/// let mut message = ParsedMessage::default();
/// for chunk in ["It is su", "mmer.</th", "ink>Twenty degrees."] {
///     message.extend(&parser.feed(chunk));
/// }
/// message.extend(&parser.finish());
/// assert_eq!(message.reasoning.as_deref(), Some("It is summer."));
/// assert_eq!(message.content.as_deref(), Some("Twenty degrees."));
/// ```
#[derive(Debug)]
pub struct StreamParser {
    scanner: MarkerScanner,
    machine: Machine,
}

impl StreamParser {
    /// Begins an output. `thinking`: the prompt ended with `<think>`, so the output begins in the
    /// reasoning; otherwise it begins in the answer.
    pub fn new(thinking: bool) -> Self {
        StreamParser {
            scanner: MarkerScanner::new(),
            machine: Machine::new(thinking),
        }
    }

    /// Whether the output is still in the reasoning, as far as it was judged.
    pub fn is_reasoning(&self) -> bool {
        self.machine.is_reasoning()
    }

    /// Takes the next text, which may begin and end anywhere between two characters.
    pub fn feed(&mut self, text: &str) -> Vec<ParserEvent> {
        let mut events = Events::default();
        let machine = &mut self.machine;
        self.scanner
            .scan(text, |token| machine.on_token(token, &mut events));
        events.into_vec()
    }

    /// Takes a special token, which means the same as its printed form.
    pub fn feed_special(&mut self, token: SpecialToken) -> Vec<ParserEvent> {
        let Some(marker) = Marker::from_special(token) else {
            return self.feed(token.text());
        };
        let mut events = Events::default();
        let machine = &mut self.machine;
        self.scanner
            .release(&mut |token| machine.on_token(token, &mut events));
        machine.on_token(Token::Marker(marker), &mut events);
        events.into_vec()
    }

    /// The output is over: what was kept back is settled.
    pub fn finish(mut self) -> Vec<ParserEvent> {
        let mut events = Events::default();
        let machine = &mut self.machine;
        if machine.shows_text() {
            self.scanner
                .release(&mut |token| machine.on_token(token, &mut events));
        }
        machine.finish(&mut events);
        events.into_vec()
    }
}

/// Takes a whole output apart.
pub fn parse_message(text: &str, thinking: bool) -> ParsedMessage {
    let mut parser = StreamParser::new(thinking);
    let mut message = ParsedMessage::default();
    message.extend(&parser.feed(text));
    message.extend(&parser.finish());
    message
}
