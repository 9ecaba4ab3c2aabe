//! What a caller does about a failure.

use k25_chat::{ChatError, ChatErrorKind};
use k25_engine::AdmissionError;

use crate::{LocalError, PromptError};

impl From<LocalError> for ChatError {
    fn from(error: LocalError) -> Self {
        let text = error.to_string();
        let split = text
            .split_once("\n  hint: ")
            .or_else(|| text.split_once("; hint: "));
        let (message, hint) = split.unwrap_or((&text, "change the request as the message says"));
        ChatError::new(kind(&error), message, hint)
    }
}

fn kind(error: &LocalError) -> ChatErrorKind {
    match error {
        LocalError::TooLong { .. }
        | LocalError::MediaTooLong { .. }
        | LocalError::AnswerTooLong { .. }
        | LocalError::Rejected(
            AdmissionError::BeyondContext { .. } | AdmissionError::BeyondCache { .. },
        ) => ChatErrorKind::ContextTooLong,
        LocalError::Rejected(AdmissionError::Busy { .. }) => ChatErrorKind::Overloaded,
        LocalError::Vocabulary(_) | LocalError::Prompt(PromptError::NoVision) => {
            ChatErrorKind::Unsupported
        }
        LocalError::Source { .. }
        | LocalError::Media { .. }
        | LocalError::Prompt(_)
        | LocalError::ToolIds(_)
        | LocalError::Empty
        | LocalError::StopTexts { .. }
        | LocalError::Constraint(_)
        | LocalError::Rejected(_) => ChatErrorKind::InvalidRequest,
        LocalError::Load(_)
        | LocalError::Adapter(_)
        | LocalError::Config(_)
        | LocalError::NoTokenizer { .. }
        | LocalError::Tokenizer(_)
        | LocalError::TooManyTokens { .. }
        | LocalError::MediaPad { .. }
        | LocalError::StopId { .. }
        | LocalError::Engine(_)
        | LocalError::Execution(_)
        | LocalError::Thread(_)
        | LocalError::NoMemoryForCache { .. }
        | LocalError::MemoryLimit { .. }
        | LocalError::Stopped(_) => ChatErrorKind::Server,
    }
}
