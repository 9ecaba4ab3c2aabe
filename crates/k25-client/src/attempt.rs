//! One attempt at an answer.

use std::time::Duration;

use k25_chat::dialect::openai::ChunkReader;
use k25_chat::{ChatError, ChatErrorKind, ChatEvent};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response, Url};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::failure;
use crate::options::OpenAiOptions;
use crate::sse::SseReader;

/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Where the events go; nobody listens any more when sending fails.
pub(crate) type Events = mpsc::Sender<Result<ChatEvent, ChatError>>;

/// A client, an address and how patient to be.
pub(crate) struct Endpoint {
    pub http: Client,
    pub url: Url,
    pub options: OpenAiOptions,
}

/// What is sent, and what of it the answer refers to.
#[derive(Clone, Copy)]
pub(crate) struct Question<'q> {
    pub body: &'q str,
    pub stops: &'q [String],
}

/// How an attempt failed.
pub(crate) struct Failure {
    pub error: ChatError,
    /// Something of the answer was told: asking again would tell it twice.
    pub told: bool,
}

impl Endpoint {
    /// Asks once, and tells what comes, `Finished` included.
    pub async fn ask(&self, question: Question<'_>, events: &Events) -> Result<(), Failure> {
        let mut told = false;
        self.stream(question, events, &mut told)
            .await
            .map_err(|error| Failure { error, told })
    }

    async fn stream(
        &self,
        question: Question<'_>,
        events: &Events,
        told: &mut bool,
    ) -> Result<(), ChatError> {
        let mut response = self.send(question.body).await?;
        let (mut sse, mut chunks) = (
            SseReader::default(),
            ChunkReader::with_stops(question.stops.to_vec()),
        );
        let mut is_open = true;
        while is_open {
            match self.next_bytes(&mut response).await? {
                Some(bytes) => sse.feed(&bytes).map_err(|_| endless_line())?,
                None => {
                    sse.finish();
                    is_open = false;
                }
            }
            while let Some(data) = sse.next_event() {
                if data.trim() == "[DONE]" {
                    is_open = false;
                    break;
                }
                chunks.read(&data).map_err(failure::of_stream)?;
                while let Some(event) = chunks.next_event() {
                    *told = true;
                    // Nobody listens: our caller notices.
                    let _ = events.send(Ok(event)).await;
                }
            }
        }
        let end = chunks.finish().map_err(failure::of_stream)?;
        *told = true;
        let _ = events.send(Ok(end)).await;
        Ok(())
    }

    async fn send(&self, body: &str) -> Result<Response, ChatError> {
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .body(body.to_owned());
        if let Some(key) = &self.options.api_key {
            request = request.bearer_auth(key);
        }
        let patience = self.options.first_byte_timeout;
        let response = timeout(patience, request.send())
            .await
            .map_err(|_| failure::silent("the endpoint did not begin to answer", patience))?
            .map_err(|error| failure::of_transport(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = error_body(response).await;
        Err(failure::of_response(status, &headers, &body))
    }

    async fn next_bytes(&self, response: &mut Response) -> Result<Option<Vec<u8>>, ChatError> {
        let patience = self.options.silence_timeout;
        let bytes = timeout(patience, response.chunk())
            .await
            .map_err(|_| failure::silent("the endpoint said nothing more", patience))?
            .map_err(|error| failure::of_transport(&error))?;
        Ok(bytes.map(|bytes| bytes.to_vec()))
    }
}

/// What an endpoint says of its refusal, as far as it comes soon.
pub(crate) async fn error_body(mut response: Response) -> String {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BYTES {
        match timeout(PATIENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => body.extend_from_slice(&bytes),
            _ => break,
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

fn endless_line() -> ChatError {
    let message = "the endpoint sends a line without end";
    ChatError::new(ChatErrorKind::Server, message, "check the base URL")
}
