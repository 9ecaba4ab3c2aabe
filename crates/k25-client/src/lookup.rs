//! What an endpoint is asked beside answers: its models, and what a prompt costs.

use std::time::Duration;

use k25_chat::dialect::openai::{UsageWish, write_request};
use k25_chat::{ChatError, ChatErrorKind, ChatRequest};
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::attempt::{Endpoint, error_body};
use crate::failure;

/// Longest time of a whole look-up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of what an endpoint says.
const MAX_BYTES: usize = 8 << 20;

/// A model in an endpoint's list. What Kimi's service and k25 tell beyond the name is there if it was told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ListedModel {
    /// Its name.
    #[serde(rename = "id")]
    pub name: String,
    /// Tokens that prompt and answer may have together.
    #[serde(default, alias = "max_model_len")]
    pub context_length: Option<u64>,
    /// It sees pictures.
    #[serde(default)]
    pub supports_image_in: Option<bool>,
    /// It sees films.
    #[serde(default)]
    pub supports_video_in: Option<bool>,
    /// It can reason before it answers.
    #[serde(default)]
    pub supports_reasoning: Option<bool>,
}

#[derive(Deserialize)]
struct Listing {
    data: Vec<ListedModel>,
}

impl Endpoint {
    /// `GET /models`.
    pub(crate) async fn models(&self) -> Result<Vec<ListedModel>, ChatError> {
        let url = self.beside("models");
        let body = self.ask_once(self.http.get(url)).await?;
        let listing: Listing = serde_json::from_value(body)
            .map_err(|error| strange("its list of models", &error.to_string()))?;
        Ok(listing.data)
    }

    /// Tokens of a prompt: as Kimi's service and k25 tell it, or else as vLLM does.
    pub(crate) async fn count_tokens(&self, request: &ChatRequest) -> Result<u64, ChatError> {
        let body = write_request(request, UsageWish::AtTheEnd);
        let count = |url: Url| {
            let request = self.http.post(url).header(CONTENT_TYPE, "application/json");
            self.ask_once(request.body(body.clone()))
        };
        let kimi = self.beside("tokenizers/estimate-token-count");
        match count(kimi).await {
            Ok(body) => number(&body["data"]["total_tokens"]),
            Err(error) if error.kind == ChatErrorKind::ModelNotFound => {
                let mut vllm = self.url.clone();
                vllm.set_path("/tokenize");
                let body = count(vllm).await.map_err(|second| match second.kind {
                    ChatErrorKind::ModelNotFound => no_counter(),
                    _ => second,
                })?;
                number(&body["count"])
            }
            Err(error) => Err(error),
        }
    }

    /// The address of something beside `/chat/completions`.
    fn beside(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches("chat/completions").to_owned();
        url.set_path(&format!("{base}{path}"));
        url
    }

    async fn ask_once(&self, request: RequestBuilder) -> Result<Value, ChatError> {
        let request = match &self.options.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let answered = timeout(PATIENCE, async {
            let response = request
                .send()
                .await
                .map_err(|error| failure::of_transport(&error))?;
            if response.status().is_success() {
                return read(response).await;
            }
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = error_body(response).await;
            Err(failure::of_response(status, &headers, &body))
        });
        answered
            .await
            .unwrap_or_else(|_| Err(failure::silent("the endpoint did not answer", PATIENCE)))
    }
}

async fn read(mut response: Response) -> Result<Value, ChatError> {
    let mut bytes = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| failure::of_transport(&error))?
    {
        if bytes.len() + piece.len() > MAX_BYTES {
            return Err(strange("its answer", "it is too long"));
        }
        bytes.extend_from_slice(&piece);
    }
    serde_json::from_slice(&bytes).map_err(|error| strange("its answer", &error.to_string()))
}

fn number(value: &Value) -> Result<u64, ChatError> {
    let number = value.as_u64();
    number.ok_or_else(|| strange("its count of tokens", "no number is there"))
}

fn strange(what: &str, fault: &str) -> ChatError {
    ChatError::new(
        ChatErrorKind::Server,
        format!("the endpoint does not speak the OpenAI form: {what}: {fault}"),
        "check the base URL, which usually ends in /v1",
    )
}

fn no_counter() -> ChatError {
    ChatError::new(
        ChatErrorKind::Unsupported,
        "the endpoint counts no tokens",
        "send the request and read its usage",
    )
}
