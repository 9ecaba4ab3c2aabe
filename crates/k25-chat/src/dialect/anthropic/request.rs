//! A Messages request to a [`ChatRequest`].

use crate::client::{ChatRequest, Priority, ToolChoice};
use crate::dialect::RequestError;
use crate::dialect::fields::{Fields, Read};
use crate::message::{Arguments, Content, Conversation, Media, Message, Part, Role, ToolCall};
use crate::python_json::{JsonObject, JsonValue};
use crate::segment::MediaKind;

const BLOCK_HINT: &str = "a block is {\"type\": \"text\", \"text\": …}; image, tool_use, tool_result and \
                          thinking are known too";

/// A request of the Messages form.
#[derive(Debug, Clone, PartialEq)]
pub struct MessagesRequest {
    /// What is asked of the model.
    pub chat: ChatRequest,
    /// The answer comes in pieces.
    pub stream: bool,
    /// The model may make several tool calls in one answer.
    pub parallel_tool_calls: bool,
}

impl MessagesRequest {
    /// Reads a request. Keys that mean nothing here are left alone. A request that only counts tokens
    /// has no `max_tokens`; whether one is needed is for the caller to say.
    ///
    /// # Errors
    /// With the place, if a key has the wrong type, is out of range or contradicts another.
    pub fn read(document: JsonValue, needs_max_tokens: bool) -> Read<Self> {
        let mut fields = Fields::of_document(document)?;
        let model = fields.required_string("model", "GET /v1/models lists the models")?;
        let mut chat = ChatRequest::new(model, Vec::new());
        chat.conversation = conversation(&mut fields)?;
        let parallel_tool_calls;
        (chat.tool_choice, parallel_tool_calls) = tool_choice(&mut fields)?;
        chat.thinking = thinking(&mut fields)?;
        chat.sampling.temperature = fields.number("temperature", 0.0..=2.0)?;
        chat.sampling.top_p = fields.number("top_p", 0.0..=1.0)?;
        chat.sampling.top_k = fields.count("top_k", 0..=u32::MAX)?.filter(|&k| k > 0);
        chat.max_tokens = fields.count("max_tokens", 1..=u32::MAX)?;
        if needs_max_tokens && chat.max_tokens.is_none() {
            return Err(fields.fault("max_tokens", "missing", "say how long the answer may be"));
        }
        chat.stop = stop(&mut fields)?;
        chat.priority = Priority::Interactive;
        Ok(MessagesRequest {
            chat,
            stream: fields.boolean("stream")?.unwrap_or(false),
            parallel_tool_calls,
        })
    }
}

fn conversation(fields: &mut Fields) -> Read<Conversation> {
    let mut messages = Vec::new();
    if let Some(system) = system(fields)? {
        messages.push(Message::system(system));
    }
    let sent = fields.array("messages")?.unwrap_or_default();
    if sent.is_empty() {
        let hint = "send [{\"role\": \"user\", \"content\": …}]";
        return Err(fields.fault("messages", "missing or empty", hint));
    }
    let last = sent.len() - 1;
    for (index, message) in sent.into_iter().enumerate() {
        let place = format!("messages[{index}]");
        let mut message = Fields::of(message, place, "a message has role and content")?;
        match message.string("role")?.as_deref() {
            Some("user") => user(&mut message, &mut messages)?,
            Some("assistant") => messages.push(assistant(&mut message, index == last)?),
            _ => return Err(message.fault("role", "missing or unknown", "user or assistant")),
        }
    }
    let tools = fields.array("tools")?.unwrap_or_default();
    let tools = tools.into_iter().enumerate().map(|(index, value)| {
        let hint = "a tool is {\"name\": …, \"input_schema\": {…}}";
        tool(Fields::of(value, format!("tools[{index}]"), hint)?)
    });
    Ok(Conversation {
        messages,
        tools: tools.collect::<Read<_>>()?,
    })
}

