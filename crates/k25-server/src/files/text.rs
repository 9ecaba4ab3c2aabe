//! The text of uploaded documents.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Longest text that is taken, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Reads the text of a file, whose ending tells its form; else says why there is none.
pub type ExtractText = Arc<dyn Fn(&Path) -> Result<String, String> + Send + Sync>;

/// The text of a file that is text: UTF-8.
///
/// # Errors
/// If it is not, or too long.
pub fn plain_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("longer than {MAX_BYTES} bytes; hint: split it"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8; hint: save it as UTF-8")?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}
