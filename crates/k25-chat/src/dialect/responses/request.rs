//! A Responses request to a [`ChatRequest`].

use crate::client::{ChatRequest, Priority, ResponseFormat, ToolChoice};
use crate::dialect::fields::{Fields, Read};
use crate::dialect::openai::{CompletionRequest, Rules};
use crate::dialect::shared::{self, MAX_TOP_LOGPROBS};
use crate::message::{Arguments, Content, Conversation, Media, Message, Part, Role, ToolCall};
use crate::python_json::{JsonObject, JsonValue};
use crate::segment::MediaKind;

const ITEM_HINT: &str = "an item is a message, function_call, function_call_output or reasoning";
const PART_HINT: &str = "a part is {\"type\": \"input_text\", \"text\": …} or {\"type\": \"input_image\", \
                         \"image_url\": …}";
/// What of the request the answer repeats.
const REPEATED: [&str; 12] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
];

/// A request of the Responses form.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponsesRequest {
    /// What is asked of the model; one answer.
    pub chat: ChatRequest,
    /// The answer comes in pieces.
    pub stream: bool,
    /// The model may make several tool calls in one answer.
    pub parallel_tool_calls: bool,
    /// What of the request the answer repeats.
    pub repeated: JsonObject,
}

impl ResponsesRequest {
    /// Reads a request. Keys that mean nothing here are left alone.
    ///
    /// # Errors
    /// With the place, if a key has the wrong type, is out of range or contradicts another, or asks for
    /// something that must be kept between requests.
    pub fn read(document: JsonValue, rules: Rules) -> Read<Self> {
        let mut fields = Fields::of_document(document)?;
        refuse_state(&mut fields)?;
        let repeated = repeated(&fields);
        let model = fields.required_string("model", "GET /v1/models lists the models")?;
        let mut chat = ChatRequest::new(model, Vec::new());
        chat.conversation = conversation(&mut fields)?;
        chat.tool_choice = tool_choice(&mut fields, &chat.conversation.tools)?;
        chat.thinking = thinking(&mut fields)?;
        chat.sampling.temperature = fields.number("temperature", 0.0..=2.0)?;
        chat.sampling.top_p = fields.number("top_p", 0.0..=1.0)?;
        chat.max_tokens = fields.count("max_output_tokens", 1..=u32::MAX)?;
        chat.response_format = text_format(&mut fields)?;
        chat.logprobs = logprobs(&mut fields)?;
        chat.priority = Priority::Interactive;
        let request = CompletionRequest {
            chat,
            choices: 1,
            stream: fields.boolean("stream")?.unwrap_or(false),
            include_usage: false,
            prompt_usage_first: false,
            parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
        };
        let request = request.under(rules)?;
        Ok(ResponsesRequest {
            chat: request.chat,
            stream: request.stream,
            parallel_tool_calls: request.parallel_tool_calls,
            repeated,
        })
    }
}

/// What would have to be kept between requests.
fn refuse_state(fields: &mut Fields) -> Read<()> {
    for key in ["previous_response_id", "conversation", "prompt"] {
        if fields.take(key).is_some() {
            let fault = "not supported: nothing is kept from one request to the next";
            return Err(fields.fault(key, fault, "send the whole conversation as input items"));
        }
    }
    if fields.boolean("background")?.unwrap_or(false) {
        return Err(fields.fault("background", "not supported", "send \"stream\": true"));
    }
    Ok(())
}

fn repeated(fields: &Fields) -> JsonObject {
    let kept = REPEATED.iter().filter_map(|key| {
        let value = fields.peek(key)?;
        Some(((*key).to_owned(), value.clone()))
    });
    kept.collect()
}

fn conversation(fields: &mut Fields) -> Read<Conversation> {
    let mut messages = Vec::new();
    if let Some(instructions) = fields.string("instructions")? {
        messages.push(Message::system(instructions));
    }
    match fields.take("input") {
        Some(JsonValue::String(text)) => messages.push(Message::user(text)),
        Some(JsonValue::Array(items)) if !items.is_empty() => {
            for (index, item) in items.into_iter().enumerate() {
                let item = Fields::of(item, format!("input[{index}]"), ITEM_HINT)?;
                read_item(item, &mut messages)?;
            }
        }
        _ => {
            let fault = "missing, empty, or neither text nor items";
            return Err(fields.fault("input", fault, "send a string, or a list of items"));
        }
    }
    let tools = fields.array("tools")?.unwrap_or_default();
    let tools = tools.into_iter().enumerate().map(|(index, value)| {
        let hint = "a tool is {\"type\": \"function\", \"name\": …, \"parameters\": {…}}";
        tool(Fields::of(value, format!("tools[{index}]"), hint)?)
    });
    Ok(Conversation {
        messages,
        tools: tools.collect::<Read<_>>()?,
    })
}

