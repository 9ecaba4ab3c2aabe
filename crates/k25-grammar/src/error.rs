//! What can be wrong with a form, and with following it.

use thiserror::Error;

use crate::schema::{MAX_REGEX_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_VALUES, MAX_TOOLS};

/// A form that cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConstraintError {
    /// A schema nested too deep.
    #[error(
        "{place}: the schema is nested deeper than {MAX_SCHEMA_DEPTH} levels\n  hint: flatten it, or \
         use $defs and $ref"
    )]
    TooDeep {
        /// Whose schema.
        place: String,
    },
    /// A schema with too much in it.
    #[error(
        "{place}: the schema has more than {MAX_SCHEMA_VALUES} values\n  hint: shorten lists such as \
         enum, or move the check behind the answer"
    )]
    TooLarge {
        /// Whose schema.
        place: String,
    },
    /// A number that JSON does not have.
    #[error("{place}: the schema has the number {number}\n  hint: write a finite number")]
    Number {
        /// Whose schema.
        place: String,
        /// The number.
        number: String,
    },
    /// A schema or pattern that has no automaton; the reason is the compiler's.
    #[error("{place}: it cannot be enforced: {reason}\n  hint: {hint}")]
    Compile {
        /// Whose schema, or the pattern.
        place: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// A pattern that is too long.
    #[error(
        "the pattern has {bytes} bytes, and at most {MAX_REGEX_BYTES} are compiled\n  hint: shorten it"
    )]
    LongRegex {
        /// Its length.
        bytes: usize,
    },
    /// Too many tools.
    #[error(
        "there are {count} tools, and calls of at most {MAX_TOOLS} are checked\n  hint: offer fewer"
    )]
    TooManyTools {
        /// How many.
        count: usize,
    },
    /// A tool that cannot be called.
    #[error(
        "tool {index}: {reason}\n  hint: write {{\"type\": \"function\", \"function\": {{\"name\": …, \"parameters\": {{…}}}}}}"
    )]
    Tool {
        /// Its place, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// A call is demanded, and there is nothing to call.
    #[error("a tool call is required, and there are no tools\n  hint: send `tools` too")]
    NoTools,
    /// A function is demanded that is not among the tools.
    #[error("the function {name:?} is not among the tools\n  hint: {known}")]
    UnknownFunction {
        /// The function.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The answer was begun in another form.
    #[error(
        "the message to continue does not have the form that is asked for\n  hint: begin it so, or leave it empty"
    )]
    Beginning,
    /// A call is demanded of a message that has text already.
    #[error(
        "a tool call is required, and the message to continue is text\n  hint: let the model begin the message"
    )]
    CallAfterText,
}

/// A grammar that could not go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct GrammarFault(pub String);
