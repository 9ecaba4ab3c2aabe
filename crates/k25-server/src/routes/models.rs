//! `GET /v1/models` and `GET /v1/models/{model}`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::{identify, json as json_response, openai_error};
use crate::app::App;
use crate::error::ApiError;
use crate::model::ModelInfo;
use crate::request_log::RequestId;

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    respond(identify(&app, &id, &headers).map(|_| {
        let models: Vec<_> = app
            .models
            .iter()
            .map(|model| object(&app, &model.info))
            .collect();
        json!({"object": "list", "data": models})
    }))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let shown = identify(&app, &id, &headers)
        .and_then(|_| app.model(&name))
        .map(|model| object(&app, &model.info));
    respond(shown)
}

fn object(app: &App, info: &ModelInfo) -> Value {
    let mut object = json!({
        "id": info.name,
        "object": "model",
        "created": info.created,
        "owned_by": "k25",
        "context_length": info.context_length,
        "supports_image_in": info.supports_image_in,
        "supports_video_in": info.supports_video_in,
        "supports_reasoning": info.supports_reasoning,
    });
    let table = app.options.prices.as_ref();
    if let Some((table, prices)) =
        table.and_then(|table| Some((table, table.models.get(&info.name)?)))
    {
        object["pricing"] = json!({
            "currency": table.currency,
            "input": prices.input,
            "cached_input": prices.cached_input,
            "output": prices.output,
        });
    }
    object
}

fn respond(body: Result<Value, ApiError>) -> Response {
    match body {
        Ok(body) => json_response(body.to_string()),
        Err(error) => openai_error(&error),
    }
}
