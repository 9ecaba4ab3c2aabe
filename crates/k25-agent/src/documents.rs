//! A folder of documents: listed, read as numbered lines, quoted.
//!
//! Agents name documents by their path below the folder. Text, Markdown, CSV and source files are
//! read as they are, HTML and PDF as their text. A document's lines are what `open` prints (rows of tables
//! with the names of their columns) and what evidence refers to, by number from 1; its hash is of the
//! bytes on disk. Some lines of a document have a path too: `stations.csv/2-26`.

mod html;
mod index;
mod pages;
mod part;
mod records;
mod rows;
mod sample;
mod text;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use thiserror::Error;

use self::pages::Pages;
use self::records::Records;
use self::rows::Table;
use crate::contract::hex;

pub use index::{Hit, IndexError, SearchIndex};
pub use pages::NewPage;
pub use part::{Part, PartSize, parts_of_records, split_part};
pub use sample::{sample, top_entries};
pub use text::without_hidden;

/// Largest document that is read.
const MAX_BYTES: u64 = 16 << 20;
/// Bytes of documents kept in memory.
const CACHE_BYTES: usize = 128 << 20;
/// Most files below the folder, and the deepest folder.
const MAX_FILES: usize = 200_000;
const MAX_DEPTH: usize = 24;

/// Why a document cannot be had. Short, since a model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// Nothing there.
    #[error("no document {path:?}{}", near.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    NotFound {
        /// What was asked for.
        path: String,
        /// A path that looks like it.
        near: Option<String>,
    },
    /// Outside of the folder.
    #[error("{0:?} is outside of the documents")]
    Outside(String),
    /// A folder where a document was wanted.
    #[error("{0:?} is a folder; name a document in it")]
    Folder(String),
    /// Pictures, programs, archives.
    #[error("{0:?} is not text")]
    NotText(String),
    /// More than is read.
    #[error("{0:?} is larger than 16 MiB")]
    TooLarge(String),
    /// A page of the web that nobody has read in this run.
    #[error("{0:?} has not been read yet; browse it first")]
    NotBrowsed(String),
    /// A PDF without text for us.
    #[error("{path:?}: {problem}")]
    Pdf {
        /// The document.
        path: String,
        /// Why, in the words of its reader.
        problem: String,
    },
    /// The folder of documents itself.
    #[error("{path}: {problem}; hint: give a folder of documents that can be read")]
    Root {
        /// The folder.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Anything else of the file system.
    #[error("{path:?}: {problem}")]
    Io {
        /// The document.
        path: String,
        /// What happened.
        problem: String,
    },
}

/// A document as its readers see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// The path below the folder, with `/`.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    text: String,
    /// Where each line begins in `text`.
    starts: Vec<usize>,
    /// The table that it is or has.
    table: Option<Table>,
}

impl Document {
    /// A document of this text.
    pub fn new(path: impl Into<String>, sha256: String, text: String) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0)
            .chain(breaks)
            .filter(|&at| at < text.len());
        let path = path.into();
        Document {
            table: Table::of(&path, &text),
            path,
            sha256,
            starts: starts.collect(),
            text,
        }
    }

    /// How many bytes its text has.
    pub fn byte_count(&self) -> usize {
        self.text.len()
    }

    /// How many lines it has.
    pub fn line_count(&self) -> usize {
        self.starts.len()
    }

    /// Line `number`, counted from 1, without its line break.
    pub fn line(&self, number: usize) -> Option<&str> {
        let index = number.checked_sub(1)?;
        let start = *self.starts.get(index)?;
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.text.len(), |next| next - 1);
        Some(self.text[start..end].trim_end_matches(['\n', '\r']))
    }

    /// Line `number` as readers see it: a row of a table as an object with the names of its columns, any other line as it is.
    pub fn shown(&self, number: usize) -> Option<Cow<'_, str>> {
        let line = self.line(number)?;
        let table = self.table.as_ref();
        let labelled = table.and_then(|table| table.labelled(number, line));
        Some(labelled.map_or(Cow::Borrowed(line), Cow::Owned))
    }

    /// What a row of a table says of this column; `None` for any other line, and where no column is called so.
    pub fn cell(&self, number: usize, column: &str) -> Option<String> {
        self.table
            .as_ref()?
            .cell(number, self.line(number)?, column)
    }

    /// The lines of each of its records, the rows of its table or what else there are several of in it; `None` where it has none with
    /// half of these columns, or a table with a row that is more than a line.
    pub fn records(&self, columns: &[&str]) -> Option<Vec<RangeInclusive<usize>>> {
        let Some(table) = &self.table else {
            let records = Records::of(&self.path, &self.text)?;
            return records.have(columns).then(|| records.into_lines());
        };
        if table.count_of(columns.iter().copied()) * 2 < columns.len() {
            return None;
        }
        let line = |number: usize| self.line(number).unwrap_or_default();
        let rows = table
            .lines()
            .filter(|number| !line(*number).trim().is_empty());
        let rows: Vec<usize> = rows.collect();
        let is_row = |number: &usize| table.is_row(*number, line(*number));
        let are_rows = rows.iter().all(is_row);
        are_rows.then(|| rows.into_iter().map(|number| number..=number).collect())
    }

    /// The lines of the record that line `number` belongs to, whatever its columns are; `None` where there are no records, and around
    /// them.
    fn record_at(&self, number: usize) -> Option<RangeInclusive<usize>> {
        let Some(table) = &self.table else {
            let records = Records::of(&self.path, &self.text)?.into_lines();
            return records.into_iter().find(|lines| lines.contains(&number));
        };
        let is_row = table.is_row(number, self.line(number)?);
        (table.lines().contains(&number) && is_row).then_some(number..=number)
    }

    /// The number of the line where `quote` begins; blanks count alike. Of several the one nearest
    /// to line `near`.
    pub fn find(&self, quote: &str, near: Option<usize>) -> Option<usize> {
        let mut words = quote.split_whitespace();
        let first = words.next()?;
        let rest: Vec<&str> = words.collect();
        let is_here = |at: usize| follows(&self.text[at + first.len()..], &rest);
        let places = self
            .text
            .match_indices(first)
            .map(|(at, _)| at)
            .filter(|&at| is_here(at));
        let lines = places.map(|at| self.starts.partition_point(|&start| start <= at));
        match near {
            None => lines.min(),
            Some(near) => lines.min_by_key(|&line| (line.abs_diff(near), line)),
        }
    }
}

