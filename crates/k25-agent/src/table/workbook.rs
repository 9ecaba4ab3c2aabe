//! The table as a workbook for spreadsheets: one sheet of values, one of their evidence.

use rust_xlsxwriter::{Color, Format, Workbook, Worksheet, XlsxError};
use serde_json::Value;
use thiserror::Error;

use super::export::shown;
use super::{Author, Cell, CellStatus, Settled, Table, display, shortened};
use crate::contract::{Column, Contract};

/// Bytes of a text in a cell; a spreadsheet takes 32,767 characters.
const MAX_TEXT_BYTES: usize = 32_000;
const EVIDENCE: [&str; 10] = [
    "row", "column", "value", "status", "document", "line", "quote", "sha256", "author", "contract",
];

/// Why there is no workbook.
#[derive(Debug, Error)]
#[error("cannot make a workbook: {0}; hint: .csv has no such limits")]
pub struct WorkbookError(#[from] XlsxError);

/// The bytes of an XLSX file. Values keep their types; texts of strangers are never formulas.
///
/// # Errors
/// Where the table is larger than a sheet can be.
pub fn to_xlsx(contract: &Contract, table: &Table) -> Result<Vec<u8>, WorkbookError> {
    let mut workbook = Workbook::new();
    let head = Format::new()
        .set_bold()
        .set_background_color(Color::RGB(0xE8_EEF7));
    values(workbook.add_worksheet(), contract, table, &head)?;
    evidence(workbook.add_worksheet(), contract, table, &head)?;
    Ok(workbook.save_to_buffer()?)
}

fn values(
    sheet: &mut Worksheet,
    contract: &Contract,
    table: &Table,
    head: &Format,
) -> Result<(), XlsxError> {
    sheet.set_name("Table")?.set_freeze_panes(1, 0)?;
    let open = Format::new().set_background_color(Color::RGB(0xFF_F2CC));
    let plain = Format::new();
    for (at, column) in (0_u16..).zip(&contract.columns) {
        sheet.write_string_with_format(0, at, title(column), head)?;
    }
    for (row, key) in (1_u32..).zip(table.rows()) {
        for (at, column) in (0_u16..).zip(&contract.columns) {
            let place = table.get(key, &column.name);
            let format = match place.status {
                CellStatus::Ok | CellStatus::Edited | CellStatus::NotStated => &plain,
                CellStatus::Conflict | CellStatus::Missing | CellStatus::Stale => &open,
            };
            write_place(sheet, (row, at), &place, format)?;
        }
    }
    sheet.autofit();
    Ok(())
}

/// A column's name with its unit.
fn title(column: &Column) -> String {
    match &column.unit {
        Some(unit) => format!("{} [{unit}]", column.name),
        None => column.name.clone(),
    }
}

fn write_place(
    sheet: &mut Worksheet,
    (row, column): (u32, u16),
    place: &Settled<'_>,
    format: &Format,
) -> Result<(), XlsxError> {
    let value = place.cell.map_or(&Value::Null, |cell| &cell.value);
    if place.status == CellStatus::Conflict {
        let text = shortened(&shown(place), MAX_TEXT_BYTES);
        sheet.write_string_with_format(row, column, text, format)?;
        return Ok(());
    }
    match value {
        Value::Number(number) if number.as_f64().is_some() => {
            let number = number.as_f64().unwrap_or_default();
            sheet.write_number_with_format(row, column, number, format)?
        }
        Value::Bool(flag) => sheet.write_boolean_with_format(row, column, *flag, format)?,
        Value::Null => sheet.write_blank(row, column, format)?,
        other => {
            let text = shortened(&display(other), MAX_TEXT_BYTES);
            sheet.write_string_with_format(row, column, text, format)?
        }
    };
    Ok(())
}

/// A line for each value that was given, and by whom.
fn evidence(
    sheet: &mut Worksheet,
    contract: &Contract,
    table: &Table,
    head: &Format,
) -> Result<(), XlsxError> {
    sheet.set_name("Evidence")?.set_freeze_panes(1, 0)?;
    for (at, name) in (0_u16..).zip(EVIDENCE) {
        sheet.write_string_with_format(0, at, name, head)?;
    }
    let mut line = 1;
    for key in table.rows() {
        for column in &contract.columns {
            let place = table.get(key, &column.name);
            for claim in place.claims {
                write_claim(sheet, line, place.status, claim)?;
                line += 1;
            }
        }
    }
    sheet.autofit();
    Ok(())
}

fn write_claim(
    sheet: &mut Worksheet,
    line: u32,
    status: CellStatus,
    claim: &Cell,
) -> Result<(), XlsxError> {
    let author = match &claim.author {
        Author::User => "by hand".to_owned(),
        Author::Agent { name, task } => format!("{name} {task}"),
    };
    let texts = [
        (0, claim.row.as_str()),
        (1, claim.column.as_str()),
        (3, status.as_str()),
        (8, author.as_str()),
    ];
    for (at, text) in texts {
        sheet.write_string(line, at, shortened(text, MAX_TEXT_BYTES))?;
    }
    sheet.write_string(line, 2, shortened(&display(&claim.value), MAX_TEXT_BYTES))?;
    sheet.write_number(line, 9, claim.contract)?;
    if let Some(evidence) = &claim.evidence {
        sheet.write_string(line, 4, evidence.source.as_str())?;
        sheet.write_number(line, 5, evidence.line as f64)?;
        sheet.write_string(line, 6, shortened(&evidence.quote, MAX_TEXT_BYTES))?;
        sheet.write_string(line, 7, evidence.sha256.as_str())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use calamine::{Data, Reader, Xlsx};
    use serde_json::json;

    use super::super::Evidence;
    use super::*;
    use crate::contract::parse_columns;

    fn cell(column: &str, value: Value, task: &str) -> Cell {
        Cell {
            row: "a".to_owned(),
            column: column.to_owned(),
            value,
            evidence: Some(Evidence {
                source: "d.md".to_owned(),
                line: 7,
                quote: "as it stands".to_owned(),
                sha256: "00".to_owned(),
            }),
            author: Author::Agent {
                name: "reader".to_owned(),
                task: task.to_owned(),
            },
            contract: 1,
        }
    }

    /// Read back by another library.
    #[test]
    fn values_keep_their_types_and_evidence_its_place() {
        let columns = parse_columns("name*, size:number[MB], free:boolean, note, gone").unwrap();
        let contract = Contract::new(columns).unwrap();
        let mut table = Table::default();
        for (column, value) in [
            ("name", json!("=1+1")),
            ("size", json!(2.5)),
            ("free", json!(true)),
            ("note", json!("x")),
            ("gone", Value::Null),
        ] {
            table.add(cell(column, value, "1"));
        }
        table.add(cell("note", json!("y"), "2"));
        let bytes = to_xlsx(&contract, &table).unwrap();
        let mut book: Xlsx<_> = Xlsx::new(std::io::Cursor::new(bytes)).unwrap();
        let sheet = book.worksheet_range("Table").unwrap();
        let at = |row: u32, column: u32| sheet.get_value((row, column)).cloned();
        assert_eq!(at(0, 1), Some(Data::String("size [MB]".to_owned())));
        assert_eq!(
            at(1, 0),
            Some(Data::String("=1+1".to_owned())),
            "no formula"
        );
        assert_eq!(at(1, 1), Some(Data::Float(2.5)));
        assert_eq!(at(1, 2), Some(Data::Bool(true)));
        assert_eq!(at(1, 3), Some(Data::String("x ≠ y".to_owned())));
        assert!(at(1, 4).is_none_or(|data| data == Data::Empty));
        let formulas = book.worksheet_formula("Table").unwrap();
        assert_eq!(formulas.used_cells().count(), 0);
        let sheet = book.worksheet_range("Evidence").unwrap();
        assert_eq!(sheet.height(), 1 + 6, "a line for each claim");
        let line: Vec<String> = sheet
            .rows()
            .nth(2)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "a",
            "size",
            "2.5",
            "ok",
            "d.md",
            "7",
            "as it stands",
            "00",
            "reader 1",
            "1",
        ];
        assert_eq!(line, expected);
    }
}
