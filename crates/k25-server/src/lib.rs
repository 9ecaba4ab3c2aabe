//! HTTP in front of a model: clients written for OpenAI or for Kimi just work.
//!
//! [`App`] is everything that requests share: the [`Model`]s (each a
//! [`ChatClient`](k25_chat::ChatClient), wherever it computes), keys and limits, admission, metrics.
//! [`Server`] accepts connections for it until it is told to stop, and then lets answers end.
//!
//! A request goes through `routes` (one file per dialect), which read the body, turn it into a
//! [`ChatRequest`](k25_chat::ChatRequest) by k25-chat's dialects and hand it to `answer`; from there
//! events come back and are written whole, or piece by piece as server-sent events. Dropping the
//! response, as happens when a client goes away, drops the answer's stream and so cancels its work.

mod admission;
mod answer;
mod app;
mod audit;
mod body;
mod error;
mod files;
mod keys;
mod limits;
mod media;
mod metrics;
mod model;
mod options;
mod record;
mod request_log;
mod routes;
mod server;
mod sse;
mod telemetry;
mod trace_context;
mod upstream;
mod usage;
mod whole_file;

pub use app::App;
pub use audit::{RedactionError, RedactionRules};
pub use error::ServerError;
pub use files::{ExtractText, plain_text};
pub use k25_fetch::{AddressError, is_public_address};
pub use keys::{KeyError, KeyFile, KeyRecord, NewKey};
pub use limits::KeyLimits;
pub use model::{Model, ModelInfo, TokenCounter};
pub use options::{AuditOptions, FetchOptions, FileOptions, ServerOptions, TelemetryOptions};
pub use routes::paths;
pub use server::Server;
pub use upstream::{EndpointRoute, Route, RouteError, Routes};
pub use usage::{UsageEntry, UsageError, UsageFile, UsageSum};
