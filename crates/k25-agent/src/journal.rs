//! The journal: events of one run, appended and never changed.
//!
//! A [`Journal`] promises three things, and `tests/journal.rs` holds every implementation to them: the
//! events of one append are kept together or not at all; when an append has returned, they survive
//! the end of the process; and reading gives them back in the order of their numbers.

mod memory;
mod sqlite;

use std::future::Future;
use std::pin::Pin;

use thiserror::Error;

use crate::event::{Event, EventKind};

pub use memory::MemoryJournal;
pub use sqlite::SqliteJournal;

/// Why events cannot be kept or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("journal {path}: {problem}; hint: {hint}")]
    Storage {
        /// The file.
        path: String,
        /// What happened.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The chain of hashes is broken.
    #[error(
        "journal {path}: event {seq} was changed after it was written; hint: restore the file from a \
         copy; what `show` prints may be wrong"
    )]
    Broken {
        /// The file.
        path: String,
        /// The first event that does not fit.
        seq: u64,
    },
    /// Another process writes to it.
    #[error("journal {path}: another k25 works on this run; hint: wait for it, or end it first")]
    Busy {
        /// The file.
        path: String,
    },
}

/// A future of an append.
pub type Appending<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<Event>, JournalError>> + Send + 'a>>;

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The task it belongs to.
    pub task: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub kind: EventKind,
}

/// Keeps the events of one run.
pub trait Journal: Send + Sync {
    /// Appends events, all or none, and returns them with their numbers once they are safe.
    fn append(&self, events: Vec<NewEvent>) -> Appending<'_>;

    /// All events, oldest first.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn read(&self) -> Result<Vec<Event>, JournalError>;
}
