//! The contract of a run: which columns the table has, and what each of them means.
//!
//! It is frozen before any sub-agent starts and given to each of them byte for byte, so that a
//! hundred agents mean the same by a column. A later edit freezes the next version of it.

mod columns;
mod submission;
mod value;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use columns::parse_columns;
pub use submission::{SUBMIT_ROWS, submission_schema};
pub use value::{ValueProblem, is_stated_in, normalise};

/// Most columns of a table; each costs every sub-agent prompt tokens.
pub const MAX_COLUMNS: usize = 64;
/// Longest name, meaning, unit or allowed value, in bytes.
const MAX_TEXT_BYTES: usize = 400;
/// Names that the model's schema dialect reserves.
const RESERVED: [&str; 5] = ["$ref", "$defs", "anyOf", "required", "additionalProperties"];

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Words as they stand in the source.
    #[default]
    Text,
    /// A number, in the column's unit if it has one.
    Number,
    /// A whole number.
    Integer,
    /// A day, written `2026-01-31`.
    Date,
    /// `true` or `false`.
    Boolean,
    /// An address.
    Url,
    /// The agent's own words; its quote must exist, the value need not stand in it.
    Note,
}

impl ColumnType {
    /// The name in prompts and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ColumnType::Text => "text",
            ColumnType::Number => "number",
            ColumnType::Integer => "integer",
            ColumnType::Date => "date",
            ColumnType::Boolean => "boolean",
            ColumnType::Url => "url",
            ColumnType::Note => "note",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        use ColumnType::{Boolean, Date, Integer, Note, Number, Text, Url};
        [Text, Number, Integer, Date, Boolean, Url, Note]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Column {
    /// Its name: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// What is meant, for whoever fills it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meaning: String,
    /// What its values are.
    #[serde(rename = "type", default)]
    pub kind: ColumnType,
    /// The unit that numbers are given in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The only values it may have; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// Rows are told apart by this column, together with the other keys.
    #[serde(rename = "key", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_key: bool,
}

impl Column {
    /// A text column without further rules.
    pub fn text(name: impl Into<String>) -> Self {
        Column {
            name: name.into(),
            ..Column::default()
        }
    }
}

/// Why columns make no contract.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContractError {
    /// No column at all.
    #[error("a table needs a column; hint: name them, as in \"name*, version, license\"")]
    NoColumns,
    /// More than [`MAX_COLUMNS`].
    #[error("{0} columns are too many; hint: ask for at most {MAX_COLUMNS}, or in several runs")]
    TooManyColumns(usize),
    /// A name that cannot be used.
    #[error(
        "column name {0:?} cannot be used; hint: letters, digits, `_`, `-` and `.`, and none of the \
         words anyOf, required, additionalProperties"
    )]
    BadName(String),
    /// Two columns of one name.
    #[error("two columns are called {0:?}; hint: give each its own name")]
    Duplicate(String),
    /// A type that does not exist.
    #[error(
        "column {column:?} has the unknown type {found:?}; hint: text, number, integer, date, \
         boolean, url or note"
    )]
    UnknownType {
        /// The column.
        column: String,
        /// What was written.
        found: String,
    },
    /// A text that would fill every prompt.
    #[error("column {0:?} has a text of more than {MAX_TEXT_BYTES} bytes; hint: shorten it")]
    TooLong(String),
    /// A text with a line break or a control character.
    #[error("column {0:?} has a line break or control character; hint: keep it on one line")]
    Control(String),
    /// A unit where there are no numbers.
    #[error("column {0:?} has a unit but is no number; hint: write \"{0}:number[unit]\"")]
    UnitWithoutNumber(String),
    /// An allowed value that is no value of the column.
    #[error("column {column:?} cannot have its own allowed value {value:?}; hint: {problem}")]
    BadAllowed {
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or argument that is not of the form.
    #[error(
        "columns cannot be read: {0}; hint: \"name*, size:number[MB], state:enum(open|closed)\""
    )]
    Syntax(String),
}

/// The frozen columns of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// 1 for the first; each edit of columns makes the next.
    pub version: u32,
    /// In the order of the table. At least one is a key.
    pub columns: Vec<Column>,
}

impl Contract {
    /// Checks `columns` and freezes them as version 1. Where none is a key, the first becomes it.
    ///
    /// # Errors
    /// See [`ContractError`].
    pub fn new(columns: Vec<Column>) -> Result<Self, ContractError> {
        Contract {
            version: 0,
            columns,
        }
        .frozen_next(|_| ())
    }

