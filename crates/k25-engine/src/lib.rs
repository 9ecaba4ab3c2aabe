//! Requests in, tokens out: the engine between a model's forward pass and whoever asks for text.
//!
//! The engine knows token ids, logits rows and cache blocks. It knows no text, no HTTP, no async
//! runtime and no arithmetic of the model.

pub mod grammar;
pub mod sampling;

pub use grammar::TokenMask;
pub use sampling::{Sampled, Sampler, SamplingParams};
