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
    held: String,
    /// Where in `held` each unfinished marker begins, and how far it has come.
    open: Vec<(usize, NodeId)>,
}

impl MarkerGuard {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(pieces: &[&str]) -> String {
        let mut guard = MarkerGuard::default();
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
}
