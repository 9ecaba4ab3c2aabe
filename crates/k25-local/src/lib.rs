//! A checkpoint folder that answers conversations: template, tokenizer, media, model and parsers
//! put together.
//!
//! [`LocalModel::open`] reads a folder and starts an engine on a thread of its own. A conversation
//! is [prepared](LocalModel::prepare) (rendered, its media loaded, encoded) and
//! [answered](LocalModel::answer): the [`Answer`] is an iterator over reasoning, text and tool calls
//! as they come. Nothing here knows HTTP or an async runtime.

mod answer;
mod error;
mod local_model;
mod media;
mod prompt;
mod runner;
mod source;
mod stop;

pub use answer::{Answer, FinishReason, Finished, LocalEvent, Progress, Timing};
pub use error::LocalError;
pub use k25_engine::SamplingParams;
pub use k25_engine::request::Usage;
pub use local_model::{LocalModel, LocalOptions, Prepared};
pub use media::{FileAccess, MediaLoader};
pub use prompt::{PreparedMedia, PromptError, PromptInput, assemble};
pub use runner::Execution;
pub use source::{MediaSource, SourceError};