fn read_item(mut item: Fields, messages: &mut Vec<Message>) -> Read<()> {
    match item.string("type")?.as_deref() {
        None | Some("message") => message(&mut item, messages),
        Some("reasoning") => {
            let more = reasoning(&mut item)?;
            let message = turn(messages, |last| {
                last.content.is_none() && last.tool_calls.is_empty()
            });
            message.reasoning.get_or_insert_default().push_str(&more);
            Ok(())
        }
        Some("function_call") => {
            let call = function_call(&mut item)?;
            turn(messages, |_| true).tool_calls.push(call);
            Ok(())
        }
        Some("function_call_output") => {
            const HINT: &str = "the call_id of the function_call";
            let id = item.required_string("call_id", HINT)?;
            let parts = parts(&mut item, "output")?;
            messages.push(with_parts(Message::tool_result(id, ""), parts));
            Ok(())
        }
        Some(other) => {
            let fault = format!("{other:?} cannot stand here");
            Err(item.fault("type", fault, ITEM_HINT))
        }
    }
}

/// The assistant's message that is being put together, if it has room; else a new one.
fn turn(messages: &mut Vec<Message>, has_room: impl Fn(&Message) -> bool) -> &mut Message {
    let open = messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant && has_room(last));
    if !open {
        messages.push(Message {
            content: None,
            ..Message::assistant("")
        });
    }
    messages
        .last_mut()
        .expect("one was pushed if there was none")
}

fn message(item: &mut Fields, messages: &mut Vec<Message>) -> Read<()> {
    const ROLES: &str = "one of user, assistant, system, developer";
    let role = item.string("role")?;
    let parts = parts(item, "content")?;
    let role = match role.as_deref() {
        Some("user") => Role::User,
        Some("system" | "developer") => Role::System,
        Some("assistant") => {
            let said = with_parts(Message::assistant(""), parts).content;
            turn(messages, |last| {
                last.content.is_none() && last.tool_calls.is_empty()
            })
            .content = said;
            return Ok(());
        }
        _ => return Err(item.fault("role", "missing or unknown", ROLES)),
    };
    messages.push(with_parts(Message::new(role, ""), parts));
    Ok(())
}

/// The texts of a reasoning item, or of its summary where it has no others.
fn reasoning(item: &mut Fields) -> Read<String> {
    let mut text = String::new();
    for key in ["content", "summary"] {
        for (index, part) in item.array(key)?.unwrap_or_default().into_iter().enumerate() {
            let place = format!("{}[{index}]", item.place(key));
            let mut part = Fields::of(part, place, "a part is {\"type\": …, \"text\": …}")?;
            text.push_str(&part.string("text")?.unwrap_or_default());
        }
        if !text.is_empty() {
            break;
        }
    }
    Ok(text)
}

fn function_call(item: &mut Fields) -> Read<ToolCall> {
    const HINT: &str = "a call is {\"type\": \"function_call\", \"call_id\": …, \"name\": …, \"arguments\": \
                        \"{…}\"}";
    Ok(ToolCall {
        id: item.required_string("call_id", HINT)?,
        name: item.required_string("name", HINT)?,
        arguments: Arguments::Text(item.string("arguments")?.unwrap_or_default()),
    })
}

fn parts(item: &mut Fields, key: &str) -> Read<Vec<Part>> {
    let place = item.place(key);
    match item.take(key) {
        Some(JsonValue::String(text)) => Ok(vec![Part::Text(text)]),
        Some(JsonValue::Array(parts)) => parts
            .into_iter()
            .enumerate()
            .map(|(index, value)| part(Fields::of(value, format!("{place}[{index}]"), PART_HINT)?))
            .collect(),
        _ => Err(item.fault(key, "missing, or neither text nor parts", PART_HINT)),
    }
}

