//! The result of a wide question: a table of cells, each with its evidence.
//!
//! Every value that an agent hands in is kept as a [`Cell`]. Which of several stands in the table is
//! decided when it is read: a person's value before any agent's, a stated value before "not stated",
//! and where stated values differ the table says so.

mod export;
mod spelling;
mod submit;
mod workbook;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::Contract;

pub use export::{to_csv, to_json, to_markdown};
pub(crate) use submit::shortened;
pub use submit::{Problem, Sources, Submission, submit};
pub use workbook::{WorkbookError, to_xlsx};

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The document.
    pub source: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The words that state the value, as they stand there.
    pub quote: String,
    /// SHA-256 of the document when it was read.
    pub sha256: String,
}

/// Who gave a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// An agent, by its name and task.
    Agent {
        /// Its name.
        name: String,
        /// The task.
        task: String,
    },
    /// A person, whose value stays.
    User,
}

/// A value for a place in the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The row, see [`row_key`].
    pub row: String,
    /// The column.
    pub column: String,
    /// The value in the contract's form; `null` where the source does not state it.
    pub value: Value,
    /// Where it stands; a person and "not stated" need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Who gave it.
    pub author: Author,
    /// The version of the contract that it was given for.
    pub contract: u32,
}

/// What is to be thought of a place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellStatus {
    /// One value, with evidence.
    Ok,
    /// The source does not state it.
    NotStated,
    /// Nobody has looked yet.
    Missing,
    /// Agents state different values.
    Conflict,
    /// To be looked up again.
    Stale,
    /// A person's value.
    Edited,
}

/// How conflicting values are settled. A person's value settles them in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictRule {
    /// They stay a conflict; the first is shown.
    #[default]
    Keep,
    /// The value that most agents gave, if there is one.
    Majority,
    /// A model that sees the quotes decides, if it can.
    Judge,
}

/// What differing values were settled on. It holds as long as no other value comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// The value that stands.
    pub value: Value,
    /// The values that were judged, sorted.
    pub among: Vec<String>,
    /// Why, in the judge's words.
    pub why: String,
}

/// A place of the table as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled<'a> {
    /// What is to be thought of it.
    pub status: CellStatus,
    /// The cell that stands there.
    pub cell: Option<&'a Cell>,
    /// All that were given for it.
    pub claims: &'a [Cell],
    /// What settled it, where values differ and one stands all the same.
    pub settlement: Option<&'a Settlement>,
}

/// Cells by row and column; rows sorted by their keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    rows: BTreeMap<String, BTreeMap<String, Place>>,
    /// How conflicts are settled.
    pub rule: ConflictRule,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Place {
    claims: Vec<Cell>,
    /// Claims before this one are out of date.
    stale_before: usize,
    /// What a judge said.
    settlement: Option<Settlement>,
}

/// The key of a row: its key values, whatever their case.
pub fn row_key<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let texts = values
        .into_iter()
        .map(|value| display(value).to_lowercase());
    texts.collect::<Vec<_>>().join(" · ")
}

