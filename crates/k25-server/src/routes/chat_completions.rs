//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use k25_chat::dialect::openai::{ChunkWriter, CompletionRequest, CompletionWriter, ReplyHead};
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
    let request = CompletionRequest::read(document, app.options.rules)?;
    let head = ReplyHead {
        id: app.new_id("chatcmpl-"),
        created: unix_seconds(),
        model: request.chat.model.clone(),
        stops: request.chat.stop.clone(),
    };
    let CompletionRequest {
        choices,
        stream,
        include_usage,
        prompt_usage_first,
        parallel_tool_calls,
        ..
    } = request;
    let question = Question {
        chat: request.chat,
        choices,
        parallel_tool_calls,
        held,
    };
    let answers = answer::begin(app, asker, question).await?;
    if stream {
        let writer = Chunks {
            writers: (0..choices)
                .map(|index| ChunkWriter::new(head.clone(), index))
                .collect(),
            head,
            include_usage,
            prompt_usage_first,
        };
        return Ok(sse::response(answers, writer, app.options.keep_alive));
    }
    let (choices, usage) = answers.collect().await?;
    Ok(json(CompletionWriter::new(head).write(&choices, usage)))
}

struct Chunks {
    head: ReplyHead,
    writers: Vec<ChunkWriter>,
    include_usage: bool,
    /// Until it is told.
    prompt_usage_first: bool,
}

impl EventWriter for Chunks {
    fn event(&mut self, index: u32, event: &ChatEvent, out: &mut String) {
        if let (ChatEvent::Begun { prompt_tokens }, true) = (event, self.prompt_usage_first) {
            self.prompt_usage_first = false;
            let usage = ChatUsage {
                prompt_tokens: *prompt_tokens,
                ..ChatUsage::default()
            };
            sse::data(&ChunkWriter::usage(&self.head, usage), out);
        }
        let writer = &mut self.writers[index as usize];
        if let Some(chunk) = writer.write(event) {
            sse::data(&chunk, out);
        }
    }

    fn end(&mut self, usage: ChatUsage, out: &mut String) {
        if self.include_usage {
            sse::data(&ChunkWriter::usage(&self.head, usage), out);
        }
        sse::data("[DONE]", out);
    }

    fn error(&mut self, error: &ApiError, out: &mut String) {
        sse::data(&error.openai_body().to_string(), out);
    }
}
