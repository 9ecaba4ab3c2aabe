//! Asking a model, and what is told while and after it answers.

mod calls;
mod meter;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use k25_chat::dialect::openai::Choice;
use k25_chat::{ChatEvent, ChatRequest, ChatStream, ChatUsage, ParserEvent, ReplyEnd};
use tokio::time::{Sleep, sleep, timeout};

use crate::admission::Place;
use crate::app::App;
use crate::body::HeldBytes;
use crate::error::ApiError;
use crate::limits::Grant;
use crate::media;
use crate::request_log::Asker;
use calls::CallRules;
use meter::AnswerMeter;

/// How long a stream's first event is waited for before the headers go out. Faults of a request show
/// within this time and so have their status; a long prompt takes longer to read.
const FIRST_EVENT_PATIENCE: Duration = Duration::from_secs(5);

/// A request that was read, whatever its dialect.
pub(crate) struct Question {
    pub chat: ChatRequest,
    /// How many answers, at least 1.
    pub choices: u32,
    pub parallel_tool_calls: bool,
    /// The request's bytes, held until the answer is over.
    pub held: HeldBytes,
}

/// The answers to a request while they come. Dropping them cancels what is not computed yet.
pub(crate) struct Answers {
    streams: Vec<Option<AnswerStream>>,
    /// Where the next look at the streams begins, so that all of them get their turn.
    turn: usize,
    ready: VecDeque<Step>,
    deadline: Pin<Box<Sleep>>,
    usage: ChatUsage,
    /// Events so far: about the tokens of an answer that is cut short.
    pieces: u64,
    meter: AnswerMeter,
    grant: Grant,
    _place: Place,
    _held: HeldBytes,
}

type Step = Result<(u32, ChatEvent), ApiError>;

struct AnswerStream {
    events: ChatStream,
    rules: CallRules,
    /// What was seen so far: about what the answer costs if it ends here.
    seen: ChatUsage,
}

impl AnswerStream {
    /// The event as the client is told; `None` if it is not. An answer that has all the calls that are
    /// wanted ends, unless only its model knows what it cost.
    fn take(&mut self, event: ChatEvent) -> Option<ChatEvent> {
        match &event {
            ChatEvent::Begun { prompt_tokens } => self.seen.prompt_tokens = *prompt_tokens,
            ChatEvent::Output(output) => {
                let is_reasoning = matches!(output, ParserEvent::ReasoningDelta(_));
                self.seen.completion_tokens += 1;
                self.seen.reasoning_tokens += u64::from(is_reasoning);
            }
            _ => {}
        }
        let told = self.rules.apply(event);
        let ends = told.is_none() && self.rules.has_enough() && self.seen.prompt_tokens > 0;
        let end = ChatEvent::Finished {
            reason: ReplyEnd::ToolCalls,
            usage: self.seen,
        };
        told.or(ends.then_some(end))
    }
}

/// Begins to answer.
///
/// # Errors
/// If there is no such model, the key or the server has no room, or the model refuses at once.
pub(crate) async fn begin(
    app: &App,
    asker: &Asker,
    question: Question,
) -> Result<Answers, ApiError> {
    let began = Instant::now();
    let Question {
        mut chat,
        choices,
        parallel_tool_calls,
        mut held,
    } = question;
    let model = app.model(&chat.model)?.clone();
    let charge = most_tokens(&chat, choices, held.bytes());
    let grant = asker.account.meter.admit(charge, began)?;
    media::resolve(app, &asker.account.name, &mut chat.conversation, &mut held).await?;
    let place = app.admission.enter().await?;
    let meter = AnswerMeter::new(app, asker, &chat, &model.info.name, choices, began);
    chat.model.clone_from(&model.info.name);
    let streams = (0..choices).map(|index| {
        let mut chat = chat.clone();
        // Answers to one request differ, and the same request gives the same ones again.
        chat.sampling.seed = chat
            .sampling
            .seed
            .map(|seed| seed.wrapping_add(index.into()));
        let rules = CallRules::new(&chat.conversation, parallel_tool_calls);
        let events = model.client.chat(chat);
        Some(AnswerStream {
            events,
            rules,
            seen: ChatUsage::default(),
        })
    });
    let mut answers = Answers {
        streams: streams.collect(),
        turn: 0,
        ready: VecDeque::new(),
        deadline: Box::pin(sleep(app.options.answer_timeout)),
        usage: ChatUsage::default(),
        pieces: 0,
        meter,
        grant,
        _place: place,
        _held: held,
    };
    answers.wait_for_first().await?;
    Ok(answers)
}

