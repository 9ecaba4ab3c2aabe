//! Asking the model once, and what to do when it does not answer well.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use k25_chat::{
    ChatError, ChatErrorKind, ChatEvent, ChatReply, ChatRequest, Conversation, Message,
    ParserEvent, ReplyEnd, Retry, SamplingOptions, ToolChoice,
};
use tokio::time::Instant;

use super::{Agent, ModelChoice, guard};
use crate::event::{Call, EventKind, Reply};
use crate::run::{Run, RunError, Stop, TaskState};
use crate::tools::Toolset;

/// Tries of one model for a step.
const MAX_TRIES: u32 = 6;
/// Tries that a model gets when it answers badly.
const MAX_BAD: u32 = 3;
/// The temperature after a bad answer.
const COOL: f32 = 0.3;
/// Bytes of a text between two looks for stutter.
const LOOK_EVERY: usize = 128;

/// What became of a step.
pub(super) enum Asked {
    /// The answer is recorded.
    Replied,
    /// Prompt and answer do not fit the context.
    TooLong,
    /// No answer can be had.
    Failed(String),
}

/// How one request ended.
enum Outcome {
    Reply(ChatReply),
    /// Empty, or the same again and again.
    Bad(&'static str),
    Error(ChatError),
    Stopped(Stop),
}

/// What changes from try to try.
struct Ladder<'a> {
    model: &'a ModelChoice,
    tries: u32,
    bad: u32,
}

impl Agent {
    /// Asks for the next answer and records it. Failures go down a ladder: again after a wait; cooler
    /// and without reasoning; another model; a rest where money or keys are the matter.
    pub(super) async fn ask(
        &self,
        run: &Arc<Run>,
        task: &str,
        state: &TaskState,
        tools: &Toolset,
    ) -> Result<Asked, RunError> {
        let messages = self.messages(state);
        let thinking = self.thinking || guard::is_struggling(&state.turns);
        let mut ladder = Ladder {
            model: &self.model,
            tries: 0,
            bad: 0,
        };
        loop {
            let began = Instant::now();
            let request = self.request(
                &ladder,
                messages.clone(),
                tools,
                thinking && ladder.bad == 0,
            );
            let outcome = self.send(run, ladder.model, request).await;
            match outcome {
                Outcome::Stopped(stop) => return Err(Run::stop_error(stop)),
                Outcome::Reply(reply) => {
                    run.limiter().served();
                    let ms = began.elapsed().as_millis() as u64;
                    record(run, task, state, reply, ms).await?;
                    return Ok(Asked::Replied);
                }
                Outcome::Bad(what) => {
                    ladder.bad += 1;
                    if ladder.bad < MAX_BAD {
                        self.note(run, task, what, "", "again, cooler").await?;
                    } else if !ladder.next_model() {
                        self.note(run, task, what, "", "given up").await?;
                        return Ok(Asked::Failed(format!("the model's answers are {what}")));
                    } else {
                        self.note(run, task, what, "", "another model").await?;
                    }
                }
                Outcome::Error(error) => {
                    match self.after_error(run, task, &mut ladder, &error).await? {
                        None => {}
                        Some(asked) => return Ok(asked),
                    }
                }
            }
        }
    }

    /// What to do about an error: `None` to ask again.
    async fn after_error(
        &self,
        run: &Arc<Run>,
        task: &str,
        ladder: &mut Ladder<'_>,
        error: &ChatError,
    ) -> Result<Option<Asked>, RunError> {
        use ChatErrorKind::{
            Authentication, Connection, ContextTooLong, ModelNotFound, Overloaded,
            PermissionDenied, QuotaExceeded, RateLimited,
        };
        let kind = format!("{:?}", error.kind);
        if error.kind == ContextTooLong {
            self.note(run, task, &kind, &error.message, "shorten the history")
                .await?;
            return Ok(Some(Asked::TooLong));
        }
        if matches!(error.kind, RateLimited | Overloaded) {
            run.limiter().complained();
        }
        ladder.tries += 1;
        let wait = match error.retry() {
            Retry::Never => None,
            Retry::Backoff => Some(run.backoff(ladder.tries)),
            Retry::After(time) => Some(time.min(Duration::from_secs(120))),
        };
        // A crowded endpoint gets more patience than a broken one.
        let most = if error.kind == RateLimited {
            MAX_TRIES * 4
        } else {
            MAX_TRIES
        };
        if let Some(wait) = wait.filter(|_| ladder.tries < most) {
            self.note(run, task, &kind, &error.message, "again after a wait")
                .await?;
            tokio::select! {
                () = tokio::time::sleep(wait) => return Ok(None),
                stop = run.stopped() => return Err(Run::stop_error(stop)),
            }
        }
        if ladder.next_model() {
            self.note(run, task, &kind, &error.message, "another model")
                .await?;
            return Ok(None);
        }
        let rests = [
            Authentication,
            PermissionDenied,
            QuotaExceeded,
            ModelNotFound,
            Connection,
        ];
        if rests.contains(&error.kind) {
            self.note(run, task, &kind, &error.message, "rest").await?;
            run.ask_to_stop(Stop::Pause(error.to_string()));
            return Err(RunError::Paused(error.to_string()));
        }
        self.note(run, task, &kind, &error.message, "given up")
            .await?;
        Ok(Some(Asked::Failed(error.to_string())))
    }

    async fn note(
        &self,
        run: &Arc<Run>,
        task: &str,
        error: &str,
        message: &str,
        then: &str,
    ) -> Result<(), RunError> {
        let kind = EventKind::RequestFailed {
            error: error.to_owned(),
            message: message.to_owned(),
            then: then.to_owned(),
        };
        run.record(task, vec![kind]).await
    }

