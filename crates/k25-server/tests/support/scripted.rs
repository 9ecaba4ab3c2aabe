//! A model made of a script, so that what it says is known.
//!
//! The last user's message is the script, as JSON: `output` is what the model writes, markers included,
//! `cut` the characters per token, `delay_ms` the time before each, `fail` an error after that many
//! tokens, `hang` silence instead of an end. `echo` answers with the request as the model saw it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use k25_chat::{
    ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatRequest, ChatStream, ChatUsage, Content,
    Conversation, Message, ParserEvent, Part, ReplyEnd, Role, StreamParser, TokenLogprob,
    TokenLogprobs,
};
use k25_server::{Model, ModelInfo, TokenCounter};
use serde::Deserialize;
use tokio::time::{Sleep, sleep};

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Script {
    output: String,
    cut: Option<usize>,
    delay_ms: u64,
    fail: Option<usize>,
    hang: bool,
    echo: bool,
    length: bool,
}

/// Answers with what the conversation says; counts what goes on.
#[derive(Clone, Default)]
pub struct Scripted {
    /// Answers that are not dropped.
    pub open: Arc<AtomicUsize>,
}

impl Scripted {
    /// The model `scripted`.
    pub fn model(&self) -> Model {
        Model {
            info: ModelInfo {
                name: "scripted".to_owned(),
                created: 1_770_000_000,
                context_length: 262_144,
                supports_image_in: true,
                supports_video_in: true,
                supports_reasoning: true,
            },
            aliases: vec!["kimi-k2.5".to_owned()],
            client: Arc::new(self.clone()),
            counter: Arc::new(self.clone()),
            upstreams: Vec::new(),
        }
    }
}

impl TokenCounter for Scripted {
    fn count(&self, request: &ChatRequest) -> Result<u64, ChatError> {
        Ok(prompt_tokens(&request.conversation))
    }
}

/// A token per character of text, and ten per medium.
fn prompt_tokens(conversation: &Conversation) -> u64 {
    let text: usize = conversation
        .messages
        .iter()
        .map(|m| text(m).chars().count())
        .sum();
    text as u64 + 10 * conversation.media().count() as u64
}

fn text(message: &Message) -> String {
    match &message.content {
        None => String::new(),
        Some(Content::Text(text)) => text.clone(),
        Some(Content::Parts(parts)) => parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Media(_) => None,
            })
            .collect(),
    }
}

impl ChatClient for Scripted {
    fn chat(&self, request: ChatRequest) -> ChatStream {
        self.open.fetch_add(1, Ordering::AcqRel);
        let user = request
            .conversation
            .messages
            .iter()
            .rfind(|m| m.role == Role::User);
        let script = serde_json::from_str(&user.map(text).unwrap_or_default());
        let script = script.unwrap_or_else(|_| Script {
            output: "Why?</think>Hello!".to_owned(),
            ..Script::default()
        });
        let (events, hang) = play(&script, &request);
        Box::pin(Events {
            delay: Duration::from_millis(script.delay_ms),
            pause: None,
            events,
            hang,
            open: Arc::clone(&self.open),
        })
    }
}

type Step = Result<ChatEvent, ChatError>;

