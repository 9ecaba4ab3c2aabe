//! What an endpoint's refusals and breakdowns mean.

use std::time::Duration;

use k25_chat::dialect::openai::ChunkError;
use k25_chat::{ChatError, ChatErrorKind};
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Most characters of an endpoint's words that are repeated.
const SHOWN_CHARACTERS: usize = 400;

/// The error that a status and body mean.
pub(crate) fn of_response(status: u16, headers: &HeaderMap, body: &str) -> ChatError {
    let parsed: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    // FastAPI says `detail`; some say the error without a shell.
    let error = parsed.get("error").unwrap_or(&parsed);
    let words = [error.get("message"), error.get("detail"), Some(error)];
    let words = words.into_iter().flatten().find_map(Value::as_str);
    let said: String = words
        .unwrap_or(body)
        .trim()
        .chars()
        .take(SHOWN_CHARACTERS)
        .collect();
    let kind = kind_of(status, error);
    let message = match said.as_str() {
        "" => format!("the endpoint answered {status}"),
        said => format!("the endpoint answered {status}: {said}"),
    };
    ChatError {
        retry_after: retry_after(headers),
        ..ChatError::new(kind, message, hint(kind))
    }
}

/// The error of a stream that broke.
pub(crate) fn of_stream(error: ChunkError) -> ChatError {
    match &error {
        ChunkError::Reported { message, body } => {
            let parsed: Value = serde_json::from_str(body).unwrap_or(Value::Null);
            let error = parsed.get("error").unwrap_or(&Value::Null);
            let status = error.get("code").and_then(Value::as_u64).unwrap_or(500);
            let kind = kind_of(u16::try_from(status).unwrap_or(500), error);
            let message: String = message.chars().take(SHOWN_CHARACTERS).collect();
            ChatError::new(
                kind,
                format!("the endpoint broke off: {message}"),
                hint(kind),
            )
        }
        ChunkError::CutShort => ChatError::new(
            ChatErrorKind::Connection,
            error.to_string(),
            hint(ChatErrorKind::Connection),
        ),
        _ => ChatError::new(
            ChatErrorKind::Server,
            error.to_string(),
            hint(ChatErrorKind::Server),
        ),
    }
}

/// The error of a connection.
pub(crate) fn of_transport(error: &reqwest::Error) -> ChatError {
    let kind = match error.is_timeout() {
        true => ChatErrorKind::Timeout,
        false => ChatErrorKind::Connection,
    };
    // The innermost cause says it best: "connection refused", "invalid certificate".
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    ChatError::new(
        kind,
        format!("cannot reach the endpoint: {cause}"),
        hint(kind),
    )
}

pub(crate) fn silent(what: &str, after: Duration) -> ChatError {
    let message = format!("{what} within {} s", after.as_secs());
    ChatError::new(
        ChatErrorKind::Timeout,
        message,
        hint(ChatErrorKind::Timeout),
    )
}

fn kind_of(status: u16, error: &Value) -> ChatErrorKind {
    use ChatErrorKind as K;
    let word = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let says = |part: &str| word("type").contains(part) || word("code").contains(part);
    let message = word("message").to_ascii_lowercase();
    match status {
        _ if says("content_filter") => K::ContentFilter,
        _ if says("context_length") => K::ContextTooLong,
        400 | 413 | 422
            if message.contains("context length") || message.contains("maximum context") =>
        {
            K::ContextTooLong
        }
        401 => K::Authentication,
        402 => K::QuotaExceeded,
        403 => K::PermissionDenied,
        404 => K::ModelNotFound,
        408 | 504 => K::Timeout,
        429 if says("quota") => K::QuotaExceeded,
        429 if says("overloaded") => K::Overloaded,
        429 => K::RateLimited,
        503 | 529 => K::Overloaded,
        500.. => K::Server,
        _ => K::InvalidRequest,
    }
}

fn hint(kind: ChatErrorKind) -> &'static str {
    use ChatErrorKind as K;
    match kind {
        K::InvalidRequest | K::Unsupported => "change the request as the message says",
        K::ContextTooLong => "shorten the conversation or ask for fewer tokens",
        K::ModelNotFound => "check the model's name and the base URL, which usually ends in /v1",
        K::Authentication => "check the API key",
        K::PermissionDenied => "ask whoever runs the endpoint what the key may do",
        K::QuotaExceeded => "top up the account",
        K::ContentFilter => "ask something else",
        K::RateLimited | K::Overloaded => "wait, or ask for fewer answers at once",
        K::Timeout => "try again, or allow more time",
        K::Connection => "check the address and the network",
        K::Server => "try again; tell whoever runs the endpoint if it stays so",
    }
}

/// `retry-after-ms`, or `Retry-After` in seconds. A date is rare, and the usual wait does as well.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number =
        |name: &str| -> Option<f64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    let seconds = number("retry-after-ms").map(|ms| ms / 1e3);
    let seconds = seconds.or_else(|| number("retry-after"));
    let seconds = seconds.filter(|seconds| seconds.is_finite())?;
    // Beyond a day it is no wait.
    Duration::try_from_secs_f64(seconds.min(86_400.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        use ChatErrorKind as K;
        for (status, body, kind) in [
            (
                400,
                r#"{"error": {"message": "bad", "type": "invalid_request_error"}}"#,
                K::InvalidRequest,
            ),
            (
                400,
                r#"{"error": {"message": "x", "code": "context_length_exceeded"}}"#,
                K::ContextTooLong,
            ),
            (
                400,
                r#"{"message": "This model's maximum context length is 5"}"#,
                K::ContextTooLong,
            ),
            (
                400,
                r#"{"error": {"type": "content_filter"}}"#,
                K::ContentFilter,
            ),
            (401, "no", K::Authentication),
            (403, "", K::PermissionDenied),
            (404, r#"{"detail": "Not Found"}"#, K::ModelNotFound),
            (
                429,
                r#"{"error": {"type": "exceeded_current_quota_error"}}"#,
                K::QuotaExceeded,
            ),
            (
                429,
                r#"{"error": {"type": "engine_overloaded_error"}}"#,
                K::Overloaded,
            ),
            (429, "slow down", K::RateLimited),
            (500, "", K::Server),
            (502, "<html>", K::Server),
            (503, "", K::Overloaded),
            (504, "", K::Timeout),
        ] {
            let error = of_response(status, &HeaderMap::new(), body);
            assert_eq!(error.kind, kind, "{status} {body}");
            assert!(
                error.message.contains(&status.to_string()),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn waits_are_read() {
        let wait = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header"));
            of_response(429, &headers, "").retry_after
        };
        assert_eq!(wait("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(
            wait("retry-after-ms", "250"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(wait("retry-after", "-1"), None);
        assert_eq!(wait("retry-after", "nan"), None);
        assert_eq!(wait("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
