//! How rows are handed in: the declaration of `submit_rows` for a contract.

use serde_json::{Map, Value, json};

use super::{Column, ColumnType, Contract};

/// The tool's name.
pub const SUBMIT_ROWS: &str = "submit_rows";

/// The schema of `submit_rows`: a source, and rows of cells `{value, line}`.
///
/// A cell says where its value stands: by the number of the line that `open` printed, or by a quote
/// where a line is long. The value `null` says that the source does not state it.
pub fn submission_schema(contract: &Contract) -> Value {
    let mut definitions = Map::new();
    let mut properties = Map::new();
    for column in &contract.columns {
        let definition = definition_name(column);
        definitions
            .entry(definition)
            .or_insert_with(|| cell_schema(column.kind));
        let reference = json!({"$ref": format!("#/$defs/{definition}")});
        properties.insert(column.name.clone(), reference);
    }
    json!({
        "type": "object",
        "properties": {
            "source": {"type": "string", "description": "document of these rows"},
            "rows": {
                "type": "array",
                "items": {"type": "object", "properties": properties, "additionalProperties": false},
            },
        },
        "required": ["source", "rows"],
        "$defs": definitions,
    })
}

/// Cells of one JSON type share a definition, which keeps the declaration short.
fn definition_name(column: &Column) -> &'static str {
    match column.kind {
        ColumnType::Number | ColumnType::Integer => "number",
        ColumnType::Boolean => "flag",
        _ => "cell",
    }
}

fn cell_schema(kind: ColumnType) -> Value {
    let value = match kind {
        ColumnType::Number | ColumnType::Integer => json!(["number", "string", "null"]),
        ColumnType::Boolean => json!(["boolean", "null"]),
        _ => json!(["string", "null"]),
    };
    json!({
        "type": "object",
        "properties": {
            "value": {"type": value},
            "line": {"type": "integer"},
            "quote": {"type": "string"},
            "source": {"type": "string"},
        },
        "required": ["value"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::parse_columns;

    #[test]
    fn the_model_reads_a_short_declaration() {
        let columns = parse_columns("name*, size:number[MB], free:boolean").unwrap();
        let schema = submission_schema(&Contract::new(columns).unwrap());
        let tool = json!({"type": "function", "function": {
            "name": SUBMIT_ROWS, "description": "Hand in rows.", "parameters": schema}});
        let tool = k25_chat::JsonValue::try_from(tool).unwrap();
        let text = k25_chat::typescript_declaration(&[tool]).unwrap();
        assert!(text.contains("name?: cell,"), "{text}");
        assert!(text.contains("value: string | null"), "{text}");
        assert!(text.len() < 900, "{} bytes:\n{text}", text.len());
    }
}
