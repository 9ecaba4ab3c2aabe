//! Files that go into a run and come out of it. Their names are the only thing of a stranger's that
//! touches the host's file system, and so they are of one narrow form.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A file with its content.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where it lies in the private folder.
    pub name: FileName,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file.
    pub fn new(name: FileName, bytes: impl Into<Vec<u8>>) -> Self {
        File {
            name,
            bytes: bytes.into(),
        }
    }

    /// The SHA-256 of the content, in hexadecimal.
    pub fn sha256(&self) -> String {
        sha256_hex(&self.bytes)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({}, {} bytes)", self.name, self.bytes.len())
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A relative path of plain names, joined by `/`: nothing leads out of the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a file here: {why}")]
pub struct FileNameError {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Longest name, in bytes.
const MAX_NAME: usize = 240;
/// Deepest folder.
const MAX_DEPTH: usize = 8;

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, absolute, too long or too deep, or has parts that are empty, `.`, `..`,
    /// begin or end with a blank, or hold control characters or backslashes.
    pub fn new(name: impl Into<String>) -> Result<Self, FileNameError> {
        let name = name.into();
        match fault(&name) {
            None => Ok(FileName(name)),
            Some(why) => Err(FileNameError {
                name: name.chars().take(MAX_NAME).collect(),
                why,
            }),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_NAME {
        return Some("it is longer than 240 bytes");
    }
    if name.split('/').count() > MAX_DEPTH {
        return Some("it is more than 8 folders deep");
    }
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return Some("it holds control characters or backslashes");
    }
    let is_plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.trim() == part;
    if !name.split('/').all(is_plain) {
        return Some("its parts must be plain names");
    }
    None
}

impl TryFrom<String> for FileName {
    type Error = FileNameError;

    fn try_from(name: String) -> Result<Self, FileNameError> {
        FileName::new(name)
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> String {
        name.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in [
            "a",
            "a b.csv",
            "plots/one.png",
            ".hidden",
            "a/b/c/d/e/f/g/h",
            "ü",
        ] {
            assert_eq!(FileName::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(241);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\nb",
            "a\0b",
            "a\\b",
            " a",
            "a ",
            "a/b/c/d/e/f/g/h/i",
            &long,
        ] {
            assert!(FileName::new(bad).is_err(), "{bad:?}");
        }
    }
}
