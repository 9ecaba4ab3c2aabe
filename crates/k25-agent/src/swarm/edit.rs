//! Changing a finished table: only what an edit touches is looked up again.

use std::sync::Arc;

use serde_json::Value;

use crate::contract::{Column, normalise};
use crate::event::{EventKind, MAIN};
use crate::run::{Run, RunError};
use crate::table::{Author, Cell, CellStatus};

/// A change that a person makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// One column more; each row gets it looked up.
    AddColumn(Column),
    /// A column means something else; its values are looked up again.
    Redefine {
        /// The column.
        column: String,
        /// The new meaning.
        meaning: String,
    },
    /// A person's value, which stays.
    Set {
        /// The row.
        row: String,
        /// The column.
        column: String,
        /// The value.
        value: Value,
    },
    /// Looked up again: a cell, a row, or a column.
    Redo {
        /// The row; `None` for all.
        row: Option<String>,
        /// The column; `None` for all.
        column: Option<String>,
    },
}

impl Edit {
    /// Records the change. [`Swarm::go`](super::Swarm::go) then looks up what it left open.
    ///
    /// # Errors
    /// [`RunError::Invalid`] for a row, column or value that cannot be, before anything is recorded.
    pub async fn apply(self, run: &Arc<Run>) -> Result<(), RunError> {
        let events = self.events(run)?;
        run.record(MAIN, events).await
    }

    fn events(self, run: &Run) -> Result<Vec<EventKind>, RunError> {
        let contract = run.with_state(|state| state.contract.clone());
        let contract =
            contract.ok_or_else(|| invalid("the run has no table yet", "resume it first"))?;
        match self {
            Edit::AddColumn(column) => {
                let next = contract.frozen_next(|columns| columns.push(column));
                let contract =
                    next.map_err(|error| invalid(error.to_string(), "nothing was changed"))?;
                Ok(vec![EventKind::ContractFrozen { contract }])
            }
            Edit::Redefine { column, meaning } => {
                known_column(&contract, &column)?;
                let change = |columns: &mut Vec<Column>| {
                    if let Some(changed) = columns.iter_mut().find(|c| c.name == column) {
                        changed.meaning = meaning;
                    }
                };
                let next = contract.frozen_next(change);
                let contract =
                    next.map_err(|error| invalid(error.to_string(), "nothing was changed"))?;
                let places = places(run, None, Some(&column))?;
                Ok(vec![
                    EventKind::ContractFrozen { contract },
                    EventKind::CellsStale { places },
                ])
            }
            Edit::Set { row, column, value } => {
                let column = known_column(&contract, &column)?;
                let value = normalise(column, &value).map_err(|problem| {
                    invalid(problem.to_string(), "give a value of the column's type")
                })?;
                let row = known_row(run, &row)?;
                let cell = Cell {
                    row,
                    column: column.name.clone(),
                    value,
                    evidence: None,
                    author: Author::User,
                    contract: contract.version,
                };
                Ok(vec![EventKind::CellsAccepted { cells: vec![cell] }])
            }
            Edit::Redo { row, column } => {
                if let Some(column) = &column {
                    known_column(&contract, column)?;
                }
                let row = row.map(|row| known_row(run, &row)).transpose()?;
                let places = places(run, row.as_deref(), column.as_deref())?;
                Ok(vec![EventKind::CellsStale { places }])
            }
        }
    }
}

fn invalid(what: impl Into<String>, hint: &str) -> RunError {
    RunError::Invalid {
        what: what.into(),
        hint: hint.to_owned(),
    }
}

fn known_column<'a>(
    contract: &'a crate::contract::Contract,
    name: &str,
) -> Result<&'a Column, RunError> {
    contract.column(name).ok_or_else(|| {
        let names: Vec<&str> = contract.names().collect();
        invalid(
            format!("no column {name:?}"),
            &format!("there are: {}", names.join(", ")),
        )
    })
}

/// The key of a row, whatever its case.
fn known_row(run: &Run, row: &str) -> Result<String, RunError> {
    let wanted = row.to_lowercase();
    run.with_state(|state| {
        let found = state
            .table
            .rows()
            .find(|key| *key == wanted)
            .map(str::to_owned);
        found.ok_or_else(|| {
            let like: Vec<&str> = state
                .table
                .rows()
                .filter(|key| key.contains(&wanted))
                .take(5)
                .collect();
            let hint = if like.is_empty() {
                "`k25 swarm show RUN` prints the rows".to_owned()
            } else {
                format!("there are: {}", like.join(", "))
            };
            invalid(format!("no row {row:?}"), &hint)
        })
    })
}

/// Places with an agent's value. Keys stay what they are.
fn places(
    run: &Run,
    row: Option<&str>,
    column: Option<&str>,
) -> Result<Vec<(String, String)>, RunError> {
    let places: Vec<(String, String)> = run.with_state(|state| {
        let contract = state.contract.as_ref();
        let columns = contract.into_iter().flat_map(|contract| &contract.columns);
        let columns = columns.filter(|c| !c.is_key && column.is_none_or(|name| c.name == name));
        let names: Vec<String> = columns.map(|column| column.name.clone()).collect();
        let rows = state
            .table
            .rows()
            .filter(|key| row.is_none_or(|row| *key == row));
        let all = rows.flat_map(|row| names.iter().map(move |name| (row.to_owned(), name.clone())));
        let is_agents = |(row, column): &(String, String)| {
            let status = state.table.get(row, column).status;
            !matches!(status, CellStatus::Missing | CellStatus::Edited)
        };
        all.filter(is_agents).collect()
    });
    if places.is_empty() {
        return Err(invalid(
            "nothing to look up again",
            "keys and values set by hand stay",
        ));
    }
    Ok(places)
}
