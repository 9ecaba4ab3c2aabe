//! The chat template: a conversation to the segments of a prompt.
//!
//! A message is `MARK name <|im_middle|> body <|im_end|>` with nothing in between. Markers are special
//! tokens that are placed here; names, texts, ids, arguments and tool declarations come from outside
//! and stay text whatever they contain, so the markers of a prompt depend on the shape of the
//! conversation alone.
//!
//! Source: specification section 6 (K2.5 of 2026-01-29; K2.6 adds `preserve_thinking`).

mod media;
mod options;

use crate::message::{Arguments, Content, Conversation, Message, Part, Role, ToolCall};
use crate::segment::Segment;
use crate::special::SpecialToken;
use crate::tool_declaration::declare_tools;

pub use media::{fill_media, image_prompt, video_chunk_prompt};
pub use options::{KwargsError, RenderOptions};

/// A rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The pieces in order; neighbouring text is one piece.
    pub segments: Vec<Segment>,
    /// The prompt ends inside of `<think>`, so the model's output begins with reasoning.
    pub ends_in_reasoning: bool,
}

/// Renders a conversation as the model's chat template does.
///
/// The last message, if it is an assistant's, has no tool calls and is marked `partial`, is left open
/// for the model to continue (where `options.add_generation_prompt` is set).
pub fn render(conversation: &Conversation, options: &RenderOptions) -> Prompt {
    let (messages, partial) = split_partial(conversation, options);
    let mut renderer = Renderer {
        segments: Vec::new(),
        media_seen: 0,
        options,
    };
    renderer.tools(conversation);
    let history = history_len(messages, options);
    for (index, message) in messages.iter().enumerate() {
        renderer.message(message, index < history);
    }
    let ends_in_reasoning = match partial {
        Some(message) => renderer.partial_message(message),
        None => {
            options.add_generation_prompt && renderer.generation_prompt(Role::Assistant.as_str())
        }
    };
    Prompt {
        segments: renderer.segments,
        ends_in_reasoning,
    }
}

/// The complete messages, and the one that the model is to continue.
fn split_partial<'a>(
    conversation: &'a Conversation,
    options: &RenderOptions,
) -> (&'a [Message], Option<&'a Message>) {
    match conversation.messages.split_last() {
        Some((last, before))
            if options.add_generation_prompt && last.partial && is_plain_answer(last) =>
        {
            (before, Some(last))
        }
        _ => (&conversation.messages, None),
    }
}

fn is_plain_answer(message: &Message) -> bool {
    message.role == Role::Assistant && message.tool_calls.is_empty()
}

/// Number of messages whose reasoning is dropped: all up to the last plain answer. What follows is the
/// turn in progress, whose reasoning stays through its rounds of tool calls.
fn history_len(messages: &[Message], options: &RenderOptions) -> usize {
    if options.preserve_thinking {
        return 0;
    }
    messages
        .iter()
        .rposition(is_plain_answer)
        .map_or(0, |last| last + 1)
}

struct Renderer<'a> {
    segments: Vec<Segment>,
    /// Number of pictures and films so far.
    media_seen: usize,
    options: &'a RenderOptions,
}

