//! Tables in documents: rows with the names of their columns.
//!
//! Which cell is whose is told by counting separators, which small models cannot do and large ones do wrongly in wide tables;
//! and of a long table only the first window has the names. So readers see each row of CSV, and of a Markdown document's first
//! table of three columns or more, as an object. The document's lines, and with them evidence, stay as they are. JSON lines are such objects already.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use csv::ReaderBuilder;
use serde_json::{Map, Value};

/// What may stand between cells of CSV.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// Most columns, and the longest line that can be a header, in bytes.
const MOST_COLUMNS: usize = 1000;
const LONGEST_HEADER: usize = 64 << 10;

/// A table: which lines of its document are rows, and how they are read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    form: Form,
    names: Vec<String>,
    rows: RangeInclusive<usize>,
}

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Cells with this between them.
    Separated(u8),
    /// Cells between pipes.
    Markdown,
    /// An object of JSON.
    Object,
}

/// Whether a document of this path can have a table; no other has to be read to know that it has none.
pub(super) fn can_have_table(path: &str) -> bool {
    const ENDINGS: [&str; 7] = ["csv", "tsv", "tab", "md", "markdown", "jsonl", "ndjson"];
    ENDINGS.contains(&ending(path).as_str())
}

/// What stands behind the last dot of a path, in small letters.
pub(super) fn ending(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or_default();
    last.to_ascii_lowercase()
}

/// The name of a column or key, whatever its case and joints.
pub(super) fn plain(name: &str) -> String {
    name.to_lowercase().replace([' ', '_'], "-")
}

impl Table {
    /// The table that a document of this path is or has, if its columns all have names of their own.
    pub(super) fn of(path: &str, text: &str) -> Option<Self> {
        match ending(path).as_str() {
            "csv" => Self::separated(&SEPARATORS, text),
            "tsv" | "tab" => Self::separated(b"\t", text),
            "md" | "markdown" => Self::markdown(text),
            "jsonl" | "ndjson" => Self::objects(text),
            _ => None,
        }
    }

    fn separated(separators: &[u8], text: &str) -> Option<Self> {
        let header = text.lines().next()?;
        if header.len() > LONGEST_HEADER {
            return None;
        }
        let read = |separator: &u8| {
            let form = Form::Separated(*separator);
            Some((form, form.cells(header)?))
        };
        let read = separators.iter().filter_map(read);
        let (form, names) = read.max_by_key(|(_, names)| names.len())?;
        are_names(&names).then(|| Self {
            form,
            names,
            rows: 2..=text.lines().count(),
        })
    }

    /// The first table of three columns or more between pipes: a header, a line of dashes, rows.
    fn markdown(text: &str) -> Option<Self> {
        let mut lines = text.lines().enumerate().peekable();
        let (names, dashes) = loop {
            let (_, header) = lines.next()?;
            let (index, below) = lines.peek()?;
            if !is_dashes(below) || header.len() > LONGEST_HEADER {
                continue;
            }
            // Two columns are mostly keys and values, whose header says nothing.
            let is_wide = |names: &Vec<String>| names.len() > 2 && are_names(names);
            if let Some(names) = Form::Markdown.cells(header).filter(is_wide) {
                break (names, index + 1);
            }
        };
        let rows = lines.skip(1).take_while(|(_, line)| line.contains('|'));
        Some(Self {
            form: Form::Markdown,
            names,
            rows: dashes + 1..=dashes + rows.count(),
        })
    }

    fn objects(text: &str) -> Option<Self> {
        let first: Map<String, Value> = serde_json::from_str(text.lines().next()?).ok()?;
        Some(Self {
            form: Form::Object,
            names: first.into_iter().map(|(name, _)| name).collect(),
            rows: 1..=text.lines().count(),
        })
    }

    /// The lines that are rows, or may be some.
    pub(super) fn lines(&self) -> RangeInclusive<usize> {
        self.rows.clone()
    }

