//! Some lines of a document, named as if they were one: `stations.csv/5`, `stations.csv/2-26`.
//!
//! A long table, or a long list of records, is more than one agent can hand in. It is given out in parts, by paths that an agent
//! opens and cites like any other; evidence has the document itself and the line in it.

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
    /// Its lines as far as the document has them, counted from 1; whoever writes a path may name more.
    pub fn range(&self) -> RangeInclusive<usize> {
        let count = self.document.line_count();
        let lines = self.lines.as_ref();
        lines.map_or(1..=count, |lines| *lines.start()..=count.min(*lines.end()))
    }

    /// The line that it is, where it is one.
    pub fn only_line(&self) -> Option<usize> {
        let lines = self.lines.as_ref()?;
        (lines.start() == lines.end()).then(|| *lines.start())
    }

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

/// How much one part has, at most; a record that is larger is a part by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSize {
    /// Records.
    pub records: usize,
    /// Lines.
    pub lines: usize,
    /// Bytes, as readers see them.
    pub bytes: usize,
}

/// The records of a document in parts of this size, or of more where that would be more than `most` parts; `None` where it has no
/// records of these columns ([`Document::records`]), or where they are one part.
pub fn parts_of_records(
    document: &Arc<Document>,
    columns: &[&str],
    size: PartSize,
    most: usize,
) -> Option<Vec<Part>> {
    let records = document.records(columns)?;
    let mut parts = packed(document, &records, size);
    if parts.len() > most {
        let each = records.chunks(records.len().div_ceil(most));
        parts = each.map(around).collect();
    }
    let part = |lines| Part {
        document: Arc::clone(document),
        lines: Some(lines),
    };
    (parts.len() > 1).then(|| parts.into_iter().map(part).collect())
}

/// The lines from the first of these records to the last.
fn around(records: &[RangeInclusive<usize>]) -> RangeInclusive<usize> {
    *records[0].start()..=*records[records.len() - 1].end()
}

/// As many records as go into one part, then the next.
fn packed(
    document: &Document,
    records: &[RangeInclusive<usize>],
    size: PartSize,
) -> Vec<RangeInclusive<usize>> {
    let bytes_of = |record: &RangeInclusive<usize>| -> usize {
        let shown = record.clone().filter_map(|number| document.shown(number));
        shown.map(|line| line.len()).sum()
    };
    let mut parts = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        let more = bytes_of(record);
        let lines = record.end() + 1 - records[first].start();
        let is_full =
            index - first >= size.records || lines > size.lines || bytes + more > size.bytes;
        if is_full && index > first {
            parts.push(around(&records[first..index]));
            (first, bytes) = (index, 0);
        }
        bytes += more;
    }
    parts.extend((first < records.len()).then(|| around(&records[first..])));
    parts
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
        let range = |lines| {
            let document = Arc::clone(&document);
            Part { document, lines }.range()
        };
        assert_eq!((range(None), range(Some(1..=usize::MAX))), (1..=1, 1..=1));
        assert!(range(Some(5..=26)).is_empty());
        assert_eq!(split_part("a/t.csv/5"), Some(("a/t.csv", 5..=5)));
        assert_eq!(split_part("a/t.csv/2-26"), Some(("a/t.csv", 2..=26)));
        for path in ["5", "a/t.csv", "a/0", "a/7-2", "a/2-", "a/-2", "a/1-2-3"] {
            assert_eq!(split_part(path), None, "{path}");
        }
    }

    #[test]
    fn tables_are_cut_between_rows() {
        let rows = |records| PartSize {
            records,
            lines: 60,
            bytes: 2_400,
        };
        let document = table("name,since,height\nA,1,2\nB,2,3\n\nC,3,4\n");
        let paths = |columns: &[&str], size| {
            let parts = parts_of_records(&document, columns, rows(size), 2)?;
            Some(parts.iter().map(Part::path).collect::<Vec<_>>())
        };
        let each = parts_of_records(&document, &["name", "since"], rows(1), 9).unwrap();
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
        assert_eq!(
            parts_of_records(&broken, &["name", "since"], rows(1), 9),
            None
        );
    }

    #[test]
    fn a_part_is_what_one_window_shows() {
        let record = |name: &str| format!("name: {name}\nsince: 1\nkept: {}\n\n", "x".repeat(50));
        let text: String = ["a", "b", "c", "d"].map(record).concat();
        let document = Arc::new(Document::new("lights", String::new(), text));
        let paths = |lines, bytes| {
            let size = PartSize {
                records: 3,
                lines,
                bytes,
            };
            let parts = parts_of_records(&document, &["name", "since"], size, 9).unwrap();
            parts.iter().map(Part::path).collect::<Vec<_>>()
        };
        assert_eq!(paths(60, 2_400), ["lights/1-11", "lights/13-15"]);
        assert_eq!(paths(8, 2_400), ["lights/1-7", "lights/9-15"]);
        assert_eq!(paths(60, 150), ["lights/1-7", "lights/9-15"]);
        let each = ["lights/1-3", "lights/5-7", "lights/9-11", "lights/13-15"];
        assert_eq!(
            (paths(2, 2_400), paths(60, 1)),
            (
                each.map(str::to_owned).to_vec(),
                each.map(str::to_owned).to_vec()
            )
        );
    }
}
