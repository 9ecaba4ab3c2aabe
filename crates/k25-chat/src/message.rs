//! The messages of a conversation, as plain data.
//!
//! They are what the OpenAI message form says, reduced to what the chat template looks at. Pictures
//! and films stay the addresses that the client wrote; nothing here loads anything.
//!
//! Source: specification section 6.

mod path;
mod read;

use crate::python_json::JsonValue;
use crate::segment::MediaKind;

pub use read::{MessageError, Reading, TemplateVersion};

/// What is rendered into a prompt: messages, and the tools that the model may call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The messages in order.
    pub messages: Vec<Message>,
    /// The tools in the OpenAI form, `{"type": "function", "function": {…}}`, as the client wrote them.
    pub tools: Vec<JsonValue>,
}

impl Conversation {
    /// A conversation without tools.
    pub fn new(messages: Vec<Message>) -> Self {
        Conversation {
            messages,
            tools: Vec::new(),
        }
    }

    /// The pictures and films in order of appearance. The place in this order is the `index` of
    /// [`Segment::Media`](crate::Segment::Media).
    pub fn media(&self) -> impl Iterator<Item = &Media> {
        self.messages.iter().flat_map(Message::media)
    }
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions.
    System,
    /// The person, or another agent in its place.
    User,
    /// The model.
    Assistant,
    /// A tool that returns a result.
    Tool,
    /// Anyone else; rendered like a system message.
    Other(String),
}

impl Role {
    /// The role's name on the wire, which the template prints where a message has no name.
    pub fn as_str(&self) -> &str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Other(name) => name,
        }
    }
}

impl From<String> for Role {
    fn from(name: String) -> Self {
        match name.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => Role::Other(name),
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Printed in place of the role's name; an empty one counts as none.
    pub name: Option<String>,
    /// What is said.
    pub content: Option<Content>,
    /// The assistant's reasoning before `content`.
    pub reasoning: Option<String>,
    /// The calls an assistant makes after `content`.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's result answers.
    pub tool_call_id: Option<String>,
    /// The model is to continue this message instead of beginning one ("partial mode"). Only the last
    /// message can be partial, and only an assistant's without tool calls.
    pub partial: bool,
}

impl Message {
    /// A message with text and nothing else.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Message {
            role,
            name: None,
            content: Some(Content::Text(text.into())),
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            partial: false,
        }
    }

    /// A system message.
    pub fn system(text: impl Into<String>) -> Self {
        Message::new(Role::System, text)
    }

    /// A user's message.
    pub fn user(text: impl Into<String>) -> Self {
        Message::new(Role::User, text)
    }

    /// An assistant's message.
    pub fn assistant(text: impl Into<String>) -> Self {
        Message::new(Role::Assistant, text)
    }

    /// The result of the tool call with this id.
    pub fn tool_result(tool_call_id: impl Into<String>, text: impl Into<String>) -> Self {
        let tool_call_id = Some(tool_call_id.into());
        Message {
            tool_call_id,
            ..Message::new(Role::Tool, text)
        }
    }

    /// The pictures and films of this message in order of appearance.
    pub fn media(&self) -> impl Iterator<Item = &Media> {
        let parts = match &self.content {
            Some(Content::Parts(parts)) => parts.as_slice(),
            _ => &[],
        };
        parts.iter().filter_map(|part| match part {
            Part::Media(media) => Some(media),
            Part::Text(_) => None,
        })
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text alone.
    Text(String),
    /// Text, pictures and films, one after the other.
    Parts(Vec<Part>),
}

/// A piece of a message's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture or a film.
    Media(Media),
}

/// A picture or a film, not yet loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Picture or film.
    pub kind: MediaKind,
    /// Where it lies, as the client wrote it: a `data:` URI, an address, a path or a file's id. `None`
    /// if the client wrote nothing that can be loaded.
    pub source: Option<String>,
}

/// A tool call in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The id that the template prints and a result refers to; the model's own ids are
    /// `functions.NAME:IDX`, see [`rewrite_tool_call_ids`](crate::rewrite_tool_call_ids).
    pub id: String,
    /// The function's name. The template does not print it.
    pub name: String,
    /// The arguments.
    pub arguments: Arguments,
}

/// The arguments of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub enum Arguments {
    /// Text, usually JSON: printed verbatim.
    Text(String),
    /// A value: printed as Python's `json.dumps` prints it.
    Json(JsonValue),
}