/// A text, or text blocks one after the other.
fn system(fields: &mut Fields) -> Read<Option<String>> {
    match fields.take("system") {
        None => Ok(None),
        Some(JsonValue::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(JsonValue::Array(blocks)) => {
            let mut texts = Vec::new();
            for (index, block) in blocks.into_iter().enumerate() {
                let mut block = Fields::of(block, format!("system[{index}]"), BLOCK_HINT)?;
                texts.push(block.required_string("text", BLOCK_HINT)?);
            }
            Ok(Some(texts.join("\n\n")).filter(|text| !text.is_empty()))
        }
        Some(_) => Err(fields.fault("system", "expected text", "send a string or text blocks")),
    }
}

/// The blocks of a message; a string is one block of text.
fn blocks(message: &mut Fields) -> Read<Vec<(String, Fields)>> {
    let place = message.place("content");
    let values = match message.take("content") {
        Some(JsonValue::String(text)) => vec![text_block(text)],
        Some(JsonValue::Array(values)) => values,
        _ => {
            let hint = "send a string or a list of blocks";
            return Err(message.fault("content", "missing, or neither text nor blocks", hint));
        }
    };
    let blocks = values.into_iter().enumerate().map(|(index, value)| {
        let mut block = Fields::of(value, format!("{place}[{index}]"), BLOCK_HINT)?;
        let kind = block.required_string("type", BLOCK_HINT)?;
        Ok((kind, block))
    });
    blocks.collect()
}

fn text_block(text: String) -> JsonValue {
    let mut block = JsonObject::new();
    block.insert("type".to_owned(), "text".into());
    block.insert("text".to_owned(), text.into());
    block.into()
}

/// Results of tools become messages of their own, before what the person says.
fn user(message: &mut Fields, messages: &mut Vec<Message>) -> Read<()> {
    let mut parts = Vec::new();
    for (kind, mut block) in blocks(message)? {
        if kind == "tool_result" {
            messages.push(tool_result(&mut block)?);
        } else {
            parts.push(part(&kind, &mut block)?);
        }
    }
    if !parts.is_empty() {
        messages.push(with_parts(Message::user(""), parts));
    }
    Ok(())
}

fn tool_result(block: &mut Fields) -> Read<Message> {
    let id = block.required_string("tool_use_id", "the id of the tool_use block")?;
    let failed = block.boolean("is_error")?.unwrap_or(false);
    let result = Message::tool_result(id, "");
    let has_content = matches!(
        block.peek("content"),
        Some(JsonValue::String(_) | JsonValue::Array(_))
    );
    if !has_content {
        return Ok(result);
    }
    let mut parts = Vec::new();
    if failed {
        parts.push(Part::Text("Error: ".to_owned()));
    }
    for (kind, mut inner) in blocks(block)? {
        parts.push(part(&kind, &mut inner)?);
    }
    Ok(with_parts(result, parts))
}

/// Text alone is text; a list only where there is more.
fn with_parts(message: Message, parts: Vec<Part>) -> Message {
    let is_text = parts.iter().all(|part| matches!(part, Part::Text(_)));
    let content = if is_text && parts.len() <= 2 {
        let texts = parts.into_iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Media(_) => String::new(),
        });
        Content::Text(texts.collect())
    } else {
        Content::Parts(parts)
    };
    Message {
        content: Some(content),
        ..message
    }
}

fn part(kind: &str, block: &mut Fields) -> Read<Part> {
    match kind {
        "text" => Ok(Part::Text(block.string("text")?.unwrap_or_default())),
        "image" => image(block),
        other => Err(block.fault("type", format!("{other:?} cannot stand here"), BLOCK_HINT)),
    }
}

fn image(block: &mut Fields) -> Read<Part> {
    const HINT: &str = "send {\"type\": \"base64\", \"media_type\": \"image/png\", \"data\": …} or \
                        {\"type\": \"url\", \"url\": …}, {\"type\": \"file\", \"file_id\": …}";
    let source = block.object("source", HINT)?;
    let mut source = source.ok_or_else(|| block.fault("source", "missing", HINT))?;
    let address = match source.string("type")?.as_deref() {
        Some("base64") => {
            let kind = source.required_string("media_type", HINT)?;
            let data = source.required_string("data", HINT)?;
            format!("data:{kind};base64,{data}")
        }
        Some("url") => source.required_string("url", HINT)?,
        Some("file") => format!("ms://{}", source.required_string("file_id", HINT)?),
        _ => return Err(source.fault("type", "missing or unknown", HINT)),
    };
    Ok(Part::Media(Media {
        kind: MediaKind::Image,
        source: Some(address),
    }))
}

