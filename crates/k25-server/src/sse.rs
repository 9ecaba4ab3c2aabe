//! Answers as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use k25_chat::{ChatEvent, ChatUsage};
use tokio::time::{Instant, Sleep, sleep};

use crate::answer::Answers;
use crate::error::ApiError;

/// Events that are ready are sent together up to this size.
const PIECE_BYTES: usize = 16 << 10;

/// Writes the events of a dialect. What it appends is sent as it stands.
pub(crate) trait EventWriter: Send + Unpin + 'static {
    /// An event of the answer with this number.
    fn event(&mut self, index: u32, event: &ChatEvent, out: &mut String);
    /// All answers are complete.
    fn end(&mut self, usage: ChatUsage, out: &mut String);
    /// The answers broke off.
    fn error(&mut self, error: &ApiError, out: &mut String);
}

/// The response that writes `answers` as they come.
pub(crate) fn response(
    answers: Answers,
    writer: impl EventWriter,
    keep_alive: Duration,
) -> Response {
    let events = Events {
        answers,
        writer,
        state: State::Open,
        keep_alive,
        silence: Box::pin(sleep(keep_alive)),
    };
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Proxies are not to collect events.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    (headers, Body::from_stream(events)).into_response()
}

/// One server-sent event without a name.
pub(crate) fn data(json: &str, out: &mut String) {
    out.push_str("data: ");
    out.push_str(json);
    out.push_str("\n\n");
}

struct Events<W> {
    answers: Answers,
    writer: W,
    state: State,
    keep_alive: Duration,
    silence: Pin<Box<Sleep>>,
}

#[derive(PartialEq)]
enum State {
    Open,
    Ended,
}

impl<W: EventWriter> Stream for Events<W> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.state == State::Ended {
            return Poll::Ready(None);
        }
        let mut out = String::new();
        while out.len() < PIECE_BYTES && this.state == State::Open {
            match this.answers.poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok((index, event)))) => this.writer.event(index, &event, &mut out),
                Poll::Ready(Some(Err(error))) => {
                    this.writer.error(&error, &mut out);
                    this.state = State::Ended;
                }
                Poll::Ready(None) => {
                    this.writer.end(this.answers.usage(), &mut out);
                    this.state = State::Ended;
                }
            }
        }
        if out.is_empty() && this.state == State::Open {
            match this.silence.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => out.push_str(": still here\n\n"),
            }
        }
        this.silence
            .as_mut()
            .reset(Instant::now() + this.keep_alive);
        // The new time must be polled once to wake us.
        if let Poll::Ready(()) = this.silence.as_mut().poll(context) {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Some(Ok(Bytes::from(out))))
    }
}
