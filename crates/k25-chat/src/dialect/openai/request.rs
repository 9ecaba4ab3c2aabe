//! A Chat Completions request to a [`ChatRequest`].

use super::kimi_rules;
use crate::client::{ChatRequest, Priority, ResponseFormat, SamplingOptions, ToolChoice};
use crate::dialect::RequestError;
use crate::dialect::fields::{Fields, Read, as_number};
use crate::dialect::shared::{self, MAX_TOP_LOGPROBS};
use crate::message::{Conversation, Reading, Role};
use crate::python_json::{JsonObject, JsonValue};
use crate::template::RenderOptions;

/// Most answers to one request.
pub const MAX_CHOICES: u32 = 16;

/// Most stop texts.
const MAX_STOPS: usize = 16;
/// Most tokens with a bias, as in OpenAI's service.
const MAX_BIASED_TOKENS: usize = 1024;

/// Which values a client may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rules {
    /// All that the model can do.
    #[default]
    Free,
    /// What the hosted Kimi K2.5 accepts: sampling is fixed, other values are errors.
    Kimi,
}

/// A request of the Chat Completions form.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// What is asked of the model.
    pub chat: ChatRequest,
    /// How many answers, at least 1.
    pub choices: u32,
    /// The answer comes in pieces.
    pub stream: bool,
    /// A last chunk without choices tells the usage.
    pub include_usage: bool,
    /// The prompt's tokens are told before the first word (vLLM's `continuous_usage_stats`).
    pub prompt_usage_first: bool,
    /// The model may make several tool calls in one answer.
    pub parallel_tool_calls: bool,
}

impl CompletionRequest {
    /// Reads a request. Keys that mean nothing here are left alone.
    ///
    /// # Errors
    /// With the place, if a key has the wrong type, is out of range or contradicts another.
    pub fn read(document: JsonValue, rules: Rules) -> Read<Self> {
        let mut fields = Fields::of_document(document)?;
        let model = fields.required_string("model", "GET /v1/models lists the models")?;
        let conversation = conversation(&mut fields)?;
        let mut chat = ChatRequest::new(model, Vec::new());
        chat.tool_choice = tool_choice(&mut fields, &conversation.tools)?;
        chat.conversation = conversation;
        (chat.thinking, chat.preserve_thinking) = thinking(&mut fields)?;
        chat.sampling = sampling(&mut fields)?;
        chat.max_tokens = max_tokens(&mut fields)?;
        chat.stop = stop(&mut fields)?;
        chat.response_format = response_format(&mut fields)?;
        chat.logprobs = logprobs(&mut fields)?;
        chat.priority = Priority::Interactive;
        let mut options = fields.object("stream_options", "send {\"include_usage\": true}")?;
        let mut wants = |what| -> Read<bool> {
            let said = options.as_mut().map(|options| options.boolean(what));
            Ok(said.transpose()?.flatten().unwrap_or(false))
        };
        let include_usage = wants("include_usage")?;
        let prompt_usage_first = wants("continuous_usage_stats")?;
        let request = CompletionRequest {
            chat,
            choices: fields.count("n", 1..=MAX_CHOICES)?.unwrap_or(1),
            stream: fields.boolean("stream")?.unwrap_or(false),
            include_usage,
            prompt_usage_first,
            parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
        };
        request.under(rules)
    }

    /// The request, if the rules allow it, with their defaults.
    pub(in crate::dialect) fn under(mut self, rules: Rules) -> Read<Self> {
        if rules == Rules::Kimi {
            kimi_rules::apply(&mut self)?;
        }
        Ok(self)
    }
}

