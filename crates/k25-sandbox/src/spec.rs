//! What is to run, on what, and within which limits.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::File;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// What runs.
    pub program: Program,
    /// What lies in its folder when it begins; the folder is where it starts.
    pub files: Vec<File>,
    /// How much it may take.
    pub limits: Limits,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Program {
    /// JavaScript, in the launcher's own child: nothing needs to be installed.
    JavaScript {
        /// The source.
        code: String,
    },
    /// A script for an interpreter of the machine.
    Script {
        /// The interpreter and what stands before the script's path.
        argv: Vec<String>,
        /// Sources as name and text, in a folder that is not the program's; the first is the script.
        sources: Vec<(String, String)>,
        /// Folders that the interpreter reads, beyond those of the system.
        readable: Vec<PathBuf>,
    },
    /// A program of the machine.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Folders that it reads, beyond those of the system.
        readable: Vec<PathBuf>,
    },
}

/// How much a run may take. Each is a wall, not a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time on the clock.
    pub wall: Duration,
    /// Processor seconds of one process.
    pub cpu_seconds: u64,
    /// Memory of all processes together, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// What is kept of standard output, and of standard error, in bytes each: the beginning and the
    /// end.
    pub output_bytes: usize,
    /// All files of the private folder together, in bytes.
    pub files_bytes: u64,
    /// Number of files.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            wall: Duration::from_secs(30),
            cpu_seconds: 30,
            memory_bytes: 1 << 30,
            processes: 32,
            output_bytes: 24_000,
            files_bytes: 64 << 20,
            files: 500,
        }
    }
}

/// Which walls stand around a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces, Landlock, seccomp.
    Namespaces,
    /// Landlock and seccomp alone; no process may be started.
    Confined,
}

/// Which isolation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Walls {
    /// Namespaces; where they are forbidden, Landlock and seccomp alone.
    #[default]
    Best,
    /// Namespaces or nothing.
    Namespaces,
    /// Landlock and seccomp alone.
    Confined,
}