impl Renderer<'_> {
    fn special(&mut self, token: SpecialToken) {
        self.segments.push(Segment::Special(token));
    }

    fn text(&mut self, text: &str) {
        media::push_text(&mut self.segments, text);
    }

    fn open_message(&mut self, mark: SpecialToken, name: &str) {
        self.special(mark);
        self.text(name);
        self.special(SpecialToken::ImMiddle);
    }

    fn tools(&mut self, conversation: &Conversation) {
        if conversation.tools.is_empty() {
            return;
        }
        self.open_message(SpecialToken::ImSystem, "tool_declare");
        self.text(&declare_tools(&conversation.tools).text);
        self.special(SpecialToken::ImEnd);
    }

    fn message(&mut self, message: &Message, is_history: bool) {
        self.open_message(mark(&message.role), printed_name(message));
        match message.role {
            Role::Assistant => self.assistant_body(message, is_history),
            Role::Tool => {
                self.text("## Return of ");
                self.text(message.tool_call_id.as_deref().unwrap_or_default());
                self.text("\n");
                self.content(message);
            }
            _ => self.content(message),
        }
        self.special(SpecialToken::ImEnd);
    }

    fn assistant_body(&mut self, message: &Message, is_history: bool) {
        self.special(SpecialToken::Think);
        if !is_history && self.keeps_reasoning() {
            self.text(message.reasoning.as_deref().unwrap_or_default());
        }
        self.special(SpecialToken::ThinkEnd);
        self.content(message);
        if !message.tool_calls.is_empty() {
            self.tool_calls(&message.tool_calls);
        }
    }

    fn keeps_reasoning(&self) -> bool {
        self.options.thinking || self.options.preserve_thinking
    }

    fn content(&mut self, message: &Message) {
        match &message.content {
            None => {}
            Some(Content::Text(text)) => self.text(text),
            Some(Content::Parts(parts)) => parts.iter().for_each(|part| self.part(part)),
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.text(text),
            Part::Media(medium) => {
                let index = self.media_seen;
                self.media_seen += 1;
                self.segments.push(Segment::Media {
                    kind: medium.kind,
                    index,
                });
                // The template's own line break after every medium, the last one too.
                self.text("\n");
            }
        }
    }

    fn tool_calls(&mut self, calls: &[ToolCall]) {
        self.special(SpecialToken::ToolCallsSectionBegin);
        for call in calls {
            self.special(SpecialToken::ToolCallBegin);
            self.text(&call.id);
            self.special(SpecialToken::ToolCallArgumentBegin);
            match &call.arguments {
                Arguments::Text(text) => self.text(text),
                Arguments::Json(value) => self.text(&value.to_json()),
            }
            self.special(SpecialToken::ToolCallEnd);
        }
        self.special(SpecialToken::ToolCallsSectionEnd);
    }

    /// Returns whether the prompt ends inside of the reasoning.
    fn generation_prompt(&mut self, name: &str) -> bool {
        self.open_message(SpecialToken::ImAssistant, name);
        self.special(SpecialToken::Think);
        if !self.options.thinking {
            self.special(SpecialToken::ThinkEnd);
        }
        self.options.thinking
    }

    /// The open beginning of an answer. Without any text it is the generation prompt; with reasoning
    /// alone the reasoning goes on; otherwise the text does. Returns whether the reasoning is open.
    fn partial_message(&mut self, message: &Message) -> bool {
        let reasoning = message
            .reasoning
            .as_deref()
            .filter(|_| self.options.thinking);
        let reasoning = reasoning.unwrap_or_default();
        if is_empty(&message.content) {
            let is_open = self.generation_prompt(printed_name(message));
            self.text(reasoning);
            return is_open;
        }
        self.open_message(SpecialToken::ImAssistant, printed_name(message));
        self.special(SpecialToken::Think);
        self.text(reasoning);
        self.special(SpecialToken::ThinkEnd);
        self.content(message);
        false
    }
}

fn mark(role: &Role) -> SpecialToken {
    match role {
        Role::User => SpecialToken::ImUser,
        Role::Assistant => SpecialToken::ImAssistant,
        Role::System | Role::Tool | Role::Other(_) => SpecialToken::ImSystem,
    }
}

fn printed_name(message: &Message) -> &str {
    match message.name.as_deref() {
        Some(name) if !name.is_empty() => name,
        _ => message.role.as_str(),
    }
}

fn is_empty(content: &Option<Content>) -> bool {
    match content {
        None => true,
        Some(Content::Text(text)) => text.is_empty(),
        Some(Content::Parts(parts)) => parts
            .iter()
            .all(|part| matches!(part, Part::Text(text) if text.is_empty())),
    }
}
