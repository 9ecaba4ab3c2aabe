//! Which tokens may come next, so that an answer has the form that was asked for.
//!
//! [`Grammars`] belongs to one tokenizer and compiles a [`Constraint`] (JSON schema, any JSON object,
//! regular expression, tool calls whose arguments match the tool's schema) to an [`AnswerGrammar`],
//! which follows one answer in the model's own format: reasoning, then text or a section of tool
//! calls. Schemas come from strangers: their size and depth, the time to compile them and the work
//! per token are bounded, and what cannot be enforced is an error that says what.
//!
//! The automata are llguidance's. Source of the format: specification sections 6 to 8.

mod answer;
mod constraint;
mod error;
mod literals;
mod schema;
mod spelled;
mod vocabulary;

pub use answer::{Allowed, AnswerGrammar};
pub use constraint::{AnswerForm, CallRule, Constraint, Opening};
pub use error::{ConstraintError, GrammarFault};
pub use schema::{MAX_REGEX_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_VALUES, MAX_TOOLS};
pub use vocabulary::{Grammars, VocabularyError};
