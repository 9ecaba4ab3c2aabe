//! Answers as Messages objects and events.

use crate::client::{ChatEvent, ChatUsage, ReplyEnd};
use crate::python_json::{JsonObject, JsonValue};
use crate::stream_parser::ParserEvent;

/// What stands where Anthropic's service signs its reasoning. Nothing is signed here, but clients send
/// back only blocks that have something.
const SIGNATURE: &str = "k25";

/// What the objects of an answer repeat.
#[derive(Debug, Clone)]
pub struct MessageHead {
    /// `msg_…`
    pub id: String,
    /// The model's name, as the client asked for it.
    pub model: String,
    /// The stop texts of the request.
    pub stops: Vec<String>,
}

/// A block of an answer.
#[derive(Debug, Clone, PartialEq)]
enum Block {
    Thinking(String),
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: String,
    },
}

/// Puts a whole answer together.
#[derive(Debug, Clone)]
pub struct MessageBuilder {
    head: MessageHead,
    blocks: Vec<Block>,
    end: Option<ReplyEnd>,
}

impl MessageBuilder {
    /// Begins an answer.
    pub fn new(head: MessageHead) -> Self {
        MessageBuilder {
            head,
            blocks: Vec::new(),
            end: None,
        }
    }

    /// Adds one event.
    pub fn add(&mut self, event: &ChatEvent) {
        let output = match event {
            ChatEvent::Output(output) => output,
            ChatEvent::Begun { .. } | ChatEvent::Tokens(_) => return,
            ChatEvent::Finished { reason, .. } => {
                self.end = Some(*reason);
                return;
            }
        };
        match (output, self.blocks.last_mut()) {
            (ParserEvent::ReasoningDelta(delta), Some(Block::Thinking(text)))
            | (ParserEvent::ContentDelta(delta), Some(Block::Text(text)))
            | (
                ParserEvent::ToolCallArgumentsDelta { delta, .. },
                Some(Block::ToolUse { input: text, .. }),
            ) => text.push_str(delta),
            (ParserEvent::ReasoningDelta(delta), _) => {
                self.blocks.push(Block::Thinking(delta.clone()));
            }
            (ParserEvent::ContentDelta(delta), _) => self.blocks.push(Block::Text(delta.clone())),
            (ParserEvent::ToolCallBegin { id, name, .. }, _) => self.blocks.push(Block::ToolUse {
                id: id.clone(),
                name: name.clone(),
                input: String::new(),
            }),
            // Arguments follow their call's beginning.
            (ParserEvent::ToolCallArgumentsDelta { .. } | ParserEvent::ToolCallEnd { .. }, _) => {}
        }
    }

    /// The `message` object.
    pub fn write(self, usage: ChatUsage) -> String {
        let blocks = self.blocks.into_iter().map(Block::into_value).collect();
        message(&self.head, blocks, self.end, usage).to_compact_json()
    }
}

impl Block {
    fn into_value(self) -> JsonValue {
        match self {
            Block::Thinking(text) => object([
                ("type", "thinking".into()),
                ("thinking", text.into()),
                ("signature", SIGNATURE.into()),
            ]),
            Block::Text(text) => object([("type", "text".into()), ("text", text.into())]),
            Block::ToolUse { id, name, input } => object([
                ("type", "tool_use".into()),
                ("id", id.into()),
                ("name", name.into()),
                ("input", input_value(&input)),
            ]),
        }
    }
}

/// The arguments as an object. What is none is kept under a key that tells so.
fn input_value(text: &str) -> JsonValue {
    // Python's JSON has numbers that others cannot read.
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    match JsonValue::parse(text) {
        Ok(JsonValue::Object(object)) if is_json => JsonValue::Object(object),
        _ if text.is_empty() => JsonObject::new().into(),
        _ => object([("raw_arguments", text.into())]),
    }
}

/// Writes the events of a stream, each as `event:` and `data:` lines.
#[derive(Debug, Clone)]
pub struct BlockWriter {
    head: MessageHead,
    begun: bool,
    /// The block that is open: its number and what it holds.
    open: Option<(i64, Kind)>,
    next: i64,
    end: Option<ReplyEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
    ToolUse,
}

impl BlockWriter {
    /// Begins an answer.
    pub fn new(head: MessageHead) -> Self {
        BlockWriter {
            head,
            begun: false,
            open: None,
            next: 0,
            end: None,
        }
    }

    /// Appends what an event means.
    pub fn write(&mut self, event: &ChatEvent, out: &mut String) {
        if let ChatEvent::Begun { prompt_tokens } = event {
            self.begin(*prompt_tokens, out);
        }
        self.begin(0, out);
        match event {
            ChatEvent::Begun { .. } | ChatEvent::Tokens(_) => {}
            ChatEvent::Finished { reason, .. } => self.end = Some(*reason),
            ChatEvent::Output(output) => self.output(output, out),
        }
    }

    /// Appends the end of the message.
    pub fn finish(&mut self, usage: ChatUsage, out: &mut String) {
        self.begin(0, out);
        self.close(out);
        let [reason, sequence] = stop(&self.head, self.end);
        let delta = object([("stop_reason", reason), ("stop_sequence", sequence)]);
        event(
            "message_delta",
            [("delta", delta), ("usage", usage_value(usage))],
            out,
        );
        event("message_stop", [], out);
    }