/// `messages` and `tools`.
fn conversation(fields: &mut Fields) -> Read<Conversation> {
    const HINT: &str = "send [{\"role\": \"user\", \"content\": …}]";
    for (old, new) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if fields.take(old).is_some() {
            return Err(fields.fault(old, "not supported", &format!("send {new} instead")));
        }
    }
    let mut document = JsonObject::new();
    for key in ["messages", "tools"] {
        document.extend(fields.take(key).map(|value| (key.to_owned(), value)));
    }
    let mut conversation = Conversation::read(JsonValue::from(document), Reading::Service)?;
    if conversation.messages.is_empty() {
        return Err(fields.fault("messages", "empty", HINT));
    }
    for (index, message) in conversation.messages.iter_mut().enumerate() {
        match &message.role {
            Role::Other(name) if name == "developer" => message.role = Role::System,
            Role::Other(_) => {
                return Err(RequestError::new(
                    format!("messages[{index}].role"),
                    format!("no role is called {:?}", message.role.as_str()),
                    "one of system, developer, user, assistant, tool",
                ));
            }
            _ => {}
        }
    }
    for (index, tool) in conversation.tools.iter().enumerate() {
        check_tool(tool, index)?;
    }
    Ok(conversation)
}

fn check_tool(tool: &JsonValue, index: usize) -> Read<()> {
    const HINT: &str = "a tool is {\"type\": \"function\", \"function\": {\"name\": …}}";
    let kind = tool.as_object().and_then(|tool| tool.get("type"));
    if kind.and_then(JsonValue::as_str) != Some("function") {
        return Err(RequestError::new(
            format!("tools[{index}].type"),
            "only functions can be called here",
            HINT,
        ));
    }
    match function_name(tool) {
        Some(name) if !name.is_empty() => Ok(()),
        _ => Err(RequestError::new(
            format!("tools[{index}].function.name"),
            "missing",
            HINT,
        )),
    }
}

fn function_name(tool: &JsonValue) -> Option<&str> {
    let function = tool.as_object()?.get("function")?;
    function.as_object()?.get("name")?.as_str()
}

fn tool_choice(fields: &mut Fields, tools: &[JsonValue]) -> Read<ToolChoice> {
    const HINT: &str = "one of \"auto\", \"none\", \"required\", \
                        {\"type\": \"function\", \"function\": {\"name\": …}}";
    shared::tool_choice(fields, tools, HINT, |value| {
        let function = value.object("function", HINT)?;
        let mut function = function.ok_or_else(|| value.fault("function", "missing", HINT))?;
        function.required_string("name", HINT)
    })
}

impl ToolChoice {
    /// Whether the tools, in the form of Chat Completions, allow the choice.
    pub(in crate::dialect) fn check(&self, tools: &[JsonValue]) -> Read<()> {
        let has = |name: &str| tools.iter().any(|tool| function_name(tool) == Some(name));
        let fault = |fault: &str, hint| Err(RequestError::new("tool_choice", fault, hint));
        match self {
            ToolChoice::Required if tools.is_empty() => fault(
                "a call is required, and there are no tools",
                "send tools, or leave tool_choice out",
            ),
            ToolChoice::Function(name) if !has(name) => fault(
                &format!("no tool is called {name:?}"),
                "name one of the functions in tools",
            ),
            _ => Ok(()),
        }
    }
}

/// Thinking, and whether the reasoning of earlier turns is kept: Kimi's `thinking`, the template's
/// arguments of open servers, `reasoning_effort`. The most particular of them counts.
fn thinking(fields: &mut Fields) -> Read<(bool, bool)> {
    let defaults = RenderOptions::default();
    let (mut thinking, mut preserve) = (defaults.thinking, defaults.preserve_thinking);
    if let Some(effort) = fields.string("reasoning_effort")? {
        thinking = effort != "none";
    }
    if let Some(kwargs) = fields.object("chat_template_kwargs", "send {\"thinking\": true}")? {
        let kwargs = kwargs.into_object();
        let says = |key| {
            kwargs
                .get(key)
                .is_some_and(|value| *value != JsonValue::Null)
        };
        let options = RenderOptions::from_kwargs(&kwargs).map_err(|error| {
            RequestError::new(
                format!("chat_template_kwargs.{}", error.key),
                format!("expected a boolean, found {}", error.found),
                "write true or false without quotes",
            )
        })?;
        if says("thinking") {
            thinking = options.thinking;
        }
        preserve = options.preserve_thinking;
    }
    if let Some((thinks, mut object)) = shared::thinking(fields)? {
        thinking = thinks;
        match object.string("keep")?.as_deref() {
            None => {}
            Some("all") => preserve = true,
            Some(other) => {
                let hint = "send \"all\", or leave it out";
                return Err(object.fault("keep", format!("{other:?} is no choice"), hint));
            }
        }
    }
    Ok((thinking, preserve))
}