/// What a request may cost: its prompt, guessed from its bytes, and the longest answer it allows.
fn most_tokens(chat: &ChatRequest, choices: u32, bytes: usize) -> u64 {
    const BYTES_PER_TOKEN: u64 = 4;
    const UNLIMITED: u32 = 4096;
    let media: usize = chat
        .conversation
        .media()
        .filter_map(|media| media.source.as_ref().map(String::len))
        .sum();
    // Pictures are many bytes and few tokens.
    const MEDIUM_TOKENS: u64 = 1024;
    let pictures = chat.conversation.media().count() as u64 * MEDIUM_TOKENS;
    let text = bytes.saturating_sub(media) as u64 / BYTES_PER_TOKEN;
    let answer = u64::from(chat.max_tokens.unwrap_or(UNLIMITED));
    text + pictures + answer.saturating_mul(choices.into())
}

impl Answers {
    /// Waits for the first word of the answers: a request may still be refused after its prompt was read.
    async fn wait_for_first(&mut self) -> Result<(), ApiError> {
        let mut begun = VecDeque::new();
        let waiting = timeout(FIRST_EVENT_PATIENCE, async {
            while let Some(step) = self.next().await {
                let step = step?;
                let is_word = !matches!(step, (_, ChatEvent::Begun { .. }));
                begun.push_back(Ok(step));
                if is_word {
                    break;
                }
            }
            Ok(())
        });
        let waited = waiting.await;
        self.ready = begun;
        waited.unwrap_or(Ok(()))
    }

    /// The next event of any of the answers; `None` when all are complete.
    pub async fn next(&mut self) -> Option<Step> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Step>> {
        if let Some(step) = self.ready.pop_front() {
            return Poll::Ready(Some(step));
        }
        let count = self.streams.len();
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            let event = loop {
                let Some(stream) = &mut self.streams[index] else {
                    break None;
                };
                match stream.events.as_mut().poll_next(context) {
                    Poll::Pending => break None,
                    Poll::Ready(Some(Ok(event))) => match stream.take(event) {
                        Some(event) => break Some(Ok(event)),
                        None => continue,
                    },
                    Poll::Ready(Some(Err(error))) => break Some(Err(error.into())),
                    Poll::Ready(None) => break Some(Err(broken_off())),
                }
            };
            if let Some(event) = event {
                self.turn = (index + 1) % count;
                return Poll::Ready(Some(self.step(index, event)));
            }
        }
        if self.streams.iter().all(Option::is_none) {
            return Poll::Ready(None);
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(self.fail(too_long()))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// What all answers cost so far; their prompt counts once.
    pub fn usage(&self) -> ChatUsage {
        self.usage
    }

    /// Waits for all answers to be complete.
    pub async fn collect(mut self) -> Result<(Vec<Choice>, ChatUsage), ApiError> {
        let mut choices = vec![Choice::default(); self.streams.len()];
        while let Some(step) = self.next().await {
            let (index, event) = step?;
            choices[index as usize].add(&event);
        }
        Ok((choices, self.usage))
    }

    fn step(&mut self, index: usize, event: Result<ChatEvent, ApiError>) -> Step {
        match event {
            Err(error) => self.fail(error),
            Ok(event) => {
                self.meter.event(index, &event);
                self.pieces += 1;
                self.grant.settle(self.pieces);
                if let ChatEvent::Finished { usage, .. } = &event {
                    self.finished(index, *usage);
                }
                let index = u32::try_from(index).expect("few answers");
                Ok((index, event))
            }
        }
    }

    fn finished(&mut self, index: usize, usage: ChatUsage) {
        self.streams[index] = None;
        self.usage.prompt_tokens = self.usage.prompt_tokens.max(usage.prompt_tokens);
        self.usage.cached_tokens = self.usage.cached_tokens.max(usage.cached_tokens);
        self.usage.completion_tokens += usage.completion_tokens;
        self.usage.reasoning_tokens += usage.reasoning_tokens;
        if self.streams.iter().all(Option::is_none) {
            let ChatUsage {
                prompt_tokens,
                completion_tokens,
                ..
            } = self.usage;
            self.grant.settle(prompt_tokens + completion_tokens);
            self.meter.finished(self.usage);
        }
    }

    /// One failure ends all answers of a request.
    fn fail(&mut self, error: ApiError) -> Step {
        self.streams.iter_mut().for_each(|stream| *stream = None);
        self.meter.failed(&error);
        Err(error)
    }
}

fn broken_off() -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "server_error",
        "the model ended its answer without saying so; hint: try again",
    )
}

fn too_long() -> ApiError {
    ApiError::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout_error",
        "the answer took longer than it may; hint: ask for fewer tokens",
    )
}