/// Whether `text` goes on with `words`, each after blanks; the last one may end within a word.
fn follows(text: &str, words: &[&str]) -> bool {
    let mut text = text;
    for word in words {
        let trimmed = text.trim_start();
        if trimmed.len() == text.len() || !trimmed.starts_with(word) {
            return false;
        }
        text = &trimmed[word.len()..];
    }
    true
}

/// Gives the text of a PDF, or says in short why there is none. It is given whatever a stranger calls
/// a PDF, so it has to bound time and memory.
pub type ReadPdf = Arc<dyn Fn(&[u8]) -> Result<String, String> + Send + Sync>;

/// What lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path below the documents' folder; folders end with `/`.
    pub path: String,
    /// How many files are in it, for a folder.
    pub files: Option<usize>,
}

type Slot = Arc<OnceLock<Result<Arc<Document>, DocumentError>>>;

/// The documents of a run.
pub struct Documents {
    root: PathBuf,
    /// Every file, sorted.
    files: BTreeSet<String>,
    cache: Mutex<Cache>,
    pdf: Option<ReadPdf>,
    pages: Option<Pages>,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("root", &self.root)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Cache {
    slots: HashMap<String, Slot>,
    bytes: usize,
}

impl Documents {
    /// Lists the files below `root`. Hidden ones and version control are passed over.
    ///
    /// # Errors
    /// [`DocumentError::Root`] where there is no such folder, or too much in it.
    pub fn open(root: &Path) -> Result<Self, DocumentError> {
        Self::list_below(root, None)
    }

    /// The same for these entries at the top of `root` alone; nothing else in it is a document.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and where an entry is not there.
    pub fn open_only(root: &Path, entries: &[String]) -> Result<Self, DocumentError> {
        if let Some(entry) = entries.iter().find(|entry| !root.join(entry).exists()) {
            return Err(DocumentError::Root {
                path: root.display().to_string(),
                problem: format!("{entry:?} is no longer there"),
            });
        }
        Self::list_below(root, Some(entries))
    }

    fn list_below(root: &Path, only: Option<&[String]>) -> Result<Self, DocumentError> {
        let fault = |problem: String| DocumentError::Root {
            path: root.display().to_string(),
            problem,
        };
        let root = root
            .canonicalize()
            .map_err(|error| fault(error.to_string()))?;
        if !root.is_dir() {
            return Err(fault("not a folder".to_owned()));
        }
        let mut files = BTreeSet::new();
        let only: Option<BTreeSet<&str>> =
            only.map(|entries| entries.iter().map(String::as_str).collect());
        let is_wanted = |name: &str| only.as_ref().is_none_or(|only| only.contains(name));
        list_files(&root, "", 0, &is_wanted, &mut files)
            .map_err(|error| fault(error.to_string()))?;
        if files.len() >= MAX_FILES {
            return Err(fault(format!("more than {MAX_FILES} files")));
        }
        Ok(Documents {
            root,
            files,
            cache: Mutex::default(),
            pdf: None,
            pages: None,
        })
    }

