//! Asking the model once: a place at the endpoint, a part of the budget, a stream, an answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use k25_chat::{
    ChatError, ChatErrorKind, ChatEvent, ChatReply, ChatRequest, Conversation, Message,
    ParserEvent, SamplingOptions, ToolChoice,
};
use tokio::time::Instant;

use super::ladder::{Ladder, Then};
use super::reply::{answered, judged, wasted};
use super::{Agent, ModelChoice, guard};
use crate::budget::{AnswerWish, Limit};
use crate::event::{EventKind, Usage};
use crate::run::{Reservation, Run, RunError, Share, Stop, TaskState, Turn, guessed_tokens};
use crate::tools::Toolset;

/// The temperature after a bad answer.
const COOL: f32 = 0.3;
/// The least temperature after the same failure twice: the likeliest answer would be the same again.
const WARM: f32 = 0.7;
/// Most tokens of an answer where nobody says and the budget must know: without reasoning, and with.
const ANSWER_TOKENS: [u64; 2] = [8_192, 32_768];
/// Bytes of a text between two looks for stutter.
const LOOK_EVERY: usize = 128;

/// What became of a step.
pub(super) enum Asked {
    /// The answer is recorded.
    Replied,
    /// Prompt and answer do not fit the context.
    TooLong,
    /// The budget leaves too little for an answer.
    OutOf(Limit),
    /// No answer can be had.
    Failed(String),
}

/// How one request ended.
pub(super) enum Outcome {
    Reply(ChatReply),
    /// Empty, or the same again and again.
    Bad(&'static str),
    Error(ChatError),
    OutOf(Limit),
    Stopped(Stop),
}

/// A request that was sent, or for which there was no room.
struct Sent {
    outcome: Outcome,
    /// Tokens of an answer that cannot be used; guessed where it broke off.
    wasted: Usage,
    /// Given back when the outcome is recorded.
    reservation: Option<Reservation>,
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
        let prompt_tokens = match state.shown_tokens() {
            0 => guessed_prompt(&messages, tools),
            // What was hidden for the last words is not counted.
            counted if self.share() == Share::All => counted.min(guessed_prompt(&messages, tools)),
            counted => counted,
        };
        let in_need = !self.small && guard::is_struggling(&state.turns);
        let thinking = self.thinking || in_need;
        let mut ladder = Ladder::new(&self.model);
        loop {
            let began = Instant::now();
            let model = ladder.model();
            let thinks = thinking && !ladder.has_seen_bad();
            let sampling = sampling(&ladder, &state.turns);
            let request = self.request(model, sampling, messages.clone(), tools, thinks);
            let wish = wish(run, task, model, prompt_tokens, thinks);
            let sent = self.send(run, model, request, wish).await;
            let failure = match sent.outcome {
                Outcome::Reply(reply) => {
                    run.limiter().served();
                    let ms = began.elapsed().as_millis() as u64;
                    let events = answered(state, model, reply, ms);
                    run.settle(task, events, sent.reservation).await?;
                    return Ok(Asked::Replied);
                }
                Outcome::Bad(what) => ladder.after_bad(what),
                Outcome::Error(error) => ladder.after_error(run, &error),
                Outcome::OutOf(limit) => {
                    broke_off(run, task, model, sent.wasted, sent.reservation).await?;
                    return Ok(Asked::OutOf(limit));
                }
                Outcome::Stopped(stop) => {
                    broke_off(run, task, model, sent.wasted, sent.reservation).await?;
                    return Err(Run::stop_error(stop));
                }
            };
            let event = failure.event(sent.wasted, model.prices.cost(&sent.wasted.into()));
            run.settle(task, vec![event], sent.reservation).await?;
            match failure.then {
                Then::Again(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    stop = run.stopped() => return Err(Run::stop_error(stop)),
                },
                Then::OtherModel => {}
                Then::Shorten => return Ok(Asked::TooLong),
                Then::Rest(reason) => {
                    run.ask_to_stop(Stop::Pause(reason.clone()));
                    return Err(RunError::Paused(reason));
                }
                Then::GiveUp(why) => return Ok(Asked::Failed(why)),
            }
        }
    }

