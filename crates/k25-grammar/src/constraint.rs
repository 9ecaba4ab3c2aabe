//! What an answer must look like, as plain data.

use k25_chat::JsonValue;

/// What is asked of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    /// Its text.
    pub form: AnswerForm,
    /// Its tool calls.
    pub calls: CallRule,
    /// The tools in the OpenAI form.
    pub tools: Vec<JsonValue>,
    /// Number of the next tool call: calls are numbered through a conversation, from 0.
    pub next_call: u64,
    /// Where the answer begins.
    pub opening: Opening,
}

/// The form of an answer's text.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum AnswerForm {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// The schema.
        schema: JsonValue,
        /// Keywords that cannot be enforced are an error, not left out.
        strict: bool,
    },
    /// Text that matches this pattern as a whole (syntax of Rust's `regex`).
    Regex(String),
}

/// Whether an answer calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CallRule {
    /// As the model likes. A call is one of the tools, and its arguments match the tool's schema.
    #[default]
    Auto,
    /// It does not.
    Never,
    /// It does, at least once, and says nothing else.
    Required,
    /// It calls this function, once.
    Named(String),
}

/// Where the model's output begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// In the reasoning.
    Reasoning,
    /// In the answer, behind this text of it.
    Answer(String),
}

impl Constraint {
    /// Whether any answer at all will do.
    pub fn is_free(&self) -> bool {
        let calls_are_free = match self.calls {
            CallRule::Auto => self.tools.is_empty(),
            // Without tools, none is called; a model that does is as wrong as one that lies.
            CallRule::Never => self.tools.is_empty(),
            CallRule::Required | CallRule::Named(_) => false,
        };
        self.form == AnswerForm::Text && calls_are_free
    }
}
