//! The OpenAI message form to typed messages.

use thiserror::Error;

use super::path::Path;
use super::{Arguments, Content, Conversation, Media, Message, Part, Role, ToolCall};
use crate::python_json::{JsonError, JsonObject, JsonValue};
use crate::segment::MediaKind;

/// How the message form is read where it leaves a choice.
///
/// The chat template takes anything: it prints a null reasoning as the word `None` and drops a part
/// that it does not know without a word. Only a comparison with the reference wants that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// For conversations that a model is to answer. A null counts as an absent key; the reasoning is
    /// `reasoning_content` or else `reasoning`; `partial` is read; what would be printed as Python's
    /// name for it, or lost, is an error.
    #[default]
    Service,
    /// Exactly as this template prints it: `None` for a null reasoning, result id or text, Python's
    /// `str` of a number, nothing for an unknown part without text. `partial` is no part of it.
    Reference(TemplateVersion),
}

/// Whose chat template. The two print the same but for `preserve_thinking`, an option of the renderer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TemplateVersion {
    /// Kimi K2.5: the reasoning is `reasoning_content`.
    #[default]
    K25,
    /// Kimi K2.6: the reasoning is `reasoning`, or `reasoning_content` where that key is absent.
    K26,
}

/// Why a conversation could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The text is not JSON.
    #[error("conversation: {0}")]
    Json(#[from] JsonError),
    /// Something else than the form asks for.
    #[error("{path}: expected {expected}, found {found}; hint: {hint}")]
    Unexpected {
        /// The place, as in `messages[3].content[1].type`.
        path: String,
        /// What the form asks for.
        expected: &'static str,
        /// What is there.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// A key without which there is nothing to render.
    #[error("{path}: missing; hint: {hint}")]
    Missing {
        /// The place.
        path: String,
        /// What to do.
        hint: &'static str,
    },
}

type Read<T> = Result<T, MessageError>;

impl Conversation {
    /// Reads JSON text, see [`Conversation::read`].
    pub fn parse(text: &str, reading: Reading) -> Read<Self> {
        Conversation::read(JsonValue::parse(text)?, reading)
    }

    /// Reads an array of messages, or an object with `messages` and, if there are any, `tools` (other
    /// keys are left alone).
    pub fn read(document: JsonValue, reading: Reading) -> Read<Self> {
        const HINT: &str = "send [{\"role\": …, \"content\": …}, …], or {\"messages\": […]}";
        let reader = Reader { reading };
        match document {
            JsonValue::Array(_) => Ok(Conversation::new(reader.messages(document)?)),
            JsonValue::Object(mut object) => {
                let messages = object
                    .swap_remove("messages")
                    .ok_or_else(|| missing(&Path::root("messages"), HINT))?;
                let tools = object.swap_remove("tools");
                Ok(Conversation {
                    messages: reader.messages(messages)?,
                    tools: reader.tools(tools)?,
                })
            }
            other => Err(unexpected(
                &Path::root("conversation"),
                "an array or an object",
                &other,
                HINT,
            )),
        }
    }
}

fn unexpected(
    path: &Path<'_>,
    expected: &'static str,
    found: &JsonValue,
    hint: &'static str,
) -> MessageError {
    MessageError::Unexpected {
        path: path.to_string(),
        expected,
        found: found.kind().to_owned(),
        hint,
    }
}

fn missing(path: &Path<'_>, hint: &'static str) -> MessageError {
    MessageError::Missing {
        path: path.to_string(),
        hint,
    }
}

struct Reader {
    reading: Reading,
}

impl Reader {
    fn is_reference(&self) -> bool {
        self.reading != Reading::Service
    }

    fn messages(&self, messages: JsonValue) -> Read<Vec<Message>> {
        let path = Path::root("messages");
        let JsonValue::Array(messages) = messages else {
            let hint = "a conversation is a list, even of one message";
            return Err(unexpected(&path, "an array", &messages, hint));
        };
        let last = messages.len().saturating_sub(1);
        messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| {
                let path = path.index(index);
                let message = self.message(message, &path)?;
                check_partial(&message, index == last, &path)?;
                Ok(message)
            })
            .collect()
    }

    fn tools(&self, tools: Option<JsonValue>) -> Read<Vec<JsonValue>> {
        const HINT: &str = "send [{\"type\": \"function\", \"function\": {\"name\": …}}, …]";
        let path = Path::root("tools");
        let tools = match tools {
            None | Some(JsonValue::Null) => Vec::new(),
            Some(JsonValue::Array(tools)) => tools,
            Some(other) => return Err(unexpected(&path, "an array", &other, HINT)),
        };
        if !self.is_reference()
            && let Some(index) = tools.iter().position(|tool| tool.as_object().is_none())
        {
            return Err(unexpected(
                &path.index(index),
                "an object",
                &tools[index],
                HINT,
            ));
        }
        Ok(tools)
    }

    fn message(&self, message: JsonValue, path: &Path<'_>) -> Read<Message> {
        let JsonValue::Object(mut message) = message else {
            let hint = "a message is {\"role\": …, \"content\": …}";
            return Err(unexpected(path, "an object", &message, hint));
        };
        let role = self.role(&mut message, path)?;
        let is_assistant = role == Role::Assistant;
        Ok(Message {
            name: self.name(&mut message, path)?,
            content: self.content(&mut message, path)?,
            reasoning: if is_assistant {
                self.reasoning(&mut message, path)?
            } else {
                None
            },
            tool_calls: if is_assistant {
                self.tool_calls(&mut message, path)?
            } else {
                Vec::new()
            },
            tool_call_id: match role {
                Role::Tool => self.printed(&mut message, "tool_call_id", path)?,
                _ => None,
            },
            partial: !self.is_reference() && is_partial(&mut message, path)?,
            role,
        })
    }

    /// A key whose value the template prints. A service knows strings, and a null as an absent key.
    fn printed(&self, object: &mut JsonObject, key: &str, path: &Path<'_>) -> Read<Option<String>> {
        match object.swap_remove(key) {
            None => Ok(None),
            Some(JsonValue::String(text)) => Ok(Some(text)),
            Some(other) if self.is_reference() => Ok(Some(other.python_str())),
            Some(JsonValue::Null) => Ok(None),
            Some(other) => {
                let hint = "write it in quotes, or leave the key out";
                Err(unexpected(&path.key(key), "a string", &other, hint))
            }
        }
    }

    fn role(&self, message: &mut JsonObject, path: &Path<'_>) -> Read<Role> {
        match self.printed(message, "role", path)? {
            Some(role) => Ok(Role::from(role)),
            None if self.is_reference() => Ok(Role::Other(String::new())),
            None => Err(missing(
                &path.key("role"),
                "one of system, user, assistant, tool",
            )),
        }
    }

    fn name(&self, message: &mut JsonObject, path: &Path<'_>) -> Read<Option<String>> {
        // `name or role`: to the template every empty value is no name.
        if self.is_reference() && message.get("name").is_some_and(|name| !name.is_truthy()) {
            return Ok(None);
        }
        Ok(self
            .printed(message, "name", path)?
            .filter(|name| !name.is_empty()))
    }

    fn reasoning(&self, message: &mut JsonObject, path: &Path<'_>) -> Read<Option<String>> {
        let keys: &[&str] = match self.reading {
            Reading::Service => &["reasoning_content", "reasoning"],
            Reading::Reference(TemplateVersion::K25) => &["reasoning_content"],
            Reading::Reference(TemplateVersion::K26) => &["reasoning", "reasoning_content"],
        };
        for key in keys {
            let reasoning = self.printed(message, key, path)?;
            if reasoning.is_some() {
                return Ok(reasoning);
            }
        }
        Ok(None)
    }

    fn content(&self, message: &mut JsonObject, path: &Path<'_>) -> Read<Option<Content>> {
        let path = path.key("content");
        match message.swap_remove("content") {
            None | Some(JsonValue::Null) => Ok(None),
            Some(JsonValue::String(text)) => Ok(Some(Content::Text(text))),
            Some(JsonValue::Array(parts)) => parts
                .into_iter()
                .enumerate()
                .map(|(index, part)| self.part(part, &path.index(index)))
                .collect::<Read<_>>()
                .map(|parts| Some(Content::Parts(parts))),
            // The template walks over an object's keys and finds no part in them.
            Some(JsonValue::Object(_)) if self.is_reference() => Ok(None),
            Some(other) => {
                let hint = "send text, or parts as in [{\"type\": \"text\", \"text\": …}]";
                Err(unexpected(
                    &path,
                    "a string, an array of parts or null",
                    &other,
                    hint,
                ))
            }
        }
    }

    fn part(&self, part: JsonValue, path: &Path<'_>) -> Read<Part> {
        let mut part = match part {
            JsonValue::Object(part) => part,
            _ if self.is_reference() => return Ok(Part::Text(String::new())),
            other => {
                let hint =
                    "a part is {\"type\": \"text\", \"text\": …} or {\"type\": \"image_url\", …}";
                return Err(unexpected(path, "an object", &other, hint));
            }
        };
        let kind = match part.get("type").and_then(JsonValue::as_str) {
            Some("image" | "image_url") => MediaKind::Image,
            Some("video" | "video_url") => MediaKind::Video,
            _ => return self.text_part(&mut part, path),
        };
        let source = self.media_source(&mut part, kind, path)?;
        Ok(Part::Media(Media { kind, source }))
    }

    fn text_part(&self, part: &mut JsonObject, path: &Path<'_>) -> Read<Part> {
        if let Some(text) = self.printed(part, "text", path)? {
            return Ok(Part::Text(text));
        }
        if self.is_reference() {
            return Ok(Part::Text(String::new()));
        }
        match part.get("type") {
            Some(JsonValue::String(kind)) if kind != "text" => Err(MessageError::Unexpected {
                path: path.key("type").to_string(),
                expected: "text, image_url or video_url",
                found: format!("{kind:?}"),
                hint: "the model sees text, pictures and films; send anything else as text",
            }),
            _ => Err(missing(
                &path.key("text"),
                "a text part is {\"type\": \"text\", \"text\": …}",
            )),
        }
    }

    /// `{"image_url": {"url": …}}`, `{"image_url": …}`, `{"image": …}`, `{"url": …}`, `{"path": …}`.
    fn media_source(
        &self,
        part: &mut JsonObject,
        kind: MediaKind,
        path: &Path<'_>,
    ) -> Read<Option<String>> {
        const HINT: &str = "give an address or a data: URI, as in {\"type\": \"image_url\", \
                            \"image_url\": {\"url\": …}}";
        let keys = match kind {
            MediaKind::Image => ["image_url", "image", "url", "path"],
            MediaKind::Video => ["video_url", "video", "url", "path"],
        };
        for key in keys {
            let source = match part.swap_remove(key) {
                None | Some(JsonValue::Null) => continue,
                Some(JsonValue::Object(mut object)) => object
                    .swap_remove("url")
                    .unwrap_or(JsonValue::Object(object)),
                Some(source) => source,
            };
            match source {
                JsonValue::String(source) => return Ok(Some(source)),
                _ if self.is_reference() => return Ok(None),
                other => {
                    return Err(unexpected(
                        &path.key(key),
                        "a string, or an object with `url`",
                        &other,
                        HINT,
                    ));
                }
            }
        }
        if self.is_reference() {
            Ok(None)
        } else {
            Err(missing(&path.key(keys[0]), HINT))
        }
    }

    fn tool_calls(&self, message: &mut JsonObject, path: &Path<'_>) -> Read<Vec<ToolCall>> {
        let path = path.key("tool_calls");
        match message.swap_remove("tool_calls") {
            None | Some(JsonValue::Null) => Ok(Vec::new()),
            Some(JsonValue::Array(calls)) => calls
                .into_iter()
                .enumerate()
                .map(|(index, call)| self.tool_call(call, &path.index(index)))
                .collect(),
            Some(falsy) if self.is_reference() && !falsy.is_truthy() => Ok(Vec::new()),
            Some(other) => Err(unexpected(&path, "an array", &other, CALL_HINT)),
        }
    }

    fn tool_call(&self, call: JsonValue, path: &Path<'_>) -> Read<ToolCall> {
        let JsonValue::Object(mut call) = call else {
            return Err(unexpected(path, "an object", &call, CALL_HINT));
        };
        let id = self.printed(&mut call, "id", path)?.unwrap_or_default();
        let path = path.key("function");
        let mut function = match call.swap_remove("function") {
            Some(JsonValue::Object(function)) => function,
            Some(other) => return Err(unexpected(&path, "an object", &other, CALL_HINT)),
            None => return Err(missing(&path, CALL_HINT)),
        };
        let name = self
            .printed(&mut function, "name", &path)?
            .unwrap_or_default();
        let arguments = match function.swap_remove("arguments") {
            Some(JsonValue::String(text)) => Arguments::Text(text),
            Some(JsonValue::Null) | None if !self.is_reference() => {
                return Err(missing(
                    &path.key("arguments"),
                    "a call without arguments has \"{}\"",
                ));
            }
            Some(value) => Arguments::Json(value),
            None => return Err(missing(&path.key("arguments"), CALL_HINT)),
        };
        Ok(ToolCall {
            id,
            name,
            arguments,
        })
    }
}

const CALL_HINT: &str = "a call is {\"id\": …, \"type\": \"function\", \"function\": {\"name\": …, \
                         \"arguments\": \"{…}\"}}";

fn is_partial(message: &mut JsonObject, path: &Path<'_>) -> Read<bool> {
    match message.swap_remove("partial") {
        None | Some(JsonValue::Null) => Ok(false),
        Some(JsonValue::Bool(partial)) => Ok(partial),
        Some(other) => {
            let hint = "true lets the model continue this message";
            Err(unexpected(&path.key("partial"), "a boolean", &other, hint))
        }
    }
}

fn check_partial(message: &Message, is_last: bool, path: &Path<'_>) -> Read<()> {
    let can_continue = is_last && message.role == Role::Assistant && message.tool_calls.is_empty();
    if !message.partial || can_continue {
        return Ok(());
    }
    Err(MessageError::Unexpected {
        path: path.key("partial").to_string(),
        expected: "false",
        found: "true".to_owned(),
        hint: "only the last message can be continued, and only an assistant's without tool calls",
    })
}
