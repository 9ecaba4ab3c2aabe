//! Answers as Responses objects and events.

use crate::client::{ChatEvent, ChatUsage, ReplyEnd, TokenLogprob, TokenLogprobs};
use crate::python_json::{JsonObject, JsonValue};
use crate::stream_parser::ParserEvent;

/// What the objects of an answer repeat.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// `resp_…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name, as the client asked for it.
    pub model: String,
    /// What of the request is repeated.
    pub repeated: JsonObject,
}

/// A part of an answer.
#[derive(Debug, Clone)]
struct Item {
    kind: Kind,
    /// The reasoning, the text, or the arguments of the call.
    text: String,
    tokens: Vec<TokenLogprobs>,
    is_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Message,
    Call { id: String, name: String },
}

/// Puts an answer together from its events, and writes the events of a stream, each as `event:` and `data:`
/// lines. Without a stream, what it appends is thrown away.
#[derive(Debug, Clone)]
pub struct ResponseWriter {
    head: ResponseHead,
    items: Vec<Item>,
    /// Number of the next event; 0 before the first.
    sequence: i64,
    end: Option<ReplyEnd>,
}

impl ResponseWriter {
    /// Begins an answer.
    pub fn new(head: ResponseHead) -> Self {
        ResponseWriter {
            head,
            items: Vec::new(),
            sequence: 0,
            end: None,
        }
    }

    /// Takes an event, and appends what it means.
    pub fn write(&mut self, event: &ChatEvent, out: &mut String) {
        self.begin(out);
        match event {
            ChatEvent::Begun { .. } => {}
            ChatEvent::Tokens(tokens) => self.tokens(tokens),
            ChatEvent::Finished { reason, .. } => self.end = Some(*reason),
            ChatEvent::Output(output) => self.output(output, out),
        }
    }

    /// The answer is complete: appends the last events.
    pub fn finish(&mut self, usage: ChatUsage, out: &mut String) {
        self.begin(out);
        self.close(out);
        let kind = match self.incomplete_reason() {
            None => "response.completed",
            Some(_) => "response.incomplete",
        };
        let response = self.object(Some(usage));
        self.event(kind, [("response", response)], out);
    }

    /// The answer broke off.
    pub fn fail(&mut self, message: &str, out: &mut String) {
        self.begin(out);
        let mut response = self.body("failed", None);
        let code = ("code", "server_error".into());
        response.insert(
            "error".to_owned(),
            object([code, ("message", message.into())]),
        );
        self.event("response.failed", [("response", response.into())], out);
    }

    /// The `response` object of a complete answer.
    pub fn whole(&mut self, usage: ChatUsage) -> String {
        self.close(&mut String::new());
        self.object(Some(usage)).to_compact_json()
    }

    fn begin(&mut self, out: &mut String) {
        if self.sequence == 0 {
            for kind in ["response.created", "response.in_progress"] {
                let response = self.body("in_progress", None).into();
                self.event(kind, [("response", response)], out);
            }
        }
    }

    fn output(&mut self, output: &ParserEvent, out: &mut String) {
        match output {
            ParserEvent::ReasoningDelta(text) => {
                self.open(Kind::Reasoning, out);
                self.delta(text, out);
            }
            ParserEvent::ContentDelta(text) => {
                self.open(Kind::Message, out);
                self.delta(text, out);
            }
            ParserEvent::ToolCallBegin { id, name, .. } => {
                self.close(out);
                let (id, name) = (id.clone(), name.clone());
                self.open(Kind::Call { id, name }, out);
            }
            ParserEvent::ToolCallArgumentsDelta { delta, .. } => self.delta(delta, out),
            ParserEvent::ToolCallEnd { .. } => self.close(out),
        }
    }

    /// Tokens belong to the text that is being said.
    fn tokens(&mut self, tokens: &[TokenLogprobs]) {
        if let Some(item) = self.items.last_mut()
            && item.kind == Kind::Message
        {
            item.tokens.extend(tokens.iter().cloned());
        }
    }

    /// Begins an item unless one of this kind is open.
    fn open(&mut self, kind: Kind, out: &mut String) {
        let is_open = |item: &Item| !item.is_over && item.kind == kind;
        if self.items.last().is_some_and(is_open) {
            return;
        }
        self.close(out);
        self.items.push(Item {
            kind,
            text: String::new(),
            tokens: Vec::new(),
            is_over: false,
        });
        let index = self.items.len() - 1;
        let item = self.item(index, "in_progress");
        let entries = [("output_index", number(index)), ("item", item)];
        self.event("response.output_item.added", entries, out);
        if let Some(part) = self.items[index].part() {
            self.of_part("response.content_part.added", index, [("part", part)], out);
        }
    }

