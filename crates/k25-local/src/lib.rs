//! A checkpoint folder that answers conversations: template, tokenizer, media, model and parsers
//! put together.
//!
//! [`LocalModel::open`] reads a folder and starts an engine on a thread of its own. A conversation
//! is [prepared](LocalModel::prepare) (rendered, its media loaded, encoded) and
//! [answered](LocalModel::answer): the [`Answer`] is an iterator over reasoning, text and tool calls
//! as they come. [`LocalClient`] is the same as a [`ChatClient`](k25_chat::ChatClient): a stream for
//! whoever is asynchronous. Nothing here knows HTTP or an async runtime.

mod answer;
mod client;
mod error;
mod grammar;
mod local_model;
mod media;
mod memory;
mod prompt;
mod runner;
mod source;
mod stop;
mod stop_texts;
mod token_reader;

pub use answer::{Answer, FinishReason, Finished, LocalEvent, Progress, Timing};
pub use client::LocalClient;
pub use error::LocalError;
pub use k25_engine::request::Usage;
pub use k25_engine::{Priority, SamplingParams, Snapshot};
pub use k25_grammar::{AnswerForm, CallRule, ConstraintError};
pub use k25_model::fast::{ActivationFormat, DenseFormat, FastOptions, LatentFormat};
pub use local_model::{AnswerOptions, LocalModel, LocalOptions, Prepared};
pub use media::{FileAccess, MediaLoader};
pub use prompt::{PreparedMedia, PromptError, PromptInput, assemble, place_media, tokens};
pub use runner::Execution;
pub use source::{MediaSource, SourceError};
pub use stop_texts::{MAX_STOP_TEXT_BYTES, MAX_STOP_TEXTS};
