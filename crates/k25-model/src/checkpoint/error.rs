//! Errors of the checkpoint room: what, where, and what to do next.
//!
//! Each error prints as a headline and lines of facts:
//!
//! ```text
//! shard 12 of 64 is cut short
//!   file     model-00012-of-000064.safetensors, 6.1 GB of 8.7 GB
//!   tensor   language_model.model.layers.11.mlp.experts.204.up_proj.weight_packed
//!   hint     the download stopped early: fetch this one file again (the other 63 are whole)
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::header::HeaderFault;

/// Why a checkpoint folder, or one safetensors file, could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), io_facts(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no model in the folder.
    #[error("no checkpoint in {}{}", dir.display(), Facts::new()
        .with("looked for", "model.safetensors.index.json, model.safetensors, *-NNNNN-of-NNNNN.safetensors")
        .with("hint", hint))]
    NotFound {
        /// The folder.
        dir: PathBuf,
        /// What may help.
        hint: &'static str,
    },
    /// One file is not as the format asks.
    #[error("{} {fault}{}", place, file_facts(path, place, fault, *others_at_fault))]
    File {
        /// The file.
        path: PathBuf,
        /// Which of the checkpoint's files it is.
        place: Place,
        /// What is wrong with it.
        fault: Box<HeaderFault>,
        /// How many of the other files are at fault, too.
        others_at_fault: usize,
    },
    /// The index is not readable as one.
    #[error("the index is not what it should be: {reason}{}", Facts::new()
        .with("file", path.display())
        .with("hint", "fetch the index again; it is small"))]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The index names a file that is no plain name within the folder.
    #[error("the index names a file outside the folder{}", Facts::new()
        .with("file", path.display())
        .with("names", shown(shard))
        .with("hint", "do not trust this checkpoint: a real index holds plain file names"))]
    Traversal {
        /// The index file.
        path: PathBuf,
        /// The name that it gives.
        shard: String,
    },
    /// Files that the checkpoint consists of are not there.
    #[error("{} of {total} shards are missing{}", missing.len(), Facts::new()
        .with("folder", dir.display())
        .with("missing", first_few(missing, missing.len()))
        .with("hint", "fetch the missing files; the others need not be fetched again"))]
    MissingShards {
        /// The folder.
        dir: PathBuf,
        /// Their names.
        missing: Vec<String>,
        /// How many there should be.
        total: usize,
    },
    /// The index promises tensors that its files do not have.
    #[error("{} of the index's {total} tensors are not where it says{}", missing.len(), Facts::new()
        .with("missing", first_few(missing, missing.len()))
        .with("hint", "index and shards come from different downloads: fetch the index and the named shards again"))]
    MissingTensors {
        /// Their names, each with the file that should hold it.
        missing: Vec<String>,
        /// How many tensors the index names.
        total: usize,
    },
    /// A tensor lies in another file than the index says.
    #[error("a tensor is in another shard than the index says{}", Facts::new()
        .with("tensor", shown(tensor))
        .with("expected", shown(expected))
        .with("found", shown(found))
        .with("hint", "index and shards come from different downloads: fetch the index again"))]
    WrongShard {
        /// The tensor.
        tensor: String,
        /// The file that the index names.
        expected: String,
        /// The file that holds it.
        found: String,
    },
    /// Two files hold a tensor of the same name.
    #[error("a tensor is in two shards{}", Facts::new()
        .with("tensor", shown(tensor))
        .with("files", format!("{first}, {second}"))
        .with("hint", "the folder mixes two checkpoints: keep the files of one"))]
    InTwoShards {
        /// The tensor.
        tensor: String,
        /// One file.
        first: String,
        /// Another file.
        second: String,
    },
    /// More than any checkpoint has.
    #[error("the checkpoint has {count} {what}, more than the {limit} allowed{}", Facts::new()
        .with("folder", dir.display())
        .with("hint", "no model of this family is cut into so many pieces"))]
    TooMany {
        /// The folder.
        dir: PathBuf,
        /// Shards or tensors.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// Which of a checkpoint's files is meant, as a person counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The only one.
    Alone,
    /// The `number`-th of `total`, from 1.
    Shard {
        /// Its number.
        number: usize,
        /// How many there are.
        total: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str("the file"),
            Self::Shard { number, total } => write!(f, "shard {number} of {total}"),
        }
    }
}

