//! What can go wrong with a run.

use std::io;
use std::path::{Path, PathBuf};

use k25_chat::{MessageError, TokenizerError};
use k25_local::LocalError;
use k25_model::{CheckpointError, LoadError};

/// Why a run cannot begin, go on, or be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The run's configuration is not what it should be.
    #[error("{}: {problem}\n  hint: {hint}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A line of a data file cannot be read.
    #[error("{} line {line}: {problem}\n  hint: {hint}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A conversation is not one.
    #[error("{} line {line}: {source}", path.display())]
    Conversation {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong.
        source: MessageError,
    },
    /// A picture or a film of a conversation cannot be shown.
    #[error("{} line {line}: {source}", path.display())]
    Media {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong.
        source: Box<LocalError>,
    },
    /// A data source has nothing to train on.
    #[error("{} holds no document of at least two tokens that fits {context} tokens\n  hint: check the file, or raise `context`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// Longest sequence of the run.
        context: usize,
    },
    /// The state of a run does not belong to this configuration.
    #[error("{}: {problem}\n  hint: {hint}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// Something is there already.
    #[error("{} is not empty\n  hint: give a new folder: nothing is ever overwritten", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The loss or the gradient is no number any more.
    #[error(
        "step {step}: the {what} is not finite\n  hint: lower the peak learning rate, or resume from the last checkpoint with `clip_norm` set"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// Loss or gradient.
        what: &'static str,
    },
    /// A run to record lessons from went wrong.
    #[error(
        "recorded run {index}: {problem}\n  hint: this is a fault of the generator; another --seed avoids it"
    )]
    Recording {
        /// Which run.
        index: u64,
        /// What happened.
        problem: String,
    },
    /// The checkpoint that adapters belong to cannot be opened.
    #[error(
        "the base model {} cannot be opened: {source}\n  hint: adapters need the checkpoint that model.start_from names: put it \
         back there",
        dir.display()
    )]
    Base {
        /// The folder that the configuration names.
        dir: PathBuf,
        /// What is wrong with it.
        source: Box<LoadError>,
    },
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl TrainError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
