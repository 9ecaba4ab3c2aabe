//! Requests in, tokens out: the engine between a model's forward pass and whoever asks for text.
//!
//! One synchronous loop: the [`Scheduler`] plans a [`Batch`], a [`ModelRunner`] computes it, the
//! [`Sampler`] chooses tokens, and the scheduler counts them. The engine knows token ids, logits rows
//! and numbered cache blocks. It knows no text, no HTTP, no async runtime and no arithmetic of the
//! model.

pub mod batch;
pub mod engine;
pub mod fast_runner;
pub mod features;
pub mod grammar;
pub mod paged_cache;
pub mod prompt;
pub mod reference_runner;
pub mod request;
pub mod runner;
pub mod sampling;
pub mod scheduler;
pub mod speculation;

pub use batch::{Batch, Span};
pub use engine::{Engine, EngineHandle, Snapshot, spawn};
pub use fast_runner::FastRunner;
pub use grammar::{Grammar, TokenMask};
pub use paged_cache::{BlockCopy, BlockId, Sharing};
pub use prompt::{ContentHash, InputRow, MediaItem, MediaSpan, Prompt};
pub use reference_runner::ReferenceRunner;
pub use request::{Event, EventSink, FinishReason, Priority, Request, RequestId, event_channel};
pub use runner::ModelRunner;
pub use sampling::{Sampled, Sampler, SamplingParams};
pub use scheduler::{AdmissionError, Scheduler, SchedulerConfig};
pub use speculation::PromptLookup;
