//! Writing safetensors files: a header, then values; complete or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::TrainError;

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    /// Its name.
    pub name: String,
    /// The format's name of the element type.
    pub dtype: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, little-endian.
    pub bytes: std::borrow::Cow<'a, [u8]>,
}

/// Writes a file in place of `path` atomically: readers see the old one or the new one, whatever happens meanwhile.
///
/// # Errors
/// Where the system refuses.
pub fn write(path: &Path, tensors: &[Stored<'_>]) -> Result<(), TrainError> {
    let partial = path.with_extension("partial");
    let io = TrainError::io("write", path);
    let attempt = || -> std::io::Result<()> {
        let file = File::create(&partial)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        writer.write_all(&header(tensors))?;
        for tensor in tensors {
            writer.write_all(&tensor.bytes)?;
        }
        writer
            .into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
        fs::rename(&partial, path)?;
        // The rename itself must survive a power cut.
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    };
    attempt().map_err(io)
}

fn header(tensors: &[Stored<'_>]) -> Vec<u8> {
    let mut at = 0;
    let mut fields = Map::new();
    for tensor in tensors {
        let end = at + tensor.bytes.len();
        let field =
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end] });
        fields.insert(tensor.name.clone(), field);
        at = end;
    }
    let mut text = Value::Object(fields).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    header
}