    fn request(
        &self,
        model: &ModelChoice,
        sampling: SamplingOptions,
        messages: Vec<Message>,
        tools: &Toolset,
        thinking: bool,
    ) -> ChatRequest {
        ChatRequest {
            conversation: Conversation {
                messages,
                tools: self.declared(tools),
            },
            tool_choice: ToolChoice::Auto,
            thinking,
            sampling,
            max_tokens: model.max_tokens,
            ..ChatRequest::new(&model.name, Vec::new())
        }
    }

    /// Sends a request when there is a place for it and the budget bears it, and reads the answer.
    async fn send(
        &self,
        run: &Arc<Run>,
        model: &ModelChoice,
        mut request: ChatRequest,
        wish: AnswerWish,
    ) -> Sent {
        let mut reply = ChatReply::default();
        let mut reservation = None;
        let outcome = {
            let work = async {
                let _permit = run.limiter().acquire().await;
                let (held, answer_tokens) = match run.reserve_answer(&wish, self.share()).await {
                    Ok(granted) => granted,
                    Err(limit) => return Some(Outcome::OutOf(limit)),
                };
                reservation = Some(held);
                if run.budget().limits_answers() {
                    request.max_tokens = Some(u32::try_from(answer_tokens).unwrap_or(u32::MAX));
                }
                self.read(model, request, &mut reply).await
            };
            let late = async {
                match run.time_left(self.share()) {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = work => outcome,
                stop = run.stopped() => Some(Outcome::Stopped(stop)),
                () = late => Some(Outcome::OutOf(Limit::Time)),
            }
        };
        let wasted = wasted(&reply, wish.prompt_tokens);
        Sent {
            outcome: outcome.unwrap_or_else(|| judged(reply)),
            wasted,
            reservation,
        }
    }

    /// Reads an answer to its end: `None`, or what came in between.
    async fn read(
        &self,
        model: &ModelChoice,
        request: ChatRequest,
        reply: &mut ChatReply,
    ) -> Option<Outcome> {
        let mut stream = model.client.chat(request);
        let mut looked_at = 0;
        loop {
            let next = poll_fn(|context| stream.as_mut().poll_next(context));
            let event = match tokio::time::timeout(self.stall, next).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Some(Outcome::Error(error)),
                Ok(None) => return None,
                Err(_) => return Some(Outcome::Error(stalled(self.stall))),
            };
            reply.add(&event);
            let Some((text, least)) = growing(&event, reply) else {
                continue;
            };
            if text.len() >= looked_at + LOOK_EVERY {
                looked_at = text.len();
                if guard::stutters(text, least) {
                    return Some(Outcome::Bad("stuttering"));
                }
            } else if text.len() < looked_at {
                looked_at = 0;
            }
        }
    }

    /// Asks for a text beside the conversation, without tools, once; `None` if there is none to be
    /// had. What it cost is recorded under `purpose`.
    pub(crate) async fn ask_aside(
        &self,
        run: &Arc<Run>,
        task: &str,
        purpose: &str,
        messages: Vec<Message>,
    ) -> Result<Option<String>, RunError> {
        let began = Instant::now();
        let no_tools = Toolset::default();
        let prompt_tokens = guessed_prompt(&messages, &no_tools);
        let usual = sampling(&Ladder::new(&self.model), &[]);
        let request = self.request(&self.model, usual, messages, &no_tools, false);
        let wish = wish(run, task, &self.model, prompt_tokens, false);
        let sent = self.send(run, &self.model, request, wish).await;
        let (text, usage) = match sent.outcome {
            Outcome::Stopped(stop) => {
                broke_off(run, task, &self.model, sent.wasted, sent.reservation).await?;
                return Err(Run::stop_error(stop));
            }
            Outcome::Reply(reply) => (reply.message.content, reply.usage.into()),
            Outcome::Bad(_) | Outcome::Error(_) | Outcome::OutOf(_) => (None, sent.wasted),
        };
        let event = EventKind::AnsweredAside {
            purpose: purpose.to_owned(),
            text: text.clone().unwrap_or_default(),
            usage,
            money: self.model.prices.cost(&usage.into()),
            ms: began.elapsed().as_millis() as u64,
        };
        run.settle(task, vec![event], sent.reservation).await?;
        Ok(text)
    }
}

