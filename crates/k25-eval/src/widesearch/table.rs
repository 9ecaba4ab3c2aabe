//! Tables as answers hold them (Markdown) and as the truth comes (CSV).

use std::collections::{HashMap, HashSet};

use thiserror::Error;

/// Named columns and rows of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

/// A table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// A quote that does not end.
    #[error("line {0}: a quoted field does not end; hint: double the quotes within a field")]
    OpenQuote(usize),
    /// No header.
    #[error("there is no header; hint: the first line names the columns")]
    Empty,
}

impl Table {
    /// The first table of an answer in Markdown: of its fenced block `markdown` if there is one, else
    /// of the text. `None` if there is none.
    pub fn from_markdown(answer: &str) -> Option<Self> {
        let text = match answer.split_once("```markdown") {
            Some((_, rest)) => rest.split("```").next().unwrap_or(rest),
            None => answer,
        };
        let is_row = |line: &&str| line.trim_start().starts_with('|');
        let mut lines = text
            .lines()
            .skip_while(|line| !is_row(line))
            .take_while(is_row);
        let columns = cells(lines.next()?);
        let is_rule = |line: &str| {
            line.chars()
                .all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t'))
        };
        let mut rows = Vec::new();
        for line in lines.filter(|line| !is_rule(line)) {
            let mut row = cells(line);
            row.resize(columns.len(), String::new());
            rows.push(row);
        }
        Some(Table { columns, rows })
    }

    /// CSV after RFC 4180 with a header. Short rows are filled with empty texts.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn from_csv(text: &str) -> Result<Self, TableError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut records = records(text)?.into_iter();
        let columns = records.next().ok_or(TableError::Empty)?;
        let width = columns.len();
        let rows = records.map(|mut row| {
            row.resize(width, String::new());
            row
        });
        Ok(Table {
            rows: rows.collect(),
            columns,
        })
    }

    pub(super) fn index(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// With names in small letters and without blanks.
    pub(super) fn with_plain_names(&self) -> Self {
        let plain = |name: &String| name.to_lowercase().split_whitespace().collect::<String>();
        Table {
            columns: self.columns.iter().map(plain).collect(),
            rows: self.rows.clone(),
        }
    }

    pub(super) fn rename(&mut self, map: &HashMap<String, String>) {
        for name in &mut self.columns {
            if let Some(other) = map.get(name) {
                name.clone_from(other);
            }
        }
    }

    /// Keeps the first of rows with equal keys.
    pub(super) fn drop_duplicates(&mut self, keys: &[String]) {
        let indexes: Vec<usize> = keys.iter().filter_map(|key| self.index(key)).collect();
        let mut seen = HashSet::new();
        self.rows.retain(|row| {
            let key: Vec<String> = indexes.iter().map(|&index| row[index].clone()).collect();
            seen.insert(key)
        });
    }

    pub(super) fn change(&mut self, column: &str, change: impl Fn(&str) -> String) {
        if let Some(index) = self.index(column) {
            for row in &mut self.rows {
                row[index] = change(&row[index]);
            }
        }
    }

    pub(super) fn values(&self, column: &str) -> Vec<String> {
        let index = self.index(column);
        index
            .map(|index| self.rows.iter().map(|row| row[index].clone()).collect())
            .unwrap_or_default()
    }

    pub(super) fn get(&self, row: usize, column: &str) -> &str {
        self.index(column)
            .map_or("", |index| &self.rows[row][index])
    }

    pub(super) fn key(&self, row: usize, keys: &[String]) -> Vec<&str> {
        keys.iter().map(|key| self.get(row, key)).collect()
    }

    /// The rows with their columns in this order, sorted.
    pub(super) fn sorted(&self, columns: &[String]) -> Vec<Vec<&str>> {
        let mut rows: Vec<Vec<&str>> = (0..self.rows.len())
            .map(|row| self.key(row, columns))
            .collect();
        rows.sort_unstable();
        rows
    }
}

/// The cells of a line; `\|` is a stroke within one.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let mut cells = vec![String::new()];
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, cells.last_mut()) {
            ('\\', Some(cell)) if characters.peek() == Some(&'|') => {
                cell.extend(characters.next());
            }
            ('|', _) => cells.push(String::new()),
            (other, Some(cell)) => cell.push(other),
            (_, None) => {}
        }
    }
    // The stroke at the end begins no cell.
    if cells.last().is_some_and(|cell| cell.trim().is_empty()) && cells.len() > 1 {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn records(text: &str) -> Result<Vec<Vec<String>>, TableError> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let (mut is_quoted, mut line) = (false, 1);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            other if is_quoted => field.push(other),
            ',' => record.push(std::mem::take(&mut field)),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    if is_quoted {
        return Err(TableError::OpenQuote(line));
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    records.retain(|record| record.iter().any(|field| !field.is_empty()));
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_truths_are_read() {
        let answer =
            "Here:\n```markdown\n| A | B |\n|---|:--|\n| 1 | x\\|y |\n| 2 |\n```\nmore | text";
        let table = Table::from_markdown(answer).unwrap();
        assert_eq!(table.columns, ["A", "B"]);
        assert_eq!(table.rows, [["1", "x|y"], ["2", ""]]);
        assert_eq!(Table::from_markdown("no table"), None);
        let table = Table::from_csv("\u{feff}A,B\r\n\"1,\"\"2\"\"\nx\",y\r\n\r\n3\r\n").unwrap();
        assert_eq!(table.rows, [["1,\"2\"\nx", "y"], ["3", ""]]);
        assert_eq!(Table::from_csv(""), Err(TableError::Empty));
        assert_eq!(Table::from_csv("A\n\"x"), Err(TableError::OpenQuote(2)));
    }
}
