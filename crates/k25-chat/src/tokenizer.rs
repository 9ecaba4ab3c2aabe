//! Text to token ids and back: the byte-level BPE of the family.
//!
//! A checkpoint folder holds `tiktoken.model` (the base tokens by rank) and `tokenizer_config.json`
//! (names of the 256 special slots behind them). Text goes through three steps, each in its own
//! file: [slices](slices) cut very long text where the stock tokenizer does, [pieces](pieces) split
//! a slice as the family's regular expression does, and [bpe] merges the bytes of a piece.
//!
//! Text that came from outside must go through [`Tokenizer::encode_text`] or, with the markers that
//! we placed ourselves, [`Tokenizer::encode_segments`]: neither reads a marker out of text.
//!
//! Source: specification section 5. Splitter and merges are own code of some 300 lines rather than
//! the `tiktoken-rs` crate: its backtracking regular-expression engine has a limit at which it fails
//! and must be kept away from long runs, it brings nine more crates, and tiktoken takes four times as
//! long on English text. The tests hold the ids against tiktoken's.

mod bpe;
mod char_class;
mod config_file;
mod error;
mod pieces;
mod slices;
mod special_vocabulary;
mod synthetic;
mod tiktoken_file;
mod vocabulary;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use self::config_file::write_tokenizer_config;
pub use self::error::TokenizerError;
pub use self::tiktoken_file::write_tiktoken;

use self::bpe::Merger;
use self::pieces::Pieces;
use self::special_vocabulary::SpecialVocabulary;
use self::vocabulary::Vocabulary;
use crate::segment::{MediaKind, Segment};
use crate::special::{SPECIAL_SLOTS, SpecialToken};

/// Name of the file with the base tokens.
pub const TIKTOKEN_FILE: &str = "tiktoken.model";
/// Name of the file with the names of the special tokens.
pub const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// Most bytes read of a vocabulary file; the family's has 2.8 MB.
const MAX_TIKTOKEN_BYTES: u64 = 64 << 20;
/// Most bytes read of a tokenizer configuration; the family's has some kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The tokenizer of one checkpoint. Cheap to share behind an `Arc`; encoding takes `&self`.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    specials: SpecialVocabulary,
}

/// The pieces of a text that byte-pair encoding works on one by one; together they are the whole text. Whoever makes a vocabulary
/// counts these.
pub fn split_pieces(text: &str) -> impl Iterator<Item = &str> {
    Pieces::new(text)
}

