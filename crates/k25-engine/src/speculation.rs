//! Prompt-lookup speculation: when the last tokens stood somewhere before, what followed them there
//! is guessed to follow again.
//!
//! Guesses are rows of the next step like any other, and their logits are sampled one by one as if
//! nothing had been guessed; the first that disagrees ends the step for that sequence. Since chance
//! depends on seed and position only, the tokens are the same with and without guessing.

/// When and how far to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLookup {
    /// How many last tokens must have stood together before; at least 1.
    pub ngram: usize,
    /// Most guesses per step and sequence; at least 1.
    pub max_drafts: usize,
}

/// How many guesses a sequence is worth at the moment.
///
/// A guess costs a row of computation. The count doubles while all guesses hold and shrinks to what
/// held; after guesses of which none held there is a pause, longer each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftLength {
    length: usize,
    pause_tokens: usize,
    misses_in_a_row: u32,
}

impl Default for PromptLookup {
    fn default() -> Self {
        Self {
            ngram: 3,
            max_drafts: 8,
        }
    }
}

impl Default for DraftLength {
    fn default() -> Self {
        Self {
            length: 2,
            pause_tokens: 0,
            misses_in_a_row: 0,
        }
    }
}

impl PromptLookup {
    /// At most `count` guesses at what follows `tokens`: what followed their end the last time.
    pub fn propose<'a>(&self, tokens: &'a [u32], count: usize) -> &'a [u32] {
        let Some((&last, before_last)) = tokens.split_last().filter(|_| count > 0) else {
            return &[];
        };
        let Some(start) = tokens.len().checked_sub(self.ngram) else {
            return &[];
        };
        let tail = &before_last[start..];
        // The last token alone decides nearly always, so the search runs at the speed of memory.
        let follows = (self.ngram..tokens.len())
            .rev()
            .find(|&at| tokens[at - 1] == last && tokens[at - self.ngram..at - 1] == *tail);
        follows.map_or(&[], |at| &tokens[at..tokens.len().min(at + count)])
    }
}

impl DraftLength {
    /// Longest pause after misses, in tokens.
    const MAX_PAUSE: usize = 64;

    /// Guesses worth making now.
    pub fn get(&self) -> usize {
        if self.pause_tokens > 0 {
            0
        } else {
            self.length
        }
    }

    /// Learns from a step that brought `tokens` tokens after `drafted` guesses, of which `held` held.
    pub fn learn(&mut self, lookup: &PromptLookup, tokens: usize, drafted: usize, held: usize) {
        if drafted == 0 {
            self.pause_tokens = self.pause_tokens.saturating_sub(tokens);
        } else if held == 0 {
            self.misses_in_a_row = (self.misses_in_a_row + 1).min(6);
            self.pause_tokens = (1 << self.misses_in_a_row).min(Self::MAX_PAUSE);
            self.length = 1;
        } else {
            self.misses_in_a_row = 0;
            let length = if held == drafted {
                2 * self.length
            } else {
                held + 1
            };
            self.length = length.clamp(1, lookup.max_drafts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_last_time_is_guessed() {
        let lookup = PromptLookup {
            ngram: 2,
            max_drafts: 8,
        };
        let tokens = [1, 2, 3, 1, 2, 4, 5, 1, 2];
        assert_eq!(lookup.propose(&tokens, 3), [4, 5, 1]);
        assert_eq!(lookup.propose(&tokens, 1), [4]);
        assert_eq!(lookup.propose(&tokens, 0), [0; 0]);
        assert_eq!(lookup.propose(&tokens, 99), [4, 5, 1, 2]);
        assert_eq!(lookup.propose(&[1, 2, 3], 3), [0; 0]);
        assert_eq!(lookup.propose(&[1], 3), [0; 0]);
        // A repeated token overlaps its own earlier occurrence.
        assert_eq!(lookup.propose(&[7, 7, 7, 7], 3), [7]);
    }

    #[test]
    fn guessing_follows_its_success() {
        let lookup = PromptLookup {
            ngram: 2,
            max_drafts: 8,
        };
        let mut length = DraftLength::default();
        for expected in [4, 8, 8] {
            let drafted = length.get();
            length.learn(&lookup, drafted + 1, drafted, drafted);
            assert_eq!(length.get(), expected);
        }
        length.learn(&lookup, 3, 8, 2);
        assert_eq!(length.get(), 3);
        length.learn(&lookup, 1, 3, 0);
        assert_eq!(length.get(), 0);
        length.learn(&lookup, 1, 0, 0);
        length.learn(&lookup, 1, 0, 0);
        assert_eq!(length.get(), 1, "after a pause of two tokens");
        for _ in 0..10 {
            length.learn(&lookup, 1, 1, 0);
        }
        length.learn(&lookup, 63, 0, 0);
        assert_eq!(length.get(), 0);
        length.learn(&lookup, 1, 0, 0);
        assert_eq!(length.get(), 1, "the longest pause is 64 tokens");
    }
}
