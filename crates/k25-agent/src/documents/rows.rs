//! Rows of CSV with the names of their columns.
//!
//! Which cell is whose is told by counting separators, which small models cannot do and large ones do wrongly in wide tables;
//! and of a long table only the first window has the names. So readers see each row as an object. The document's lines, and
//! with them evidence, stay as they are.

use std::collections::BTreeSet;

use csv::ReaderBuilder;

/// What may stand between cells.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// Most columns, and the longest line that can be a header, in bytes.
const MOST_COLUMNS: usize = 1000;
const LONGEST_HEADER: usize = 64 << 10;

/// The first line of a table, by which its other lines are read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    separator: u8,
    names: Vec<String>,
}

impl Header {
    /// The header of a document of this path, if it is a table whose columns all have names of their own.
    pub(super) fn of(path: &str, first_line: &str) -> Option<Self> {
        let ending = path.rsplit('.').next()?.to_ascii_lowercase();
        let separators = match ending.as_str() {
            "csv" => SEPARATORS.as_slice(),
            "tsv" | "tab" => b"\t",
            _ => return None,
        };
        if first_line.len() > LONGEST_HEADER {
            return None;
        }
        let read = |separator: &u8| Some((*separator, cells(first_line, *separator)?));
        let (separator, names) = separators
            .iter()
            .filter_map(read)
            .max_by_key(|(_, names)| names.len())?;
        let is_name = |name: &String| !name.is_empty() && name.parse::<f64>().is_err();
        let distinct: BTreeSet<&String> = names.iter().collect();
        let is_header = (2..=MOST_COLUMNS).contains(&names.len())
            && distinct.len() == names.len()
            && names.iter().all(is_name);
        is_header.then_some(Header { separator, names })
    }

    /// The cells of a line, if it has one for every column.
    fn row(&self, line: &str) -> Option<Vec<String>> {
        cells(line, self.separator).filter(|cells| cells.len() == self.names.len())
    }

    /// A row as an object; empty cells are `null`. `None` for a line that is no row by itself.
    pub(super) fn labelled(&self, line: &str) -> Option<String> {
        let row = self.row(line)?;
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
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
    pub(super) fn cell(&self, line: &str, column: &str) -> Option<String> {
        let plain = |name: &str| name.to_lowercase().replace([' ', '_'], "-");
        let wanted = plain(column);
        let at = self.names.iter().position(|name| plain(name) == wanted)?;
        self.row(line)?.into_iter().nth(at)
    }
}

/// The cells of a line, without blanks around them; `None` where a quoted one goes on in the next line.
fn cells(line: &str, separator: u8) -> Option<Vec<String>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_names_of_their_columns() {
        let header = Header::of("a/b.csv", "name;since;keeper").unwrap();
        assert_eq!(
            header.labelled("Arholm; 1871;\"Ny, \"\"Ola\"\"\"").unwrap(),
            r#"{"name": "Arholm", "since": "1871", "keeper": "Ny, \"Ola\""}"#
        );
        assert_eq!(
            header.labelled("Arholm;;").unwrap(),
            r#"{"name": "Arholm", "since": null, "keeper": null}"#
        );
        assert_eq!(header.cell("Arholm;1871;", "Since").unwrap(), "1871");
        assert_eq!(header.cell("Arholm;1871;", "height"), None);
        for no_row in ["Arholm;1871", "a;b;c;d", "", "Arholm;1871;\"goes on"] {
            assert_eq!(header.labelled(no_row), None, "{no_row}");
        }
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
        ] {
            assert_eq!(Header::of(path, line), None, "{path}: {line}");
        }
        let wide: Vec<String> = (0..=MOST_COLUMNS).map(|at| format!("c{at}")).collect();
        assert_eq!(Header::of("a.csv", &wide.join(",")), None);
        assert!(Header::of("a.csv", &wide[1..].join(",")).is_some());
        assert!(Header::of("A.TSV", "name\tsince").is_some());
    }
}