fn part(mut part: Fields) -> Read<Part> {
    match part.string("type")?.as_deref() {
        Some("input_text" | "output_text" | "text") => {
            Ok(Part::Text(part.string("text")?.unwrap_or_default()))
        }
        Some("refusal") => Ok(Part::Text(part.string("refusal")?.unwrap_or_default())),
        Some("input_image") => medium(&mut part, MediaKind::Image, "image_url"),
        // Kimi's films, in the words of this form.
        Some("input_video") => medium(&mut part, MediaKind::Video, "video_url"),
        other => {
            let fault = format!("{:?} cannot stand here", other.unwrap_or_default());
            Err(part.fault("type", fault, PART_HINT))
        }
    }
}

fn medium(part: &mut Fields, kind: MediaKind, key: &str) -> Read<Part> {
    let file = part.string("file_id")?.map(|id| format!("ms://{id}"));
    let source = part.string(key)?.or(file);
    let hint = "give an address, a data: URI, or the file_id of an uploaded file";
    let source = source.ok_or_else(|| part.fault(key, "missing", hint))?;
    Ok(Part::Media(Media {
        kind,
        source: Some(source),
    }))
}

/// Texts alone are one text; parts only where there is more.
fn with_parts(message: Message, parts: Vec<Part>) -> Message {
    let texts: Option<String> = parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Media(_) => None,
        })
        .collect();
    Message {
        content: Some(texts.map_or(Content::Parts(parts), Content::Text)),
        ..message
    }
}

/// A tool in the form of Chat Completions, which the template knows.
fn tool(mut fields: Fields) -> Read<JsonValue> {
    const HINT: &str = "only functions can be called here: {\"type\": \"function\", \"name\": …}";
    if fields.string("type")?.as_deref() != Some("function") {
        return Err(fields.fault("type", "this tool is run by another service", HINT));
    }
    let mut function = JsonObject::new();
    let name = fields.required_string("name", HINT)?;
    function.insert("name".to_owned(), name.into());
    for key in ["description", "parameters", "strict"] {
        function.extend(fields.take(key).map(|value| (key.to_owned(), value)));
    }
    let mut tool = JsonObject::new();
    tool.insert("type".to_owned(), "function".into());
    tool.insert("function".to_owned(), function.into());
    Ok(tool.into())
}

fn tool_choice(fields: &mut Fields, tools: &[JsonValue]) -> Read<ToolChoice> {
    const HINT: &str =
        "one of \"auto\", \"none\", \"required\", {\"type\": \"function\", \"name\": …}";
    shared::tool_choice(fields, tools, HINT, |value| {
        if value.string("type")?.as_deref() != Some("function") {
            return Err(value.fault("type", "missing or unknown", HINT));
        }
        value.required_string("name", HINT)
    })
}

fn thinking(fields: &mut Fields) -> Read<bool> {
    let effort = fields.object("reasoning", "send {\"effort\": \"high\"}")?;
    let effort = effort.map(|mut reasoning| reasoning.string("effort"));
    let says_none = effort.transpose()?.flatten().as_deref() == Some("none");
    // Kimi's own switch, where a client sends it as an extra.
    let switch = shared::thinking(fields)?;
    Ok(switch.map_or(!says_none, |(thinks, _)| thinks))
}

fn text_format(fields: &mut Fields) -> Read<ResponseFormat> {
    const HINT: &str = "send {\"format\": {\"type\": \"text\"}}, \"json_object\", or {\"type\": \
                        \"json_schema\", \"name\": …, \"schema\": {…}}";
    let Some(mut text) = fields.object("text", HINT)? else {
        return Ok(ResponseFormat::Text);
    };
    let Some(mut format) = text.object("format", HINT)? else {
        return Ok(ResponseFormat::Text);
    };
    shared::response_format(&mut format, HINT, |format| {
        shared::json_schema(format, HINT)
    })
}

fn logprobs(fields: &mut Fields) -> Read<Option<u32>> {
    let top = fields.count("top_logprobs", 0..=MAX_TOP_LOGPROBS)?;
    let included = fields.array("include")?.unwrap_or_default();
    let mut included = included.iter().filter_map(JsonValue::as_str);
    let wanted = included.any(|what| what == "message.output_text.logprobs");
    Ok((wanted || top.is_some_and(|top| top > 0)).then(|| top.unwrap_or(0)))
}
