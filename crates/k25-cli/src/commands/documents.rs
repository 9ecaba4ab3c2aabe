//! A folder of documents, with the readers that this program has for them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use k25_agent::documents::Documents;
use k25_pdf::Reader;

/// The argument with which this program reads one PDF, within the limits of its process.
const READ_PDF: &str = "__read-pdf";

/// Whether this process was started to read a PDF.
pub fn reads_pdf() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == READ_PDF)
}

/// Opens a folder. PDFs are read by this program in another process, which they can do what they like
/// with.
pub fn open(folder: &Path) -> Result<Documents> {
    open_only(folder, None)
}

/// The same, of these entries at its top alone where they are given.
pub fn open_only(folder: &Path, only: Option<&[String]>) -> Result<Documents> {
    if folder.as_os_str().is_empty() {
        return Ok(Documents::none());
    }
    check(folder)?;
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let reader = Reader::new(program, &[READ_PDF]);
    let read = move |bytes: &[u8]| reader.text(bytes).map_err(|error| error.to_string());
    let documents = match only {
        Some(entries) => Documents::open_only(folder, entries)?,
        None => Documents::open(folder)?,
    };
    Ok(documents.with_pdf(Arc::new(read)))
}

/// Says plainly what is wrong with a folder that cannot be one of documents.
pub fn check(folder: &Path) -> Result<()> {
    let shown = folder.display();
    if folder.is_dir() {
        return Ok(());
    }
    if folder.exists() {
        return Err(anyhow!(
            "{shown} is a file, not a folder\n  hint: name the folder it lies in with --docs DIR"
        ));
    }
    Err(anyhow!(
        "there is no folder {shown}\n  hint: --docs DIR names the folder of documents; a path is taken from where you are"
    ))
}