    fn delta(&mut self, text: &str, out: &mut String) {
        let Some(item) = self.items.last_mut() else {
            return;
        };
        item.text.push_str(text);
        let index = self.items.len() - 1;
        let delta = ("delta", text.into());
        match self.items[index].kind {
            Kind::Reasoning => self.of_part("response.reasoning_text.delta", index, [delta], out),
            Kind::Message => {
                let logprobs = ("logprobs", JsonValue::Array(Vec::new()));
                self.of_part("response.output_text.delta", index, [delta, logprobs], out);
            }
            Kind::Call { .. } => {
                self.of_item(
                    "response.function_call_arguments.delta",
                    index,
                    [delta],
                    out,
                );
            }
        }
    }

    /// Ends the item that is open.
    fn close(&mut self, out: &mut String) {
        let Some(item) = self.items.last_mut().filter(|item| !item.is_over) else {
            return;
        };
        item.is_over = true;
        let index = self.items.len() - 1;
        let item = self.items[index].clone();
        let text = || item.text.as_str().into();
        match &item.kind {
            Kind::Reasoning => {
                let entries = [("text", text())];
                self.of_part("response.reasoning_text.done", index, entries, out);
            }
            Kind::Message => {
                let entries = [("text", text()), ("logprobs", logprobs(&item.tokens))];
                self.of_part("response.output_text.done", index, entries, out);
            }
            Kind::Call { name, .. } => {
                let entries = [("name", name.as_str().into()), ("arguments", text())];
                self.of_item("response.function_call_arguments.done", index, entries, out);
            }
        }
        if let Some(part) = item.part() {
            self.of_part("response.content_part.done", index, [("part", part)], out);
        }
        let whole = self.item(index, "completed");
        let entries = [("output_index", number(index)), ("item", whole)];
        self.event("response.output_item.done", entries, out);
    }

    fn of_part<const N: usize>(
        &mut self,
        kind: &str,
        index: usize,
        entries: [(&str, JsonValue); N],
        out: &mut String,
    ) {
        let place = [("content_index", number(0))];
        self.of_item(kind, index, place.into_iter().chain(entries), out);
    }

    fn of_item<'k>(
        &mut self,
        kind: &str,
        index: usize,
        entries: impl IntoIterator<Item = (&'k str, JsonValue)>,
        out: &mut String,
    ) {
        let id = self.item_id(index);
        let place = [("item_id", id.into()), ("output_index", number(index))];
        self.event(kind, place.into_iter().chain(entries), out);
    }

    fn event<'k>(
        &mut self,
        kind: &str,
        entries: impl IntoIterator<Item = (&'k str, JsonValue)>,
        out: &mut String,
    ) {
        let mut body = JsonObject::new();
        body.insert("type".to_owned(), kind.into());
        body.insert("sequence_number".to_owned(), self.sequence.into());
        let entries = entries.into_iter();
        body.extend(entries.map(|(key, value)| (key.to_owned(), value)));
        self.sequence += 1;
        out.push_str("event: ");
        out.push_str(kind);
        out.push_str("\ndata: ");
        out.push_str(&JsonValue::from(body).to_compact_json());
        out.push_str("\n\n");
    }

    fn item_id(&self, index: usize) -> String {
        let prefix = match self.items[index].kind {
            Kind::Reasoning => "rs",
            Kind::Message => "msg",
            Kind::Call { .. } => "fc",
        };
        let id = self.head.id.strip_prefix("resp_").unwrap_or(&self.head.id);
        format!("{prefix}_{id}_{index}")
    }

    fn item(&self, index: usize, status: &str) -> JsonValue {
        let item = &self.items[index];
        // What has begun is told by the deltas that follow.
        let is_told = status != "in_progress";
        let id = ("id", self.item_id(index).into());
        let status = ("status", status.into());
        let content = || {
            let parts = item.part().filter(|_| is_told);
            ("content", JsonValue::Array(parts.into_iter().collect()))
        };
        match &item.kind {
            Kind::Reasoning => object([
                id,
                ("type", "reasoning".into()),
                ("summary", JsonValue::Array(Vec::new())),
                content(),
                status,
            ]),
            Kind::Message => object([
                id,
                ("type", "message".into()),
                status,
                ("role", "assistant".into()),
                content(),
            ]),
            Kind::Call { id: call, name } => object([
                id,
                ("type", "function_call".into()),
                status,
                ("arguments", item.text.as_str().into()),
                ("call_id", call.as_str().into()),
                ("name", name.as_str().into()),
            ]),
        }
    }

