//! `generation_config.json`, of which only the end ids mean anything here.

use std::path::Path;

use serde_json::Value;

use crate::ConfigError;
use crate::fields::{Fields, Problems};
use crate::file::{parse_json, read_json};

/// What the checkpoint says about generating: the ids that end an answer.
///
/// The sampling numbers in that file are defaults of a library, not recommendations (spec:
/// architecture §1, §8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GenerationConfig {
    /// Ids that end an answer; empty where the file names none.
    pub eos_token_ids: Vec<u32>,
}

impl GenerationConfig {
    /// Reads the `generation_config.json` at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not JSON, or its end ids are not ids.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        from_value(&read_json(path)?, &path.display().to_string())
    }

    /// Reads the text of a `generation_config.json`.
    ///
    /// # Errors
    /// As [`GenerationConfig::from_file`].
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let origin = "the generation configuration";
        from_value(&parse_json(json.as_ref(), origin)?, origin)
    }
}

fn from_value(value: &Value, origin: &str) -> Result<GenerationConfig, ConfigError> {
    let problems = Problems::default();
    let eos_token_ids = Fields::top(value, &problems)
        .map(|top| top.token_ids("eos_token_id"))
        .unwrap_or_default();
    problems.stop_if_any(origin)?;
    Ok(GenerationConfig { eos_token_ids })
}