    /// How many of these columns it has, whatever their case and joints.
    pub(super) fn count_of<'a>(&self, columns: impl Iterator<Item = &'a str>) -> usize {
        columns
            .filter(|column| self.position(column).is_some())
            .count()
    }

    fn position(&self, column: &str) -> Option<usize> {
        let wanted = plain(column);
        self.names.iter().position(|name| plain(name) == wanted)
    }

    /// The cells of line `number`, if it is a row with one for every column.
    fn row(&self, number: usize, line: &str) -> Option<Vec<String>> {
        let cells = self.rows.contains(&number).then(|| self.form.cells(line))?;
        cells.filter(|cells| cells.len() == self.names.len())
    }

    /// Whether a line is a row by itself.
    pub(super) fn is_row(&self, number: usize, line: &str) -> bool {
        match self.form {
            Form::Object => serde_json::from_str::<Map<String, Value>>(line).is_ok(),
            _ => self.row(number, line).is_some(),
        }
    }

    /// A row as an object; empty cells are `null`. `None` for a line that is no row by itself, and for one that is an object already.
    pub(super) fn labelled(&self, number: usize, line: &str) -> Option<String> {
        let row = self.row(number, line)?;
        let quoted = |text: &str| Value::from(text).to_string();
        let fields = self.names.iter().zip(&row).map(|(name, cell)| {
            let cell = match cell.as_str() {
                "" => "null".to_owned(),
                cell => quoted(cell),
            };
            format!("{}: {cell}", quoted(name))
        });
        Some(format!("{{{}}}", fields.collect::<Vec<_>>().join(", ")))
    }

    /// The cell of a line below the column of this name, whatever its case and joints.
    pub(super) fn cell(&self, number: usize, line: &str, column: &str) -> Option<String> {
        let at = self.position(column)?;
        self.row(number, line)?.into_iter().nth(at)
    }
}

impl Form {
    /// The cells of a line, without blanks around them; `None` where a quoted one goes on in the next line, and for an object.
    fn cells(self, line: &str) -> Option<Vec<String>> {
        match self {
            Form::Separated(separator) => separated_cells(line, separator),
            Form::Markdown => markdown_cells(line),
            Form::Object => None,
        }
    }
}

/// Whether these can be the names of columns: several, none of them empty, a number or there twice.
fn are_names(names: &[String]) -> bool {
    let is_name = |name: &String| !name.is_empty() && name.parse::<f64>().is_err();
    let distinct: BTreeSet<&String> = names.iter().collect();
    (2..=MOST_COLUMNS).contains(&names.len())
        && distinct.len() == names.len()
        && names.iter().all(is_name)
}

/// Whether a line parts the names of a Markdown table from its rows.
fn is_dashes(line: &str) -> bool {
    line.contains("--") && line.contains('|') && line.chars().all(|c| "|-: \t".contains(c))
}

fn separated_cells(line: &str, separator: u8) -> Option<Vec<String>> {
    if line.matches('"').count() % 2 == 1 {
        return None;
    }
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .from_reader(line.as_bytes());
    let record = reader.records().next()?.ok()?;
    Some(record.iter().map(|cell| cell.trim().to_owned()).collect())
}