    fn incomplete_reason(&self) -> Option<&'static str> {
        match self.end {
            Some(ReplyEnd::Length) => Some("max_output_tokens"),
            Some(ReplyEnd::ContentFilter) => Some("content_filter"),
            _ => None,
        }
    }

    fn object(&self, usage: Option<ChatUsage>) -> JsonValue {
        let status = match self.incomplete_reason() {
            None => "completed",
            Some(_) => "incomplete",
        };
        self.body(status, usage).into()
    }

    fn body(&self, status: &str, usage: Option<ChatUsage>) -> JsonObject {
        let reason = self.incomplete_reason();
        let incomplete = reason.map(|reason| object([("reason", reason.into())]));
        let output = (0..self.items.len()).map(|index| {
            let status = if self.items[index].is_over {
                "completed"
            } else {
                "incomplete"
            };
            self.item(index, status)
        });
        let output = output.collect();
        let mut body = JsonObject::new();
        let mut put = |key: &str, value: JsonValue| {
            body.insert(key.to_owned(), value);
        };
        put("id", self.head.id.as_str().into());
        put("object", "response".into());
        put("created_at", JsonValue::Integer(self.head.created.into()));
        put("status", status.into());
        put("error", JsonValue::Null);
        put("incomplete_details", incomplete.unwrap_or(JsonValue::Null));
        put("model", self.head.model.as_str().into());
        put("output", JsonValue::Array(output));
        put("previous_response_id", JsonValue::Null);
        put("store", false.into());
        put("truncation", "disabled".into());
        for (key, default) in defaults() {
            put(key, self.head.repeated.get(key).cloned().unwrap_or(default));
        }
        put("usage", usage.map_or(JsonValue::Null, usage_value));
        body
    }
}

/// What the object says where the request said nothing.
fn defaults() -> [(&'static str, JsonValue); 12] {
    [
        ("instructions", JsonValue::Null),
        ("max_output_tokens", JsonValue::Null),
        ("metadata", JsonObject::new().into()),
        ("parallel_tool_calls", true.into()),
        (
            "reasoning",
            object([("effort", JsonValue::Null), ("summary", JsonValue::Null)]),
        ),
        ("temperature", JsonValue::Null),
        (
            "text",
            object([("format", object([("type", "text".into())]))]),
        ),
        ("tool_choice", "auto".into()),
        ("tools", JsonValue::Array(Vec::new())),
        ("top_logprobs", 0.into()),
        ("top_p", JsonValue::Null),
        ("user", JsonValue::Null),
    ]
}

impl Item {
    /// The one part of reasoning or text, as far as it was said; calls have none.
    fn part(&self) -> Option<JsonValue> {
        let text = || ("text", self.text.as_str().into());
        match self.kind {
            Kind::Reasoning => Some(object([("type", "reasoning_text".into()), text()])),
            Kind::Message => Some(object([
                ("type", "output_text".into()),
                text(),
                ("annotations", JsonValue::Array(Vec::new())),
                ("logprobs", logprobs(&self.tokens)),
            ])),
            Kind::Call { .. } => None,
        }
    }
}

fn logprobs(tokens: &[TokenLogprobs]) -> JsonValue {
    let tokens = tokens.iter().map(|token| {
        let mut body = logprob(&token.chosen);
        let top = token.top.iter().map(|other| logprob(other).into());
        body.insert("top_logprobs".to_owned(), JsonValue::Array(top.collect()));
        body.into()
    });
    JsonValue::Array(tokens.collect())
}

fn logprob(token: &TokenLogprob) -> JsonObject {
    let text = String::from_utf8_lossy(&token.bytes).into_owned();
    let bytes = token.bytes.iter().map(|&byte| i64::from(byte).into());
    // JSON has no infinity; no probability at all is told as OpenAI tells it.
    let value = f64::from(token.logprob.max(-9999.0));
    let entries = [
        ("token", text.into()),
        ("logprob", value.into()),
        ("bytes", JsonValue::Array(bytes.collect())),
    ];
    JsonObject::from(entries.map(|(key, value): (&str, JsonValue)| (key.to_owned(), value)))
}

fn usage_value(usage: ChatUsage) -> JsonValue {
    let count = |tokens: u64| JsonValue::Integer(tokens.into());
    object([
        ("input_tokens", count(usage.prompt_tokens)),
        (
            "input_tokens_details",
            object([
                ("cached_tokens", count(usage.cached_tokens)),
                ("cache_write_tokens", count(0)),
            ]),
        ),
        ("output_tokens", count(usage.completion_tokens)),
        (
            "output_tokens_details",
            object([("reasoning_tokens", count(usage.reasoning_tokens))]),
        ),
        (
            "total_tokens",
            count(usage.prompt_tokens + usage.completion_tokens),
        ),
    ])
}

fn number(index: usize) -> JsonValue {
    JsonValue::Integer((index as u64).into())
}

fn object<const N: usize>(entries: [(&str, JsonValue); N]) -> JsonValue {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    JsonObject::from(entries).into()
}
