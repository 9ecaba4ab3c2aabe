//! `POST /v1/responses`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use k25_chat::dialect::responses::{ResponseHead, ResponseWriter, ResponsesRequest};
use k25_chat::{ChatEvent, ChatUsage};

use super::{identify_asker, json, openai_error, record_refusal, with_limits};
use crate::answer::{self, Question};
use crate::app::{App, unix_seconds};
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
        Err(error) => return openai_error(&error),
    };
    let answered = answer(&app, &asker, &headers, body).await;
    let refuse = |error| {
        record_refusal(&app, &asker, &error);
        openai_error(&error)
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
    let request = ResponsesRequest::read(document, app.options.rules)?;
    let head = ResponseHead {
        id: app.new_id("resp_"),
        created: unix_seconds(),
        model: request.chat.model.clone(),
        repeated: request.repeated,
    };
    let question = Question {
        chat: request.chat,
        choices: 1,
        parallel_tool_calls: request.parallel_tool_calls,
        held,
    };
    let mut answers = answer::begin(app, asker, question).await?;
    let mut writer = ResponseWriter::new(head);
    if request.stream {
        let events = Events(writer);
        return Ok(sse::response(answers, events, app.options.keep_alive));
    }
    let mut thrown_away = String::new();
    while let Some(step) = answers.next().await {
        writer.write(&step?.1, &mut thrown_away);
        thrown_away.clear();
    }
    Ok(json(writer.whole(answers.usage())))
}

struct Events(ResponseWriter);

impl EventWriter for Events {
    fn event(&mut self, _: u32, event: &ChatEvent, out: &mut String) {
        self.0.write(event, out);
    }

    fn end(&mut self, usage: ChatUsage, out: &mut String) {
        self.0.finish(usage, out);
    }

    fn error(&mut self, error: &ApiError, out: &mut String) {
        self.0.fail(&error.message, out);
    }
}
