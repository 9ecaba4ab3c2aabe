//! Pages of the web as documents of a run: kept as they were read, so that evidence points into what
//! stays the same. A page is named by its address.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Document, DocumentError, without_hidden};
use crate::contract::hex;

/// Most pages of a run, and longest text of one.
const MAX_PAGES: usize = 5_000;
const MAX_TEXT: usize = 4 << 20;
/// The end of a page that is longer.
const CUT: &str = "\n\n[the rest of the page is left out: it is longer than 4 MiB]\n";
const INDEX: &str = "pages.jsonl";

/// A page that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPage<'a> {
    /// The address that was asked for.
    pub asked: &'a str,
    /// The address that answered, after redirects.
    pub url: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What its server sent.
    pub raw: &'a [u8],
    /// When, in seconds since 1970.
    pub at: u64,
}

/// One line of the index.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    asked: String,
    url: String,
    /// Of the text, which lines count in.
    sha256: String,
    /// Of what the server sent.
    raw_sha256: String,
    at: u64,
}

/// The pages of a run, in a folder of theirs: `SHA.md` is a text, `SHA.raw` what a server sent.
#[derive(Debug)]
pub(super) struct Pages {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_address: BTreeMap<String, Arc<Document>>,
    /// Each once, in the order in which they came.
    in_order: Vec<Arc<Document>>,
}

impl Pages {
    /// The pages that lie in a folder already; it is made if it is not there.
    pub(super) fn open(folder: &Path) -> Result<Self, DocumentError> {
        fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
        let index = folder.join(INDEX);
        let lines = match fs::read_to_string(&index) {
            Ok(lines) => lines,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(&index, &error)),
        };
        let pages = Pages {
            folder: folder.to_owned(),
            known: Mutex::default(),
        };
        // The last line may be cut short by a crash; its page is read again when it is wanted.
        let entries = lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        for entry in entries.take(MAX_PAGES) {
            pages.load(&entry);
        }
        Ok(pages)
    }

    /// A page whose file is gone or changed is as if it had not been read.
    fn load(&self, entry: &Entry) {
        let file = self.folder.join(format!("{}.md", entry.sha256));
        let Ok(text) = fs::read_to_string(file) else {
            return;
        };
        if hex(&Sha256::digest(&text)) == entry.sha256 {
            let document = Document::new(&entry.url, entry.sha256.clone(), text);
            self.know(&entry.asked, Arc::new(document));
        }
    }

    fn know(&self, asked: &str, document: Arc<Document>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let address = key(&document.path);
        if !known.by_address.contains_key(&address) {
            known.in_order.push(Arc::clone(&document));
        }
        known.by_address.insert(key(asked), Arc::clone(&document));
        known.by_address.insert(address, document);
    }

    /// The pages from this number on, in the order in which they came.
    pub(super) fn from(&self, number: usize) -> Vec<Arc<Document>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.in_order.iter().skip(number).cloned().collect()
    }

    pub(super) fn get(&self, address: &str) -> Option<Arc<Document>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_address.get(&key(address)).cloned()
    }

    pub(super) fn keep(&self, page: NewPage<'_>) -> Result<Arc<Document>, DocumentError> {
        if let Some(document) = self.get(page.url) {
            self.know(page.asked, Arc::clone(&document));
            return Ok(document);
        }
        let count = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.in_order.len()
        };
        if count >= MAX_PAGES {
            return Err(DocumentError::Io {
                path: page.url.to_owned(),
                problem: format!("a run reads at most {MAX_PAGES} pages"),
            });
        }
        let mut text = without_hidden(&page.text[..page.text.floor_char_boundary(MAX_TEXT)]);
        if page.text.len() > MAX_TEXT {
            text.push_str(CUT);
        }
        let entry = Entry {
            asked: page.asked.to_owned(),
            url: page.url.to_owned(),
            sha256: hex(&Sha256::digest(&text)),
            raw_sha256: hex(&Sha256::digest(page.raw)),
            at: page.at,
        };
        self.write(&entry, &text, page.raw)
            .map_err(|error| io(&self.folder, &error))?;
        let document = Arc::new(Document::new(page.url, entry.sha256, text));
        self.know(page.asked, Arc::clone(&document));
        Ok(document)
    }

    /// The contents first: an index never names what is not there.
    fn write(&self, entry: &Entry, text: &str, raw: &[u8]) -> std::io::Result<()> {
        fs::write(self.folder.join(format!("{}.md", entry.sha256)), text)?;
        fs::write(self.folder.join(format!("{}.raw", entry.raw_sha256)), raw)?;
        let mut index = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(INDEX))?;
        let line = serde_json::to_string(entry)? + "\n";
        index.write_all(line.as_bytes())
    }
}

