//! What can be wrong with a configuration file, told so that a person can mend it.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be opened or read.
    #[error("cannot read {path}: {source}\n  hint: give the folder that holds the checkpoint's config.json", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is larger than any real configuration.
    #[error(
        "{origin} is larger than {limit} bytes\n  hint: a real config.json has a few kilobytes; this is probably another file"
    )]
    TooLarge {
        /// The file, or "the configuration".
        origin: String,
        /// The most bytes that are read.
        limit: u64,
    },
    /// The text is not JSON.
    #[error(
        "{origin} is not valid JSON: {source}\n  hint: download the file again; it may be truncated"
    )]
    Json {
        /// The file, or "the configuration".
        origin: String,
        /// Where the JSON ends to be JSON.
        source: serde_json::Error,
    },
    /// The JSON is not a configuration that k25 can compute.
    #[error("{origin} cannot be used{}", list(problems))]
    Invalid {
        /// The file, or "the configuration".
        origin: String,
        /// Everything found, in the order of the fields.
        problems: Vec<Problem>,
    },
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full path of the field, such as `text_config.n_group`.
    pub field: String,
    /// Its value as JSON, shortened; "absent" where the file has none.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do next.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            value,
            reason,
            hint,
        } = self;
        write!(f, "{field} is {value}: {reason}\n    hint: {hint}")
    }
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}
