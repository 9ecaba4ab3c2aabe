//! What the parser says, and the message that it adds up to.

/// A step of the output. Joined in order, the deltas are the message; how they are cut depends on
/// how the text arrived, and nothing else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParserEvent {
    /// More reasoning.
    ReasoningDelta(String),
    /// More of the answer.
    ContentDelta(String),
    /// A call begins; its arguments follow.
    ToolCallBegin {
        /// Number of the call in this message, from 0.
        index: usize,
        /// The id as the model wrote it, without blanks around it.
        id: String,
        /// The function's name as read from the id.
        name: String,
    },
    /// More of the arguments of the call that began last, verbatim, without blanks at either end.
    ToolCallArgumentsDelta {
        /// Number of the call in this message.
        index: usize,
        /// The text. Need not be valid JSON.
        delta: String,
    },
    /// The call that began last is complete.
    ToolCallEnd {
        /// Number of the call in this message.
        index: usize,
    },
}

/// A tool call as the model wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedToolCall {
    /// The id, verbatim: usually `functions.NAME:INDEX`.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// The arguments, verbatim; usually but not necessarily JSON.
    pub arguments: String,
}

/// A whole output, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedMessage {
    /// What the model thought; `None` if nothing.
    pub reasoning: Option<String>,
    /// What it answered; `None` if nothing.
    pub content: Option<String>,
    /// The calls it made, in order.
    pub tool_calls: Vec<ParsedToolCall>,
}

impl ParsedMessage {
    /// Whether the reason for the end of the output is `tool_calls`.
    pub fn has_tool_calls(&self) -> bool {
        !self.tool_calls.is_empty()
    }

    /// Adds one event.
    pub fn add(&mut self, event: &ParserEvent) {
        match event {
            ParserEvent::ReasoningDelta(delta) => {
                self.reasoning.get_or_insert_default().push_str(delta);
            }
            ParserEvent::ContentDelta(delta) => {
                self.content.get_or_insert_default().push_str(delta);
            }
            ParserEvent::ToolCallBegin { id, name, .. } => self.tool_calls.push(ParsedToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
            }),
            ParserEvent::ToolCallArgumentsDelta { delta, .. } => {
                if let Some(call) = self.tool_calls.last_mut() {
                    call.arguments.push_str(delta);
                }
            }
            ParserEvent::ToolCallEnd { .. } => {}
        }
    }
}

impl<'e> Extend<&'e ParserEvent> for ParsedMessage {
    fn extend<I: IntoIterator<Item = &'e ParserEvent>>(&mut self, events: I) {
        events.into_iter().for_each(|event| self.add(event));
    }
}

/// Events under construction: neighbouring deltas of one kind become one.
#[derive(Debug, Default)]
pub(super) struct Events(Vec<ParserEvent>);

impl Events {
    pub(super) fn reasoning(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(ParserEvent::ReasoningDelta(delta)) => delta.push_str(text),
            _ => self.0.push(ParserEvent::ReasoningDelta(text.to_owned())),
        }
    }

    pub(super) fn content(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(ParserEvent::ContentDelta(delta)) => delta.push_str(text),
            _ => self.0.push(ParserEvent::ContentDelta(text.to_owned())),
        }
    }

    /// Adds non-empty text to the arguments of call `index`.
    pub(super) fn arguments(&mut self, index: usize, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(ParserEvent::ToolCallArgumentsDelta { delta, .. }) => delta.push_str(text),
            _ => self.0.push(ParserEvent::ToolCallArgumentsDelta {
                index,
                delta: text.to_owned(),
            }),
        }
    }

    pub(super) fn call_begin(&mut self, index: usize, id: &str, name: &str) {
        self.0.push(ParserEvent::ToolCallBegin {
            index,
            id: id.to_owned(),
            name: name.to_owned(),
        });
    }

    pub(super) fn call_end(&mut self, index: usize) {
        self.0.push(ParserEvent::ToolCallEnd { index });
    }

    pub(super) fn into_vec(self) -> Vec<ParserEvent> {
        self.0
    }
}
