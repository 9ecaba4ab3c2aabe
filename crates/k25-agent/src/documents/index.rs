//! Ranked search over the documents: BM25 by SQLite's FTS5, which the journal brings along anyway.
//!
//! A document is indexed in passages of a few lines, so that a hit has a position; the path counts as
//! words of every passage. Pages of the web are added as they are kept.

use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Statement, params};
use thiserror::Error;

use super::{Document, Documents};

/// Lines of a passage.
const PASSAGE_LINES: usize = 8;
/// Bytes of documents that are indexed; beyond it the rest is found by its path only.
const MAX_INDEX_BYTES: usize = 256 << 20;
const INSERT: &str = "INSERT INTO passage (path, body, line) VALUES (?1, ?2, ?3)";
/// Words of a query that count.
const MAX_WORDS: usize = 24;

/// The index failed. Nothing of the query can cause it.
#[derive(Debug, Error)]
#[error("the search index failed: {0}; hint: is there memory left?")]
pub struct IndexError(#[from] rusqlite::Error);

/// A line that answers a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The document.
    pub path: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// A full-text index in memory.
#[derive(Debug)]
pub struct SearchIndex {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    /// Bytes that are indexed.
    bytes: usize,
    /// Pages of the web that are in it.
    pages: usize,
}

impl SearchIndex {
    /// Reads and indexes all documents; those that cannot be read are left out.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn build(documents: &Documents) -> Result<Self, IndexError> {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "CREATE VIRTUAL TABLE passage USING fts5(path, body, line UNINDEXED, \
             tokenize = \"unicode61 remove_diacritics 2 tokenchars '_'\");",
        )?;
        let transaction = connection.transaction()?;
        let mut bytes = 0;
        {
            let mut insert = transaction.prepare(INSERT)?;
            for path in documents.files() {
                if bytes > MAX_INDEX_BYTES {
                    insert.execute(params![path, "", 1])?;
                } else if let Ok(document) = documents.read(path) {
                    bytes += add(&mut insert, &document)?;
                }
            }
        }
        transaction.commit()?;
        let inner = Inner {
            connection,
            bytes,
            pages: 0,
        };
        Ok(SearchIndex {
            inner: Mutex::new(inner),
        })
    }

    /// Adds the pages of the web that were kept since the last time.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn add_pages(&self, documents: &Documents) -> Result<(), IndexError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = documents.pages_from(inner.pages);
        if pages.is_empty() {
            return Ok(());
        }
        let mut bytes = inner.bytes;
        let transaction = inner.connection.transaction()?;
        {
            let mut insert = transaction.prepare(INSERT)?;
            for page in &pages {
                if bytes > MAX_INDEX_BYTES {
                    insert.execute(params![page.path, "", 1])?;
                } else {
                    bytes += add(&mut insert, page)?;
                }
            }
        }
        transaction.commit()?;
        (inner.bytes, inner.pages) = (bytes, inner.pages + pages.len());
        Ok(())
    }

    /// The best line of each of the `count` best passages, best first; at most two of one document.
    /// `within` keeps to paths that begin with it.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn search(&self, query: &str, within: &str, count: usize) -> Result<Vec<Hit>, IndexError> {
        let words = words_of(query);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut select = inner.connection.prepare(
            "SELECT path, body, line FROM passage WHERE passage MATCH ?1 AND substr(path, 1, ?2) = ?3 \
             ORDER BY bm25(passage, 4.0, 1.0), path, line LIMIT ?4",
        )?;
        let rows = select.query_map(
            params![
                quoted.join(" OR "),
                within.chars().count() as i64,
                within,
                (count * 8) as i64
            ],
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)),
        )?;
        let mut hits: Vec<Hit> = Vec::new();
        for row in rows {
            let (path, body, first_line): (String, String, i64) = row?;
            if hits.iter().filter(|hit| hit.path == path).count() < 2 {
                let (offset, text) = best_line(&body, &words);
                hits.push(Hit {
                    path,
                    line: first_line as usize + offset,
                    text: text.to_owned(),
                });
            }
            if hits.len() == count {
                break;
            }
        }
        Ok(hits)
    }
}

/// Adds a document; the result is how many bytes of it.
fn add(insert: &mut Statement<'_>, document: &Document) -> Result<usize, IndexError> {
    let mut bytes = 0;
    for (line, body) in passages(document) {
        bytes += body.len();
        insert.execute(params![document.path, body, line as i64])?;
    }
    Ok(bytes)
}

/// The document in pieces, each with the number of its first line.
fn passages(document: &Document) -> impl Iterator<Item = (usize, String)> {
    (1..=document.line_count())
        .step_by(PASSAGE_LINES)
        .map(|first| {
            let lines = (first..first + PASSAGE_LINES).map_while(|number| document.line(number));
            (first, lines.collect::<Vec<_>>().join("\n"))
        })
}

/// The words of a query as the index knows them: no operator of its query language is left.
fn words_of(query: &str) -> Vec<String> {
    let parts = query.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words = parts.filter(|word| !word.is_empty()).map(str::to_lowercase);
    words.take(MAX_WORDS).collect()
}

/// The first of the lines with most of the words.
fn best_line<'a>(body: &'a str, words: &[String]) -> (usize, &'a str) {
    let score = |line: &str| {
        let line = line.to_lowercase();
        words
            .iter()
            .filter(|word| line.contains(word.as_str()))
            .count()
    };
    let mut best = (0, body.lines().next().unwrap_or(""), 0);
    for (offset, line) in body.lines().enumerate() {
        let score = score(line);
        if score > best.2 {
            best = (offset, line, score);
        }
    }
    (best.0, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_line_comes_first_and_queries_hold_no_operators() {
        let dir = tempfile::tempdir().unwrap();
        let filler = "nothing here\n".repeat(9);
        std::fs::write(
            dir.path().join("a.txt"),
            format!("{filler}the licence is MIT\n"),
        )
        .unwrap();
        std::fs::write(dir.path().join("b.txt"), "a licence\n").unwrap();
        std::fs::write(dir.path().join("c.txt"), "other words\n").unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        let index = SearchIndex::build(&documents).unwrap();
        let hits = index.search("licence MIT", "", 5).unwrap();
        assert_eq!((hits[0].path.as_str(), hits[0].line), ("a.txt", 10));
        assert_eq!(hits[0].text, "the licence is MIT");
        assert_eq!(hits.len(), 2);
        assert_eq!(index.search("licence", "b", 5).unwrap().len(), 1);
        for odd in ["", "\"", "a AND", "NEAR(x, y)", "path:x *", "-", "'; DROP"] {
            assert!(index.search(odd, "", 5).is_ok(), "{odd}");
        }
    }
}
