//! Tools: what an agent may do, and the gate that every call goes through.

pub mod approval;
mod define_table;
mod open;
mod repair;
mod schema;
mod search;
mod submit_rows;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k25_chat::JsonValue;
use serde_json::{Value, json};

use crate::event::{Call, EventKind};

pub use define_table::{AmendTable, DefineTable};
pub use open::{Open, OpenLimits};
pub use repair::repaired_json;
pub use schema::{SchemaFault, fit, normalise_schema};
pub use search::Search;
pub use submit_rows::SubmitRows;

/// What happens to the world when a tool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing: it may run again, and the same call has the same result.
    Pure,
    /// The same call a second time changes nothing more.
    Idempotent,
    /// It must not happen twice: after a crash without a result it is not repeated.
    Once,
}

/// Sorts of failure of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No tool of this name.
    UnknownTool,
    /// The arguments are no JSON or do not fit the schema.
    Arguments,
    /// What was asked for does not exist or is not allowed.
    Refused,
    /// It took too long.
    Timeout,
    /// It failed in a way that may pass.
    Transient,
    /// It failed.
    Internal,
    /// The run's budget has no call left for it.
    Budget,
    /// The run was cancelled meanwhile.
    Cancelled,
    /// Whether it happened is not known.
    Unknown,
}

impl FailureKind {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::UnknownTool => "unknown_tool",
            FailureKind::Arguments => "arguments",
            FailureKind::Refused => "refused",
            FailureKind::Timeout => "timeout",
            FailureKind::Transient => "transient",
            FailureKind::Internal => "internal",
            FailureKind::Budget => "budget",
            FailureKind::Cancelled => "cancelled",
            FailureKind::Unknown => "unknown",
        }
    }
}

/// A failed call, in words for a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// What sort of failure.
    pub kind: FailureKind,
    /// What is wrong, and the smallest hint of what would be right.
    pub message: String,
}

impl ToolError {
    /// A failure.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        ToolError {
            kind,
            message: message.into(),
        }
    }
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolOutput {
    /// What the model reads.
    pub text: String,
    /// What happened; kept together with the result or not at all.
    pub events: Vec<EventKind>,
    /// The agent's task is done with this.
    pub ends_task: bool,
}

impl From<String> for ToolOutput {
    fn from(text: String) -> Self {
        ToolOutput {
            text,
            ..ToolOutput::default()
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallContext {
    /// The task.
    pub task: String,
    /// The call's id.
    pub call: String,
    /// Calls of the same tool in the same turn.
    pub group: usize,
}

/// A call at work.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Result<ToolOutput, ToolError>> + Send + 'a>>;

/// Something that an agent can do.
pub trait Tool: Send + Sync {
    /// The name that models call.
    fn name(&self) -> &str;

    /// What it does, in a sentence or two.
    fn description(&self) -> &str;

    /// The schema of its arguments, in the model's dialect (see [`normalise_schema`]).
    fn schema(&self) -> Value;

    /// What happens to the world.
    fn effect(&self) -> Effect {
        Effect::Pure
    }

    /// How long a call may take; `None` where it has limits of its own.
    fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    /// Longest result, in bytes; the rest is cut off, with a note.
    fn max_output_bytes(&self) -> usize {
        32_000
    }

    /// Runs it. The arguments fit the schema.
    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_>;
}

/// The tools of an agent. Cheap to clone.
#[derive(Clone, Default)]
pub struct Toolset {
    tools: Vec<Arc<dyn Tool>>,
}

impl std::fmt::Debug for Toolset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.tools.iter().map(|tool| tool.name()))
            .finish()
    }
}

impl Toolset {
    /// These tools, declared in this order.
    pub fn new(tools: Vec<Arc<dyn Tool>>) -> Self {
        Toolset { tools }
    }

