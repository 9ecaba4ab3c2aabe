//! Reading a small JSON file without trusting its size or its kind.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::ConfigError;

/// The most bytes that a configuration file may have. K2.5's has about 6,000; a quantisation that
/// lists its exceptions one by one may reach a million. Parsed JSON takes up to 40 times its bytes.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Reads and parses the JSON file at `path`.
pub(crate) fn read_json(path: &Path) -> Result<Value, ConfigError> {
    let bytes = read_bounded(path)?;
    parse_json(&bytes, &path.display().to_string())
}

/// Parses JSON text that came from `origin`. serde_json bounds the depth of nesting itself.
pub(crate) fn parse_json(bytes: &[u8], origin: &str) -> Result<Value, ConfigError> {
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge {
            origin: origin.to_owned(),
            limit: MAX_CONFIG_BYTES,
        });
    }
    serde_json::from_slice(bytes).map_err(|source| ConfigError::Json {
        origin: origin.to_owned(),
        source,
    })
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let io = |source| ConfigError::Io {
        path: path.to_owned(),
        source,
    };
    // Asked before opening: opening a named pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(io(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it is not a regular file",
        )));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    Ok(bytes)
}
