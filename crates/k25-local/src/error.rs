//! What can be wrong with a folder or a conversation, told so that a person can mend it.

use std::io;
use std::path::PathBuf;

use k25_chat::{TokenizerError, ToolIdError};
use k25_config::ConfigError;
use k25_engine::AdmissionError;
use k25_engine::engine::EngineStopped;
use k25_grammar::{ConstraintError, VocabularyError};
use k25_model::media::MediaError;
use k25_model::{AdapterError, LoadError};
use thiserror::Error;

use crate::prompt::PromptError;
use crate::source::SourceError;

/// Bytes for a person.
fn amount(bytes: usize) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e9 => format!("{:.1} GB", bytes / 1e9),
        bytes => format!("{:.0} MB", bytes / 1e6),
    }
}

/// Why a folder cannot answer, or a conversation not be answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The checkpoint.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// `preprocessor_config.json` or `generation_config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No `tiktoken.model` in the folder.
    #[error(
        "no tokenizer in {}\n  hint: give the folder that has tiktoken.model and tokenizer_config.json \
         (--tokenizer DIR)",
        dir.display()
    )]
    NoTokenizer {
        /// The folder.
        dir: PathBuf,
    },
    /// The tokenizer's files.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// More tokens than the model has embeddings.
    #[error(
        "the tokenizer in {} has {tokens} tokens, and the model {vocab_size} embeddings\n  \
         hint: take tokenizer and model from the same checkpoint",
        dir.display()
    )]
    TooManyTokens {
        /// The tokenizer's folder.
        dir: PathBuf,
        /// Base ranks and special slots.
        tokens: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The model reads pictures at another id than the tokenizer writes.
    #[error(
        "config.json has media_placeholder_token_id {configured}, and the tokenizer in {} has \
         <|media_pad|> at {found}\n  hint: take tokenizer and model from the same checkpoint",
        dir.display()
    )]
    MediaPad {
        /// The tokenizer's folder.
        dir: PathBuf,
        /// The configuration's id.
        configured: u32,
        /// The tokenizer's id.
        found: u32,
    },
    /// An end id that the model cannot say.
    #[error(
        "{origin} ends answers at token {id}, but the vocabulary has {vocab_size} tokens\n  \
         hint: the file belongs to another checkpoint"
    )]
    StopId {
        /// The file that names it.
        origin: &'static str,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// An option with which no engine can work.
    #[error(transparent)]
    Engine(#[from] k25_engine::scheduler::ConfigError),
    /// Choices of the fast execution that contradict each other.
    #[error(transparent)]
    Execution(#[from] k25_model::fast::FastOptionsError),
    /// No thread for the engine.
    #[error(
        "cannot start the engine's thread: {0}\n  hint: the system may have too many threads already"
    )]
    Thread(io::Error),
    /// The address of a picture or film.
    #[error("{medium}: {source}")]
    Source {
        /// Which one.
        medium: String,
        /// What is wrong with it.
        source: SourceError,
    },
    /// The content of a picture or film.
    #[error("{medium}: {source}")]
    Media {
        /// Which one.
        medium: String,
        /// What is wrong with it.
        source: MediaError,
    },
    /// Media that do not fit the conversation or the model.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// Tool calls and results that do not fit together.
    #[error(transparent)]
    ToolIds(#[from] ToolIdError),
    /// A conversation without a message.
    #[error("the conversation is empty\n  hint: send at least one message")]
    Empty,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt_tokens} tokens, and there is room for {context_tokens} with the answer\n  \
         hint: {hint}"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Positions that the engine was given.
        context_tokens: usize,
        /// What to do.
        hint: &'static str,
    },
    /// The media leave no room for anything else.
    #[error(
        "the first {media} media of the conversation take {tokens} tokens, and there is room for \
         {context_tokens} with the answer\n  hint: show fewer or smaller pictures and films"
    )]
    MediaTooLong {
        /// How many were loaded.
        media: usize,
        /// Tokens that they take.
        tokens: usize,
        /// Positions that the engine was given.
        context_tokens: usize,
    },
    /// Prompt and answer together are too long.
    #[error(
        "{prompt_tokens} tokens of prompt and {max_tokens} of answer exceed the {context_tokens} that \
         there is room for\n  hint: {hint}"
    )]
    AnswerTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that were asked for.
        max_tokens: usize,
        /// Positions that the engine was given.
        context_tokens: usize,
        /// What to do.
        hint: &'static str,
    },
    /// Stop texts that are not looked for.
    #[error("`stop`: {reason}\n  hint: give a few short texts")]
    StopTexts {
        /// What is wrong with them.
        reason: String,
    },
    /// The cache would not fit in what the machine has left.
    #[error(
        "the cache for {context_tokens} tokens takes {}, and {} of memory are free\n  hint: keep room \
         for fewer tokens (--context N), or store them smaller (--cache int8)",
        amount(*cache_bytes), amount(*available)
    )]
    NoMemoryForCache {
        /// Positions that there would be room for.
        context_tokens: usize,
        /// Bytes of the cache.
        cache_bytes: usize,
        /// Bytes that are free.
        available: usize,
    },
    /// The model cannot stay below the limit.
    #[error(
        "the memory limit is {}, and this needs {}: weights that every token reads {}, experts of one \
         token {}, cache {}, the program {}\n  hint: raise --memory, keep room for fewer tokens \
         (--context N), or make weights and cache smaller (--dense int8 --activations int8, --cache int8)",
        amount(*limit), amount(*needed), amount(*always), amount(*experts), amount(*cache), amount(*process)
    )]
    MemoryLimit {
        /// The limit in bytes.
        limit: usize,
        /// Least bytes that would do.
        needed: usize,
        /// Mapped weights that every token reads.
        always: usize,
        /// Twice the experts that one token reads in a layer.
        experts: usize,
        /// The cache when it is full.
        cache: usize,
        /// What the process takes already.
        process: usize,
    },
    /// A form of the answer that cannot be enforced.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A tokenizer that cannot serve forms of answers.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The engine does not take the request.
    #[error(transparent)]
    Rejected(#[from] AdmissionError),
    /// The engine is gone.
    #[error(transparent)]
    Stopped(#[from] EngineStopped),
}
