//! The checkpoint's `config.json` as one typed, validated [`ModelConfig`].
//!
//! Kimi K2.5, K2.6, K2, Moonlight and DeepSeek-V3 are one architecture with different numbers:
//! everything that differs between them is a field here, nothing is a code path elsewhere.
//!
//! Reading has two stages. The first turns JSON into typed numbers and finds every value that is
//! missing, of the wrong type or out of its range; the second looks at the numbers against each
//! other. Each stage reports all that it finds, as [`Problem`]s that name the field by its full
//! path, its value, the reason and what to do.

mod error;
mod fields;
mod file;
mod generation;
mod limits;
mod media;
mod model;
mod parse;
mod quantization;

pub use error::{ConfigError, Problem};
pub use file::MAX_CONFIG_BYTES;
pub use generation::GenerationConfig;
pub use media::MediaConfig;
pub use model::parameters::Parameters;
pub use model::{ModelConfig, TextConfig, VisionConfig, Yarn};
pub use quantization::Quantization;
