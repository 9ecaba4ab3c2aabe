//! Anthropic's Messages.
//!
//! - Reading: [`MessagesRequest::read`].
//! - Writing: [`MessageBuilder`] (whole), [`BlockWriter`] (the events of a stream). Both cut an answer
//!   into the same blocks: reasoning, text and tool calls in the order in which they were said.
//!
//! Without `thinking` in a request the model answers at once, as that form's clients expect. A last
//! message of the assistant is continued.

mod reply;
mod request;

pub use reply::{BlockWriter, MessageBuilder, MessageHead};
pub use request::MessagesRequest;