/// A value as people read it; nothing for `null`.
pub fn display(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Table {
    /// Adds a value. The same value from the same place for the same contract is kept once.
    pub fn add(&mut self, cell: Cell) {
        let place = self
            .rows
            .entry(cell.row.clone())
            .or_default()
            .entry(cell.column.clone());
        let place = place.or_default();
        let is_same = |old: &Cell| {
            old.value == cell.value && old.evidence == cell.evidence && old.author == cell.author
        };
        if !place.claims[place.stale_before..].iter().any(is_same) {
            place.claims.push(cell);
        }
    }

    /// Marks places as out of date: their cells are to be looked up again. A person's values stay.
    pub fn mark_stale(&mut self, row: &str, column: &str) {
        if let Some(place) = self.rows.get_mut(row).and_then(|row| row.get_mut(column)) {
            place.stale_before = place.claims.len();
        }
    }

    /// Settles a conflict.
    pub fn settle(&mut self, row: &str, column: &str, settlement: Settlement) {
        if let Some(place) = self.rows.get_mut(row).and_then(|row| row.get_mut(column)) {
            place.settlement = Some(settlement);
        }
    }

    /// The claims of a place that are up to date and state a value: of each value one, sorted.
    pub fn rivals(&self, row: &str, column: &str) -> Vec<&Cell> {
        let Some(place) = self.rows.get(row).and_then(|row| row.get(column)) else {
            return Vec::new();
        };
        let current = place.claims[place.stale_before..].iter();
        let mut stated: Vec<&Cell> = current.filter(|cell| !cell.value.is_null()).collect();
        stated.sort_by_key(|cell| display(&cell.value));
        stated.dedup_by_key(|cell| display(&cell.value));
        stated
    }

    /// Takes rows out.
    pub fn remove_row(&mut self, row: &str) {
        self.rows.remove(row);
    }

    /// The keys of the rows, sorted.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// How many rows there are.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// What stands in a place.
    pub fn get(&self, row: &str, column: &str) -> Settled<'_> {
        match self.rows.get(row).and_then(|row| row.get(column)) {
            Some(place) => place.settled(self.rule),
            None => Settled {
                status: CellStatus::Missing,
                cell: None,
                claims: &[],
                settlement: None,
            },
        }
    }

    /// How many places of the contract's columns are in each state.
    pub fn count(&self, contract: &Contract) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for row in self.rows() {
            for column in &contract.columns {
                *counts
                    .entry(self.get(row, &column.name).status.as_str())
                    .or_default() += 1;
            }
        }
        counts
    }

    /// The documents that the row's values stand in, sorted.
    pub fn sources(&self, row: &str) -> Vec<&str> {
        self.lines(row).into_keys().collect()
    }

    /// The lines that the row's values stand on, by document.
    pub fn lines(&self, row: &str) -> BTreeMap<&str, BTreeSet<usize>> {
        let places = self.rows.get(row).into_iter().flat_map(BTreeMap::values);
        let evidence = places
            .flat_map(|place| &place.claims)
            .filter_map(|cell| cell.evidence.as_ref());
        let mut lines: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for evidence in evidence {
            let of_source = lines.entry(&evidence.source).or_default();
            of_source.insert(evidence.line);
        }
        lines
    }
}

impl CellStatus {
    /// The name in JSON and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            CellStatus::Ok => "ok",
            CellStatus::NotStated => "not_stated",
            CellStatus::Missing => "missing",
            CellStatus::Conflict => "conflict",
            CellStatus::Stale => "stale",
            CellStatus::Edited => "edited",
        }
    }
}

impl Place {
    fn settled(&self, rule: ConflictRule) -> Settled<'_> {
        let settled = |status, cell| Settled {
            status,
            cell,
            claims: &self.claims,
            settlement: None,
        };
        if let Some(cell) = self
            .claims
            .iter()
            .rev()
            .find(|cell| cell.author == Author::User)
        {
            return settled(CellStatus::Edited, Some(cell));
        }
        let current = &self.claims[self.stale_before..];
        let mut stated: Vec<&Cell> = current
            .iter()
            .filter(|cell| !cell.value.is_null())
            .collect();
        // Claims arrive in any order; what is shown must not depend on it.
        stated.sort_by_key(|cell| display(&cell.value));
        let Some(first) = stated.first() else {
            return match (current.first(), self.claims.last()) {
                (Some(cell), _) => settled(CellStatus::NotStated, Some(cell)),
                (None, old) => settled(CellStatus::Stale, old),
            };
        };
        if stated
            .iter()
            .all(|cell| same_value(&cell.value, &first.value))
        {
            return settled(CellStatus::Ok, Some(first));
        }
        if let Some(judged) = &self.settlement
            && judged.among == distinct(&stated)
            && let Some(cell) = stated.iter().find(|cell| cell.value == judged.value)
        {
            return Settled {
                settlement: Some(judged),
                ..settled(CellStatus::Ok, Some(cell))
            };
        }
        match most_frequent(&stated) {
            Some(cell) if rule == ConflictRule::Majority => settled(CellStatus::Ok, Some(cell)),
            _ => settled(CellStatus::Conflict, Some(first)),
        }
    }
}

