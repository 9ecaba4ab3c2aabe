//! A [`ChatRequest`] as a Chat Completions request.

use crate::client::{ChatRequest, ResponseFormat, SamplingOptions, ToolChoice};
use crate::message::{Arguments, Content, Message, Part, ToolCall};
use crate::python_json::{JsonObject, JsonValue};
use crate::segment::MediaKind;

/// When an endpoint is asked to say what an answer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsageWish {
    /// At the end, as every endpoint can.
    #[default]
    AtTheEnd,
    /// With every chunk: the prompt's tokens are known before the first word. vLLM and SGLang can.
    Throughout,
}

/// The request as JSON text. It streams, and asks for the usage.
///
/// What only some servers know is sent only where it says something: `thinking` in both of its forms
/// (Kimi's service, open servers), `top_k`, `min_p`, `repetition_penalty`.
pub fn write_request(request: &ChatRequest, usage: UsageWish) -> String {
    let mut body = JsonObject::new();
    body.text("model", &request.model);
    let messages = request.conversation.messages.iter().map(message_value);
    body.put("messages", JsonValue::Array(messages.collect()));
    if !request.conversation.tools.is_empty() {
        let tools = request.conversation.tools.clone();
        body.put("tools", JsonValue::Array(tools));
    }
    match &request.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None => body.text("tool_choice", "none"),
        ToolChoice::Required => body.text("tool_choice", "required"),
        ToolChoice::Function(name) => {
            let function = object([("name", name.as_str().into())]);
            let choice = [("type", "function".into()), ("function", function)];
            body.put("tool_choice", object(choice));
        }
    }
    thinking(request, &mut body);
    sampling(&request.sampling, &mut body);
    if let Some(tokens) = request.max_tokens {
        body.put("max_tokens", i64::from(tokens).into());
    }
    if !request.stop.is_empty() {
        let stops = request.stop.iter().map(|stop| stop.as_str().into());
        body.put("stop", JsonValue::Array(stops.collect()));
    }
    if let Some(format) = response_format(&request.response_format) {
        body.put("response_format", format);
    }
    if let Some(top) = request.logprobs {
        body.put("logprobs", true.into());
        body.put("top_logprobs", i64::from(top).into());
    }
    body.put("stream", true.into());
    let mut options = JsonObject::new();
    options.put("include_usage", true.into());
    if usage == UsageWish::Throughout {
        options.put("continuous_usage_stats", true.into());
    }
    body.put("stream_options", options.into());
    JsonValue::from(body).to_compact_json()
}

/// Says nothing where the model's default is wanted, so that endpoints of other models work.
fn thinking(request: &ChatRequest, body: &mut JsonObject) {
    if request.thinking && !request.preserve_thinking {
        return;
    }
    let mode = if request.thinking {
        "enabled"
    } else {
        "disabled"
    };
    let mut thinking = JsonObject::new();
    thinking.text("type", mode);
    let mut kwargs = JsonObject::new();
    kwargs.put("thinking", request.thinking.into());
    if request.preserve_thinking {
        thinking.text("keep", "all");
        kwargs.put("preserve_thinking", true.into());
    }
    body.put("thinking", thinking.into());
    body.put("chat_template_kwargs", kwargs.into());
}

fn sampling(sampling: &SamplingOptions, body: &mut JsonObject) {
    let numbers = [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("min_p", sampling.min_p),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
        ("repetition_penalty", sampling.repetition_penalty),
    ];
    for (key, value) in numbers {
        if let Some(value) = value {
            body.put(key, shortest(value).into());
        }
    }
    if let Some(top_k) = sampling.top_k {
        body.put("top_k", i64::from(top_k).into());
    }
    if let Some(seed) = sampling.seed {
        body.put("seed", seed.cast_signed().into());
    }
    if !sampling.logit_bias.is_empty() {
        let mut bias = JsonObject::new();
        for (id, value) in &sampling.logit_bias {
            bias.put(&id.to_string(), shortest(*value).into());
        }
        body.put("logit_bias", bias.into());
    }
}

/// The number that prints as the `f32` does: 0.95 and not 0.949999988.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn response_format(format: &ResponseFormat) -> Option<JsonValue> {
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(object([("type", "json_object".into())])),
        ResponseFormat::JsonSchema {
            name,
            schema,
            strict,
        } => {
            let body = object([
                ("name", name.as_str().into()),
                ("schema", schema.clone()),
                ("strict", (*strict).into()),
            ]);
            Some(object([
                ("type", "json_schema".into()),
                ("json_schema", body),
            ]))
        }
    }
}

/// A message in the OpenAI form.
pub fn message_value(message: &Message) -> JsonValue {
    let mut value = JsonObject::new();
    value.text("role", message.role.as_str());
    if let Some(name) = &message.name {
        value.text("name", name);
    }
    if let Some(reasoning) = &message.reasoning {
        value.text("reasoning_content", reasoning);
    }
    value.put(
        "content",
        match &message.content {
            None => JsonValue::Null,
            Some(Content::Text(text)) => text.as_str().into(),
            Some(Content::Parts(parts)) => JsonValue::Array(parts.iter().map(part).collect()),
        },
    );
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(tool_call);
        value.put("tool_calls", JsonValue::Array(calls.collect()));
    }
    if let Some(id) = &message.tool_call_id {
        value.text("tool_call_id", id);
    }
    if message.partial {
        value.put("partial", true.into());
    }
    value.into()
}

fn part(part: &Part) -> JsonValue {
    match part {
        Part::Text(text) => object([("type", "text".into()), ("text", text.as_str().into())]),
        Part::Media(media) => {
            let kind = match media.kind {
                MediaKind::Image => "image_url",
                MediaKind::Video => "video_url",
            };
            let url = media.source.as_deref().unwrap_or_default();
            object([("type", kind.into()), (kind, object([("url", url.into())]))])
        }
    }
}

fn tool_call(call: &ToolCall) -> JsonValue {
    let arguments = match &call.arguments {
        Arguments::Text(text) => text.clone(),
        Arguments::Json(value) => value.to_json(),
    };
    let function = object([
        ("name", call.name.as_str().into()),
        ("arguments", arguments.into()),
    ]);
    object([
        ("id", call.id.as_str().into()),
        ("type", "function".into()),
        ("function", function),
    ])
}

fn object<const N: usize>(entries: [(&str, JsonValue); N]) -> JsonValue {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    JsonObject::from(entries).into()
}

trait Put {
    fn put(&mut self, key: &str, value: JsonValue);
    fn text(&mut self, key: &str, value: &str);
}

impl Put for JsonObject {
    fn put(&mut self, key: &str, value: JsonValue) {
        self.insert(key.to_owned(), value);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.put(key, value.into());
    }
}
