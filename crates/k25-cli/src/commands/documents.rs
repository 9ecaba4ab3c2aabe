//! A folder of documents, with the readers that this program has for them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use k25_agent::documents::Documents;
use k25_pdf::Reader;

/// The hidden subcommand that reads one PDF within the limits of its process.
pub const READ_PDF: &str = "read-pdf";

/// Opens a folder. PDFs are read by this program in another process, which they can do what they like
/// with.
pub fn open(folder: &Path) -> Result<Documents> {
    if folder.as_os_str().is_empty() {
        return Ok(Documents::none());
    }
    check(folder)?;
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let reader = Reader::new(program, &[READ_PDF]);
    let read = move |bytes: &[u8]| reader.text(bytes).map_err(|error| error.to_string());
    Ok(Documents::open(folder)?.with_pdf(Arc::new(read)))
}

/// Says plainly what is wrong with a folder that cannot be one of documents.
fn check(folder: &Path) -> Result<()> {
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
