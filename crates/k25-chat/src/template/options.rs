//! What a caller may choose about the rendering.

use thiserror::Error;

use crate::python_json::{JsonObject, JsonValue};

/// Options of [`render`](crate::render).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderOptions {
    /// The model reasons before it answers (the default), or answers at once ("instant").
    pub thinking: bool,
    /// Keep the reasoning of every answer in the history. K2.6 was trained for it; K2.5's own template
    /// always drops it.
    pub preserve_thinking: bool,
    /// End with the beginning of an assistant's message.
    pub add_generation_prompt: bool,
}

impl Default for RenderOptions {
    fn default() -> Self {
        RenderOptions {
            thinking: true,
            preserve_thinking: false,
            add_generation_prompt: true,
        }
    }
}

/// An option of the wrong type.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: expected a boolean, found {found}; hint: write true or false without quotes")]
pub struct KwargsError {
    /// The option.
    pub key: &'static str,
    /// What is there.
    pub found: &'static str,
}

impl RenderOptions {
    /// Reads the template's keyword arguments, the `chat_template_kwargs` of open servers. A null or
    /// absent one keeps its default; unknown ones are left alone, as the template does.
    pub fn from_kwargs(kwargs: &JsonObject) -> Result<Self, KwargsError> {
        let default = RenderOptions::default();
        Ok(RenderOptions {
            thinking: boolean(kwargs, "thinking")?.unwrap_or(default.thinking),
            preserve_thinking: boolean(kwargs, "preserve_thinking")?
                .unwrap_or(default.preserve_thinking),
            add_generation_prompt: boolean(kwargs, "add_generation_prompt")?
                .unwrap_or(default.add_generation_prompt),
        })
    }
}

fn boolean(kwargs: &JsonObject, key: &'static str) -> Result<Option<bool>, KwargsError> {
    match kwargs.get(key) {
        None | Some(JsonValue::Null) => Ok(None),
        Some(JsonValue::Bool(value)) => Ok(Some(*value)),
        Some(other) => Err(KwargsError {
            key,
            found: other.kind(),
        }),
    }
}