    /// What the prompt costs is told here if it is known by then, and in any case at the end.
    fn begin(&mut self, prompt_tokens: u64, out: &mut String) {
        if !self.begun {
            self.begun = true;
            let usage = ChatUsage {
                prompt_tokens,
                ..ChatUsage::default()
            };
            let start = message(&self.head, Vec::new(), None, usage);
            event("message_start", [("message", start)], out);
        }
    }

    fn output(&mut self, output: &ParserEvent, out: &mut String) {
        match output {
            ParserEvent::ReasoningDelta(text) => {
                let block = || Block::Thinking(String::new()).into_value();
                self.open(Kind::Thinking, block, out);
                self.delta("thinking_delta", "thinking", text, out);
            }
            ParserEvent::ContentDelta(text) => {
                self.open(Kind::Text, || Block::Text(String::new()).into_value(), out);
                self.delta("text_delta", "text", text, out);
            }
            ParserEvent::ToolCallBegin { id, name, .. } => {
                self.close(out);
                let (id, name) = (id.clone(), name.clone());
                let input = String::new();
                let block = || Block::ToolUse { id, name, input }.into_value();
                self.open(Kind::ToolUse, block, out);
            }
            ParserEvent::ToolCallArgumentsDelta { delta, .. } => {
                self.delta("input_json_delta", "partial_json", delta, out);
            }
            ParserEvent::ToolCallEnd { .. } => self.close(out),
        }
    }

    fn open(&mut self, kind: Kind, block: impl FnOnce() -> JsonValue, out: &mut String) {
        if self.open.is_some_and(|(_, open)| open == kind) {
            return;
        }
        self.close(out);
        let index = self.next;
        self.next += 1;
        self.open = Some((index, kind));
        let mut block = block();
        if let (Kind::Thinking, JsonValue::Object(fields)) = (kind, &mut block) {
            // The signature comes at the block's end.
            fields.insert("signature".to_owned(), "".into());
        }
        event(
            "content_block_start",
            [("index", index.into()), ("content_block", block)],
            out,
        );
    }

    fn delta(&self, kind: &str, key: &str, text: &str, out: &mut String) {
        if let Some((index, _)) = self.open {
            let delta = object([("type", kind.into()), (key, text.into())]);
            event(
                "content_block_delta",
                [("index", index.into()), ("delta", delta)],
                out,
            );
        }
    }

    fn close(&mut self, out: &mut String) {
        if let Some((_, Kind::Thinking)) = self.open {
            self.delta("signature_delta", "signature", SIGNATURE, out);
        }
        if let Some((index, _)) = self.open.take() {
            event("content_block_stop", [("index", index.into())], out);
        }
    }
}

fn message(
    head: &MessageHead,
    content: Vec<JsonValue>,
    end: Option<ReplyEnd>,
    usage: ChatUsage,
) -> JsonValue {
    let [reason, sequence] = stop(head, end);
    object([
        ("id", head.id.as_str().into()),
        ("type", "message".into()),
        ("role", "assistant".into()),
        ("model", head.model.as_str().into()),
        ("content", content.into()),
        ("stop_reason", reason),
        ("stop_sequence", sequence),
        ("usage", usage_value(usage)),
    ])
}

/// Here the prompt is told in two parts: what was cached, and the rest.
fn usage_value(usage: ChatUsage) -> JsonValue {
    let count = |tokens: u64| JsonValue::Integer(tokens.into());
    let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    object([
        ("input_tokens", count(fresh)),
        ("cache_creation_input_tokens", count(0)),
        ("cache_read_input_tokens", count(usage.cached_tokens)),
        ("output_tokens", count(usage.completion_tokens)),
    ])
}

/// Why an answer ended, and the stop text if it was one.
fn stop(head: &MessageHead, end: Option<ReplyEnd>) -> [JsonValue; 2] {
    let Some(end) = end else {
        return [JsonValue::Null, JsonValue::Null];
    };
    let text = end.stop_text(&head.stops);
    [
        stop_reason(end).into(),
        text.map_or(JsonValue::Null, JsonValue::from),
    ]
}

fn stop_reason(end: ReplyEnd) -> &'static str {
    match end {
        ReplyEnd::Stop => "end_turn",
        ReplyEnd::StopText(_) => "stop_sequence",
        ReplyEnd::ToolCalls => "tool_use",
        ReplyEnd::Length => "max_tokens",
        ReplyEnd::ContentFilter => "refusal",
    }
}

fn event<const N: usize>(kind: &str, entries: [(&str, JsonValue); N], out: &mut String) {
    let mut body = JsonObject::new();
    body.insert("type".to_owned(), kind.into());
    body.extend(entries.map(|(key, value)| (key.to_owned(), value)));
    out.push_str("event: ");
    out.push_str(kind);
    out.push_str("\ndata: ");
    out.push_str(&JsonValue::from(body).to_compact_json());
    out.push_str("\n\n");
}

fn object<const N: usize>(entries: [(&str, JsonValue); N]) -> JsonValue {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    JsonObject::from(entries).into()
}
