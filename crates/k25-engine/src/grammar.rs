//! Constrained decoding, seen from the sampler: which tokens may come next.
//!
//! What a grammar is made of (JSON schema, regex, tool declarations) is text and lives elsewhere;
//! here it is a set of token ids that changes with every accepted token.

use thiserror::Error;

/// A grammar that could not go on; the text is the grammar's own.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the grammar failed: {0}\n  hint: simplify the schema or pattern")]
pub struct GrammarError(pub String);

/// What a grammar says about the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Any token: the grammar does not constrain here.
    Any,
    /// Those in the mask.
    Masked,
}

/// What a sequence may generate.
pub trait Grammar: Send {
    /// Sets the bits of the tokens that may come next; `mask` comes with none set.
    ///
    /// Where the text may end, that includes a token that ends it.
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<Allowed, GrammarError>;

    /// Moves on by a token that [`allowed`](Self::allowed) permitted.
    fn accept(&mut self, token: u32) -> Result<(), GrammarError>;

    /// At most `most` tokens that are likely to follow because the grammar leaves no other text:
    /// guesses for the next step. They change how many steps a text takes, and nothing else.
    fn forced(&mut self, most: usize) -> Vec<u32> {
        let _ = most;
        Vec::new()
    }

    /// A grammar in the same state, for another sample.
    fn fork(&self) -> Box<dyn Grammar>;
}

/// A set of token ids: one bit per id, set where the token may come next.
///
/// Ids at or beyond [`len`](Self::len) are never allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u32>,
    len: usize,
}

impl TokenMask {
    /// A mask over `len` ids that allows none of them.
    pub fn none(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(32)],
            len,
        }
    }

    /// A mask over `len` ids that allows exactly `ids`; ids beyond `len` are left out.
    pub fn only(len: usize, ids: impl IntoIterator<Item = u32>) -> Self {
        let mut mask = Self::none(len);
        for id in ids {
            mask.allow(id);
        }
        mask
    }

    /// Number of ids that the mask speaks about.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the mask speaks about no id at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Allows `id`; an id beyond the mask stays forbidden.
    pub fn allow(&mut self, id: u32) {
        if (id as usize) < self.len {
            self.words[id as usize / 32] |= 1 << (id % 32);
        }
    }

    /// Forbids every id.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Whether `id` may come next.
    pub fn allows(&self, id: u32) -> bool {
        (id as usize) < self.len && self.words[id as usize / 32] & (1 << (id % 32)) != 0
    }

    /// The bits, 32 ids per word, lowest id in the lowest bit; bits beyond the length are ignored.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The bits, for a grammar that computes whole words; see [`words`](Self::words).
    pub fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words
    }

    /// Sets the logits of forbidden ids to negative infinity.
    pub fn apply(&self, logits: &mut [f32]) {
        let (masked, beyond) = logits.split_at_mut(self.len.min(logits.len()));
        beyond.fill(f32::NEG_INFINITY);
        for (chunk, &word) in masked.chunks_mut(32).zip(&self.words) {
            match word {
                0 => chunk.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                _ => chunk
                    .iter_mut()
                    .enumerate()
                    .filter(|(bit, _)| word & (1 << bit) == 0)
                    .for_each(|(_, logit)| *logit = f32::NEG_INFINITY),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_leaves_exactly_its_ids() {
        for len in [0, 1, 31, 32, 33, 100] {
            let allowed = |id: u32| id.is_multiple_of(3) && (id as usize) < len;
            let mask = TokenMask::only(len, (0..200u32).filter(|id| id.is_multiple_of(3)));
            let mut logits = vec![1.0; 70];
            mask.apply(&mut logits);
            for (id, logit) in (0u32..).zip(&logits) {
                assert_eq!(mask.allows(id), allowed(id), "len {len}, id {id}");
                assert_eq!(*logit == 1.0, allowed(id), "len {len}, id {id}");
            }
        }
    }

    #[test]
    fn stray_bits_beyond_the_length_allow_nothing() {
        let mut mask = TokenMask::none(5);
        mask.words_mut()[0] = u32::MAX;
        let mut logits = vec![0.0; 8];
        mask.apply(&mut logits);
        assert!(mask.allows(4) && !mask.allows(5));
        assert_eq!(logits.iter().filter(|logit| logit.is_finite()).count(), 5);
    }
}