/// Pipes around the cells may be left out; one behind a backslash belongs to its cell.
fn markdown_cells(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    if !line.contains('|') {
        return None;
    }
    let line = line.strip_prefix('|').unwrap_or(line);
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for c in line.chars() {
        match c {
            '|' if is_escaped => {
                let cell = cells.last_mut()?;
                cell.pop();
                cell.push('|');
            }
            '|' => cells.push(String::new()),
            c => cells.last_mut()?.push(c),
        }
        is_escaped = c == '\\';
    }
    if cells.last().is_some_and(|last| last.trim().is_empty()) {
        cells.pop();
    }
    Some(
        cells
            .into_iter()
            .map(|cell| cell.trim().to_owned())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_names_of_their_columns() {
        let table = Table::of("a/b.csv", "name;since;keeper\nx\ny\n").unwrap();
        assert_eq!(table.lines(), 2..=3);
        assert_eq!(
            table
                .labelled(2, "Arholm; 1871;\"Ny, \"\"Ola\"\"\"")
                .unwrap(),
            r#"{"name": "Arholm", "since": "1871", "keeper": "Ny, \"Ola\""}"#
        );
        assert_eq!(
            table.labelled(2, "Arholm;;").unwrap(),
            r#"{"name": "Arholm", "since": null, "keeper": null}"#
        );
        assert_eq!(table.cell(2, "Arholm;1871;", "Since").unwrap(), "1871");
        assert_eq!(table.cell(2, "Arholm;1871;", "height"), None);
        assert_eq!(table.labelled(1, "name;since;keeper"), None);
        for no_row in ["Arholm;1871", "a;b;c;d", "", "Arholm;1871;\"goes on"] {
            assert_eq!(table.labelled(2, no_row), None, "{no_row}");
        }
        assert_eq!(table.count_of(["Since", "keeper", "height"].into_iter()), 2);
    }

    #[test]
    fn tables_of_markdown_stand_between_other_lines() {
        let text = "| Field | Value |\n|---|---|\n| a | b |\n\n| name | built in | by |\n|:--|--:|--|\n| Arholm | 1871 | |\n|A \\| B||Ny|\n\nEnd | of it\n";
        let table = Table::of("a.md", text).unwrap();
        assert_eq!(table.lines(), 7..=8);
        let line = |number: usize| text.lines().nth(number - 1).unwrap();
        let labelled = |number| table.labelled(number, line(number));
        assert_eq!(
            labelled(7).unwrap(),
            r#"{"name": "Arholm", "built in": "1871", "by": null}"#
        );
        assert_eq!(
            labelled(8).unwrap(),
            r#"{"name": "A | B", "built in": null, "by": "Ny"}"#
        );
        assert_eq!((labelled(3), labelled(5), labelled(10)), (None, None, None));
        assert_eq!(table.cell(7, line(7), "built_in").unwrap(), "1871");
        assert_eq!(Table::of("a.md", "# Words\n\n- a | b\n"), None);
    }

    #[test]
    fn json_lines_are_objects_already() {
        let table = Table::of(
            "a.jsonl",
            "{\"name\": \"A\", \"x\": 1}\n{\"name\": \"B\"}\n",
        )
        .unwrap();
        assert_eq!(table.lines(), 1..=2);
        assert_eq!(table.labelled(2, "{\"name\": \"B\"}"), None);
        assert!(table.is_row(2, "{\"name\": \"B\"}"));
        assert!(!table.is_row(2, "[1]"));
        assert_eq!(table.count_of(["name", "y"].into_iter()), 1);
        assert_eq!(Table::of("a.jsonl", "[1]\n"), None);
    }

    #[test]
    fn what_has_no_header_has_none() {
        for (path, line) in [
            ("a.txt", "name,since"),
            ("a.csv", "name"),
            ("a.csv", "Arholm,1871"),
            ("a.csv", "name,name"),
            ("a.csv", "name,,since"),
            ("a.csv", "\"name,since"),
            ("a.csv", ""),
            ("a.tsv", "name,since"),
            ("a.md", "|---|---|"),
            ("a.md", "| a | a | b |\n|---|---|---|"),
        ] {
            assert_eq!(Table::of(path, line), None, "{path}: {line}");
        }
        let wide: Vec<String> = (0..=MOST_COLUMNS).map(|at| format!("c{at}")).collect();
        assert_eq!(Table::of("a.csv", &wide.join(",")), None);
        assert!(Table::of("a.csv", &wide[1..].join(",")).is_some());
        assert!(Table::of("A.TSV", "name\tsince").is_some());
    }
}