/// Whether a document is named by an address of the web.
pub(super) fn is_address(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// An address without the place within the page, and without a `/` that says nothing.
fn key(address: &str) -> String {
    let address = address.split('#').next().unwrap_or_default();
    address.trim_end_matches('/').to_owned()
}

fn io(path: &Path, error: &std::io::Error) -> DocumentError {
    DocumentError::Io {
        path: path.display().to_string(),
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Documents, SearchIndex};
    use super::*;

    const PAGE: NewPage<'_> = NewPage {
        asked: "http://a.example",
        url: "https://a.example/",
        text: "# A\nprice\u{200b}: 3\n",
        raw: b"<h1>A</h1>",
        at: 7,
    };

    #[test]
    fn a_page_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pages");
        let open = || {
            Documents::open(dir.path())
                .unwrap()
                .with_pages(&folder)
                .unwrap()
        };
        let documents = open();
        let error = documents.read("https://a.example/").unwrap_err();
        assert!(error.to_string().contains("browse"), "{error}");
        documents.keep_page(PAGE).unwrap();
        let changed = NewPage {
            text: "# B",
            ..PAGE
        };
        assert_eq!(documents.keep_page(changed).unwrap().line(1), Some("# A"));
        // Another process, later.
        let documents = open();
        for address in [
            "https://a.example",
            "https://a.example/#x",
            "http://a.example/",
        ] {
            let document = documents.read(address).unwrap();
            assert_eq!(document.line(2), Some("price: 3"));
            assert_eq!(document.path, "https://a.example/");
            let raw = fs::read(folder.join(format!("{}.raw", hex(&Sha256::digest(PAGE.raw)))));
            assert_eq!(raw.unwrap(), PAGE.raw);
        }
    }

    #[test]
    fn a_page_is_found_by_its_words_once_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "the price list\n").unwrap();
        let folder = dir.path().join("pages");
        let documents = Documents::open(dir.path()).unwrap();
        let documents = documents.with_pages(&folder).unwrap();
        let index = SearchIndex::build(&documents).unwrap();
        let found = |documents: &Documents| {
            index.add_pages(documents).unwrap();
            let hits = index.search("price", "", 9).unwrap().into_iter();
            hits.map(|hit| (hit.path, hit.line)).collect::<Vec<_>>()
        };
        let note = ("notes.txt".to_owned(), 1);
        assert_eq!(found(&documents), std::slice::from_ref(&note));
        for asked in ["http://a.example", "https://a.example/#again"] {
            documents.keep_page(NewPage { asked, ..PAGE }).unwrap();
            let mut hits = found(&documents);
            hits.sort();
            let page = (PAGE.url.to_owned(), 2);
            assert_eq!(hits, [page, note.clone()], "once, however it was asked for");
        }
    }

    #[test]
    fn a_page_that_is_cut_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let pages = Pages::open(dir.path()).unwrap();
        let text = "wörd ".repeat(MAX_TEXT / 5);
        let document = pages
            .keep(NewPage {
                text: &text,
                ..PAGE
            })
            .unwrap();
        let last = document.line(document.line_count()).unwrap();
        assert!(
            last.starts_with("[the rest of the page is left out"),
            "{last}"
        );
    }

    #[test]
    fn what_was_tampered_with_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let pages = Pages::open(dir.path()).unwrap();
        let document = pages.keep(PAGE).unwrap();
        fs::write(dir.path().join(format!("{}.md", document.sha256)), "# C").unwrap();
        let index = fs::read_to_string(dir.path().join(INDEX)).unwrap();
        fs::write(dir.path().join(INDEX), format!("{index}{{\"asked\": \"cut")).unwrap();
        assert!(Pages::open(dir.path()).unwrap().get(PAGE.url).is_none());
    }
}
