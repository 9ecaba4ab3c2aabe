//! `define_table`: how the columns of a run come about where nobody gave them.

use serde_json::{Value, json};

use super::{CallContext, Calling, Effect, FailureKind, Tool, ToolError, ToolOutput};
use crate::contract::{Column, Contract};
use crate::event::EventKind;

/// Freezes the columns that a model proposes.
pub struct DefineTable;

impl Tool for DefineTable {
    fn name(&self) -> &str {
        "define_table"
    }

    fn description(&self) -> &str {
        "Fix the columns of the table. Mark with key what tells rows apart."
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {"columns": {"type": "array", "minItems": 1, "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "type": {"type": "string",
                        "enum": ["text", "number", "integer", "date", "boolean", "url", "note"]},
                    "key": {"type": "boolean"},
                    "meaning": {"type": "string"},
                    "unit": {"type": "string"},
                    "allowed": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["name"],
            }}},
            "required": ["columns"],
        })
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        let frozen = freeze(&arguments);
        Box::pin(std::future::ready(frozen))
    }
}

fn freeze(arguments: &Value) -> Result<ToolOutput, ToolError> {
    let fault = |message: String| ToolError::new(FailureKind::Arguments, message);
    let columns: Vec<Column> = serde_json::from_value(arguments["columns"].clone())
        .map_err(|error| fault(error.to_string()))?;
    // Models write spaces where a name has none.
    let columns = columns.into_iter().map(|column| Column {
        name: column.name.trim().replace(' ', "_"),
        ..column
    });
    let contract = Contract::new(columns.collect()).map_err(|error| fault(error.to_string()))?;
    Ok(ToolOutput {
        text: "ok".to_owned(),
        events: vec![EventKind::ContractFrozen { contract }],
        ends_task: true,
    })
}
