//! The table as CSV, Markdown and JSON, with citations.

use serde_json::{Value, json};

use super::{CellStatus, Settled, Table, display};
use crate::contract::Contract;

/// CSV after RFC 4180: a header, a row each, then the document of each row.
pub fn to_csv(contract: &Contract, table: &Table) -> String {
    let mut lines = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let mut write = |fields: Vec<String>| {
        let written = lines.write_record(fields.into_iter().map(no_formula));
        written.expect("memory takes records, and all have as many fields");
    };
    let names = contract.names().chain(["sources"]);
    write(names.map(str::to_owned).collect());
    for row in table.rows() {
        let values = contract.names();
        let values = values.map(|column| shown(&table.get(row, column)));
        write(values.chain([table.sources(row).join("; ")]).collect());
    }
    let bytes = lines.into_inner().expect("memory takes what is left");
    String::from_utf8(bytes).expect("fields are text")
}

pub(super) fn shown(place: &Settled<'_>) -> String {
    match place.status {
        CellStatus::Conflict => {
            let mut values: Vec<String> = place
                .claims
                .iter()
                .filter(|cell| !cell.value.is_null())
                .map(|cell| display(&cell.value))
                .collect();
            values.sort_unstable();
            values.dedup();
            values.join(" ≠ ")
        }
        _ => place
            .cell
            .map(|cell| display(&cell.value))
            .unwrap_or_default(),
    }
}

/// A spreadsheet must not take a value of a stranger for a formula.
fn no_formula(field: String) -> String {
    let is_number = field.parse::<f64>().is_ok();
    match field.starts_with(['=', '+', '-', '@']) && !is_number {
        true => format!("'{field}"),
        false => field,
    }
}

/// A Markdown table; each value is followed by the number of its quote below the table.
pub fn to_markdown(contract: &Contract, table: &Table) -> String {
    let names: Vec<String> = contract.names().map(escaped).collect();
    let mut text = format!(
        "| {} |\n|{}\n",
        names.join(" | "),
        " --- |".repeat(names.len())
    );
    let mut quotes: Vec<String> = Vec::new();
    for row in table.rows() {
        let mut line = String::from("|");
        for column in &contract.columns {
            let place = table.get(row, &column.name);
            line.push(' ');
            line.push_str(&escaped(&shown(&place)));
            if let Some(evidence) = place.cell.and_then(|cell| cell.evidence.as_ref()) {
                let quote = evidence.quote.replace('`', "'");
                let citation = format!("{}:{} `{quote}`", evidence.source, evidence.line);
                let known = quotes.iter().position(|known| *known == citation);
                let number = known.unwrap_or_else(|| {
                    quotes.push(citation);
                    quotes.len() - 1
                });
                line.push_str(&format!(" [^{}]", number + 1));
            }
            line.push_str(" |");
        }
        text.push_str(&line);
        text.push('\n');
    }
    for (index, quote) in quotes.iter().enumerate() {
        text.push_str(&format!("\n[^{}]: {quote}", index + 1));
    }
    text.push('\n');
    text
}

fn escaped(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('\n', " ");
    text.replace('<', "&lt;").replace('[', "\\[")
}

/// Everything: columns, and for each cell its value, state, evidence and author.
pub fn to_json(contract: &Contract, table: &Table) -> Value {
    let rows: Vec<Value> = table
        .rows()
        .map(|row| {
            let cells = contract.columns.iter().map(|column| {
                let place = table.get(row, &column.name);
                let mut cell = json!({
                    "value": place.cell.map_or(Value::Null, |cell| cell.value.clone()),
                    "status": place.status.as_str(),
                });
                if let Some(shown) = place.cell {
                    cell["evidence"] = json!(shown.evidence);
                    cell["author"] = json!(shown.author);
                }
                if let Some(settlement) = place.settlement {
                    cell["settlement"] = json!(settlement);
                }
                if place.status == CellStatus::Conflict || place.settlement.is_some() {
                    cell["claims"] = json!(place.claims);
                }
                (column.name.clone(), cell)
            });
            json!({"key": row, "cells": serde_json::Map::from_iter(cells)})
        })
        .collect();
    json!({"contract": contract, "rows": rows})
}

#[cfg(test)]
mod tests {
    use super::super::{Author, Cell, Evidence};
    use super::*;
    use crate::contract::parse_columns;

    fn sample() -> (Contract, Table) {
        let contract = Contract::new(parse_columns("name*, note").unwrap()).unwrap();
        let mut table = Table::default();
        for (column, value) in [("name", "=a,\"b\""), ("note", "x|y")] {
            table.add(Cell {
                row: "a".to_owned(),
                column: column.to_owned(),
                value: value.into(),
                evidence: Some(Evidence {
                    source: "d.md".to_owned(),
                    line: 3,
                    quote: "a `x|y` b".to_owned(),
                    sha256: String::new(),
                }),
                author: Author::User,
                contract: 1,
            });
        }
        (contract, table)
    }

    #[test]
    fn every_form_carries_the_source() {
        let (contract, table) = sample();
        assert_eq!(
            to_csv(&contract, &table),
            "name,note,sources\r\n\"'=a,\"\"b\"\"\",x|y,d.md\r\n"
        );
        assert_eq!(
            to_markdown(&contract, &table),
            "| name | note |\n| --- | --- |\n| =a,\"b\" [^1] | x\\|y [^1] |\n\n[^1]: d.md:3 `a 'x|y' b`\n"
        );
        let json = to_json(&contract, &table);
        assert_eq!(json["rows"][0]["cells"]["note"]["evidence"]["line"], 3);
    }
}