/// How tokens are chosen after these turns.
fn sampling(ladder: &Ladder<'_>, turns: &[Turn]) -> SamplingOptions {
    let usual = ladder.model().temperature;
    let (temperature, seed) = if ladder.has_seen_bad() {
        (Some(COOL), None)
    } else if guard::is_stuck(turns) {
        // Each try its own seed: another answer than the last time, and the same in each run.
        (usual.map(|usual| usual.max(WARM)), Some(turns.len() as u64))
    } else {
        (usual, None)
    };
    SamplingOptions {
        temperature,
        seed,
        ..SamplingOptions::default()
    }
}

/// The text that an event made longer, and how much of it may be monotonous.
fn growing<'a>(event: &ChatEvent, reply: &'a ChatReply) -> Option<(&'a str, usize)> {
    let message = &reply.message;
    match event {
        ChatEvent::Output(ParserEvent::ContentDelta(_) | ParserEvent::ReasoningDelta(_)) => {
            let text = message.content.as_deref().or(message.reasoning.as_deref());
            Some((text?, guard::STUTTER_BYTES))
        }
        ChatEvent::Output(ParserEvent::ToolCallArgumentsDelta { .. }) => {
            let arguments = &message.tool_calls.last()?.arguments;
            // Some endpoints send them whole, and closed.
            let open = arguments.trim_end_matches(['"', '}', ']']);
            Some((open, guard::STUTTER_ARGUMENT_BYTES))
        }
        _ => None,
    }
}

/// What a request asks of the budget.
fn wish(
    run: &Arc<Run>,
    task: &str,
    model: &ModelChoice,
    prompt_tokens: u64,
    thinks: bool,
) -> AnswerWish {
    let most = model.max_tokens.map(u64::from);
    AnswerWish {
        place: run.with_state(|state| state.place(task)),
        prompt_tokens,
        answer_tokens: most.unwrap_or(ANSWER_TOKENS[usize::from(thinks)]),
        prices: model.prices,
    }
}

/// Counts what an answer cost that nobody will see.
async fn broke_off(
    run: &Arc<Run>,
    task: &str,
    model: &ModelChoice,
    wasted: Usage,
    reservation: Option<Reservation>,
) -> Result<(), RunError> {
    if wasted.is_none() {
        return Ok(());
    }
    let event = EventKind::RequestFailed {
        error: "BrokenOff".to_owned(),
        message: "the run stopped in the middle of an answer".to_owned(),
        then: "given up".to_owned(),
        usage: wasted,
        money: model.prices.cost(&wasted.into()),
    };
    run.settle(task, vec![event], reservation).await
}

/// A guess at the tokens of a prompt, rather too many than too few.
fn guessed_prompt(messages: &[Message], tools: &Toolset) -> u64 {
    let texts = messages.iter().map(|message| format!("{message:?}"));
    let tools = tools.declarations();
    let tools = tools.iter().map(|tool| format!("{tool:?}"));
    texts.chain(tools).map(|text| guessed_tokens(&text)).sum()
}

fn stalled(after: Duration) -> ChatError {
    ChatError::new(
        ChatErrorKind::Timeout,
        format!("no word from the model for {} s", after.as_secs()),
        "is the endpoint alive?",
    )
}
