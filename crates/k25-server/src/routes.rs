//! The routes, one file per dialect.

mod chat_completions;
mod files;
mod messages;
mod models;
mod operations;
mod page;
mod responses;
mod tokens;
mod usage;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::record::AnswerRecord;
use crate::request_log::{self, Asker, RequestId};
use crate::trace_context::TraceContext;

/// Every path that is served, as metrics and logs name it.
pub(crate) const PATHS: &[&str] = &[
    "/",
    "/chat.css",
    "/chat.js",
    "/markdown.js",
    "/stream.js",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/anthropic/v1/messages",
    "/anthropic/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/tokenizers/estimate-token-count",
    "/v1/files",
    "/v1/files/{file}",
    "/v1/files/{file}/content",
    "/v1/users/me/usage",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
];

/// Every path that is served, with `{…}` for what a request fills in.
pub fn paths() -> &'static [&'static str] {
    PATHS
}

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/chat.css", get(page::style))
        .route("/chat.js", get(page::script))
        .route("/markdown.js", get(page::markdown))
        .route("/stream.js", get(page::stream))
        .route("/v1/chat/completions", post(chat_completions::create))
        .route("/v1/responses", post(responses::create))
        .merge(messages_routes("/v1/messages", "/v1/messages/count_tokens"))
        // The hosted service's address for Anthropic's clients ends in /anthropic.
        .merge(messages_routes(
            "/anthropic/v1/messages",
            "/anthropic/v1/messages/count_tokens",
        ))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::show))
        .route(
            "/v1/tokenizers/estimate-token-count",
            post(tokens::estimate),
        )
        .route("/v1/files", get(files::list).post(files::upload))
        .route("/v1/files/{file}", get(files::show).delete(files::delete))
        .route("/v1/files/{file}/content", get(files::content))
        .route("/v1/users/me/usage", get(usage::show))
        .route("/openapi.json", get(page::openapi))
        .route("/healthz", get(operations::healthz))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        // Bodies are bounded where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            request_log::layer,
        ))
        .with_state(app)
}

fn messages_routes(create: &str, count_tokens: &str) -> Router<Arc<App>> {
    Router::new()
        .route(create, post(messages::create))
        .route(count_tokens, post(messages::count_tokens))
}

async fn unknown_path() -> Response {
    openai_error(&ApiError::not_found(
        "nothing is served under this path; hint: the base URL ends in /v1",
    ))
}

async fn unknown_method() -> Response {
    openai_error(&ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_request_error",
        "this path is not served with this method; hint: conversations are sent with POST",
    ))
}

/// Finds out who asks.
fn identify(app: &App, id: &RequestId, headers: &HeaderMap) -> Result<Asker, ApiError> {
    Ok(Asker {
        request_id: id.0.clone(),
        account: app.keys.identify(headers)?,
        trace: TraceContext::of(headers),
        began: Instant::now(),
        is_followed: Arc::default(),
    })
}

/// Finds out who asks a model something. Whoever may not is put on record.
fn identify_asker(app: &App, id: &RequestId, headers: &HeaderMap) -> Result<Asker, ApiError> {
    identify(app, id, headers).inspect_err(|error| {
        let trace = TraceContext::of(headers);
        let record = || AnswerRecord::refused(&id.0, "", trace, Instant::now(), error);
        app.put_on_record(record);
    })
}

/// Puts a request on record that reached no model.
fn record_refusal(app: &App, asker: &Asker, error: &ApiError) {
    if asker.is_followed.load(Ordering::Relaxed) {
        return;
    }
    let key = &asker.account.name;
    app.put_on_record(|| {
        AnswerRecord::refused(&asker.request_id, key, asker.trace, asker.began, error)
    });
}

/// A response that tells the asker what is left of its limits.
fn with_limits(asker: &Asker, mut response: Response) -> Response {
    asker
        .account
        .meter
        .headers(Instant::now(), response.headers_mut());
    response
}

/// An object as JSON.
fn json(body: String) -> Response {
    ([("content-type", "application/json")], body).into_response()
}

/// An error in the form of OpenAI's clients.
fn openai_error(error: &ApiError) -> Response {
    error_response(error, &error.openai_body())
}

fn error_response(error: &ApiError, body: &Value) -> Response {
    let mut response = (error.status, json(body.to_string())).into_response();
    if let Some(time) = error.retry_after {
        let seconds = time.as_secs_f64().ceil().max(1.0);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
    }
    response
}
