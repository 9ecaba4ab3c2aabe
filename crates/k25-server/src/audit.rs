//! The audit log: one JSON line per request for an answer, also of those that were refused. Off unless it is
//! asked for.

mod redaction;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use serde_json::json;

use crate::error::ServerError;
use crate::options::AuditOptions;
use crate::record::{AnswerRecord, reply_value};
pub use redaction::{RedactionError, RedactionRules};

/// Where records go.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    file: Mutex<File>,
    rules: RedactionRules,
    refusals: Mutex<Refusals>,
}

/// Strangers can be refused without end; no more than so many lines a second are theirs.
const MAX_REFUSALS: u32 = 100;

/// Refusals of a second.
#[derive(Debug, Default)]
struct Refusals {
    second: u64,
    written: u32,
    /// Those that have no line of their own, since the last that has.
    left_out: u64,
}

impl Refusals {
    /// Whether one more has its line, and how many before it had none.
    fn admit(&mut self, second: u64) -> Option<u64> {
        if second != self.second {
            (self.second, self.written) = (second, 0);
        }
        if self.written == MAX_REFUSALS {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl AuditLog {
    /// Goes on at the end of the file, which only its owner may read.
    pub fn open(options: AuditOptions) -> Result<Self, ServerError> {
        let AuditOptions { file: path, rules } = options;
        let file = open_private(&path).map_err(|source| ServerError::Files {
            path: path.clone(),
            source,
        })?;
        Ok(AuditLog {
            path,
            file: Mutex::new(file),
            rules,
            refusals: Mutex::default(),
        })
    }

    /// A request that reached no model, if there are not too many of them.
    pub fn refused(&self, record: &AnswerRecord) {
        let second = record.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut refusals = self.refusals.lock().expect("no panic while locked");
        let admitted = refusals.admit(second.as_secs());
        drop(refusals);
        if let Some(left_out) = admitted {
            self.keep(record, left_out);
        }
    }

    pub fn write(&self, record: &AnswerRecord) {
        self.keep(record, 0);
    }

    fn keep(&self, record: &AnswerRecord, left_out: u64) {
        let mut line = self.line(record, left_out);
        line.push('\n');
        let mut file = self.file.lock().expect("no panic while locked");
        // One call per line, so that lines stay whole whoever else appends.
        if let Err(error) = file.write_all(line.as_bytes()) {
            let (path, error) = (self.path.display().to_string(), error.to_string());
            tracing::error!(path, error, "a record of the audit log is lost");
        }
    }

    fn line(&self, record: &AnswerRecord, left_out: u64) -> String {
        let since = record.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let asked = record.asked.as_ref();
        let replies: Vec<_> = record.replies.iter().map(reply_value).collect();
        let mut line = json!({
            "unix_seconds": since.as_secs_f64(),
            "request_id": record.request_id,
            "key": record.key,
            "model": record.model,
            "thinking": record.thinking,
            "messages": asked.map(|asked| &asked.messages),
            "tools": asked.map(|asked| &asked.tools),
            "replies": replies,
            "end": record.end,
            "error": record.error,
            "prompt_tokens": record.usage.prompt_tokens,
            "cached_tokens": record.usage.cached_tokens,
            "completion_tokens": record.usage.completion_tokens,
            "reasoning_tokens": record.usage.reasoning_tokens,
            "seconds": record.took.as_secs_f64(),
        });
        if left_out > 0 {
            line["refusals_left_out"] = left_out.into();
        }
        self.rules.apply(&mut line);
        line.to_string()
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_has_few_lines_and_a_count() {
        let mut refusals = Refusals::default();
        let lines = (0..5_000).filter(|_| refusals.admit(7).is_some());
        assert_eq!(lines.count(), MAX_REFUSALS as usize);
        assert_eq!(refusals.admit(8), Some(4_900));
        assert_eq!(refusals.admit(8), Some(0));
    }
}
