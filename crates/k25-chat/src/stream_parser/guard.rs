//! Keeps a marker from arising where a removed one has joined two texts.

use super::marker::{MARKER_START, MARKERS, Marker};
use crate::byte_trie::{ByteTrie, NodeId};

/// Lets the text of one output channel through, less every marker that its joined pieces spell.
///
/// The pieces themselves hold no marker, but `<thi` + `nk>` does once a marker between them has been
/// taken out. What may still become a marker is kept back; markers can arise inside one another
/// (`<thi` `<thi` `nk>` `nk>`), hence the stack.
#[derive(Debug, Default)]
pub(super) struct MarkerGuard {
    /// `<think>` and `</think>` are text like any other.
    keeps_thinking: bool,
    held: String,
    /// Where in `held` each unfinished marker begins, and how far it has come.
    open: Vec<(usize, NodeId)>,
}

impl MarkerGuard {
    /// A guard that takes out the markers of tool calls only.
    pub(super) fn that_keeps_thinking() -> Self {
        MarkerGuard {
            keeps_thinking: true,
            ..MarkerGuard::default()
        }
    }

    /// Hands on what `text` settles.
    pub(super) fn push(&mut self, mut text: &str, mut emit: impl FnMut(&str)) {
        while !text.is_empty() {
            let Some(&(start, node)) = self.open.last() else {
                let free = text.find(MARKER_START).unwrap_or(text.len());
                if free > 0 {
                    emit(&text[..free]);
                }
                text = self.open_if_start(&text[free..]);
                continue;
            };
            match MARKERS.step(node, text.as_bytes()[0]) {
                Some(node) => {
                    // The byte is part of a marker, so it is ASCII.
                    self.held.push_str(&text[..1]);
                    text = &text[1..];
                    self.open.pop();
                    match MARKERS.value(node) {
                        // Text now stands between the parts of any marker around it.
                        Some(Marker::Think | Marker::ThinkEnd) if self.keeps_thinking => {
                            self.finish(&mut emit);
                        }
                        Some(_) => self.held.truncate(start),
                        None => self.open.push((start, node)),
                    }
                }
                None if text.starts_with(MARKER_START) => text = self.open_if_start(text),
                None => self.finish(&mut emit),
            }
        }
    }

    /// Begins a possible marker if `text` begins like one; returns what is left.
    fn open_if_start<'t>(&mut self, text: &'t str) -> &'t str {
        let Some(rest) = text.strip_prefix(MARKER_START) else {
            return text;
        };
        if let Some(node) = MARKERS.step(ByteTrie::<Marker>::ROOT, MARKER_START as u8) {
            self.open.push((self.held.len(), node));
            self.held.push(MARKER_START);
        }
        rest
    }

    /// Hands on what was kept back: it becomes no marker any more.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&str)) {
        self.open.clear();
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            emit(&held);
        }
    }
}

/// Text that is kept back, less every marker that its joined pieces spell.
#[derive(Debug, Default)]
pub(super) struct GuardedText {
    guard: MarkerGuard,
    text: String,
}

impl GuardedText {
    pub(super) fn push(&mut self, piece: &str) {
        let text = &mut self.text;
        self.guard.push(piece, |settled| text.push_str(settled));
    }

    /// The text so far; begins anew.
    pub(super) fn take(&mut self) -> String {
        let text = &mut self.text;
        self.guard.finish(|settled| text.push_str(settled));
        std::mem::take(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(pieces: &[&str]) -> String {
        guarded_by(MarkerGuard::default(), pieces)
    }

    fn guarded_by(mut guard: MarkerGuard, pieces: &[&str]) -> String {
        let mut text = String::new();
        for piece in pieces {
            guard.push(piece, |settled| text.push_str(settled));
        }
        guard.finish(|settled| text.push_str(settled));
        text
    }

    #[test]
    fn joined_markers_are_taken_out() {
        assert_eq!(guarded(&["a<thi", "nk>b"]), "ab");
        assert_eq!(guarded(&["<thi", "<thi", "nk>", "nk>é"]), "é");
        assert_eq!(guarded(&["<th<|tool_call_", "begin|>", "ink>"]), "");
    }

    #[test]
    fn other_text_passes() {
        assert_eq!(guarded(&["a < b", " <thi", "<b>", "é<"]), "a < b <thi<b>é<");
        assert_eq!(guarded(&["<<<", "<"]), "<<<<");
    }

    #[test]
    fn think_markers_pass_where_they_are_text() {
        let pieces = [
            "<tool<think>",
            "</thi",
            "nk><|tool_call_",
            "end|>",
            "<|<think>tool_call_end|>",
        ];
        let kept = guarded_by(MarkerGuard::that_keeps_thinking(), &pieces);
        assert_eq!(kept, "<tool<think></think><|<think>tool_call_end|>");
    }

    #[test]
    fn kept_text_is_guarded_and_taken_once() {
        let mut kept = GuardedText::default();
        ["a<thi", "nk>", "b<"]
            .into_iter()
            .for_each(|piece| kept.push(piece));
        assert_eq!(kept.take(), "ab<");
        assert_eq!(kept.take(), "");
    }
}