    fn request(
        &self,
        ladder: &Ladder<'_>,
        messages: Vec<Message>,
        tools: &Toolset,
        thinking: bool,
    ) -> ChatRequest {
        let temperature = if ladder.bad > 0 {
            Some(COOL)
        } else {
            ladder.model.temperature
        };
        ChatRequest {
            conversation: Conversation {
                messages,
                tools: self.declared(tools),
            },
            tool_choice: ToolChoice::Auto,
            thinking,
            sampling: SamplingOptions {
                temperature,
                ..SamplingOptions::default()
            },
            max_tokens: ladder.model.max_tokens,
            ..ChatRequest::new(&ladder.model.name, Vec::new())
        }
    }

    /// Sends a request when there is a place for it, and reads the answer.
    async fn send(&self, run: &Arc<Run>, model: &ModelChoice, request: ChatRequest) -> Outcome {
        let work = async {
            let _permit = run.limiter().acquire().await;
            let mut stream = model.client.chat(request);
            let mut reply = ChatReply::default();
            let mut looked_at = 0;
            loop {
                let next = poll_fn(|context| stream.as_mut().poll_next(context));
                let event = match tokio::time::timeout(self.stall, next).await {
                    Ok(Some(Ok(event))) => event,
                    Ok(Some(Err(error))) => return Outcome::Error(error),
                    Ok(None) => return judged(reply),
                    Err(_) => return Outcome::Error(stalled(self.stall)),
                };
                reply.add(&event);
                if let ChatEvent::Output(
                    ParserEvent::ContentDelta(_) | ParserEvent::ReasoningDelta(_),
                ) = &event
                {
                    let message = &reply.message;
                    let text = message.content.as_deref().or(message.reasoning.as_deref());
                    let text = text.unwrap_or_default();
                    if text.len() >= looked_at + LOOK_EVERY {
                        looked_at = text.len();
                        if guard::stutters(text) {
                            return Outcome::Bad("stuttering");
                        }
                    } else if text.len() < looked_at {
                        looked_at = 0;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            outcome = work => outcome,
            stop = run.stopped() => Outcome::Stopped(stop),
        }
    }

    /// Asks for a text, without tools; `None` if there is none to be had.
    pub(super) async fn ask_text(
        &self,
        run: &Arc<Run>,
        messages: Vec<Message>,
    ) -> Result<Option<String>, RunError> {
        let ladder = Ladder {
            model: &self.model,
            tries: 0,
            bad: 0,
        };
        let request = self.request(&ladder, messages, &Toolset::default(), false);
        match self.send(run, &self.model, request).await {
            Outcome::Stopped(stop) => Err(Run::stop_error(stop)),
            Outcome::Reply(reply) => Ok(reply.message.content),
            Outcome::Bad(_) | Outcome::Error(_) => Ok(None),
        }
    }
}

impl Ladder<'_> {
    /// Goes on with the next model, if there is one.
    fn next_model(&mut self) -> bool {
        let Some(next) = &self.model.fallback else {
            return false;
        };
        self.model = next;
        (self.tries, self.bad) = (0, 0);
        true
    }
}

fn stalled(after: Duration) -> ChatError {
    ChatError::new(
        ChatErrorKind::Timeout,
        format!("no word from the model for {} s", after.as_secs()),
        "is the endpoint alive?",
    )
}

fn judged(reply: ChatReply) -> Outcome {
    let message = &reply.message;
    let has_text = message
        .content
        .as_deref()
        .is_some_and(|text| !text.trim().is_empty());
    match reply.end {
        None => Outcome::Error(ChatError::new(
            ChatErrorKind::Connection,
            "the answer ended without a reason",
            "is the endpoint alive?",
        )),
        Some(_) if has_text || message.has_tool_calls() => Outcome::Reply(reply),
        // Cut off while it reasoned: it is told so.
        Some(ReplyEnd::Length) => Outcome::Reply(reply),
        Some(_) => Outcome::Bad("empty"),
    }
}

async fn record(
    run: &Arc<Run>,
    task: &str,
    state: &TaskState,
    answer: ChatReply,
    ms: u64,
) -> Result<(), RunError> {
    let money = run.prices().cost(&answer.usage);
    let is_cut = answer.end == Some(ReplyEnd::Length);
    let usage = answer.usage.into();
    let reply = Reply {
        reasoning: answer.message.reasoning,
        content: answer.message.content,
        calls: unique_calls(state, answer.message.tool_calls),
    };
    let has_calls = !reply.calls.is_empty();
    let mut events = vec![EventKind::Replied {
        reply,
        usage,
        money,
        ms,
    }];
    if is_cut && !has_calls {
        let text = "Your answer was cut off. Be brief.".to_owned();
        events.push(EventKind::Nudged { text });
    }
    run.record(task, events).await
}

/// The calls with ids of the model's own form, each unique in the task.
fn unique_calls(state: &TaskState, calls: Vec<k25_chat::ParsedToolCall>) -> Vec<Call> {
    let earlier = state.turns.iter().flat_map(|turn| &turn.reply.calls);
    let mut taken: std::collections::HashSet<String> =
        earlier.map(|call| call.id.clone()).collect();
    let mut next = taken.len();
    let mut unique = Vec::with_capacity(calls.len());
    for call in calls {
        let prefix = format!("functions.{}:", call.name);
        let number = call.id.strip_prefix(&prefix);
        let is_native =
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let mut id = call.id;
        while !is_native && !id.starts_with(&prefix) || taken.contains(&id) {
            id = format!("{prefix}{next}");
            next += 1;
        }
        taken.insert(id.clone());
        unique.push(Call {
            id,
            name: call.name,
            arguments: call.arguments,
        });
    }
    unique
}