    /// No documents at all, for a question that needs none.
    pub fn none() -> Self {
        Documents {
            root: PathBuf::new(),
            files: BTreeSet::new(),
            cache: Mutex::default(),
            pdf: None,
            pages: None,
        }
    }

    /// The same, and PDFs are documents too.
    #[must_use]
    pub fn with_pdf(mut self, read: ReadPdf) -> Self {
        self.pdf = Some(read);
        self
    }

    /// The same, with pages of the web that are kept in `folder`; those of an earlier process of the
    /// run are there.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn with_pages(mut self, folder: &Path) -> Result<Self, DocumentError> {
        self.pages = Some(Pages::open(folder)?);
        Ok(self)
    }

    /// Keeps a page; it is a document by its address from now on. Of one address the first stays.
    ///
    /// # Errors
    /// When it cannot be written, or there is no folder for pages.
    pub fn keep_page(&self, page: NewPage<'_>) -> Result<Arc<Document>, DocumentError> {
        match &self.pages {
            Some(pages) => pages.keep(page),
            None => Err(DocumentError::NotBrowsed(page.url.to_owned())),
        }
    }

    /// The pages of the web from this number on, in the order in which they were kept.
    pub(crate) fn pages_from(&self, number: usize) -> Vec<Arc<Document>> {
        let pages = self.pages.as_ref();
        pages.map(|pages| pages.from(number)).unwrap_or_default()
    }

    /// The text of a PDF from elsewhere, read as those of the folder are.
    ///
    /// # Errors
    /// When there is no reader for PDFs, or it gives none.
    pub fn pdf_text(&self, bytes: &[u8]) -> Result<String, String> {
        match &self.pdf {
            Some(read) => read(bytes),
            None => Err("PDFs are not read here".to_owned()),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every file, sorted.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// What lies directly in the folder `path` (`""` or `.` is the top), sorted; `None` if it is no
    /// folder.
    pub fn list(&self, path: &str) -> Option<Vec<Entry>> {
        let mut prefix = clean(path)?;
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let mut entries: Vec<Entry> = Vec::new();
        let below = self.files.range(prefix.clone()..);
        for file in below.take_while(|file| file.starts_with(&prefix)) {
            let (path, is_folder) = match file[prefix.len()..].find('/') {
                Some(end) => (&file[..=prefix.len() + end], true),
                None => (file.as_str(), false),
            };
            match entries.last_mut() {
                Some(last) if last.path == path => last.files = last.files.map(|count| count + 1),
                _ => entries.push(Entry {
                    path: path.to_owned(),
                    files: is_folder.then_some(1),
                }),
            }
        }
        (!entries.is_empty() || prefix.is_empty()).then_some(entries)
    }

    /// A path of some lines of a document as the document's path and the lines; `None` for any other.
    pub(crate) fn split<'p>(&self, name: &'p str) -> Option<(&'p str, RangeInclusive<usize>)> {
        let is_file = self.files.contains(name);
        split_part(name).filter(|(document, _)| !is_file && self.files.contains(*document))
    }

    /// The file of this path, if it can be read and may have records in it. Any other is not read. Pages of the web have no parts:
    /// their addresses are whole.
    pub fn with_records(&self, path: &str) -> Option<Arc<Document>> {
        let can_have_some = rows::can_have_table(path) || records::can_have_records(path);
        let may_have_some = self.has_file(path) && can_have_some;
        may_have_some.then(|| self.read(path).ok()).flatten()
    }

    /// Whether there is a file of this path.
    pub fn has_file(&self, path: &str) -> bool {
        self.files.contains(path)
    }

    /// A document's text and hash, also by the path of some of its lines. It is read once, however many agents ask at the same time.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn read(&self, path: &str) -> Result<Arc<Document>, DocumentError> {
        self.part(path).map(|part| part.document)
    }

    /// The record that line `number` of this file belongs to, if it is a list of records.
    pub fn record(&self, path: &str, number: usize) -> Option<Part> {
        let document = self.with_records(path)?;
        let lines = document.record_at(number)?;
        Some(Part {
            document,
            lines: Some(lines),
        })
    }

