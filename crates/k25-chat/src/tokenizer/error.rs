//! What can be wrong with a vocabulary, told so that a person can mend it.

use std::path::PathBuf;

/// Why a tokenizer could not be built, or a token not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file could not be opened, read or written.
    #[error("cannot access {path}: {source}\n  hint: give the folder that holds tiktoken.model and tokenizer_config.json", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is larger than any real vocabulary.
    #[error(
        "{origin} is larger than {limit} bytes\n  hint: the family's tiktoken.model has 2.8 MB and its \
         tokenizer_config.json some kilobytes; this is probably another file"
    )]
    TooLarge {
        /// The file.
        origin: String,
        /// The most bytes that are read.
        limit: u64,
    },
    /// One line of `tiktoken.model` is wrong.
    #[error("{origin}, line {line}: {reason}\n  hint: {hint}")]
    Line {
        /// The file.
        origin: String,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// What to do next.
        hint: &'static str,
    },
    /// The ranks as a whole do not make a vocabulary.
    #[error("{origin}: {reason}\n  hint: {hint}")]
    Ranks {
        /// The file, or "the given vocabulary".
        origin: String,
        /// What is wrong.
        reason: String,
        /// What to do next.
        hint: &'static str,
    },
    /// `tokenizer_config.json` is not JSON of the expected form.
    #[error(
        "{origin} cannot be read: {source}\n  hint: download the file again; it must be a JSON object whose \
         added_tokens_decoder maps ids to {{\"content\": name, \"special\": bool}}"
    )]
    ConfigJson {
        /// The file.
        origin: String,
        /// Where and why the JSON fails.
        source: serde_json::Error,
    },
    /// An entry of `added_tokens_decoder` contradicts the family's special slots.
    #[error("{origin}: added token {id} ({name:?}) {reason}\n  hint: {hint}")]
    Special {
        /// The file.
        origin: String,
        /// The entry's key, shortened.
        id: String,
        /// The entry's name, shortened.
        name: String,
        /// What is wrong with it.
        reason: String,
        /// What to do next.
        hint: &'static str,
    },
    /// A token id outside the vocabulary.
    #[error(
        "token id {id} is outside the vocabulary of {vocab_size} tokens\n  hint: the ids come from another \
         tokenizer; use the tiktoken.model of the same checkpoint"
    )]
    UnknownId {
        /// The id.
        id: u32,
        /// Base ranks and special slots together.
        vocab_size: u32,
    },
    /// A synthetic vocabulary of this size cannot be made.
    #[error(
        "a synthetic vocabulary cannot have {asked} base tokens\n  hint: ask for {min} (the single bytes) to {max}"
    )]
    SyntheticSize {
        /// Asked for.
        asked: u32,
        /// Smallest possible.
        min: u32,
        /// Largest possible.
        max: u32,
    },
}

/// A name or value from a file, cut short for a message.
pub(super) fn shortened(text: &str) -> String {
    const LIMIT: usize = 60;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
