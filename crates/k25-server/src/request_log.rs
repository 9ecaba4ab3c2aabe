//! Each request's id, and one line in the log when its response begins.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;
use crate::keys::Account;
use crate::trace_context::TraceContext;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What Kimi's clients look for.
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
/// Longest id of a client that is kept.
const MAX_ID_LENGTH: usize = 128;

/// Who asks, and under which id.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub request_id: String,
    pub account: Arc<Account>,
    pub trace: TraceContext,
    pub began: Instant,
    /// Whether what becomes of the request is on record elsewhere.
    pub is_followed: Arc<AtomicBool>,
}

/// The id of a request, as an extension.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub String);

/// Names the request, lets it through, and tells of it.
pub(crate) async fn layer(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = client_id(&request).unwrap_or_else(|| app.new_id("req-"));
    let method = request.method().clone();
    let route = route(request.extensions().get::<MatchedPath>());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.count_request(route, status);
    tracing::info!(
        request_id = id,
        %method,
        route,
        status,
        milliseconds = began.elapsed().as_secs_f64() * 1e3,
        "request"
    );
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert(TRACE_ID, value);
    }
    response
}

/// A client's own id, if it is one that a log can hold.
fn client_id(request: &Request) -> Option<String> {
    let id = request.headers().get(&REQUEST_ID)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = !id.is_empty() && id.len() <= MAX_ID_LENGTH && id.bytes().all(is_plain);
    fits.then(|| id.to_owned())
}

/// The route's pattern. Few and known, so that strangers cannot fill the metrics.
fn route(path: Option<&MatchedPath>) -> &'static str {
    let path = path.map_or("", MatchedPath::as_str);
    crate::routes::PATHS
        .iter()
        .find(|known| **known == path)
        .copied()
        .unwrap_or("other")
}