    /// A document, or the lines of it that a path such as `stations.csv/2-26` names.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn part(&self, path: &str) -> Result<Part, DocumentError> {
        let path = path.trim();
        if pages::is_address(path) {
            let page = self.pages.as_ref().and_then(|pages| pages.get(path));
            let document = page.ok_or_else(|| DocumentError::NotBrowsed(path.to_owned()))?;
            return Ok(Part {
                document,
                lines: None,
            });
        }
        let name = clean(path).ok_or_else(|| DocumentError::Outside(path.to_owned()))?;
        let (name, lines) = match self.split(&name) {
            Some((document, lines)) => (document, Some(lines)),
            None => (name.as_str(), None),
        };
        let document = self.file(name)?;
        Ok(Part { document, lines })
    }

    /// The document of a clean path.
    fn file(&self, name: &str) -> Result<Arc<Document>, DocumentError> {
        if !self.files.contains(name) {
            return Err(self.missing(name));
        }
        let slot = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.bytes > CACHE_BYTES {
                *cache = Cache::default();
            }
            cache.slots.entry(name.to_owned()).or_default().clone()
        };
        let mut is_new = false;
        let result = slot.get_or_init(|| {
            is_new = true;
            self.load(name).map(Arc::new)
        });
        if let (true, Ok(document)) = (is_new, result) {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.bytes += document.text.len();
        }
        result.clone()
    }

    fn missing(&self, name: &str) -> DocumentError {
        if self.list(name).is_some() {
            return DocumentError::Folder(name.to_owned());
        }
        let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        let is_like = |file: &&String| file.to_lowercase().contains(&last);
        let near = if last.is_empty() {
            None
        } else {
            self.files.iter().find(is_like)
        };
        DocumentError::NotFound {
            path: name.to_owned(),
            near: near.cloned(),
        }
    }

    fn load(&self, name: &str) -> Result<Document, DocumentError> {
        let io = |error: io::Error| DocumentError::Io {
            path: name.to_owned(),
            problem: error.to_string(),
        };
        let path = self.root.join(name).canonicalize().map_err(io)?;
        // A link may point anywhere.
        if !path.starts_with(&self.root) {
            return Err(DocumentError::Outside(name.to_owned()));
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(DocumentError::NotText(name.to_owned()));
        }
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(DocumentError::TooLarge(name.to_owned()));
        }
        let sha256 = hex(&Sha256::digest(&bytes));
        let text = match &self.pdf {
            Some(read) if text::is_pdf(&bytes) => {
                let text = read(&bytes).map_err(|problem| DocumentError::Pdf {
                    path: name.to_owned(),
                    problem,
                })?;
                without_hidden(&text)
            }
            _ => {
                text::decode(name, &bytes).ok_or_else(|| DocumentError::NotText(name.to_owned()))?
            }
        };
        Ok(Document::new(name, sha256, text))
    }

    /// Whether reading this document for the first time takes long enough to do it apart from what
    /// must not wait.
    pub(crate) fn reads_slowly(&self, path: &str) -> bool {
        self.pdf.is_some() && path.to_lowercase().ends_with(".pdf")
    }
}

/// A path below the root without `.`, empty steps and a trailing `/`; `None` for `..`.
fn clean(path: &str) -> Option<String> {
    let mut steps = Vec::new();
    for step in path.trim().split('/') {
        match step {
            "" | "." => {}
            ".." => return None,
            step => steps.push(step),
        }
    }
    Some(steps.join("/"))
}

/// Names that are passed over: hidden files, and such as no terminal should print.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name.chars().any(char::is_control)
}

