//! `POST /v1/tokenizers/estimate-token-count`.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use k25_chat::dialect::openai::{CompletionRequest, Rules};
use k25_chat::{ChatRequest, JsonValue};
use serde_json::json;

use super::{identify, json as json_response, openai_error};
use crate::app::App;
use crate::body::read_json;
use crate::error::ApiError;
use crate::media;
use crate::request_log::RequestId;

pub(super) async fn estimate(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let read = |document| Ok(CompletionRequest::read(document, Rules::Free)?.chat);
    match count(&app, &id, &headers, body, read).await {
        Ok(tokens) => json_response(json!({"data": {"total_tokens": tokens}}).to_string()),
        Err(error) => openai_error(&error),
    }
}

/// Tokens of the prompt in a body that `read` understands.
pub(super) async fn count(
    app: &App,
    id: &RequestId,
    headers: &HeaderMap,
    body: Body,
    read: fn(JsonValue) -> Result<ChatRequest, ApiError>,
) -> Result<u64, ApiError> {
    let asker = identify(app, id, headers)?;
    let (document, mut held) = read_json(app, headers, body).await?;
    let mut chat = read(document)?;
    let _grant = asker.account.meter.admit(0, Instant::now())?;
    media::resolve(app, &asker.account.name, &mut chat.conversation, &mut held).await?;
    count_apart(app, chat).await
}

/// Tokens of a prompt, counted where it disturbs no connection.
async fn count_apart(app: &App, chat: ChatRequest) -> Result<u64, ApiError> {
    let counter = Arc::clone(&app.model(&chat.model)?.counter);
    let _place = app.admission.enter().await?;
    let counted = tokio::task::spawn_blocking(move || counter.count(&chat)).await;
    match counted {
        Ok(tokens) => Ok(tokens?),
        Err(_) => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "the tokens cannot be counted; hint: try again",
        )),
    }
}
