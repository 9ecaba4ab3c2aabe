//! Markers that ordinary tokens spell out.
//!
//! Whoever reads the answer takes the text of a marker for the marker, however many tokens it came
//! in. Where a grammar decides what a marker means, the last token that would complete its text is
//! therefore forbidden: only the marker's own token stands for it.

use crate::vocabulary::Vocabulary;

/// What all markers of tool calls begin with.
pub(crate) const CALL_MARKERS: &[&str] = &["<|tool_call"];
/// These and the markers of reasoning, which would be taken out of an answer.
pub(crate) const ALL_MARKERS: &[&str] = &["<|tool_call", "<think>", "</think>"];

/// The end of the text so far, as far as it may be the beginning of a marker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    /// Longest beginning of a marker.
    const MOST: usize = "<|tool_call".len() - 1;

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let excess = self.0.len().saturating_sub(Self::MOST);
        self.0.drain(..excess);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What would complete one of `markers`, if a token began with it.
    pub(crate) fn completions<'m>(&self, markers: &'m [&'m str]) -> impl Iterator<Item = &'m [u8]> {
        markers.iter().flat_map(move |marker| {
            let marker = marker.as_bytes();
            (1..marker.len())
                .filter(|&length| self.0.ends_with(&marker[..length]))
                .map(|length| &marker[length..])
        })
    }

    /// Takes the tokens that would complete one of `markers` out of a set.
    pub(crate) fn forbid(&self, vocabulary: &Vocabulary, markers: &[&str], words: &mut [u32]) {
        for rest in self.completions(markers) {
            for &id in vocabulary.beginning_with(rest) {
                if let Some(word) = words.get_mut(id as usize / 32) {
                    *word &= !(1 << (id % 32));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_marker_is_what_is_missing_of_it() {
        let mut tail = Tail::default();
        let missing = |tail: &Tail| -> Vec<Vec<u8>> {
            tail.completions(ALL_MARKERS).map(<[u8]>::to_vec).collect()
        };
        assert!(missing(&tail).is_empty());
        tail.push(b"a long text, and then <");
        assert_eq!(
            missing(&tail),
            [
                b"|tool_call".to_vec(),
                b"think>".to_vec(),
                b"/think>".to_vec()
            ]
        );
        tail.push(b"|tool_cal");
        assert_eq!(missing(&tail), [b"l".to_vec()]);
        tail.push(b"m");
        assert!(missing(&tail).is_empty());
    }
}
