//! The chat page at `/`, which loads nothing from elsewhere, and the description of the routes for programs
//! (OpenAPI 3.1). Their files are part of the program.

use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::{IntoResponse, Response};

/// Only what this server sends may run, be shown or be asked; pictures also from the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

pub(super) async fn index() -> Response {
    file(
        "text/html; charset=utf-8",
        include_str!("../../web/index.html"),
    )
}

pub(super) async fn style() -> Response {
    file(
        "text/css; charset=utf-8",
        include_str!("../../web/chat.css"),
    )
}

pub(super) async fn script() -> Response {
    file(SCRIPT, include_str!("../../web/chat.js"))
}

pub(super) async fn markdown() -> Response {
    file(SCRIPT, include_str!("../../web/markdown.js"))
}

pub(super) async fn stream() -> Response {
    file(SCRIPT, include_str!("../../web/stream.js"))
}

pub(super) async fn openapi() -> Response {
    file("application/json", include_str!("../../web/openapi.json"))
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // Another version of the program has another page.
        (CACHE_CONTROL, "no-cache"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, content).into_response()
}
