//! How well a run's table fits what is true.

use std::fs;

use k25_eval::widesearch::{self, ColumnRule, Evaluation, Figures, Literal, Metric, Table};
use serde_json::Value;

use crate::sets::Set;

/// A score with what a person wants to see beside it.
pub struct Scored {
    /// Cells, as WideSearch counts them. An absent value is an empty cell, on both sides.
    pub item: Figures,
    /// True rows that the table has.
    pub rows: usize,
    /// Values of the table.
    pub values: usize,
    /// Those whose quote stands in the document that they name.
    pub quoted: usize,
    /// Cells that are not as they should be, one line each.
    pub wrong: Vec<String>,
}

/// What the column is called that tells rows apart, whatever the run calls it.
const NAME: &str = "name";

/// Scores the table of a run's `--json`.
pub fn score(set: &Set, result: &Value) -> Scored {
    let columns: Vec<String> = set
        .rows
        .values()
        .next()
        .map(|row| row.keys().cloned().collect())
        .unwrap_or_default();
    let mut names = vec![NAME.to_owned()];
    names.extend(columns.iter().cloned());
    let said = said(set, result, &columns);
    let exact = || ColumnRule {
        preprocess: Vec::new(),
        metric: vec![Metric::ExactMatch],
        criterion: None,
    };
    let evaluation = Evaluation {
        required: names.clone(),
        unique_columns: vec![NAME.to_owned()],
        eval_pipeline: columns.iter().map(|name| (name.clone(), exact())).collect(),
    };
    let truth = Table {
        columns: names.clone(),
        rows: set
            .rows
            .iter()
            .map(|(name, row)| {
                let values = row.values().map(|value| value.clone().unwrap_or_default());
                std::iter::once(name.clone()).chain(values).collect()
            })
            .collect(),
    };
    let answer = Table {
        columns: names,
        rows: said.rows,
    };
    let score = widesearch::score(&evaluation, &truth, Some(&answer), &Literal).unwrap();
    let found = |name: &String| answer.rows.iter().find(|row| same(&row[0], name));
    Scored {
        item: score.item,
        rows: set.rows.keys().filter(|name| found(name).is_some()).count(),
        values: said.values,
        quoted: said.quoted,
        wrong: differences(&truth, &answer),
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

struct Said {
    rows: Vec<Vec<String>>,
    values: usize,
    quoted: usize,
}

/// The run's rows in the order of `columns`, behind the name.
fn said(set: &Set, result: &Value, columns: &[String]) -> Said {
    let table = &result["table"];
    let key = table["contract"]["columns"]
        .as_array()
        .and_then(|columns| columns.iter().find(|column| column["key"] == true))
        .and_then(|column| column["name"].as_str())
        .unwrap_or(NAME);
    let mut said = Said {
        rows: Vec::new(),
        values: 0,
        quoted: 0,
    };
    for row in table["rows"].as_array().into_iter().flatten() {
        let name = match text(&row["cells"][key]["value"]) {
            name if name.is_empty() => text(&row["key"]),
            name => name,
        };
        let mut cells = vec![name];
        for column in columns {
            let cell = &row["cells"][column];
            let value = text(&cell["value"]);
            said.values += usize::from(!value.is_empty());
            said.quoted += usize::from(!value.is_empty() && is_quoted(set, &cell["evidence"]));
            cells.push(value);
        }
        said.rows.push(cells);
    }
    said
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether the quote stands in its document, but for blanks.
fn is_quoted(set: &Set, evidence: &Value) -> bool {
    let (Some(source), Some(quote)) = (evidence["source"].as_str(), evidence["quote"].as_str())
    else {
        return false;
    };
    let document = fs::read_to_string(set.documents.path().join(source)).unwrap_or_default();
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    !quote.trim().is_empty() && plain(&document).contains(&plain(quote))
}

/// Lines about cells that differ, rows that lack and rows too many.
fn differences(truth: &Table, answer: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    for true_row in &truth.rows {
        let Some(row) = answer.rows.iter().find(|row| same(&row[0], &true_row[0])) else {
            lines.push(format!("{}: no such row", true_row[0]));
            continue;
        };
        for ((column, meant), said) in truth.columns.iter().zip(true_row).zip(row).skip(1) {
            if !same(meant, said) {
                lines.push(format!("{}.{column}: {said:?}, not {meant:?}", true_row[0]));
            }
        }
    }
    for row in &answer.rows {
        if !truth
            .rows
            .iter()
            .any(|true_row| same(&true_row[0], &row[0]))
        {
            lines.push(format!("{}: a row too many", row[0]));
        }
    }
    lines
}
