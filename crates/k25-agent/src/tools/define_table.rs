//! `define_table`: how the columns of a run come about where nobody gave them, and how they are amended
//! once after a trial.

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
        columns_schema()
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        let frozen = freeze(&arguments);
        Box::pin(std::future::ready(frozen))
    }
}

/// The same tool for a designer who has seen what came out of a trial.
pub struct AmendTable {
    contract: Contract,
    /// The rows of the trial.
    rows: Vec<String>,
}

impl AmendTable {
    /// Amends this contract, for which these rows were filled.
    pub fn new(contract: Contract, rows: Vec<String>) -> Self {
        AmendTable { contract, rows }
    }

    /// The next version of the contract, and what of the trial's rows it makes out of date: values of
    /// columns that mean something else, or all rows where other columns tell them apart.
    fn amend(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let columns = columns_in(arguments)?;
        let next = self.contract.frozen_next(|old| *old = columns);
        let contract = next.map_err(|error| fault(error.to_string()))?;
        let mut output = ToolOutput {
            text: "ok".to_owned(),
            ends_task: true,
            ..ToolOutput::default()
        };
        if contract.columns == self.contract.columns {
            return Ok(output);
        }
        let out_of_date = match keys(&contract) == keys(&self.contract) {
            true => EventKind::CellsStale {
                places: self.places(&contract),
            },
            false => EventKind::RowsDropped {
                rows: self.rows.clone(),
            },
        };
        output.events = vec![EventKind::ContractFrozen { contract }, out_of_date];
        Ok(output)
    }

    fn places(&self, amended: &Contract) -> Vec<(String, String)> {
        let is_other = |column: &&Column| {
            let old = self.contract.column(&column.name);
            !column.is_key && old.is_some_and(|old| old != *column)
        };
        let changed: Vec<&Column> = amended.columns.iter().filter(is_other).collect();
        let rows = self.rows.iter();
        rows.flat_map(|row| {
            changed
                .iter()
                .map(|column| (row.clone(), column.name.clone()))
        })
        .collect()
    }
}

/// What tells rows apart; what a key is said to mean changes no row.
fn keys(contract: &Contract) -> Vec<Column> {
    let bare = |column: &Column| Column {
        meaning: String::new(),
        ..column.clone()
    };
    contract.keys().map(bare).collect()
}

impl Tool for AmendTable {
    fn name(&self) -> &str {
        DefineTable.name()
    }

    fn description(&self) -> &str {
        "Amend the columns of the table; name all of them. Mark with key what tells rows apart."
    }

    fn schema(&self) -> Value {
        columns_schema()
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        Box::pin(std::future::ready(self.amend(&arguments)))
    }
}

fn columns_schema() -> Value {
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

fn fault(message: String) -> ToolError {
    ToolError::new(FailureKind::Arguments, message)
}

fn columns_in(arguments: &Value) -> Result<Vec<Column>, ToolError> {
    let columns: Vec<Column> = serde_json::from_value(arguments["columns"].clone())
        .map_err(|error| fault(error.to_string()))?;
    // Models write spaces where a name has none.
    let columns = columns.into_iter().map(|column| Column {
        name: column.name.trim().replace(' ', "_"),
        ..column
    });
    Ok(columns.collect())
}

fn freeze(arguments: &Value) -> Result<ToolOutput, ToolError> {
    let columns = columns_in(arguments)?;
    let contract = Contract::new(columns).map_err(|error| fault(error.to_string()))?;
    Ok(ToolOutput {
        text: "ok".to_owned(),
        events: vec![EventKind::ContractFrozen { contract }],
        ends_task: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amended(columns: Value) -> Vec<EventKind> {
        let text = "name*, size:number[MB], note";
        let contract = Contract::new(crate::contract::parse_columns(text).unwrap()).unwrap();
        let tool = AmendTable::new(contract, vec!["a".to_owned(), "b".to_owned()]);
        tool.amend(&json!({"columns": columns})).unwrap().events
    }

    #[test]
    fn an_amended_column_makes_its_values_of_the_trial_stale() {
        let key = json!({"name": "name", "key": true, "meaning": "as on the box"});
        let size = json!({"name": "size", "type": "number", "unit": "kB"});
        let events = amended(json!([key, size, {"name": "year"}]));
        let place = |row: &str| (row.to_owned(), "size".to_owned());
        let [
            EventKind::ContractFrozen { contract },
            EventKind::CellsStale { places },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!((contract.version, contract.columns.len()), (2, 3));
        assert_eq!(*places, [place("a"), place("b")]);
    }

    #[test]
    fn other_keys_drop_the_rows_and_the_same_columns_change_nothing() {
        let size = json!({"name": "size", "type": "number", "unit": "MB"});
        let same = json!([{"name": "name", "key": true}, size, {"name": "note"}]);
        assert_eq!(amended(same), []);
        let events = amended(json!([{"name": "name", "key": true}, {"name": "year", "key": true}]));
        let rows = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(events[1], EventKind::RowsDropped { rows });
    }
}
