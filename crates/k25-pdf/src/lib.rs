//! The text of a PDF, as lines that can be numbered, quoted and searched.
//!
//! [`text`] reads a file in this process; it holds no `unsafe` code and bounds what it does, but the
//! size of a decompressed stream is known only when it is there. Files of strangers are therefore
//! read by [`Reader`], in a child process with limits on memory and time.

mod content;
mod lines;
mod reader;

use std::sync::Arc;

use hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use thiserror::Error;

pub use reader::{Reader, serve};

/// Why a PDF has no text for us. Short, since a model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PdfError {
    /// The bytes are no PDF, or one that is damaged beyond repair.
    #[error("not a PDF that can be read; hint: is it whole?")]
    Invalid,
    /// It opens with a password only.
    #[error("the PDF is locked with a password; hint: save it without one")]
    Locked,
    /// It has no text: its pages are pictures.
    #[error("the PDF has no text, only pictures; hint: run text recognition over it")]
    NoText,
    /// It wants more than a document may: time, memory, operators.
    #[error("the PDF asks for too much ({0}); hint: split it")]
    TooMuch(String),
    /// The process that reads it could not be started.
    #[error("the PDF cannot be read here: {0}")]
    Start(String),
}

/// What one file may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pages that are read; what follows is left out, with a line that says so.
    pub pages: usize,
    /// Drawing operators of all pages, those within forms counted each time they are drawn.
    pub operators: usize,
    /// Bytes of text; the rest is left out, with a line that says so.
    pub text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            pages: 2_000,
            operators: 4_000_000,
            text_bytes: 8 << 20,
        }
    }
}

/// The text of a PDF: a line `[page N]` before each page's lines, cells of a line that stand far
/// apart parted by ` | `.
///
/// # Errors
/// See [`PdfError`]. Never [`PdfError::Start`].
pub fn text(bytes: Vec<u8>, limits: &Limits) -> Result<String, PdfError> {
    let pdf = Pdf::new(Arc::new(bytes));
    let pdf = pdf.map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => PdfError::Locked,
        _ => PdfError::Invalid,
    })?;
    let pages = pdf.pages();
    let mut reader = content::Content::new(limits.operators);
    let mut text = String::new();
    let mut is_empty = true;
    for (index, page) in pages.iter().enumerate() {
        if index == limits.pages || text.len() > limits.text_bytes {
            text.push_str(&format!("[{} more pages left out]\n", pages.len() - index));
            break;
        }
        let lines = lines::assemble(reader.glyphs_of(page)?);
        is_empty &= lines.is_empty();
        text.push_str(&format!("[page {}]\n", index + 1));
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
    }
    if is_empty {
        return Err(PdfError::NoText);
    }
    let cut = text.floor_char_boundary(limits.text_bytes);
    if cut < text.len() {
        text.truncate(cut);
        text.push_str("\n[the rest is left out]\n");
    }
    Ok(text)
}