/// Adds the files of `folder`; of the entries directly in it, those that are wanted.
fn list_files(
    folder: &Path,
    prefix: &str,
    depth: usize,
    is_wanted: &dyn Fn(&str) -> bool,
    files: &mut BTreeSet<String>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (Ok(name), true) = (entry.file_name().into_string(), files.len() < MAX_FILES) else {
            continue;
        };
        let kind = entry.file_type()?;
        if is_hidden(&name) || !is_wanted(&name) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if kind.is_dir() && depth < MAX_DEPTH {
            // A folder that may not be read is as if it were empty.
            let _ = list_files(
                &entry.path(),
                &format!("{path}/"),
                depth + 1,
                &|_| true,
                files,
            );
        } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
            files.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    #[test]
    fn folders_are_listed_with_their_sizes() {
        let dir = folder(&[
            ("b/x.txt", b"1"),
            ("b/c/y.txt", b"2"),
            ("a.md", b"3"),
            (".git/z", b"4"),
        ]);
        let documents = Documents::open(dir.path()).unwrap();
        let top = documents.list(".").unwrap();
        let entry = |path: &str, files| Entry {
            path: path.to_owned(),
            files,
        };
        assert_eq!(top, [entry("a.md", None), entry("b/", Some(2))]);
        assert_eq!(documents.list("b/").unwrap().len(), 2);
        assert_eq!(documents.list("nowhere"), None);
    }

    #[test]
    fn of_some_entries_only_their_files_are_documents() {
        let dir = folder(&[
            ("a/x.txt", b"1"),
            ("a/b/a.txt", b"2"),
            ("b/y.txt", b"3"),
            ("b.md", b"4"),
        ]);
        let only = |entries: &[&str]| {
            let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
            Documents::open_only(dir.path(), &entries)
        };
        let documents = only(&["a", "b.md"]).unwrap();
        let files: Vec<&str> = documents.files().collect();
        assert_eq!(files, ["a/b/a.txt", "a/x.txt", "b.md"]);
        assert!(documents.read("b/y.txt").is_err());
        assert_eq!(only(&[]).unwrap().files().count(), 0);
        let gone = only(&["a", "c"]).unwrap_err().to_string();
        assert!(gone.contains("\"c\" is no longer there"), "{gone}");
        assert_eq!(top_entries(dir.path()).unwrap(), ["a", "b", "b.md"]);
    }

    #[test]
    fn lines_and_quotes_have_numbers() {
        let document = Document::new(
            "a",
            String::new(),
            "one\r\ntwo  three\nfour two three\n".into(),
        );
        assert_eq!(document.line_count(), 3);
        assert_eq!(document.line(1), Some("one"));
        assert_eq!(document.line(4), None);
        assert_eq!(document.find("two three", None), Some(2));
        assert_eq!(document.find("two three", Some(3)), Some(3));
        assert_eq!(document.find("three four", None), Some(2));
        assert_eq!(document.find("five", None), None);
        assert_eq!(
            Document::new("e", String::new(), String::new()).line(1),
            None
        );
    }

    #[test]
    fn pdfs_are_read_by_whoever_is_given_for_it() {
        let dir = folder(&[("a.pdf", b"%PDF-1.7 x"), ("b", b"\n%PDF-1.4 y")]);
        let plain = Documents::open(dir.path()).unwrap();
        assert_eq!(plain.read("a.pdf").unwrap().line(1), Some("%PDF-1.7 x"));
        let read: ReadPdf = Arc::new(|bytes| match bytes.ends_with(b"x") {
            true => Ok("[page 1]\nwor\u{200b}ds\n".to_owned()),
            false => Err("locked".to_owned()),
        });
        let documents = Documents::open(dir.path()).unwrap().with_pdf(read);
        assert_eq!(documents.read("a.pdf").unwrap().line(2), Some("words"));
        let error = documents.read("b").unwrap_err();
        assert_eq!(error.to_string(), "\"b\": locked");
    }

    #[test]
    fn files_are_tables_and_pages_are_not() {
        let text = "name,since\nArholm,1871\n";
        let dir = folder(&["a.csv", "a.txt", "a.rs"].map(|path| (path, text.as_bytes())));
        let kept = tempfile::tempdir().unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        let documents = documents.with_pages(kept.path()).unwrap();
        let url = "https://lights.example/a.csv";
        let page = NewPage {
            asked: url,
            url,
            text,
            raw: text.as_bytes(),
            at: 1,
        };
        documents.keep_page(page).unwrap();
        assert!(documents.read(url).is_ok());
        let may_have_some = |path: &str| documents.with_records(path).is_some();
        assert!(may_have_some("a.csv") && may_have_some("a.txt"));
        assert!(!may_have_some("b.csv") && !may_have_some("a.rs") && !may_have_some(url));
        assert_eq!(documents.part("a.csv/2").unwrap().lines, Some(2..=2));
        assert_eq!(documents.part(url).unwrap().lines, None);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_read() {
        let outside = folder(&[("secret.txt", b"key")]);
        let dir = folder(&[("a.txt", b"a"), ("picture.bin", b"\0\x01\x02")]);
        std::os::unix::fs::symlink(
            outside.path().join("secret.txt"),
            dir.path().join("link.txt"),
        )
        .unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        assert!(documents.read("./a.txt").is_ok());
        assert!(matches!(
            documents.read("../a.txt"),
            Err(DocumentError::Outside(_))
        ));
        assert!(matches!(
            documents.read("link.txt"),
            Err(DocumentError::Outside(_))
        ));
        assert!(matches!(
            documents.read("/etc/passwd"),
            Err(DocumentError::NotFound { .. })
        ));
        assert!(matches!(
            documents.read("picture.bin"),
            Err(DocumentError::NotText(_))
        ));
        let Err(DocumentError::NotFound { near, .. }) = documents.read("x/A.txt") else {
            panic!("it is not there");
        };
        assert_eq!(near.as_deref(), Some("a.txt"));
    }
}
