//! An answer as a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_channel::mpsc::UnboundedReceiver;
use futures_core::Stream;
use k25_chat::{ChatError, ChatErrorKind, ChatEvent, ChatUsage, ReplyEnd};
use k25_engine::engine::EngineStopped;
use k25_engine::{EngineHandle, RequestId};

use super::Message;
use crate::answer::{Finished, Transcript};
use crate::runner::Runner;
use crate::{FinishReason, LocalError, LocalEvent};

/// What the client's and the engine's threads say, read where it is polled. Dropping it cancels.
pub(super) struct AnswerStream {
    inbox: UnboundedReceiver<Message>,
    engine: EngineHandle<Runner>,
    request: Option<RequestId>,
    transcript: Option<Box<Transcript>>,
    /// Tokens of the prompt, until they are told.
    begun: Option<u64>,
    is_over: bool,
}

impl AnswerStream {
    pub(super) fn new(inbox: UnboundedReceiver<Message>, engine: EngineHandle<Runner>) -> Self {
        Self {
            inbox,
            engine,
            request: None,
            transcript: None,
            begun: None,
            is_over: false,
        }
    }

    fn take(&mut self, message: Message) -> Result<(), LocalError> {
        match message {
            Message::Ready(transcript, prompt_tokens) => {
                self.transcript = Some(transcript);
                self.begun = Some(prompt_tokens);
            }
            Message::Submitted(id) => {
                self.request = Some(id);
                if self.has_enough() {
                    self.cancel();
                }
            }
            Message::Failed(error) => return Err(*error),
            Message::Engine(event) => {
                let Some(transcript) = &mut self.transcript else {
                    return Ok(());
                };
                transcript.take(event)?;
                if self.has_enough() {
                    self.cancel();
                }
            }
        }
        Ok(())
    }

    /// Whether a stop text was met, and the engine does not know yet.
    fn has_enough(&self) -> bool {
        let transcript = self.transcript.as_ref();
        transcript.is_some_and(|transcript| transcript.has_met_stop_text())
    }

    fn cancel(&self) {
        if let Some(id) = self.request {
            // An engine that is gone has nothing to cancel.
            let _ = self.engine.cancel(id);
        }
    }

    fn fail(&mut self, error: LocalError) -> ChatError {
        self.is_over = true;
        self.cancel();
        error.into()
    }
}

impl Stream for AnswerStream {
    type Item = Result<ChatEvent, ChatError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            if let Some(prompt_tokens) = this.begun.take() {
                return Poll::Ready(Some(Ok(ChatEvent::Begun { prompt_tokens })));
            }
            if let Some(event) = this.transcript.as_mut().and_then(|steps| steps.next()) {
                this.is_over = matches!(event, LocalEvent::Finished(_));
                return Poll::Ready(Some(chat_event(event)));
            }
            let message = ready!(Pin::new(&mut this.inbox).poll_next(context));
            let taken = message.map_or(Err(EngineStopped.into()), |message| this.take(message));
            if let Err(error) = taken {
                return Poll::Ready(Some(Err(this.fail(error))));
            }
        }
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Whoever sends after this learns that nobody listens, and cancels.
        self.inbox.close();
        while let Ok(message) = self.inbox.try_recv() {
            if let Message::Submitted(id) = message {
                self.request = Some(id);
            }
        }
        self.cancel();
    }
}

fn chat_event(event: LocalEvent) -> Result<ChatEvent, ChatError> {
    match event {
        LocalEvent::Delta(delta) => Ok(ChatEvent::Output(delta)),
        LocalEvent::Token(token) => Ok(ChatEvent::Tokens(vec![token])),
        LocalEvent::Finished(finished) => finish(&finished),
    }
}

fn finish(finished: &Finished) -> Result<ChatEvent, ChatError> {
    let failed = |message: &str| {
        let hint = "ask again; a smaller context or fewer requests at a time may help";
        Err(ChatError::new(ChatErrorKind::Server, message, hint))
    };
    let reason = match &finished.reason {
        FinishReason::Stop => ReplyEnd::Stop,
        FinishReason::StopText(number) => ReplyEnd::StopText(*number),
        FinishReason::Length => ReplyEnd::Length,
        FinishReason::ToolCalls => ReplyEnd::ToolCalls,
        FinishReason::Cancelled => return failed("the answer was cancelled by someone else"),
        FinishReason::Failed(reason) => {
            return failed(&format!("the model could not go on: {reason}"));
        }
    };
    let usage = ChatUsage {
        prompt_tokens: finished.usage.prompt_rows as u64,
        cached_tokens: finished.usage.cached_rows as u64,
        completion_tokens: finished.usage.generated_tokens as u64,
        reasoning_tokens: finished.reasoning_tokens as u64,
    };
    Ok(ChatEvent::Finished { reason, usage })
}
