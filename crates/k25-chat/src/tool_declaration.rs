//! The declaration of tools at the head of a prompt: TypeScript, or JSON where that fails.
//!
//! The reference sorts the keys of the tools, writes the functions as TypeScript types and, if any of
//! them has a schema that its encoder does not take, prints all of them as JSON. Both are reproduced
//! to the character, oddities included, since the model was trained on them: an interface printed
//! with `True` and `None`, a description of an alternative that is dropped.
//!
//! Source: specification section 6.1.

mod schema;
mod typescript;

use thiserror::Error;

use crate::python_json::{JsonObject, JsonValue};
pub use schema::SchemaProblem;

/// What stands in the `tool_declare` block of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// TypeScript or JSON.
    pub text: String,
    /// Why it is JSON and not TypeScript.
    pub fallback: Option<DeclarationError>,
}

/// Why tools cannot be declared as TypeScript.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeclarationError {
    /// A function's schema is outside of what the encoder takes.
    #[error(
        "tools[{index}] `{name}`: {path}: {problem}; hint: all tools are declared to the model as \
         JSON instead, which works less well"
    )]
    Schema {
        /// Number of the tool.
        index: usize,
        /// The function's name.
        name: String,
        /// The place in its schema, as in `parameters.position`.
        path: String,
        /// What is wrong there.
        problem: SchemaProblem,
    },
    /// Something that is no tool at all.
    #[error(
        "tools[{index}]: not of the form {{\"type\": \"function\", \"function\": {{…}}}}; hint: all \
         tools are declared to the model as JSON instead, which works less well"
    )]
    NoTool {
        /// Number of the tool.
        index: usize,
    },
    /// Tools, but no function among them.
    #[error(
        "no tool is of the type \"function\"; hint: they are declared to the model as JSON instead, \
         which works less well"
    )]
    NoFunction,
}

/// Declares tools in the OpenAI form, as the reference's tokenizer and template do.
pub fn declare_tools(tools: &[JsonValue]) -> Declaration {
    let sorted: Vec<JsonValue> = tools.iter().map(JsonValue::sorted_deep).collect();
    let fallback = match encode_functions(&sorted) {
        Ok(text) if !text.is_empty() => {
            return Declaration {
                text,
                fallback: None,
            };
        }
        Ok(_) => DeclarationError::NoFunction,
        Err(error) => error,
    };
    let text = JsonValue::Array(sorted).to_compact_json();
    Declaration {
        text,
        fallback: Some(fallback),
    }
}

/// The functions among the tools as TypeScript, empty if there are none.
pub fn typescript_declaration(tools: &[JsonValue]) -> Result<String, DeclarationError> {
    let sorted: Vec<JsonValue> = tools.iter().map(JsonValue::sorted_deep).collect();
    encode_functions(&sorted)
}

fn encode_functions(sorted_tools: &[JsonValue]) -> Result<String, DeclarationError> {
    let mut functions = String::new();
    for (index, tool) in sorted_tools.iter().enumerate() {
        let Some(function) = function_of(tool, index)? else {
            continue;
        };
        let written = typescript::function(function).and_then(|text| {
            functions.push_str(&text);
            functions.push('\n');
            typescript::check_length(&functions)
        });
        written.map_err(|fault| DeclarationError::Schema {
            index,
            name: typescript::function_name(function),
            path: fault.path(),
            problem: fault.problem,
        })?;
    }
    if functions.is_empty() {
        return Ok(functions);
    }
    Ok(format!(
        "# Tools\n\n## functions\nnamespace functions {{\n{functions}}}\n"
    ))
}

/// The function of a tool; tools of another type and empty ones are passed over.
fn function_of(tool: &JsonValue, index: usize) -> Result<Option<&JsonObject>, DeclarationError> {
    let tool = tool.as_object().ok_or(DeclarationError::NoTool { index })?;
    if tool.get("type").and_then(JsonValue::as_str) != Some("function") {
        return Ok(None);
    }
    match tool.get("function") {
        Some(JsonValue::Object(function)) if !function.is_empty() => Ok(Some(function)),
        Some(function) if function.is_truthy() => Err(DeclarationError::NoTool { index }),
        _ => Ok(None),
    }
}
