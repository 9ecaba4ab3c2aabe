//! Spans of answers for OpenTelemetry, sent as OTLP over HTTP in JSON. Words of conversations are in them only
//! where that was asked for.

mod conventions;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, Url};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::error::ServerError;
use crate::options::TelemetryOptions;
use crate::record::{AnswerRecord, reply_value};
use conventions as names;

/// Spans that wait to be sent; more are dropped, and that is logged.
const QUEUE: usize = 4096;
/// Most spans of one message.
const BATCH: usize = 512;
/// Time between messages.
const PAUSE: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);
/// `SPAN_KIND_SERVER` and `STATUS_CODE_ERROR` of the protocol.
const KIND_SERVER: u8 = 2;
const STATUS_ERROR: u8 = 2;

/// Sends spans from time to time.
pub(crate) struct Telemetry {
    url: Url,
    client: Client,
    with_content: bool,
    spans: mpsc::Sender<Value>,
    waiting: Mutex<Option<mpsc::Receiver<Value>>>,
    stop: Notify,
}

impl Telemetry {
    pub fn new(options: &TelemetryOptions) -> Result<Self, ServerError> {
        let fault = |fault: String| ServerError::Telemetry {
            url: options.endpoint.clone(),
            fault,
        };
        let base = options.endpoint.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/v1/traces")).map_err(|e| fault(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(fault(format!("{} is not http or https", url.scheme())));
        }
        // Two parts of a program may both want the provider: whoever comes second finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(TIMEOUT).build();
        let (spans, waiting) = mpsc::channel(QUEUE);
        Ok(Telemetry {
            url,
            client: client.map_err(|e| fault(e.to_string()))?,
            with_content: options.with_content,
            spans,
            waiting: Mutex::new(Some(waiting)),
            stop: Notify::new(),
        })
    }

    pub fn wants_content(&self) -> bool {
        self.with_content
    }

    pub fn record(&self, record: &AnswerRecord) {
        let span = span(record, self.with_content);
        if self.spans.try_send(span).is_err() {
            tracing::warn!(
                request_id = record.request_id,
                "a span is lost: too many wait"
            );
        }
    }

    /// Sends until [`Telemetry::stop`], and then what is left.
    pub async fn run(self: Arc<Self>) {
        let waiting = self.waiting.lock().expect("no panic while locked").take();
        let Some(mut waiting) = waiting else { return };
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.stop.notified() => is_last = true,
            }
            loop {
                let spans: Vec<_> = std::iter::from_fn(|| waiting.try_recv().ok())
                    .take(BATCH)
                    .collect();
                if spans.is_empty() {
                    break;
                }
                self.send(spans).await;
            }
        }
    }

    /// No more spans come.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    async fn send(&self, spans: Vec<Value>) {
        let count = spans.len();
        let request = self.client.post(self.url.clone()).json(&message(spans));
        let fault = match request.send().await {
            Ok(response) if response.status().is_success() => return,
            Ok(response) => format!("the collector answered {}", response.status()),
            Err(error) => error.without_url().to_string(),
        };
        tracing::warn!(count, fault, "spans are lost");
    }
}

fn message(spans: Vec<Value>) -> Value {
    let resource = [
        attribute(names::SERVICE_NAME, "k25"),
        attribute(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "k25-server", "version": env!("CARGO_PKG_VERSION")},
            "schemaUrl": names::SCHEMA,
            "spans": spans,
        }],
    }]})
}

fn span(record: &AnswerRecord, with_content: bool) -> Value {
    let mut ids = [0; 24];
    // Without random numbers spans only run together in one trace.
    let _ = getrandom::fill(&mut ids);
    let trace = record.trace.trace.unwrap_or_else(|| {
        let mut trace = [0; 16];
        trace.copy_from_slice(&ids[..16]);
        trace
    });
    let mut span = json!({
        "traceId": hex(&trace),
        "spanId": hex(&ids[16..]),
        "name": format!("{} {}", names::CHAT, record.model).trim_end(),
        "kind": KIND_SERVER,
        "startTimeUnixNano": nanoseconds(record.began),
        "endTimeUnixNano": nanoseconds(record.began + record.took),
        "attributes": attributes(record, with_content),
    });
    if let Some(parent) = record.trace.parent {
        span["parentSpanId"] = hex(&parent).into();
    }
    if let Some(error) = &record.error {
        span["status"] = json!({"code": STATUS_ERROR, "message": error});
    }
    span
}

fn attributes(record: &AnswerRecord, with_content: bool) -> Vec<Value> {
    let mut out = vec![
        attribute(names::OPERATION, names::CHAT),
        attribute(names::PROVIDER, names::MOONSHOT),
        attribute(names::REQUEST_MODEL, record.model.as_str()),
        attribute(names::RESPONSE_MODEL, record.model.as_str()),
        attribute(names::INPUT_TOKENS, record.usage.prompt_tokens),
        attribute(names::CACHED_TOKENS, record.usage.cached_tokens),
        attribute(names::OUTPUT_TOKENS, record.usage.completion_tokens),
        attribute(names::REASONING_TOKENS, record.usage.reasoning_tokens),
        attribute(names::REQUEST_ID, record.request_id.as_str()),
        attribute(names::KEY, record.key.as_str()),
        attribute(names::THINKING, record.thinking),
        json!({"key": names::FINISH_REASONS, "value": {"arrayValue": {"values": [
            {"stringValue": record.end}]}}}),
    ];
    let optional = [
        record
            .max_tokens
            .map(|n| attribute(names::MAX_TOKENS, u64::from(n))),
        record
            .temperature
            .map(|x| attribute(names::TEMPERATURE, f64::from(x))),
        record.top_p.map(|x| attribute(names::TOP_P, f64::from(x))),
        record
            .first_piece
            .map(|time| attribute(names::FIRST_TOKEN, time.as_secs_f64())),
        record
            .error
            .as_ref()
            .map(|_| attribute(names::ERROR_TYPE, record.end)),
    ];
    out.extend(optional.into_iter().flatten());
    if let Some(asked) = record.asked.as_ref().filter(|_| with_content) {
        let replies: Value = record.replies.iter().map(reply_value).collect();
        out.push(attribute(names::INPUT_MESSAGES, asked.messages.to_string()));
        out.push(attribute(names::OUTPUT_MESSAGES, replies.to_string()));
    }
    out
}

/// A key with its value, as the protocol writes them: whole numbers are text.
fn attribute(key: &str, value: impl Into<Value>) -> Value {
    let value = match value.into() {
        Value::Bool(value) => json!({"boolValue": value}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": key, "value": value})
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