fn assistant(message: &mut Fields, is_last: bool) -> Read<Message> {
    let (mut text, mut reasoning) = (String::new(), None::<String>);
    let mut tool_calls = Vec::new();
    for (kind, mut block) in blocks(message)? {
        match kind.as_str() {
            "text" => text.push_str(&block.string("text")?.unwrap_or_default()),
            "thinking" => {
                let thought = block.string("thinking")?.unwrap_or_default();
                reasoning.get_or_insert_default().push_str(&thought);
            }
            // Nothing that this model could read.
            "redacted_thinking" => {}
            "tool_use" => tool_calls.push(tool_use(&mut block)?),
            other => {
                let fault = format!("{other:?} cannot stand here");
                return Err(block.fault("type", fault, BLOCK_HINT));
            }
        }
    }
    Ok(Message {
        content: Some(text)
            .filter(|text| !text.is_empty())
            .map(Content::Text),
        reasoning,
        partial: is_last && tool_calls.is_empty(),
        tool_calls,
        ..Message::new(Role::Assistant, "")
    })
}

fn tool_use(block: &mut Fields) -> Read<ToolCall> {
    const HINT: &str = "a call is {\"type\": \"tool_use\", \"id\": …, \"name\": …, \"input\": {…}}";
    let input = block.take("input");
    Ok(ToolCall {
        id: block.required_string("id", HINT)?,
        name: block.required_string("name", HINT)?,
        arguments: Arguments::Json(input.unwrap_or(JsonObject::new().into())),
    })
}

/// A tool in the OpenAI form, which the template knows.
fn tool(mut fields: Fields) -> Read<JsonValue> {
    const HINT: &str = "only tools with a name and an input_schema can be called here";
    if let Some(kind) = fields.string("type")?
        && kind != "custom"
    {
        return Err(fields.fault("type", format!("{kind:?} is run by another service"), HINT));
    }
    let mut function = JsonObject::new();
    let name = fields.required_string("name", HINT)?;
    function.insert("name".to_owned(), name.into());
    if let Some(description) = fields.string("description")? {
        function.insert("description".to_owned(), description.into());
    }
    let schema = fields.take("input_schema");
    function.insert(
        "parameters".to_owned(),
        schema.unwrap_or(JsonObject::new().into()),
    );
    let mut tool = JsonObject::new();
    tool.insert("type".to_owned(), "function".into());
    tool.insert("function".to_owned(), function.into());
    Ok(tool.into())
}

/// Which tools may be called, and whether several at once.
fn tool_choice(fields: &mut Fields) -> Read<(ToolChoice, bool)> {
    const HINT: &str = "{\"type\": \"auto\"}, any, none, or {\"type\": \"tool\", \"name\": …}";
    let Some(mut choice) = fields.object("tool_choice", HINT)? else {
        return Ok((ToolChoice::Auto, true));
    };
    let chosen = match choice.string("type")?.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Function(choice.required_string("name", HINT)?),
        _ => return Err(choice.fault("type", "missing or unknown", HINT)),
    };
    let alone = choice
        .boolean("disable_parallel_tool_use")?
        .unwrap_or(false);
    Ok((chosen, !alone))
}

fn thinking(fields: &mut Fields) -> Read<bool> {
    const HINT: &str =
        "send {\"type\": \"enabled\", \"budget_tokens\": …} or {\"type\": \"disabled\"}";
    let Some(mut thinking) = fields.object("thinking", HINT)? else {
        return Ok(false);
    };
    match thinking.string("type")?.as_deref() {
        Some("enabled" | "adaptive") => Ok(true),
        Some("disabled") => Ok(false),
        _ => Err(thinking.fault("type", "missing or unknown", HINT)),
    }
}

fn stop(fields: &mut Fields) -> Read<Vec<String>> {
    const KEY: &str = "stop_sequences";
    let stops = fields.array(KEY)?.unwrap_or_default();
    let texts = stops.into_iter().map(|stop| match stop {
        JsonValue::String(text) if !text.is_empty() => Ok(text),
        _ => Err(fields.fault(
            KEY,
            "an entry is no text, or empty",
            "send a list of strings",
        )),
    });
    let texts: Vec<String> = texts.collect::<Read<_>>()?;
    if texts.len() > 16 {
        return Err(RequestError::new(KEY, "more than 16 texts", "send fewer"));
    }
    Ok(texts)
}
