//! What became of a run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::{File, FileName};
use crate::spec::Isolation;

/// What became of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// Files that are new or changed.
    pub files: Vec<File>,
    /// Files that are as they were.
    pub kept: Vec<FileName>,
    /// What lay in the folder and was not taken.
    pub left_out: Vec<LeftOut>,
    /// How it ended.
    pub ended: Ended,
    /// Which limit ended it.
    pub killed_by: Option<KilledBy>,
    /// What it took.
    pub usage: Usage,
    /// Which walls stood around it.
    pub isolation: Isolation,
}

impl Output {
    /// Whether the program ended by itself and says that all is well.
    pub fn is_success(&self) -> bool {
        self.killed_by.is_none() && self.ended == Ended::Exited(0)
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// Which limit ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KilledBy {
    /// Time on the clock.
    Time,
    /// Processor time.
    Cpu,
    /// Memory of all processes together.
    Memory,
    /// Far more output than is kept.
    Output,
    /// Processes and threads.
    Processes,
    /// Files, where no file system of their own limits them.
    Files,
}

impl fmt::Display for KilledBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KilledBy::Time => "the time limit",
            KilledBy::Cpu => "the limit of processor time",
            KilledBy::Memory => "the memory limit",
            KilledBy::Output => "too much output",
            KilledBy::Processes => "too many processes",
            KilledBy::Files => "too many or too large files",
        })
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Time on the clock, from the start of the program to its end.
    pub wall: Duration,
    /// Processor time of all that was waited for.
    pub cpu: Duration,
    /// The most memory that was seen, in bytes.
    pub peak_memory_bytes: u64,
}

/// Something in the folder that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name, as far as it is one.
    pub name: String,
    /// Why.
    pub why: String,
}

/// A stream's beginning and end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The beginning.
    pub head: Vec<u8>,
    /// The end, where something was left out between.
    pub tail: Vec<u8>,
    /// Bytes that are missing between the two.
    pub missing_bytes: u64,
}

impl Captured {
    /// Everything as text; bytes that are none become U+FFFD.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.missing_bytes > 0 {
            text.push_str(&format!("\n… {} bytes left out …\n", self.missing_bytes));
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }
}
