//! `open`: a folder's entries, or a document's lines with their numbers.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{CallContext, Calling, FailureKind, Tool, ToolError, ToolOutput};
use crate::documents::{Documents, Part};
use crate::table::shortened;

/// Reads documents, a window at a time.
pub struct Open {
    documents: Arc<Documents>,
    limits: OpenLimits,
}

/// How much one call shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLimits {
    /// Lines of a document.
    pub lines: usize,
    /// Bytes of a document.
    pub bytes: usize,
    /// Bytes of one line; the rest of it is cut off. A row of a table may have half of `bytes`.
    pub line_bytes: usize,
    /// Entries of a folder.
    pub entries: usize,
}

impl OpenLimits {
    /// For models with a context of a few thousand tokens.
    pub const SMALL: OpenLimits = OpenLimits {
        lines: 60,
        bytes: 2_400,
        line_bytes: 400,
        entries: 60,
    };
    /// For models with a context of a hundred thousand tokens and more.
    pub const LARGE: OpenLimits = OpenLimits {
        lines: 400,
        bytes: 24_000,
        line_bytes: 2_000,
        entries: 400,
    };
}

impl Open {
    /// The tool over these documents.
    pub fn new(documents: Arc<Documents>, limits: OpenLimits) -> Self {
        Open { documents, limits }
    }

    fn open(&self, path: &str, first: usize) -> Result<String, ToolError> {
        if let Some(entries) = self.documents.list(path) {
            let lines = entries
                .iter()
                .skip(first - 1)
                .take(self.limits.entries)
                .map(|entry| match entry.files {
                    Some(files) => format!("{} ({files} files)", entry.path),
                    None => entry.path.clone(),
                });
            let mut text = format!("{} entries", entries.len());
            for line in lines {
                text.push('\n');
                text.push_str(&line);
            }
            let next = first + self.limits.entries;
            if next <= entries.len() {
                text.push_str(&format!("\nmore from line {next}"));
            }
            return Ok(text);
        }
        let part = self.documents.part(path);
        let part = part.map_err(|error| ToolError::new(FailureKind::Refused, error.to_string()))?;
        self.window(&part, first)
    }

    fn window(&self, part: &Part, first: usize) -> Result<String, ToolError> {
        let document = &part.document;
        let count = document.line_count();
        let (begin, last) = part.range().into_inner();
        let first = first.max(begin);
        if first > last.max(1) {
            let message = format!("{} has {count} lines", document.path);
            return Err(ToolError::new(FailureKind::Refused, message));
        }
        let mut body = String::new();
        let mut number = first;
        while let Some(line) = document.shown(number).filter(|_| number <= last) {
            let most = match line {
                Cow::Borrowed(_) => self.limits.line_bytes,
                // A row that is cut off loses columns.
                Cow::Owned(_) => self.limits.bytes / 2,
            };
            let line = format!("\n{number}: {}", shortened(&line, most));
            let is_full =
                number - first >= self.limits.lines || body.len() + line.len() > self.limits.bytes;
            if is_full && number > first {
                break;
            }
            body.push_str(&line);
            number += 1;
        }
        let lines = match part.lines {
            Some(_) => last + 1 - begin,
            None => count,
        };
        let mut text = format!("{} · {lines} lines{body}", part.path());
        if number <= last {
            text.push_str(&format!("\nmore from line {number}"));
        }
        Ok(text)
    }
}

impl Tool for Open {
    fn name(&self) -> &str {
        "open"
    }

    fn description(&self) -> &str {
        "Read a document's numbered lines, or list a folder (\".\" is the top)."
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "line": {"type": "integer", "description": "first line"},
            },
            "required": ["path"],
        })
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        Box::pin(async move {
            let path = arguments["path"].as_str().unwrap_or_default();
            let first = arguments["line"]
                .as_u64()
                .unwrap_or(1)
                .clamp(1, u64::from(u32::MAX));
            if self.documents.reads_slowly(path) {
                let (documents, path) = (Arc::clone(&self.documents), path.to_owned());
                // Its result stays in the cache, where the next line finds it.
                let _ = tokio::task::spawn_blocking(move || documents.read(&path).map(drop)).await;
            }
            self.open(path, first as usize).map(ToolOutput::from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_lists_say_where_they_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (1..=70).map(|n| format!("line {n}")).collect();
        std::fs::write(dir.path().join("a.txt"), lines.join("\n")).unwrap();
        std::fs::write(dir.path().join("long.txt"), "x".repeat(100_000)).unwrap();
        std::fs::write(dir.path().join("empty.txt"), "").unwrap();
        let documents = Arc::new(Documents::open(dir.path()).unwrap());
        let open = Open::new(documents, OpenLimits::SMALL);
        let text = open.open("a.txt", 1).unwrap();
        assert!(
            text.starts_with("a.txt · 70 lines\n1: line 1\n2: line 2\n"),
            "{text}"
        );
        assert!(text.ends_with("\n60: line 60\nmore from line 61"), "{text}");
        assert!(open.open("a.txt", 61).unwrap().ends_with("70: line 70"));
        assert!(open.open("long.txt", 1).unwrap().len() < 500);
        assert_eq!(open.open("empty.txt", 1).unwrap(), "empty.txt · 0 lines");
        assert_eq!(
            open.open(".", 1).unwrap(),
            "3 entries\na.txt\nempty.txt\nlong.txt"
        );
        std::fs::write(
            dir.path().join("t.csv"),
            "name,since\nArholm,1871\nBirkvik,\n",
        )
        .unwrap();
        let documents = Arc::new(Documents::open(dir.path()).unwrap());
        let table = Open::new(documents, OpenLimits::SMALL)
            .open("t.csv", 2)
            .unwrap();
        let rows = "\n2: {\"name\": \"Arholm\", \"since\": \"1871\"}\n3: {\"name\": \"Birkvik\", \"since\": null}";
        assert_eq!(table, format!("t.csv · 3 lines{rows}"));
        let documents = Arc::new(Documents::open(dir.path()).unwrap());
        let open = Open::new(documents, OpenLimits::SMALL);
        let row = "t.csv/3 · 1 lines\n3: {\"name\": \"Birkvik\", \"since\": null}";
        assert_eq!(open.open("t.csv/3", 1).unwrap(), row);
        let lines = "a.txt/3-90 · 68 lines\n3: line 3\n4: line 4\n";
        let text = open.open("a.txt/3-90", 1).unwrap();
        assert!(text.starts_with(lines), "{text}");
        assert!(text.ends_with("\nmore from line 63"), "{text}");
        let error = open.open("t.csv/4", 1).unwrap_err();
        assert_eq!(error.message, "t.csv has 3 lines");
        let error = open.open("a.txt", 99).unwrap_err();
        assert_eq!(error.message, "a.txt has 70 lines");
        assert!(open.open("b.txt", 1).is_err());
    }
}
