//! What a client is told about its endpoint.

use std::fmt;
use std::time::Duration;

use k25_chat::dialect::openai::UsageWish;
use reqwest::Url;
use thiserror::Error;

/// How to reach an endpoint, and how patient to be.
#[derive(Clone)]
pub struct OpenAiOptions {
    /// The address before `/chat/completions`, usually ending in `/v1`.
    pub base_url: String,
    /// The model's name at the endpoint; `None` takes the name in each request.
    pub model: Option<String>,
    /// Sent as `Authorization: Bearer`. Never printed.
    pub api_key: Option<String>,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest time to the first byte of an answer: a long prompt takes long to read.
    pub first_byte_timeout: Duration,
    /// Longest silence within an answer.
    pub silence_timeout: Duration,
    /// When to ask again.
    pub retry: RetryPolicy,
    /// Most answers at once. Fewer are asked for while the endpoint refuses.
    pub max_concurrency: usize,
    /// When it says what an answer costs.
    pub usage: UsageWish,
}

/// When to ask again after a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles from attempt to attempt.
    pub first_wait: Duration,
    /// Longest wait. An endpoint that asks for more is believed, and not asked again.
    pub longest_wait: Duration,
}

/// A client that cannot be made.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No address of an endpoint.
    #[error(
        "{url:?} is no address of an endpoint: {fault}\n  hint: give one as in https://api.moonshot.ai/v1"
    )]
    BaseUrl {
        /// What was given.
        url: String,
        /// What is wrong.
        fault: String,
    },
    /// The key cannot be sent.
    #[error(
        "the API key has characters that no header can hold\n  hint: copy it again, without blanks or line ends"
    )]
    ApiKey,
    /// The HTTP client or its thread cannot be made.
    #[error(
        "cannot prepare HTTP: {0}\n  hint: check the system's certificates and its limit on threads"
    )]
    Http(String),
}

impl OpenAiOptions {
    /// An endpoint with the usual patience and no key.
    pub fn new(base_url: impl Into<String>) -> Self {
        OpenAiOptions {
            base_url: base_url.into(),
            model: None,
            api_key: None,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(600),
            silence_timeout: Duration::from_secs(120),
            retry: RetryPolicy::default(),
            max_concurrency: 64,
            usage: UsageWish::default(),
        }
    }

    /// The address that answers are asked for at.
    pub(crate) fn completions_url(&self) -> Result<Url, ClientError> {
        let fault = |fault: String| ClientError::BaseUrl {
            url: self.base_url.clone(),
            fault,
        };
        let base = self.base_url.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/chat/completions"));
        let url = url.map_err(|error| fault(error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            other => Err(fault(format!("{other} is not http or https"))),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(120),
        }
    }
}

impl fmt::Debug for OpenAiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiOptions")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("retry", &self.retry)
            .field("max_concurrency", &self.max_concurrency)
            .finish_non_exhaustive()
    }
}
