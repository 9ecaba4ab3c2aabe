//! A local checkpoint as a [`ChatClient`]: asynchronous on this side, synchronous in the engine.
//!
//! A request is made ready (rendered, its media loaded, encoded) on one of a few threads of the
//! client, and computed on the engine's. Both feed a channel whose other end is the stream; tokens
//! become text where the stream is polled. No async runtime is needed, and none is imposed.

mod failure;
mod preparers;
mod stream;

use std::sync::Arc;
use std::time::Instant;

use futures_channel::mpsc::{UnboundedSender, unbounded};
use k25_chat::{ChatClient, ChatRequest, ChatStream, RenderOptions, ResponseFormat, ToolChoice};
use k25_engine::{Event, RequestId, SamplingParams};
use k25_grammar::{AnswerForm, CallRule};

use crate::answer::Transcript;
use crate::local_model::AnswerOptions;
use crate::stop_texts::{MAX_STOP_TEXT_BYTES, MAX_STOP_TEXTS};
use crate::{LocalError, LocalModel};
use preparers::Preparers;
use stream::AnswerStream;

/// Answers requests with a model of this process. The model's name in a request is not looked at:
/// there is one.
///
/// Requests with one beginning, samples of one conversation among them, share its computation.
pub struct LocalClient {
    model: Arc<LocalModel>,
    preparers: Preparers,
    free_calls: bool,
}

/// What reaches a stream.
enum Message {
    /// The request is ready; how to read what the engine will say of it.
    /// With the tokens of the prompt.
    Ready(Box<Transcript>, u64),
    /// The engine has the request.
    Submitted(RequestId),
    /// The engine says something.
    Engine(Event),
    /// The request cannot be answered.
    Failed(Box<LocalError>),
}

impl LocalClient {
    /// A client of `model`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(model: Arc<LocalModel>) -> Result<Self, LocalError> {
        let preparers = Preparers::start().map_err(LocalError::Thread)?;
        Ok(Self {
            model,
            preparers,
            free_calls: false,
        })
    }

    /// Lets the model write tool calls as it likes: nothing keeps their arguments to their schemas. For measuring how
    /// well it knows them itself.
    #[must_use]
    pub fn with_free_calls(mut self) -> Self {
        self.free_calls = true;
        self
    }

    /// The model that answers.
    pub fn model(&self) -> &Arc<LocalModel> {
        &self.model
    }
}

impl ChatClient for LocalClient {
    fn chat(&self, request: ChatRequest) -> ChatStream {
        let (messages, inbox) = unbounded();
        let model = Arc::clone(&self.model);
        let free_calls = self.free_calls;
        self.preparers.run(Box::new(move || {
            // Nobody waits any more: nothing is to be prepared.
            if messages.is_closed() {
                return;
            }
            if let Err(error) = begin(&model, request, free_calls, &messages) {
                let _ = messages.unbounded_send(Message::Failed(Box::new(error)));
            }
        }));
        Box::pin(AnswerStream::new(inbox, self.model.engine().clone()))
    }
}

/// Makes a request ready and hands it to the engine.
fn begin(
    model: &LocalModel,
    request: ChatRequest,
    free_calls: bool,
    messages: &UnboundedSender<Message>,
) -> Result<(), LocalError> {
    let started = Instant::now();
    check_stop_texts(&request.stop)?;
    let (options, mut sampling) = (render_options(&request), sampling(&request));
    let mut prepared = model.prepare(request.conversation, &options)?;
    let (form, calls) = (
        form(request.response_format),
        call_rule(request.tool_choice),
    );
    let is_free = free_calls && form == AnswerForm::Text && calls == CallRule::Auto;
    if !is_free {
        model.constrain(&mut prepared, form, calls)?;
    }
    if request.max_tokens.is_none() {
        sampling.max_tokens = model.room(&prepared);
    }
    let answer = AnswerOptions {
        stop: request.stop,
        priority: priority(request.priority),
        ..AnswerOptions::new(sampling)
    };
    let prompt_tokens = prepared.tokens() as u64;
    let (request, reader) = model.request(prepared, answer)?;
    let transcript = Box::new(Transcript::new(reader, started));
    // The stream's end may be gone; the engine learns of it by the sink.
    let _ = messages.unbounded_send(Message::Ready(transcript, prompt_tokens));
    let to_stream = messages.clone();
    let sink = move |event| to_stream.unbounded_send(Message::Engine(event)).is_ok();
    let id = model.engine().submit(request, Box::new(sink))?;
    if messages.unbounded_send(Message::Submitted(id)).is_err() {
        model.engine().cancel(id)?;
    }
    Ok(())
}

