//! Why a model gave no answer, and whether to ask again.

use std::time::Duration;

use thiserror::Error;

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}; hint: {hint}")]
pub struct ChatError {
    /// What sort of failure.
    pub kind: ChatErrorKind,
    /// What happened, and to what.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// How long to wait, where the other side said it.
    pub retry_after: Option<Duration>,
}

/// Sorts of failure, told apart where a caller would do something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChatErrorKind {
    /// The request is not valid.
    InvalidRequest,
    /// Prompt and answer do not fit the model's context: shorten the history.
    ContextTooLong,
    /// The client or the model cannot do what was asked.
    Unsupported,
    /// No such model.
    ModelNotFound,
    /// No key, or a wrong one.
    Authentication,
    /// The key may not do this.
    PermissionDenied,
    /// The account has nothing left to spend.
    QuotaExceeded,
    /// The content was refused.
    ContentFilter,
    /// Too many requests or tokens in this minute.
    RateLimited,
    /// The other side is too busy.
    Overloaded,
    /// No answer in time.
    Timeout,
    /// The connection failed or broke off.
    Connection,
    /// The other side failed.
    Server,
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No.
    Never,
    /// Yes, after a while that grows from attempt to attempt.
    Backoff,
    /// Yes, after this time.
    After(Duration),
}

impl ChatError {
    /// An error without a time to wait.
    pub fn new(kind: ChatErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        ChatError {
            kind,
            message: message.into(),
            hint: hint.into(),
            retry_after: None,
        }
    }

    /// Whether to send the same request again.
    pub fn retry(&self) -> Retry {
        match (self.kind.is_transient(), self.retry_after) {
            (false, _) => Retry::Never,
            (true, None) => Retry::Backoff,
            (true, Some(time)) => Retry::After(time),
        }
    }
}

impl ChatErrorKind {
    /// The cause may pass by itself.
    pub fn is_transient(self) -> bool {
        use ChatErrorKind::{Connection, Overloaded, RateLimited, Server, Timeout};
        matches!(
            self,
            RateLimited | Overloaded | Timeout | Connection | Server
        )
    }
}
