//! One tool of a server, as an agent sees it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k25_agent::documents::without_hidden;
use k25_agent::tools::{
    CallContext, Calling, Effect, FailureKind, Tool, ToolError, ToolOutput, normalise_schema,
};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool as RemoteTool};
use serde_json::{Value, json};

use super::connection::Connection;
use crate::config::is_plain;

/// Longest name, description and schema of a tool that models are shown.
const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 1_024;
const MAX_SCHEMA: usize = 16_384;
/// Longest message of an error.
const MAX_ERROR: usize = 2_000;
/// Longest result that is kept before the runtime cuts it.
const MAX_RESULT: usize = 1 << 20;

/// A tool of a server.
pub(super) struct McpTool {
    connection: Arc<Connection>,
    /// What models call it.
    name: String,
    /// What the server calls it.
    remote: String,
    description: String,
    schema: Value,
    effect: Effect,
}

impl McpTool {
    /// The tool under a name that is not taken yet.
    pub(super) fn new(
        connection: &Arc<Connection>,
        remote: &RemoteTool,
        taken: &mut HashSet<String>,
    ) -> Self {
        let description = remote.description.as_deref().unwrap_or_default();
        let schema = Value::Object((*remote.input_schema).clone());
        McpTool {
            name: name(connection.name(), &remote.name, taken),
            remote: remote.name.to_string(),
            description: shortened(&without_hidden(description), MAX_DESCRIPTION),
            schema: bounded_schema(&schema),
            effect: effect(remote),
            connection: Arc::clone(connection),
        }
    }
}

impl Tool for McpTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn schema(&self) -> Value {
        self.schema.clone()
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn timeout(&self) -> Option<Duration> {
        // The connection's own limit comes first, with a better message.
        Some(self.connection.timeout() + self.connection.start_time())
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        Box::pin(async move {
            let arguments = arguments.as_object().cloned().unwrap_or_default();
            let result = self.connection.call(&self.remote, arguments).await?;
            let text = text_of(&result);
            match result.is_error {
                Some(true) => {
                    let text = shortened(&text, MAX_ERROR);
                    Err(ToolError::new(FailureKind::Refused, text))
                }
                _ => Ok(ToolOutput::from(text)),
            }
        })
    }
}

/// `server__tool`, of letters that every model and endpoint takes, and unlike all before.
fn name(server: &str, tool: &str, taken: &mut HashSet<String>) -> String {
    let plain = tool.chars().map(|c| {
        if c.is_ascii() && is_plain(c as u8) {
            c
        } else {
            '_'
        }
    });
    let mut name: String = server.chars().chain("__".chars()).chain(plain).collect();
    name.truncate(MAX_NAME);
    let mut number = 2;
    let mut unique = name.clone();
    while !taken.insert(unique.clone()) {
        let end = format!("_{number}");
        name.truncate(MAX_NAME - end.len());
        unique = format!("{name}{end}");
        number += 1;
    }
    unique
}

/// What it does to the world, if its server is to be believed; without a word, the worst.
fn effect(tool: &RemoteTool) -> Effect {
    let says = tool.annotations.as_ref();
    let reads = says.and_then(|says| says.read_only_hint) == Some(true);
    let repeats = says.and_then(|says| says.idempotent_hint) == Some(true);
    if reads || repeats {
        Effect::Idempotent
    } else {
        Effect::Once
    }
}

/// The schema in the model's dialect; one that is too long for a prompt becomes any object, and the
/// server checks its arguments itself.
fn bounded_schema(schema: &Value) -> Value {
    let normal = normalise_schema(schema);
    match normal.to_string().len() {
        0..=MAX_SCHEMA => normal,
        _ => json!({"type": "object", "properties": {}}),
    }
}

/// What a model can read of a result. Pictures and sounds are named, not shown.
fn text_of(result: &CallToolResult) -> String {
    let mut parts: Vec<String> = Vec::new();
    for block in &result.content {
        parts.push(match block {
            ContentBlock::Text(text) => text.text.clone(),
            ContentBlock::Image(image) => format!("[picture, {}]", image.mime_type),
            ContentBlock::Audio(audio) => format!("[sound, {}]", audio.mime_type),
            ContentBlock::Resource(resource) => match &resource.resource {
                ResourceContents::TextResourceContents { text, .. } => text.clone(),
                _ => "[a file that is not text]".to_owned(),
            },
            ContentBlock::ResourceLink(link) => format!("[{}]", link.uri),
            _ => "[something that is not text]".to_owned(),
        });
    }
    if parts.is_empty()
        && let Some(value) = &result.structured_content
    {
        parts.push(value.to_string());
    }
    let text = parts.join("\n");
    readable(&text[..text.floor_char_boundary(MAX_RESULT)])
}

/// Without characters that nobody sees.
pub(super) fn readable(text: &str) -> String {
    without_hidden(&text[..text.floor_char_boundary(MAX_RESULT)])
}

fn shortened(text: &str, bytes: usize) -> String {
    match text.floor_char_boundary(bytes) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_differ() {
        let mut taken = HashSet::new();
        assert_eq!(name("a", "b.c/ü", &mut taken), "a__b_c__");
        assert_eq!(name("a", "b_c_é", &mut taken), "a__b_c___2");
        let long = "x".repeat(200);
        let first = name("a", &long, &mut taken);
        let second = name("a", &long, &mut taken);
        assert!(first.len() <= MAX_NAME && second.len() <= MAX_NAME && first != second);
    }

    #[test]
    fn schemas_that_are_too_long_take_any_object() {
        let many: serde_json::Map<String, Value> = (0..2_000)
            .map(|n| (format!("p{n}"), json!({"type": "string"})))
            .collect();
        let schema = json!({"type": "object", "properties": many});
        assert_eq!(
            bounded_schema(&schema),
            json!({"type": "object", "properties": {}})
        );
    }
}