/// The values of these cells, sorted, each once.
fn distinct(stated: &[&Cell]) -> Vec<String> {
    let mut values: Vec<String> = stated.iter().map(|cell| display(&cell.value)).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn same_value(a: &Value, b: &Value) -> bool {
    a == b || display(a).to_lowercase() == display(b).to_lowercase()
}

/// The value that more cells give than any other.
fn most_frequent<'a>(cells: &[&'a Cell]) -> Option<&'a Cell> {
    let count = |cell: &Cell| {
        cells
            .iter()
            .filter(|other| same_value(&other.value, &cell.value))
            .count()
    };
    let best = cells.iter().max_by_key(|cell| count(cell))?;
    let rivals = cells
        .iter()
        .filter(|cell| !same_value(&cell.value, &best.value));
    rivals
        .map(|cell| count(cell))
        .all(|rival| rival < count(best))
        .then_some(*best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: &str, task: &str) -> Cell {
        Cell {
            row: "r".to_owned(),
            column: "c".to_owned(),
            value: if value.is_empty() {
                Value::Null
            } else {
                value.into()
            },
            evidence: None,
            author: if task == "user" {
                Author::User
            } else {
                Author::Agent {
                    name: "a".to_owned(),
                    task: task.to_owned(),
                }
            },
            contract: 1,
        }
    }

    fn table(cells: &[(&str, &str)]) -> Table {
        let mut table = Table::default();
        for (value, task) in cells {
            table.add(cell(value, task));
        }
        table
    }

    fn shown(table: &Table) -> (CellStatus, String) {
        let settled = table.get("r", "c");
        (
            settled.status,
            settled
                .cell
                .map(|cell| display(&cell.value))
                .unwrap_or_default(),
        )
    }

    #[test]
    fn what_stands_in_a_place_does_not_depend_on_the_order_of_arrival() {
        type Case<'a> = (&'a [(&'a str, &'a str)], CellStatus, &'a str);
        let cases: [Case<'_>; 6] = [
            (&[("x", "1")], CellStatus::Ok, "x"),
            (&[("", "1")], CellStatus::NotStated, ""),
            (&[("", "1"), ("x", "2")], CellStatus::Ok, "x"),
            (&[("x", "1"), ("X", "2")], CellStatus::Ok, "X"),
            (&[("x", "1"), ("y", "2")], CellStatus::Conflict, "x"),
            (
                &[("x", "1"), ("z", "user"), ("y", "2")],
                CellStatus::Edited,
                "z",
            ),
        ];
        for (cells, status, value) in cases {
            let mut reversed = cells.to_vec();
            reversed.reverse();
            assert_eq!(shown(&table(cells)), (status, value.to_owned()));
            assert_eq!(shown(&table(&reversed)), (status, value.to_owned()));
        }
    }

    #[test]
    fn a_majority_settles_where_the_rule_says_so() {
        let mut table = table(&[("y", "1"), ("x", "2"), ("y", "3")]);
        assert_eq!(shown(&table).0, CellStatus::Conflict);
        table.rule = ConflictRule::Majority;
        assert_eq!(shown(&table), (CellStatus::Ok, "y".to_owned()));
    }

    #[test]
    fn a_judgement_holds_until_another_value_comes() {
        let mut table = table(&[("y", "1"), ("x", "2")]);
        let rivals = table.rivals("r", "c");
        let among: Vec<String> = rivals.iter().map(|cell| display(&cell.value)).collect();
        let settlement = Settlement {
            value: "y".into(),
            among,
            why: "newer".to_owned(),
        };
        table.settle("r", "c", settlement);
        assert_eq!(shown(&table), (CellStatus::Ok, "y".to_owned()));
        assert_eq!(table.get("r", "c").settlement.unwrap().why, "newer");
        table.add(cell("y", "3"));
        assert_eq!(shown(&table).0, CellStatus::Ok, "the same value again");
        table.add(cell("z", "4"));
        assert_eq!(shown(&table).0, CellStatus::Conflict, "it was not judged");
    }

    #[test]
    fn stale_places_are_looked_up_again_and_a_persons_value_stays() {
        let mut table = table(&[("x", "1")]);
        table.mark_stale("r", "c");
        assert_eq!(shown(&table), (CellStatus::Stale, "x".to_owned()));
        table.add(cell("x", "1"));
        assert_eq!(shown(&table), (CellStatus::Ok, "x".to_owned()));
        table.add(cell("mine", "user"));
        table.mark_stale("r", "c");
        assert_eq!(shown(&table), (CellStatus::Edited, "mine".to_owned()));
    }
}