fn sampling(fields: &mut Fields) -> Read<SamplingOptions> {
    let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?;
    Ok(SamplingOptions {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        top_p: fields.number("top_p", 0.0..=1.0)?,
        // Open servers write "all" as -1 or 0.
        top_k: top_k.filter(|&k| k > 0).and_then(|k| u32::try_from(k).ok()),
        min_p: fields.number("min_p", 0.0..=1.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
        repetition_penalty: fields.number("repetition_penalty", 0.01..=100.0)?,
        logit_bias: logit_bias(fields)?,
        seed: fields
            .integer("seed", i64::MIN..=i64::MAX)?
            .map(i64::cast_unsigned),
    })
}

fn logit_bias(fields: &mut Fields) -> Read<Vec<(u32, f32)>> {
    const KEY: &str = "logit_bias";
    const HINT: &str = "send {\"TOKEN_ID\": BIAS}, a bias being a number from -100 to 100";
    let Some(bias) = fields.object(KEY, HINT)? else {
        return Ok(Vec::new());
    };
    let bias = bias.into_object();
    if bias.len() > MAX_BIASED_TOKENS {
        let fault = format!(
            "{} tokens, and at most {MAX_BIASED_TOKENS} can be biased",
            bias.len()
        );
        return Err(fields.fault(KEY, fault, HINT));
    }
    bias.iter()
        .map(|(id, value)| {
            let number = as_number(value).filter(|number| (-100.0..=100.0).contains(number));
            match (id.parse(), number) {
                (Ok(id), Some(number)) => Ok((id, number as f32)),
                _ => Err(fields.fault(KEY, "an entry is no token id with a bias", HINT)),
            }
        })
        .collect()
}

fn max_tokens(fields: &mut Fields) -> Read<Option<u32>> {
    let old = fields.count("max_tokens", 1..=u32::MAX)?;
    Ok(fields.count("max_completion_tokens", 1..=u32::MAX)?.or(old))
}

fn stop(fields: &mut Fields) -> Read<Vec<String>> {
    const KEY: &str = "stop";
    const HINT: &str = "send a string, or a list of up to 16 strings, none of them empty";
    let stops = match fields.take(KEY) {
        None => return Ok(Vec::new()),
        Some(JsonValue::String(text)) => vec![text],
        Some(JsonValue::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                JsonValue::String(text) => Ok(text),
                other => {
                    let fault = format!("expected strings, found {}", other.kind());
                    Err(fields.fault(KEY, fault, HINT))
                }
            })
            .collect::<Read<_>>()?,
        Some(other) => {
            let fault = format!("expected a string or a list, found {}", other.kind());
            return Err(fields.fault(KEY, fault, HINT));
        }
    };
    if stops.len() > MAX_STOPS || stops.iter().any(String::is_empty) {
        return Err(fields.fault(KEY, "too many texts, or an empty one", HINT));
    }
    Ok(stops)
}

fn response_format(fields: &mut Fields) -> Read<ResponseFormat> {
    const HINT: &str = "send {\"type\": \"text\"}, {\"type\": \"json_object\"} or \
                        {\"type\": \"json_schema\", \"json_schema\": {\"name\": …, \"schema\": {…}}}";
    let Some(mut format) = fields.object("response_format", HINT)? else {
        return Ok(ResponseFormat::Text);
    };
    shared::response_format(&mut format, HINT, |format| {
        let body = format.object("json_schema", HINT)?;
        let mut body = body.ok_or_else(|| format.fault("json_schema", "missing", HINT))?;
        shared::json_schema(&mut body, HINT)
    })
}

fn logprobs(fields: &mut Fields) -> Read<Option<u32>> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0..=MAX_TOP_LOGPROBS)?;
    match (wanted, top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(fields.fault(
            "top_logprobs",
            "set without logprobs",
            "send \"logprobs\": true too",
        )),
    }
}
