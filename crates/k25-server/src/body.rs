//! Reading a request's body: bounded in size, in time, and in what all bodies hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use k25_chat::JsonValue;
use tokio::time::{Instant, timeout, timeout_at};

use crate::app::App;
use crate::error::ApiError;

/// Longest time for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);
/// Bodies longer than this are parsed off the threads that serve connections.
const LONG_BYTES: usize = 64 << 10;

/// Bytes that bodies may hold together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    limit: usize,
    held: AtomicUsize,
}

/// Bytes held; given back when dropped.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl BodyBudget {
    pub fn new(limit: usize) -> Self {
        BodyBudget {
            limit,
            held: AtomicUsize::new(0),
        }
    }

    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl HeldBytes {
    pub fn none(budget: &Arc<BodyBudget>) -> Self {
        HeldBytes {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds more, if there is room.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let held = self.budget.held.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.bytes += bytes;
        if held <= self.budget.limit {
            return Ok(());
        }
        Err(ApiError::overloaded(
            "the server holds as many request bytes as it may; hint: try again later",
            Duration::from_secs(2),
        ))
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Reads a body that must be JSON.
pub(crate) async fn read_json(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<(JsonValue, HeldBytes), ApiError> {
    check_type(headers)?;
    let mut held = HeldBytes::none(&app.budget);
    let bytes = read(app, headers, body, &mut held).await?;
    let value = if bytes.len() > LONG_BYTES {
        let parsed = tokio::task::spawn_blocking(move || parse(bytes)).await;
        parsed.unwrap_or_else(|_| Err(ApiError::invalid("the body cannot be parsed")))?
    } else {
        parse(bytes)?
    };
    Ok((value, held))
}

/// A page of another origin cannot send this type without asking first, so that no page that a person
/// happens to look at talks to the server on that person's machine.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "invalid_request_error",
        "the body must be JSON; hint: send the header Content-Type: application/json",
    ))
}

async fn read(
    app: &App,
    headers: &HeaderMap,
    mut body: Body,
    held: &mut HeldBytes,
) -> Result<Vec<u8>, ApiError> {
    let limit = app.options.max_body_bytes;
    let length = headers.get(header::CONTENT_LENGTH);
    let length: usize = length
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    if length > limit {
        return Err(too_large(limit));
    }
    let deadline = Instant::now() + BODY_TIMEOUT;
    let mut bytes = Vec::new();
    loop {
        let frame = timeout_at(deadline, timeout(app.options.body_pause, body.frame())).await;
        let frame = match frame {
            Ok(Ok(frame)) => frame,
            _ => return Err(too_slow()),
        };
        let Some(frame) = frame else {
            return Ok(bytes);
        };
        let frame = frame.map_err(|_| ApiError::invalid("the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        held.grow(data.len())?;
        bytes.extend_from_slice(&data);
    }
}

fn too_large(limit: usize) -> ApiError {
    let message =
        format!("the body is larger than {limit} bytes; hint: send smaller pictures, or fewer");
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "invalid_request_error",
        message,
    )
}

fn too_slow() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "invalid_request_error",
        "the body came too slowly; hint: send it at once",
    )
}

fn parse(bytes: Vec<u8>) -> Result<JsonValue, ApiError> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ApiError::invalid(format!(
            "the body is not UTF-8 at byte {at}; hint: encode it as UTF-8"
        ))
    })?;
    JsonValue::parse(&text).map_err(|error| ApiError::invalid(format!("the body is {error}")))
}
