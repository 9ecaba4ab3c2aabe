//! What whoever runs the server may choose.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k25_chat::dialect::openai::Rules;
use k25_client::PriceTable;

use crate::audit::RedactionRules;
use crate::files::{ExtractText, plain_text};

/// Limits and habits of a server. The defaults suit one machine.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Which sampling values clients may choose.
    pub rules: Rules,
    /// Answers that are computed at once.
    pub max_running: usize,
    /// Requests that wait for their turn; more are told to come back later.
    pub max_waiting: usize,
    /// Open connections; more wait to be accepted.
    pub max_connections: usize,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Bytes of all bodies that are held at once.
    pub max_held_bytes: usize,
    /// Time for a request's headers, also on a connection kept alive.
    pub header_timeout: Duration,
    /// Longest pause within a request's body.
    pub body_pause: Duration,
    /// Longest time that a client may leave its answer unread before it counts as gone.
    pub write_pause: Duration,
    /// Longest time from a request to the end of its answer.
    pub answer_timeout: Duration,
    /// Time between comments that keep a silent stream alive.
    pub keep_alive: Duration,
    /// How long answers may go on after the server was told to stop.
    pub drain_timeout: Duration,
    /// How pictures and films are fetched; `None` refuses addresses of other machines.
    pub fetch: Option<FetchOptions>,
    /// What tokens cost, by the model's name.
    pub prices: Option<PriceTable>,
    /// Where it is kept what each key used.
    pub usage_file: Option<PathBuf>,
    /// Where uploaded files are kept; `None` keeps none.
    pub files: Option<FileOptions>,
    /// Where the audit log goes; `None` keeps none.
    pub audit: Option<AuditOptions>,
    /// Where spans are sent; `None` sends none.
    pub telemetry: Option<TelemetryOptions>,
}

/// The audit log.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The file; lines are added at its end.
    pub file: PathBuf,
    /// What is left out.
    pub rules: RedactionRules,
}

/// Spans for OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryOptions {
    /// The collector's address, to which `/v1/traces` is added.
    pub endpoint: String,
    /// The words of conversations are in the spans.
    pub with_content: bool,
}

/// Where uploaded files are kept, and how many.
#[derive(Clone)]
pub struct FileOptions {
    /// The folder; made if there is none.
    pub folder: PathBuf,
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Most files of one key.
    pub max_files: usize,
    /// Most bytes of all files of one key.
    pub max_total_bytes: u64,
    /// Reads the text of documents.
    pub extract_text: ExtractText,
}

impl FileOptions {
    /// The hosted service's limits, and text of plain text only.
    pub fn new(folder: PathBuf) -> Self {
        FileOptions {
            folder,
            max_bytes: 100 << 20,
            max_files: 1000,
            max_total_bytes: 10 << 30,
            extract_text: Arc::new(plain_text),
        }
    }
}

impl fmt::Debug for FileOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileOptions")
            .field("folder", &self.folder)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// Limits on fetching a picture or film.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Most bytes.
    pub max_bytes: usize,
    /// Longest time, redirects included.
    pub timeout: Duration,
    /// Addresses per request.
    pub max_addresses: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            rules: Rules::Free,
            max_running: 64,
            max_waiting: 256,
            max_connections: 2048,
            // As in the hosted service.
            max_body_bytes: 100 << 20,
            max_held_bytes: 1 << 30,
            header_timeout: Duration::from_secs(15),
            body_pause: Duration::from_secs(20),
            write_pause: Duration::from_secs(60),
            // As in the hosted service.
            answer_timeout: Duration::from_secs(2 * 3600),
            keep_alive: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(30),
            fetch: Some(FetchOptions::default()),
            prices: None,
            usage_file: None,
            files: None,
            audit: None,
            telemetry: None,
        }
    }
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions {
            max_bytes: 32 << 20,
            timeout: Duration::from_secs(20),
            max_addresses: 16,
        }
    }
}
