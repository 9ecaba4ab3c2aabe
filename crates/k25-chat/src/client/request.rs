//! What is asked of a model.

use crate::message::{Conversation, Message};
use crate::python_json::JsonValue;

/// A conversation to answer, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model's name as the client knows it.
    pub model: String,
    /// The messages and tools.
    pub conversation: Conversation,
    /// Which tools the model may or must call.
    pub tool_choice: ToolChoice,
    /// Reason before the answer (Thinking), or not (Instant).
    pub thinking: bool,
    /// Keep the reasoning of every answer in the history (K2.6).
    pub preserve_thinking: bool,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Most tokens of the answer, reasoning included; `None` leaves it to the model's context.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// The form of the answer.
    pub response_format: ResponseFormat,
    /// The log-probability of each token, and of this many alternatives.
    pub logprobs: Option<u32>,
    /// How soon.
    pub priority: Priority,
}

impl ChatRequest {
    /// A request with the defaults of the family: thinking, tools at the model's choice, free text.
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        ChatRequest {
            model: model.into(),
            conversation: Conversation::new(messages),
            tool_choice: ToolChoice::Auto,
            thinking: true,
            preserve_thinking: false,
            sampling: SamplingOptions::default(),
            max_tokens: None,
            stop: Vec::new(),
            response_format: ResponseFormat::Text,
            logprobs: None,
            priority: Priority::Normal,
        }
    }
}

/// Which tools the model may or must call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// The function of this name.
    Function(String),
}

/// How tokens are chosen. `None` is the model's own default: for the family temperature 1.0 thinking
/// and 0.6 instant, `top_p` 0.95, and no other rule (specification section 8).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SamplingOptions {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: Option<f32>,
    /// Keeps the likeliest tokens up to this sum of probabilities.
    pub top_p: Option<f32>,
    /// Keeps this many of the likeliest tokens.
    pub top_k: Option<u32>,
    /// Keeps tokens at least this likely relative to the likeliest.
    pub min_p: Option<f32>,
    /// Taken off the logit of every token that was generated before.
    pub presence_penalty: Option<f32>,
    /// Taken off once per time that a token was generated before.
    pub frequency_penalty: Option<f32>,
    /// Divides the logits of tokens seen before, if they are positive, and multiplies them if not.
    pub repetition_penalty: Option<f32>,
    /// Added to the logits of single token ids.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed and request give the same answer, where the model can promise it.
    pub seed: Option<u64>,
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: JsonValue,
        /// The answer must have this form, and not only try to.
        strict: bool,
    },
}

/// How soon a request's turn comes, where a client can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Someone watches the answer grow.
    Interactive,
    /// An agent waits for it.
    #[default]
    Normal,
    /// Nobody waits.
    Background,
}