    /// The next version, with `edit` done to the columns.
    ///
    /// # Errors
    /// See [`ContractError`].
    pub fn frozen_next(&self, edit: impl FnOnce(&mut Vec<Column>)) -> Result<Self, ContractError> {
        let mut columns = self.columns.clone();
        edit(&mut columns);
        check(&columns)?;
        if !columns.iter().any(|column| column.is_key)
            && let Some(first) = columns.first_mut()
        {
            first.is_key = true;
        }
        Ok(Contract {
            version: self.version + 1,
            columns,
        })
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// What its columns are called, in the order of the table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The columns that tell rows apart.
    pub fn keys(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.is_key)
    }

    /// The text that every agent of the run reads. The same contract gives the same bytes.
    pub fn prompt_text(&self) -> String {
        let mut text = String::from("Columns:");
        for column in &self.columns {
            text.push_str("\n- ");
            text.push_str(&column.name);
            text.push_str(" (");
            if column.is_key {
                text.push_str("key, ");
            }
            if column.allowed.is_empty() {
                text.push_str(column.kind.as_str());
            } else {
                text.push_str("one of: ");
                text.push_str(&column.allowed.join(", "));
            }
            if let Some(unit) = &column.unit {
                text.push_str(" in ");
                text.push_str(unit);
            }
            text.push(')');
            if !column.meaning.is_empty() {
                text.push_str(": ");
                text.push_str(&column.meaning);
            }
        }
        text
    }

    /// The SHA-256 of its JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        let json = serde_json::to_string(self).expect("plain data has a JSON form");
        hex(&Sha256::digest(json.as_bytes()))
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check(columns: &[Column]) -> Result<(), ContractError> {
    if columns.is_empty() {
        return Err(ContractError::NoColumns);
    }
    if columns.len() > MAX_COLUMNS {
        return Err(ContractError::TooManyColumns(columns.len()));
    }
    for (index, column) in columns.iter().enumerate() {
        check_column(column)?;
        if columns[..index]
            .iter()
            .any(|other| other.name == column.name)
        {
            return Err(ContractError::Duplicate(column.name.clone()));
        }
    }
    Ok(())
}

fn check_column(column: &Column) -> Result<(), ContractError> {
    let name = &column.name;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_plain) || RESERVED.contains(&name.as_str()) {
        return Err(ContractError::BadName(name.clone()));
    }
    let unit = column.unit.iter();
    let texts = [name, &column.meaning]
        .into_iter()
        .chain(unit)
        .chain(&column.allowed);
    for text in texts {
        if text.len() > MAX_TEXT_BYTES {
            return Err(ContractError::TooLong(name.clone()));
        }
        if text.chars().any(char::is_control) {
            return Err(ContractError::Control(name.clone()));
        }
    }
    let is_number = matches!(column.kind, ColumnType::Number | ColumnType::Integer);
    if column.unit.is_some() && !is_number {
        return Err(ContractError::UnitWithoutNumber(name.clone()));
    }
    for value in &column.allowed {
        normalise(column, &value.as_str().into()).map_err(|problem| ContractError::BadAllowed {
            column: name.clone(),
            value: value.clone(),
            problem: problem.to_string(),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_text_is_fixed_to_the_byte() {
        let contract = Contract::new(
            parse_columns("name*, size:number[MB]=space on disk, state:enum(open|closed)").unwrap(),
        )
        .unwrap();
        assert_eq!(
            contract.prompt_text(),
            "Columns:\n- name (key, text)\n- size (number in MB): space on disk\n\
             - state (one of: open, closed)"
        );
        assert_eq!(contract.hash(), contract.clone().hash());
    }

    #[test]
    fn the_first_column_is_the_key_where_none_is_named() {
        let contract = Contract::new(vec![Column::text("a"), Column::text("b")]).unwrap();
        assert!(contract.columns[0].is_key && !contract.columns[1].is_key);
    }

    #[test]
    fn columns_that_make_no_table_are_refused() {
        let cases = [
            (vec![], ContractError::NoColumns),
            (
                vec![Column::text("$ref")],
                ContractError::BadName("$ref".to_owned()),
            ),
            (
                vec![Column::text("a"), Column::text("a")],
                ContractError::Duplicate("a".to_owned()),
            ),
            (
                vec![Column {
                    unit: Some("m".to_owned()),
                    ..Column::text("a")
                }],
                ContractError::UnitWithoutNumber("a".to_owned()),
            ),
            (
                vec![Column {
                    meaning: "a\nb".to_owned(),
                    ..Column::text("a")
                }],
                ContractError::Control("a".to_owned()),
            ),
        ];
        for (columns, error) in cases {
            assert_eq!(Contract::new(columns), Err(error));
        }
    }

    #[test]
    fn an_edit_freezes_the_next_version() {
        let first = Contract::new(vec![Column::text("a")]).unwrap();
        let second = first
            .frozen_next(|columns| columns.push(Column::text("b")))
            .unwrap();
        assert_eq!((first.version, second.version), (1, 2));
        assert_ne!(first.hash(), second.hash());
    }
}