    /// With one tool more.
    #[must_use]
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.push(tool);
        self
    }

    /// Without the tools of these names.
    #[must_use]
    pub fn without(&self, names: &[String]) -> Self {
        let stays = |tool: &&Arc<dyn Tool>| !names.iter().any(|name| name == tool.name());
        Toolset {
            tools: self.tools.iter().filter(stays).cloned().collect(),
        }
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.iter().find(|tool| tool.name() == name)
    }

    /// The declarations, in the OpenAI form. The same tools give the same bytes.
    pub fn declarations(&self) -> Vec<JsonValue> {
        let declare = |tool: &Arc<dyn Tool>| {
            let declaration = json!({"type": "function", "function": {
                "name": tool.name(),
                "description": tool.description(),
                "parameters": tool.schema(),
            }});
            JsonValue::try_from(declaration).expect("schemas are not nested deeply")
        };
        self.tools.iter().map(declare).collect()
    }

    /// The gate: finds the tool, reads and mends the arguments, fits them to its schema.
    ///
    /// # Errors
    /// A [`ToolError`] whose message tells the model how to mend the call.
    pub fn admit(&self, call: &Call) -> Result<(Arc<dyn Tool>, Value), ToolError> {
        let Some(tool) = self.get(&call.name) else {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name()).collect();
            let message = format!("no tool {:?}; there are: {}", call.name, names.join(", "));
            return Err(ToolError::new(FailureKind::UnknownTool, message));
        };
        let fault = |message: String| ToolError::new(FailureKind::Arguments, message);
        let arguments = repaired_json(&call.arguments)
            .ok_or_else(|| fault(what_is_no_object(&call.arguments)))?;
        let arguments = fit(&tool.schema(), arguments).map_err(|error| fault(error.to_string()))?;
        Ok((Arc::clone(tool), arguments))
    }
}

/// What is wrong with arguments that are no object, and where.
fn what_is_no_object(arguments: &str) -> String {
    const MESSAGE: &str = "the arguments are no JSON object";
    match serde_json::from_str::<serde_json::Map<String, Value>>(arguments) {
        Ok(_) => MESSAGE.to_owned(),
        Err(error) => format!("{MESSAGE}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Tool for Echo {
        fn name(&self) -> &str {
            "echo"
        }
        fn description(&self) -> &str {
            "Say it."
        }
        fn schema(&self) -> Value {
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
        }
        fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
            Box::pin(std::future::ready(Ok(arguments.to_string().into())))
        }
    }

    #[test]
    fn the_gate_mends_what_it_can_and_hints_at_the_rest() {
        let tools = Toolset::new(vec![Arc::new(Echo)]);
        let admit = |name: &str, arguments: &str| {
            let call = Call {
                id: "x".to_owned(),
                name: name.to_owned(),
                arguments: arguments.to_owned(),
            };
            tools
                .admit(&call)
                .map(|(_, value)| value.to_string())
                .map_err(|e| e.message)
        };
        assert_eq!(admit("echo", "{\"n\": \"3\"}").unwrap(), "{\"n\":3}");
        assert_eq!(
            admit("echo", "```json\n{\"n\": 3,}\n```").unwrap(),
            "{\"n\":3}"
        );
        assert_eq!(admit("echo", "{\"n\": 3").unwrap(), "{\"n\":3}");
        assert_eq!(admit("echo", "{}").unwrap_err(), "n is missing");
        assert_eq!(
            admit("echo", "{\"n\": \"x\"}").unwrap_err(),
            "n must be integer, not \"x\""
        );
        assert_eq!(
            admit("eco", "{}").unwrap_err(),
            "no tool \"eco\"; there are: echo"
        );
        assert_eq!(
            admit("echo", "hello").unwrap_err(),
            "the arguments are no JSON object: expected value at line 1 column 1"
        );
        assert_eq!(
            admit("echo", "{\"n\": 3\"}").unwrap_err(),
            "the arguments are no JSON object: expected `,` or `}` at line 1 column 8"
        );
    }
}
