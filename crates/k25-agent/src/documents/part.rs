//! Some lines of a document, named as if they were one: `stations.csv/5`, `stations.csv/2-26`.
//!
//! A long table is more than one agent can hand in. Its rows are given out in parts, by paths that an agent opens and cites like
//! any other; evidence has the document itself and the line in it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Document;

/// A document, or some lines of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The document.
    pub document: Arc<Document>,
    /// The lines, counted from 1; `None` for all of them.
    pub lines: Option<RangeInclusive<usize>>,
}

impl Part {
    /// The path that names it.
    pub fn path(&self) -> String {
        let path = &self.document.path;
        match &self.lines {
            None => path.clone(),
            Some(lines) if lines.start() == lines.end() => format!("{path}/{}", lines.start()),
            Some(lines) => format!("{path}/{}-{}", lines.start(), lines.end()),
        }
    }
}

/// A path of some lines as the document's path and the lines; `None` for a path that cannot be one.
pub fn split_part(path: &str) -> Option<(&str, RangeInclusive<usize>)> {
    let (document, lines) = path.rsplit_once('/')?;
    let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    (1 <= first && first <= last).then_some((document, first..=last))
}

/// The rows of a table in parts of `size` rows each, or of more where that would be more than `most` parts; `None` where the document
/// is no table, where it has at most `size` rows, or where less than half of `columns` are columns of it.
pub fn parts_of_table(
    document: &Arc<Document>,
    columns: &[&str],
    size: usize,
    most: usize,
) -> Option<Vec<Part>> {
    let rows = document.rows(columns)?;
    if rows.len() <= size {
        return None;
    }
    let size = size.max(rows.len().div_ceil(most)).max(1);
    let parts = rows.chunks(size).map(|rows| Part {
        document: Arc::clone(document),
        lines: Some(rows[0]..=rows[rows.len() - 1]),
    });
    Some(parts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Arc<Document> {
        Arc::new(Document::new("a/t.csv", String::new(), text.to_owned()))
    }

    #[test]
    fn parts_have_paths() {
        let document = table("name,since\n");
        let path = |lines| {
            let document = Arc::clone(&document);
            Part { document, lines }.path()
        };
        assert_eq!(path(None), "a/t.csv");
        assert_eq!(path(Some(5..=5)), "a/t.csv/5");
        assert_eq!(path(Some(2..=26)), "a/t.csv/2-26");
        assert_eq!(split_part("a/t.csv/5"), Some(("a/t.csv", 5..=5)));
        assert_eq!(split_part("a/t.csv/2-26"), Some(("a/t.csv", 2..=26)));
        for path in ["5", "a/t.csv", "a/0", "a/7-2", "a/2-", "a/-2", "a/1-2-3"] {
            assert_eq!(split_part(path), None, "{path}");
        }
    }

    #[test]
    fn tables_are_cut_between_rows() {
        let document = table("name,since,height\nA,1,2\nB,2,3\n\nC,3,4\n");
        let paths = |columns: &[&str], size| {
            let parts = parts_of_table(&document, columns, size, 2)?;
            Some(parts.iter().map(Part::path).collect::<Vec<_>>())
        };
        let each = parts_of_table(&document, &["name", "since"], 1, 9).unwrap();
        let each: Vec<String> = each.iter().map(Part::path).collect();
        assert_eq!(each, ["a/t.csv/2", "a/t.csv/3", "a/t.csv/5"]);
        for size in [1, 2] {
            assert_eq!(
                paths(&["name", "since"], size).unwrap(),
                ["a/t.csv/2-3", "a/t.csv/5"]
            );
        }
        assert_eq!(paths(&["name", "since"], 3), None);
        assert_eq!(paths(&["name", "keeper", "owner"], 1), None);
        let broken = table("name,since\nA,1\nB,\"goes\non\"\n");
        assert_eq!(parts_of_table(&broken, &["name", "since"], 1, 9), None);
    }
}
