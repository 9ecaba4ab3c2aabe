//! `GET /v1/users/me/usage`: what the asking key used, by day and model.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use super::{identify, json as json_response, openai_error};
use crate::app::App;
use crate::request_log::RequestId;

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    match identify(&app, &id, &headers) {
        Ok(asker) => {
            let report = app.ledger.report(Some(&asker.account.name));
            let body = json!({
                "object": "list",
                "currency": report.currency,
                "data": report.entries,
            });
            json_response(body.to_string())
        }
        Err(error) => openai_error(&error),
    }
}