fn play(script: &Script, request: &ChatRequest) -> (VecDeque<Step>, bool) {
    let echoed = format!("</think>{}", echo(request));
    let output = if script.echo { &echoed } else { &script.output };
    let (output, met) = match script.echo {
        true => (output.as_str(), None),
        false => before_stop(output, &request.stop),
    };
    let output = match request.thinking {
        true => output,
        false => output
            .split_once("</think>")
            .map_or(output, |(_, rest)| rest),
    };
    let tokens: Vec<String> = match script.cut {
        None => vec![output.to_owned()],
        Some(cut) => {
            let characters: Vec<char> = output.chars().collect();
            characters
                .chunks(cut.max(1))
                .map(|piece| piece.iter().collect())
                .collect()
        }
    };
    let mut parser = StreamParser::new(request.thinking);
    let prompt_tokens = prompt_tokens(&request.conversation);
    let mut events = VecDeque::from([Ok(ChatEvent::Begun { prompt_tokens })]);
    let (mut calls, mut reasoning) = (false, 0);
    for (index, token) in tokens.iter().enumerate() {
        if script.fail == Some(index) {
            let failure = ChatError::new(ChatErrorKind::Server, "the script fails", "it must");
            events.push_back(Err(failure));
            return (events, false);
        }
        let outputs = parser.feed(token);
        calls |= outputs
            .iter()
            .any(|o| matches!(o, ParserEvent::ToolCallBegin { .. }));
        reasoning += u64::from(
            outputs
                .iter()
                .any(|o| matches!(o, ParserEvent::ReasoningDelta(_))),
        );
        events.extend(
            outputs
                .into_iter()
                .map(|output| Ok(ChatEvent::Output(output))),
        );
        if let Some(top) = request.logprobs {
            events.push_back(Ok(ChatEvent::Tokens(vec![logprobs(token, top)])));
        }
    }
    let last = parser.finish();
    calls |= last
        .iter()
        .any(|o| matches!(o, ParserEvent::ToolCallBegin { .. }));
    events.extend(last.into_iter().map(|output| Ok(ChatEvent::Output(output))));
    let reason = match (calls, script.length) {
        (_, true) => ReplyEnd::Length,
        (true, false) => ReplyEnd::ToolCalls,
        (false, false) => met.map_or(ReplyEnd::Stop, ReplyEnd::StopText),
    };
    let usage = ChatUsage {
        prompt_tokens,
        cached_tokens: prompt_tokens / 2,
        completion_tokens: tokens.len() as u64,
        reasoning_tokens: reasoning,
    };
    if !script.hang {
        events.push_back(Ok(ChatEvent::Finished { reason, usage }));
    }
    (events, script.hang)
}

/// What stands before the first stop text, and the number of that text.
fn before_stop<'o>(output: &'o str, stops: &[String]) -> (&'o str, Option<usize>) {
    let found = stops.iter().enumerate();
    let found = found.filter_map(|(number, stop)| Some((output.find(stop)?, number)));
    match found.min() {
        Some((at, number)) => (&output[..at], Some(number)),
        None => (output, None),
    }
}

fn logprobs(token: &str, top: u32) -> TokenLogprobs {
    let with = |text: &str, logprob| TokenLogprob {
        id: None,
        bytes: text.as_bytes().to_vec(),
        logprob,
    };
    let others = (1..top).map(|rank| with("other", -(rank as f32) - 1.0));
    let chosen = with(token, -0.5);
    TokenLogprobs {
        top: (top > 0)
            .then(|| chosen.clone())
            .into_iter()
            .chain(others)
            .collect(),
        chosen,
    }
}

/// The request as a model sees it.
fn echo(request: &ChatRequest) -> String {
    let media: Vec<_> = request
        .conversation
        .media()
        .map(|media| &media.source)
        .collect();
    let sampling = &request.sampling;
    serde_json::json!({
        "model": request.model,
        "thinking": request.thinking,
        "preserve_thinking": request.preserve_thinking,
        "tool_choice": format!("{:?}", request.tool_choice),
        "response_format": format!("{:?}", request.response_format),
        "max_tokens": request.max_tokens,
        "stop": request.stop,
        "logprobs": request.logprobs,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": sampling.logit_bias,
        "seed": sampling.seed,
        "tools": request.conversation.tools.len(),
        "media": media,
        "messages": request.conversation.messages.iter()
            .map(|m| serde_json::json!({
                "role": m.role.as_str(), "text": text(m), "reasoning": m.reasoning,
                "partial": m.partial, "tool_call_id": m.tool_call_id,
                "tool_calls": m.tool_calls.iter().map(|call| &call.id).collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>(),
    })
    .to_string()
}

struct Events {
    events: VecDeque<Step>,
    delay: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    hang: bool,
    open: Arc<AtomicUsize>,
}

impl Stream for Events {
    type Item = Step;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Step>> {
        if self.events.is_empty() {
            return if self.hang {
                Poll::Pending
            } else {
                Poll::Ready(None)
            };
        }
        if !self.delay.is_zero() {
            let delay = self.delay;
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(delay)));
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        Poll::Ready(self.events.pop_front())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}
