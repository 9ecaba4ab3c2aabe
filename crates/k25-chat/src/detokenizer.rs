//! Token ids to text while they arrive, without ever showing half a character.

use std::sync::Arc;

use crate::special::SpecialToken;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Bytes to text while they arrive. Joined, the text is what decoding all bytes at once gives, with
/// U+FFFD for every maximal ill-formed part; a character is shown when its last byte is there.
#[derive(Debug, Default, Clone)]
pub struct Utf8Stream {
    /// The beginning of a character whose end has not arrived: at most three bytes.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Appends to `text` what these bytes complete.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        let incomplete = append_decodable(&self.pending, text);
        self.pending.drain(..self.pending.len() - incomplete);
    }

    /// Ends the stream: a character that never came to its end becomes U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            self.pending.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Appends the decodable part of `bytes` and says how many bytes at the end may yet become a
/// character.
fn append_decodable(bytes: &[u8], text: &mut String) -> usize {
    let mut left = bytes.len();
    for chunk in bytes.utf8_chunks() {
        let (valid, invalid) = (chunk.valid(), chunk.invalid());
        left -= valid.len() + invalid.len();
        text.push_str(valid);
        if left == 0 && may_go_on(invalid) {
            return invalid.len();
        }
        if !invalid.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    0
}

/// Whether these bytes are the beginning of a character.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// What to do with the special tokens of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Specials {
    /// Show them by their names; a parser needs them.
    #[default]
    Keep,
    /// Leave out those that the checkpoint flags as special.
    Skip,
}

/// One sequence's ids to text while they arrive.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    specials: Specials,
    utf8: Utf8Stream,
}

/// What one id brought: text, then perhaps one of the family's special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoded {
    /// Text that is complete now; does not contain the name of `special`.
    pub text: String,
    /// The special token, if the id is one.
    pub special: Option<SpecialToken>,
}

impl Detokenizer {
    /// Begins a sequence.
    pub fn new(tokenizer: Arc<Tokenizer>, specials: Specials) -> Self {
        Detokenizer {
            tokenizer,
            specials,
            utf8: Utf8Stream::default(),
        }
    }

    /// Appends to `text` what this id completes. The texts of all ids and of
    /// [`finish`](Detokenizer::finish) joined are the text of the whole sequence.
    pub fn push(&mut self, id: u32, text: &mut String) -> Result<(), TokenizerError> {
        let bytes = self.tokenizer.token_bytes(id)?;
        if self.specials == Specials::Keep || !self.tokenizer.is_special(id) {
            self.utf8.push(bytes, text);
        }
        Ok(())
    }

    /// Like [`push`](Detokenizer::push), but hands a special token of the family over as such rather
    /// than as text, for a [`StreamParser`](crate::StreamParser). Special tokens that are skipped
    /// are not handed over.
    pub fn decode(&mut self, id: u32) -> Result<Decoded, TokenizerError> {
        let mut decoded = Decoded::default();
        let is_shown = self.specials == Specials::Keep || !self.tokenizer.is_special(id);
        match self.tokenizer.special_of(id) {
            Some(special) if is_shown => {
                self.utf8.finish(&mut decoded.text);
                decoded.special = Some(special);
            }
            _ => self.push(id, &mut decoded.text)?,
        }
        Ok(decoded)
    }

    /// Ends the sequence: appends U+FFFD if it stops within a character.
    pub fn finish(&mut self, text: &mut String) {
        self.utf8.finish(text);
    }
}