/// Lines below a headline: a label and a text each, the hint last.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    lines: Vec<(&'static str, String)>,
}

impl Facts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, label: &'static str, text: impl fmt::Display) {
        self.lines.push((label, text.to_string()));
    }

    pub(crate) fn with(mut self, label: &'static str, text: impl fmt::Display) -> Self {
        self.add(label, text);
        self
    }

    pub(crate) fn hint(&mut self, text: impl fmt::Display) {
        self.add("hint", text);
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, text) in &self.lines {
            write!(f, "\n  {label:<8} {text}")?;
        }
        Ok(())
    }
}

fn file_facts(path: &Path, place: &Place, fault: &HeaderFault, others_at_fault: usize) -> Facts {
    let mut facts = Facts::new();
    let file = match place {
        Place::Alone => path.display().to_string(),
        Place::Shard { .. } => file_name(path),
    };
    match fault.file_size() {
        Some(size) => facts.add("file", format!("{file}, {size}")),
        None => facts.add("file", file),
    }
    fault.add_facts(&mut facts);
    if let (Place::Shard { total, .. }, Some((_, hint))) = (place, facts.lines.last_mut()) {
        hint.push_str(&match (others_at_fault, total - 1) {
            (_, 0) => String::new(),
            (0, 1) => " (the other one is whole)".to_owned(),
            (0, others) => format!(" (the other {others} are whole)"),
            (1, _) => " (one other shard is damaged, too)".to_owned(),
            (count, _) => format!(" ({count} other shards are damaged, too)"),
        });
    }
    facts
}

fn io_facts(source: &io::Error) -> Facts {
    let mut facts = Facts::new();
    match source.kind() {
        io::ErrorKind::NotFound => {
            facts.hint("check the path: it is the folder that holds config.json and the shards");
        }
        io::ErrorKind::PermissionDenied => facts.hint("check who may read this file"),
        _ => {}
    }
    facts
}

/// The last part of a path.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Text from a stranger on one line: control characters escaped, the middle of long ones left out.
pub(crate) fn shown(text: &str) -> String {
    const KEPT: usize = 120;
    let escaped: String = text
        .chars()
        .take(4 * KEPT)
        .flat_map(char::escape_debug)
        .collect();
    let len = escaped.chars().count();
    if len <= 2 * KEPT {
        return escaped;
    }
    let head: String = escaped.chars().take(KEPT).collect();
    let tail: String = escaped.chars().skip(len - KEPT).collect();
    format!("{head}…{tail}")
}

/// The first names of a list of `count`, and how many more there are.
pub(crate) fn first_few(names: &[String], count: usize) -> String {
    const SHOWN: usize = 5;
    let first: Vec<_> = names.iter().take(SHOWN).map(|name| shown(name)).collect();
    match count.saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Bytes in decimal units, as disks and downloads count them: `8.7 GB`.
pub(crate) fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A shape as people write it: `[2048, 896]`.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_round_to_one_digit() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (8_700_000_000, "8.7 GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(amount(bytes), text);
        }
    }

    #[test]
    fn strangers_cannot_write_on_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert!(shown(&"x".repeat(100_000)).chars().count() < 300);
    }

    #[test]
    fn long_lists_are_counted() {
        let names: Vec<_> = (0..8).map(|i| format!("t{i}")).collect();
        assert_eq!(first_few(&names, 8), "t0, t1, t2, t3, t4 and 3 more");
    }
}
