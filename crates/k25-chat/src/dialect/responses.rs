//! OpenAI's Responses.
//!
//! - Reading: [`ResponsesRequest::read`]. The input's items become messages: reasoning, text and calls of
//!   one turn are one message of the assistant.
//! - Writing: [`ResponseWriter`], the events of a stream and the whole object from the same items.
//!
//! Nothing is kept from one request to the next: a conversation is sent whole, as with Chat Completions.

mod reply;
mod request;

pub use reply::{ResponseHead, ResponseWriter};
pub use request::ResponsesRequest;
