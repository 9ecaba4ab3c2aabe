//! A folder of documents, with the readers that this program has for them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use k25_agent::documents::Documents;
use k25_pdf::Reader;

/// The hidden subcommand that reads one PDF within the limits of its process.
pub const READ_PDF: &str = "read-pdf";

/// Opens a folder. PDFs are read by this program in another process, which they can do what they like
/// with.
pub fn open(folder: &Path) -> Result<Documents> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let reader = Reader::new(program, &[READ_PDF]);
    let read = move |bytes: &[u8]| reader.text(bytes).map_err(|error| error.to_string());
    Ok(Documents::open(folder)?.with_pdf(Arc::new(read)))
}
