//! The audit log: one JSON line per request that reached a model. Off unless it is asked for.

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
        })
    }

    pub fn write(&self, record: &AnswerRecord) {
        let mut line = self.line(record);
        line.push('\n');
        let mut file = self.file.lock().expect("no panic while locked");
        // One call per line, so that lines stay whole whoever else appends.
        if let Err(error) = file.write_all(line.as_bytes()) {
            let (path, error) = (self.path.display().to_string(), error.to_string());
            tracing::error!(path, error, "a record of the audit log is lost");
        }
    }

    fn line(&self, record: &AnswerRecord) -> String {
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