impl Tokenizer {
    /// Reads `tiktoken.model` and `tokenizer_config.json` from a checkpoint folder.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let read = |name: &str, limit| {
            let path = dir.as_ref().join(name);
            let bytes = read_bounded(&path, limit)?;
            Ok((bytes, path.display().to_string()))
        };
        let (ranks, ranks_origin) = read(TIKTOKEN_FILE, MAX_TIKTOKEN_BYTES)?;
        let (config, config_origin) = read(TOKENIZER_CONFIG_FILE, MAX_CONFIG_BYTES)?;
        Self::parse(&ranks, &ranks_origin, &config, &config_origin)
    }

    /// Builds the tokenizer from the contents of the two files.
    pub fn from_bytes(tiktoken: &[u8], tokenizer_config: &[u8]) -> Result<Self, TokenizerError> {
        Self::parse(
            tiktoken,
            TIKTOKEN_FILE,
            tokenizer_config,
            TOKENIZER_CONFIG_FILE,
        )
    }

    /// Builds a tokenizer from base tokens in the order of their ranks, with the family's specials.
    pub fn from_base_tokens<T: AsRef<[u8]>>(tokens: &[T]) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::from_tokens(tokens).map_err(|fault| {
            tiktoken_file::ranks_error("the given vocabulary", tiktoken_file::describe(&fault))
        })?;
        let specials = SpecialVocabulary::of_the_family(vocabulary.len());
        Ok(Tokenizer {
            vocabulary,
            specials,
        })
    }

    /// A tokenizer of `n_base` made-up base tokens (at least 256), the same for every call, for
    /// synthetic checkpoints: the right form and size without a training corpus.
    pub fn synthetic(n_base: u32) -> Result<Self, TokenizerError> {
        Self::from_base_tokens(&synthetic::synthetic_tokens(n_base)?)
    }

    fn parse(
        tiktoken: &[u8],
        tiktoken_origin: &str,
        config: &[u8],
        config_origin: &str,
    ) -> Result<Self, TokenizerError> {
        let vocabulary = tiktoken_file::parse_tiktoken(tiktoken, tiktoken_origin)?;
        let specials = SpecialVocabulary::parse(config, vocabulary.len(), config_origin)?;
        Ok(Tokenizer {
            vocabulary,
            specials,
        })
    }

    /// Writes `tiktoken.model` and, with the family's names, `tokenizer_config.json` into a folder.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<(), TokenizerError> {
        let tokens: Vec<&[u8]> = (0..self.n_base())
            .filter_map(|rank| self.vocabulary.token(rank))
            .collect();
        let files = [
            (TIKTOKEN_FILE, write_tiktoken(&tokens)),
            (TOKENIZER_CONFIG_FILE, write_tokenizer_config(self.n_base())),
        ];
        for (name, text) in files {
            let path = dir.as_ref().join(name);
            std::fs::write(&path, text).map_err(|source| TokenizerError::Io { path, source })?;
        }
        Ok(())
    }

    /// Number of base tokens; their ids are `0..n_base`.
    pub fn n_base(&self) -> u32 {
        self.vocabulary.len()
    }

    /// Number of ids: base tokens and special slots.
    pub fn vocab_size(&self) -> u32 {
        self.n_base() + SPECIAL_SLOTS
    }

    /// The id of one of the family's special tokens, by its offset.
    pub fn special_id(&self, token: SpecialToken) -> u32 {
        token.id(self.n_base())
    }

    /// The special token that an id stands for, where the checkpoint gives the slot the family's
    /// name.
    pub fn special_of(&self, id: u32) -> Option<SpecialToken> {
        let offset = id.checked_sub(self.n_base())?;
        SpecialToken::from_offset(offset)
            .filter(|token| self.specials.name(offset) == Some(token.text()))
    }

    /// Whether a decode that skips special tokens leaves this id out.
    pub fn is_special(&self, id: u32) -> bool {
        let offset = id.checked_sub(self.n_base());
        offset.is_some_and(|offset| self.specials.is_special(offset))
    }

    /// The ids that end an answer: end of message, and for safety end of sequence and of turn.
    pub fn stop_ids(&self) -> [u32; 3] {
        SpecialToken::STOP.map(|token| self.special_id(token))
    }

    /// The ids of text that is not trusted: no id of the result is a special token, whatever the
    /// text says. No token for beginning or end is added.
    pub fn encode_text(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        self.encode_text_into(text, &mut Merger::default(), &mut ids);
        ids
    }

    /// The ids of text in which the names of special tokens are read as special tokens, as the stock
    /// tokenizer does with any text. For prompts use [`Tokenizer::encode_segments`].
    pub fn encode_with_specials(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let mut merger = Merger::default();
        slices::for_each_slice(text, |slice| {
            let mut at = 0;
            while let Some((start, end, offset)) = self.specials.find(slice, at) {
                self.encode_slice(&slice[at..start], &mut merger, &mut ids);
                ids.push(self.n_base() + offset);
                at = end;
            }
            self.encode_slice(&slice[at..], &mut merger, &mut ids);
        });
        ids
    }

    /// The ids of a rendered prompt: markers where [`Segment::Special`] says, all else as text.
    ///
    /// Neighbouring texts are one text, so how a prompt is cut into segments changes no id. Long
    /// text is cut as the stock tokenizer does when it is called with the specials already taken
    /// out, each text between two markers by itself. A picture is its placeholder with one
    /// `<|media_pad|>`, a film the placeholder's text.
    pub fn encode_segments(&self, segments: &[Segment]) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut merger = Merger::default();
        let mut text = String::new();
        let mut special = |token: SpecialToken, text: &mut String, ids: &mut Vec<u32>| {
            self.encode_text_into(text, &mut merger, ids);
            text.clear();
            ids.push(self.special_id(token));
        };
        for segment in segments {
            match segment {
                Segment::Text(piece) => text.push_str(piece),
                Segment::Special(token) => special(*token, &mut text, &mut ids),
                Segment::Media {
                    kind: MediaKind::Video,
                    ..
                } => text.push_str(segment.as_str()),
                Segment::Media {
                    kind: MediaKind::Image,
                    ..
                } => {
                    special(SpecialToken::MediaBegin, &mut text, &mut ids);
                    text.push_str("image");
                    for token in [
                        SpecialToken::MediaContent,
                        SpecialToken::MediaPad,
                        SpecialToken::MediaEnd,
                    ] {
                        special(token, &mut text, &mut ids);
                    }
                }
            }
        }
        self.encode_text_into(&text, &mut merger, &mut ids);
        ids
    }

    fn encode_text_into(&self, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        slices::for_each_slice(text, |slice| self.encode_slice(slice, merger, ids));
    }

    fn encode_slice(&self, slice: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        for piece in Pieces::new(slice) {
            merger.encode_piece(&self.vocabulary, piece.as_bytes(), ids);
        }
    }

    /// The bytes that an id stands for; a special token's are its name.
    pub fn token_bytes(&self, id: u32) -> Result<&[u8], TokenizerError> {
        let special = |offset| self.specials.name(offset).map(str::as_bytes);
        let bytes = match id.checked_sub(self.n_base()) {
            None => self.vocabulary.token(id),
            Some(offset) => special(offset),
        };
        bytes.ok_or(TokenizerError::UnknownId {
            id,
            vocab_size: self.vocab_size(),
        })
    }

    /// The bytes of a sequence of ids, specials by their names.
    pub fn decode_bytes(&self, ids: &[u32]) -> Result<Vec<u8>, TokenizerError> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            bytes.extend_from_slice(self.token_bytes(id)?);
        }
        Ok(bytes)
    }

    /// The text of a sequence of ids, specials by their names. Bytes that are no UTF-8 become
    /// U+FFFD, one for every maximal ill-formed part, as with Python's `decode(errors="replace")`.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let bytes = self.decode_bytes(ids)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }
}

/// Reads a regular file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, TokenizerError> {
    let io_error = |source| TokenizerError::Io {
        path: path.to_owned(),
        source,
    };
    let meta = std::fs::metadata(path).map_err(io_error)?;
    if !meta.is_file() {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file");
        return Err(io_error(source));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io_error)?;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    if bytes.len() as u64 > limit {
        return Err(TokenizerError::TooLarge {
            origin: path.display().to_string(),
            limit,
        });
    }
    Ok(bytes)
}
