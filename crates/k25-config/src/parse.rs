//! Stage one for `config.json`: JSON to typed numbers, each within its own range.
//! Stage two is in [`check`].

mod check;
mod text;
mod vision;

use std::path::Path;

use serde_json::Value;

use crate::fields::{Fields, Problems};
use crate::file::{parse_json, read_json};
use crate::model::checkpoint_json::NESTED_MODEL_TYPE;
use crate::{ConfigError, ModelConfig, Quantization, quantization};

/// Model types whose language model lies at the top level of the file.
const FLAT_MODEL_TYPES: [&str; 2] = ["kimi_k2", "deepseek_v3"];

impl ModelConfig {
    /// Reads the `config.json` at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not JSON, or describes no model that k25 computes; the
    /// last names every field at fault.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        from_value(&read_json(path)?, &path.display().to_string())
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// As [`ModelConfig::from_file`].
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let origin = "the configuration";
        from_value(&parse_json(json.as_ref(), origin)?, origin)
    }
}

fn from_value(value: &Value, origin: &str) -> Result<ModelConfig, ConfigError> {
    let problems = Problems::default();
    let config = Fields::top(value, &problems).and_then(|top| read(&top));
    problems.stop_if_any(origin)?;
    let config = config.ok_or_else(|| ConfigError::Invalid {
        origin: origin.to_owned(),
        problems: Vec::new(),
    })?;
    let nested = value.get("text_config").is_some_and(Value::is_object);
    check::check(&config, if nested { "text_config." } else { "" }, &problems);
    problems.stop_if_any(origin)?;
    Ok(config)
}

/// Reads every field; `None` where nothing can be read at all, which has been noted.
fn read(top: &Fields<'_>) -> Option<ModelConfig> {
    let model_type = model_type(top)?;
    let nested = top.child("text_config");
    if nested.is_none() && model_type == NESTED_MODEL_TYPE {
        if top.value("text_config").is_none() {
            top.note(
                "text_config",
                "must be there",
                "a kimi_k25 file holds its language model under this name",
            );
        }
        return None;
    }
    if let Some(text) = &nested {
        text_model_type(text);
    }
    let text = nested.as_ref().unwrap_or(top);
    // Ids and the quantisation are written at both levels by some tools; the top level is the one
    // that later releases edit, the quantisation is published in the inner one.
    let holder = |name: &str| if top.value(name).is_some() { top } else { text };
    let quantization =
        quantization::read(text).or_else(|| nested.as_ref().and_then(|_| quantization::read(top)));
    Some(ModelConfig {
        text: text::read(text, top),
        vision: vision::read(top),
        media_placeholder_token_id: top
            .token_id(top.first_present(&["media_placeholder_token_id", "image_token_id"])),
        bos_token_id: holder("bos_token_id").token_id("bos_token_id"),
        eos_token_ids: holder("eos_token_id").token_ids("eos_token_id"),
        pad_token_id: holder("pad_token_id").token_id("pad_token_id"),
        quantization: quantization.unwrap_or(Quantization::None),
        model_type,
    })
}

fn model_type(top: &Fields<'_>) -> Option<String> {
    let known = format!(
        "k25 computes {NESTED_MODEL_TYPE}, {}",
        FLAT_MODEL_TYPES.join(" and ")
    );
    if top.value("model_type").is_none() {
        top.note("model_type", "must be there", known);
        return None;
    }
    let model_type = top.text("model_type")?;
    if model_type != NESTED_MODEL_TYPE && !FLAT_MODEL_TYPES.contains(&model_type) {
        top.note("model_type", "is another architecture", known);
        return None;
    }
    Some(model_type.to_owned())
}

fn text_model_type(text: &Fields<'_>) {
    let known = format!("k25 computes {}", FLAT_MODEL_TYPES.join(" and "));
    if text
        .text("model_type")
        .is_some_and(|found| !FLAT_MODEL_TYPES.contains(&found))
    {
        text.note("model_type", "is another architecture", known);
    }
}