fn check_stop_texts(texts: &[String]) -> Result<(), LocalError> {
    let fault = |reason: String| Err(LocalError::StopTexts { reason });
    if texts.len() > MAX_STOP_TEXTS {
        return fault(format!(
            "there are {} of them, and at most {MAX_STOP_TEXTS} are looked for",
            texts.len()
        ));
    }
    if texts.iter().any(String::is_empty) {
        return fault("one of them is empty".to_owned());
    }
    match texts.iter().find(|text| text.len() > MAX_STOP_TEXT_BYTES) {
        Some(long) => fault(format!(
            "one of them has {} bytes, and at most {MAX_STOP_TEXT_BYTES} are looked for",
            long.len()
        )),
        None => Ok(()),
    }
}

fn form(format: ResponseFormat) -> AnswerForm {
    match format {
        ResponseFormat::Text => AnswerForm::Text,
        ResponseFormat::JsonObject => AnswerForm::JsonObject,
        ResponseFormat::JsonSchema { schema, strict, .. } => {
            AnswerForm::JsonSchema { schema, strict }
        }
    }
}

fn call_rule(choice: ToolChoice) -> CallRule {
    match choice {
        ToolChoice::Auto => CallRule::Auto,
        ToolChoice::None => CallRule::Never,
        ToolChoice::Required => CallRule::Required,
        ToolChoice::Function(name) => CallRule::Named(name),
    }
}

fn render_options(request: &ChatRequest) -> RenderOptions {
    RenderOptions {
        thinking: request.thinking,
        preserve_thinking: request.preserve_thinking,
        ..RenderOptions::default()
    }
}

/// The sampling that a request asks for, with the family's recommendations.
fn sampling(request: &ChatRequest) -> SamplingParams {
    let recommended = match request.thinking {
        true => SamplingParams::thinking(),
        false => SamplingParams::instant(),
    };
    let asked = &request.sampling;
    let or = |asked: Option<f32>, recommended| asked.unwrap_or(recommended);
    SamplingParams {
        temperature: or(asked.temperature, recommended.temperature),
        top_p: or(asked.top_p, recommended.top_p),
        top_k: asked
            .top_k
            .map_or(recommended.top_k, |count| count as usize),
        min_p: or(asked.min_p, recommended.min_p),
        presence_penalty: or(asked.presence_penalty, recommended.presence_penalty),
        frequency_penalty: or(asked.frequency_penalty, recommended.frequency_penalty),
        repetition_penalty: or(asked.repetition_penalty, recommended.repetition_penalty),
        logit_bias: asked.logit_bias.clone(),
        seed: asked.seed.unwrap_or_else(random_seed),
        max_tokens: request.max_tokens.unwrap_or(0) as usize,
        logprobs: request.logprobs.map(|count| count as usize),
        ..recommended
    }
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

fn priority(priority: k25_chat::Priority) -> k25_engine::Priority {
    match priority {
        k25_chat::Priority::Interactive => k25_engine::Priority::Interactive,
        k25_chat::Priority::Normal => k25_engine::Priority::Normal,
        k25_chat::Priority::Background => k25_engine::Priority::Background,
    }
}
