//! The checkpoint's `config.json` as one typed, validated [`ModelConfig`].
//!
//! Kimi K2.5, K2.6, K2, Moonlight and DeepSeek-V3 are one architecture with different numbers:
//! everything that differs between them is a field here, nothing is a code path elsewhere.

mod model;

pub use model::{ModelConfig, TextConfig, VisionConfig, Yarn};
