//! The arguments of one call on their way out.

use super::event::Events;
use super::guard::MarkerGuard;

/// Lets arguments through as they arrive, without the blanks at either end.
#[derive(Debug)]
pub(super) struct ArgumentStream {
    index: usize,
    guard: MarkerGuard,
    trimmed: Trimmed,
}

/// Keeps blanks back until other text follows.
#[derive(Debug, Default)]
struct Trimmed {
    begun: bool,
    blank: String,
}

impl ArgumentStream {
    /// The arguments of call `index`. A tool may well be given text about thinking, so `<think>` and
    /// `</think>` are text here.
    pub(super) fn new(index: usize) -> Self {
        ArgumentStream {
            index,
            guard: MarkerGuard::that_keeps_thinking(),
            trimmed: Trimmed::default(),
        }
    }

    pub(super) fn push(&mut self, text: &str, events: &mut Events) {
        let ArgumentStream {
            index,
            guard,
            trimmed,
        } = self;
        guard.push(text, |settled| trimmed.push(settled, *index, events));
    }

    /// The call is over.
    pub(super) fn finish(mut self, events: &mut Events) {
        let (index, trimmed) = (self.index, &mut self.trimmed);
        self.guard
            .finish(|settled| trimmed.push(settled, index, events));
        events.call_end(index);
    }
}

impl Trimmed {
    fn push(&mut self, text: &str, index: usize, events: &mut Events) {
        let text = if self.begun { text } else { text.trim_start() };
        let (solid, blank) = text.split_at(text.trim_end().len());
        if !solid.is_empty() {
            self.begun = true;
            events.arguments(index, &self.blank);
            events.arguments(index, solid);
            self.blank.clear();
        }
        if self.begun {
            self.blank.push_str(blank);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{ParsedToolCall, parse_message};

    /// Removed markers must not make new ones in what a caller gets.
    #[test]
    fn calls_hold_no_joined_marker() {
        let call = |id: &str, arguments: &str| ParsedToolCall {
            id: format!("functions.{id}:0"),
            name: id.to_owned(),
            arguments: arguments.to_owned(),
        };
        for (output, expected) in [
            (
                "functions.f<|tool_c<think>all_end|>:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
                call("f", "{}"),
            ),
            ("functions.f:0<|tool_call_<think>end|>{}", call("f", "{}")),
            (
                "functions.f:0<|tool_call_argument_begin|> a<|tool_call_\
                 <|tool_call_argument_begin|>end|>b <think>c ",
                call("f", "ab <think>c"),
            ),
        ] {
            let output = format!("<|tool_call_begin|>{output}");
            assert_eq!(
                parse_message(&output, false).tool_calls,
                [expected],
                "{output}"
            );
        }
    }
}
