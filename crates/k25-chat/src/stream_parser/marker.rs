//! The markers of a model's output, found in text that arrives in pieces.

use std::sync::LazyLock;

use crate::byte_trie::{ByteTrie, NodeId};
use crate::special::SpecialToken;

/// A marker that structures the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Think,
    ThinkEnd,
    SectionBegin,
    SectionEnd,
    CallBegin,
    ArgumentBegin,
    CallEnd,
}

impl Marker {
    /// Every printed form. Models sometimes write the section markers in the singular.
    pub(super) const FORMS: [(&'static str, Marker); 9] = [
        ("<think>", Marker::Think),
        ("</think>", Marker::ThinkEnd),
        ("<|tool_calls_section_begin|>", Marker::SectionBegin),
        ("<|tool_call_section_begin|>", Marker::SectionBegin),
        ("<|tool_calls_section_end|>", Marker::SectionEnd),
        ("<|tool_call_section_end|>", Marker::SectionEnd),
        ("<|tool_call_begin|>", Marker::CallBegin),
        ("<|tool_call_argument_begin|>", Marker::ArgumentBegin),
        ("<|tool_call_end|>", Marker::CallEnd),
    ];

    /// The marker that a special token is, if it is one.
    pub(super) fn from_special(token: SpecialToken) -> Option<Marker> {
        let is_form = |&&(form, _): &&(&str, Marker)| form == token.text();
        Self::FORMS.iter().find(is_form).map(|&(_, marker)| marker)
    }
}

/// All printed forms. Each begins with `<` and has no other `<`, and none begins another: a text
/// that stops to be a marker can therefore only begin one at its next `<`.
pub(super) static MARKERS: LazyLock<ByteTrie<Marker>> =
    LazyLock::new(|| ByteTrie::new(Marker::FORMS));

/// What every marker begins with.
pub(super) const MARKER_START: char = '<';

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// Text without a marker.
    Text(&'t str),
    /// A whole marker.
    Marker(Marker),
}

/// Cuts arriving text into text and markers; keeps back only what may become a marker.
#[derive(Debug)]
pub(super) struct MarkerScanner {
    /// The beginning of a marker whose end has not arrived.
    held: String,
    node: NodeId,
}

impl MarkerScanner {
    pub(super) fn new() -> Self {
        MarkerScanner {
            held: String::new(),
            node: ByteTrie::<Marker>::ROOT,
        }
    }

    /// Hands on what `text` completes.
    pub(super) fn scan(&mut self, mut text: &str, mut emit: impl FnMut(Token<'_>)) {
        while !text.is_empty() {
            if self.node == ByteTrie::<Marker>::ROOT {
                let start = text.find(MARKER_START).unwrap_or(text.len());
                if start > 0 {
                    emit(Token::Text(&text[..start]));
                }
                text = &text[start..];
            }
            text = self.walk(text, &mut emit);
        }
    }

    /// Goes on with the marker at the beginning of `text` until it ends, fails or the text is used
    /// up; returns what is left.
    fn walk<'t>(&mut self, text: &'t str, emit: &mut impl FnMut(Token<'_>)) -> &'t str {
        for (at, byte) in text.bytes().enumerate() {
            let Some(node) = MARKERS.step(self.node, byte) else {
                // Markers are ASCII, so `at` is at the border of a character.
                self.held.push_str(&text[..at]);
                self.release(emit);
                return &text[at..];
            };
            self.node = node;
            if let Some(marker) = MARKERS.value(node) {
                self.reset();
                emit(Token::Marker(marker));
                return &text[at + 1..];
            }
        }
        self.held.push_str(text);
        ""
    }

    /// Hands on what was kept back, as text.
    pub(super) fn release(&mut self, emit: &mut impl FnMut(Token<'_>)) {
        let held = std::mem::take(&mut self.held);
        self.reset();
        if !held.is_empty() {
            emit(Token::Text(&held));
        }
    }

    /// Forgets what was kept back.
    pub(super) fn reset(&mut self) {
        self.held.clear();
        self.node = ByteTrie::<Marker>::ROOT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_begin_with_their_only_start_and_none_begins_another() {
        for (form, marker) in Marker::FORMS {
            assert_eq!(form.rfind(MARKER_START), Some(0), "{form}");
            assert!(form.is_ascii(), "{form}");
            let (len, found) = MARKERS.longest_prefix(form.as_bytes()).expect("itself");
            assert_eq!((len, found), (form.len(), marker));
            for (other, _) in Marker::FORMS {
                assert!(
                    other == form || !other.starts_with(form),
                    "{form} begins {other}"
                );
            }
        }
    }

    #[test]
    fn special_tokens_are_their_printed_forms() {
        let special = SpecialToken::ToolCallsSectionBegin;
        assert_eq!(Marker::from_special(special), Some(Marker::SectionBegin));
        assert_eq!(
            Marker::from_special(SpecialToken::ThinkEnd),
            Some(Marker::ThinkEnd)
        );
        assert_eq!(Marker::from_special(SpecialToken::ImEnd), None);
    }

    #[test]
    fn failed_beginnings_are_text() {
        let mut scanner = MarkerScanner::new();
        let mut text = String::new();
        let mut markers = Vec::new();
        for chunk in ["a<", "<thi", "n<th", "ink", ">é<|tool_call", "_é"] {
            scanner.scan(chunk, |token| match token {
                Token::Text(piece) => text.push_str(piece),
                Token::Marker(marker) => markers.push(marker),
            });
        }
        assert_eq!(text, "a<<thiné<|tool_call_é");
        assert_eq!(markers, [Marker::Think]);
    }
}
