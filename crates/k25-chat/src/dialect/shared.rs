//! Fields that Chat Completions and Responses write in the same words, at places of their own.

use super::fields::{Fields, Read};
use crate::client::{ResponseFormat, ToolChoice};
use crate::python_json::JsonValue;

/// Most alternatives per token, as in OpenAI's service.
pub(super) const MAX_TOP_LOGPROBS: u32 = 20;

/// `tool_choice`: a word, or an object from which `name` takes the function's.
pub(super) fn tool_choice(
    fields: &mut Fields,
    tools: &[JsonValue],
    hint: &'static str,
    name: impl FnOnce(&mut Fields) -> Read<String>,
) -> Read<ToolChoice> {
    const KEY: &str = "tool_choice";
    let choice = match fields.take(KEY) {
        None => ToolChoice::Auto,
        Some(JsonValue::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err(fields.fault(KEY, format!("{word:?} is no choice"), hint)),
        },
        Some(value) => {
            let mut value = Fields::of(value, KEY.to_owned(), hint)?;
            ToolChoice::Function(name(&mut value)?)
        }
    };
    choice.check(tools)?;
    Ok(choice)
}

/// Kimi's own switch, `thinking: {"type": …}`, where it is sent; what else is in it can be read after.
pub(super) fn thinking(fields: &mut Fields) -> Read<Option<(bool, Fields)>> {
    const HINT: &str = "send {\"type\": \"enabled\"} or {\"type\": \"disabled\"}";
    let Some(mut object) = fields.object("thinking", HINT)? else {
        return Ok(None);
    };
    let thinks = match object.string("type")?.as_deref() {
        None | Some("enabled") => true,
        Some("disabled") => false,
        Some(other) => return Err(object.fault("type", format!("{other:?} is no mode"), HINT)),
    };
    Ok(Some((thinks, object)))
}

/// The form of an answer by its type; `schema` reads what stands with `json_schema`.
pub(super) fn response_format(
    format: &mut Fields,
    hint: &'static str,
    schema: impl FnOnce(&mut Fields) -> Read<ResponseFormat>,
) -> Read<ResponseFormat> {
    match format.string("type")?.as_deref() {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => schema(format),
        _ => Err(format.fault("type", "missing or unknown", hint)),
    }
}

/// A schema with its name, and whether it is to be kept to.
pub(super) fn json_schema(body: &mut Fields, hint: &'static str) -> Read<ResponseFormat> {
    let schema = body.take("schema");
    let schema = schema.ok_or_else(|| body.fault("schema", "missing", hint))?;
    if !matches!(schema, JsonValue::Object(_) | JsonValue::Bool(_)) {
        return Err(body.fault("schema", "expected an object", hint));
    }
    Ok(ResponseFormat::JsonSchema {
        name: body.string("name")?.unwrap_or_default(),
        schema,
        strict: body.boolean("strict")?.unwrap_or(false),
    })
}
