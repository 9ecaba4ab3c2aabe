//! `POST /v1/messages` and `POST /v1/messages/count_tokens`, Anthropic's forms.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use k25_chat::dialect::anthropic::{BlockWriter, MessageBuilder, MessageHead, MessagesRequest};
use k25_chat::{ChatEvent, ChatUsage};
use serde_json::json;

use super::{
    error_response, identify_asker, json as json_response, record_refusal, tokens, with_limits,
};
use crate::answer::{self, Question};
use crate::app::App;
use crate::body::read_json;
use crate::error::ApiError;
use crate::request_log::{Asker, RequestId};
use crate::sse::{self, EventWriter};

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asker = match identify_asker(&app, &id, &headers) {
        Ok(asker) => asker,
        Err(error) => return refuse(&error, &id),
    };
    let answered = answer(&app, &asker, &headers, body).await;
    let refuse = |error| {
        record_refusal(&app, &asker, &error);
        refuse(&error, &id)
    };
    with_limits(&asker, answered.unwrap_or_else(refuse))
}

async fn answer(
    app: &App,
    asker: &Asker,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (document, held) = read_json(app, headers, body).await?;
    let request = MessagesRequest::read(document, true)?;
    let head = MessageHead {
        id: app.new_id("msg_"),
        model: request.chat.model.clone(),
        stops: request.chat.stop.clone(),
    };
    let question = Question {
        chat: request.chat,
        choices: 1,
        parallel_tool_calls: request.parallel_tool_calls,
        held,
    };
    let mut answers = answer::begin(app, asker, question).await?;
    if request.stream {
        let events = Events {
            writer: BlockWriter::new(head),
            request_id: asker.request_id.clone(),
        };
        return Ok(sse::response(answers, events, app.options.keep_alive));
    }
    let mut message = MessageBuilder::new(head);
    while let Some(step) = answers.next().await {
        message.add(&step?.1);
    }
    Ok(json_response(message.write(answers.usage())))
}

pub(super) async fn count_tokens(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let read = |document| Ok(MessagesRequest::read(document, false)?.chat);
    match tokens::count(&app, &id, &headers, body, read).await {
        Ok(tokens) => json_response(json!({"input_tokens": tokens}).to_string()),
        Err(error) => refuse(&error, &id),
    }
}

fn refuse(error: &ApiError, id: &RequestId) -> Response {
    error_response(error, &error.anthropic_body(&id.0))
}

struct Events {
    writer: BlockWriter,
    request_id: String,
}

impl EventWriter for Events {
    fn event(&mut self, _: u32, event: &ChatEvent, out: &mut String) {
        self.writer.write(event, out);
    }

    fn end(&mut self, usage: ChatUsage, out: &mut String) {
        self.writer.finish(usage, out);
    }

    fn error(&mut self, error: &ApiError, out: &mut String) {
        out.push_str("event: error\n");
        sse::data(&error.anthropic_body(&self.request_id).to_string(), out);
    }
}
