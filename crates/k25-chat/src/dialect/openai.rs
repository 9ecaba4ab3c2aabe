//! OpenAI's Chat Completions, with what Kimi's service and open servers add to it.
//!
//! - Reading: [`CompletionRequest::read`] (server), [`ChunkReader`] (client).
//! - Writing: [`CompletionWriter`], [`ChunkWriter`] (server), [`write_request`] (client).
//!
//! Reasoning travels as `reasoning_content` beside `content`, and before it in streams. Tool calls keep
//! the ids that the model wrote. Source: specification of the service surface, section 6.

mod body;
mod chunk_reader;
mod kimi_rules;
mod reply;
mod request;
mod request_writer;

pub use chunk_reader::{ChunkError, ChunkReader};
pub use reply::{Choice, ChunkWriter, CompletionWriter, ReplyHead};
pub use request::{CompletionRequest, MAX_CHOICES, Rules};
pub use request_writer::{UsageWish, message_value, write_request};
