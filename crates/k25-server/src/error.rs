//! What goes wrong, told in the form that a client's dialect knows.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::StatusCode;
use k25_chat::dialect::RequestError;
use k25_chat::{ChatError, ChatErrorKind};
use serde_json::{Value, json};
use thiserror::Error;

use crate::usage::UsageError;

/// Why a server cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}\n  hint: another program may use the port; choose one with --port"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The HTTP client for pictures cannot be made.
    #[error("cannot prepare to fetch pictures: {0}\n  hint: --no-fetch serves without")]
    Fetch(String),
    /// Spans cannot be sent to this address.
    #[error(
        "{url:?} is no collector's address: {fault}\n  hint: give one as in http://127.0.0.1:4318"
    )]
    Telemetry {
        /// The address.
        url: String,
        /// What is wrong.
        fault: String,
    },
    /// A folder or file of the server cannot be used.
    #[error("{}: {source}\n  hint: name one that can be written", path.display())]
    Files {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of what was used is not as it should be.
    #[error(transparent)]
    Usage(#[from] UsageError),
}

/// Why a request gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    /// The word for it in Kimi's service.
    pub kind: &'static str,
    pub code: Option<&'static str>,
    pub message: String,
    /// The place in the request.
    pub param: Option<String>,
    pub retry_after: Option<Duration>,
}

impl ApiError {
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            status,
            kind,
            code: None,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// The request is not as it should be.
    pub fn invalid(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, "resource_not_found_error", message)
    }

    pub fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        ApiError {
            retry_after: Some(retry_after),
            ..ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "engine_overloaded_error",
                message,
            )
        }
    }

    pub fn with_code(self, code: &'static str) -> Self {
        ApiError {
            code: Some(code),
            ..self
        }
    }

    /// The object that OpenAI's and Kimi's clients read.
    pub fn openai_body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }

    /// The object that Anthropic's clients read.
    pub fn anthropic_body(&self, request_id: &str) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        };
        json!({
            "type": "error",
            "error": {"type": kind, "message": self.message},
            "request_id": request_id,
        })
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        ApiError {
            param: (!error.param.is_empty()).then(|| error.param.clone()),
            ..ApiError::invalid(error.to_string())
        }
    }
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        let (status, kind, code) = wire(error.kind);
        ApiError {
            code,
            retry_after: error.retry_after,
            ..ApiError::new(
                status,
                kind,
                error.to_string().replace("\n  hint:", "; hint:"),
            )
        }
    }
}

fn wire(kind: ChatErrorKind) -> (StatusCode, &'static str, Option<&'static str>) {
    use ChatErrorKind as K;
    let (status, name) = match kind {
        K::InvalidRequest | K::ContextTooLong | K::Unsupported => {
            (StatusCode::BAD_REQUEST, "invalid_request_error")
        }
        K::ContentFilter => (StatusCode::BAD_REQUEST, "content_filter"),
        K::ModelNotFound => (StatusCode::NOT_FOUND, "resource_not_found_error"),
        K::PermissionDenied => (StatusCode::FORBIDDEN, "permission_denied_error"),
        K::QuotaExceeded => (
            StatusCode::TOO_MANY_REQUESTS,
            "exceeded_current_quota_error",
        ),
        K::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_reached_error"),
        K::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "engine_overloaded_error"),
        K::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout_error"),
        // Our own key with the endpoint behind is no fault of the client.
        K::Connection | K::Authentication => (StatusCode::BAD_GATEWAY, "server_error"),
        K::Server => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    };
    let code = match kind {
        K::ContextTooLong => Some("context_length_exceeded"),
        K::Unsupported => Some("unsupported"),
        _ => None,
    };
    (status, name, code)
}
