//! Schemas and patterns from strangers: measured, translated, compiled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use k25_chat::JsonValue;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};

use crate::error::ConstraintError;

/// Deepest nesting of a schema.
pub const MAX_SCHEMA_DEPTH: usize = 64;
/// Most values (objects, arrays, strings, numbers, …) of a schema.
pub const MAX_SCHEMA_VALUES: usize = 20_000;
/// Longest pattern.
pub const MAX_REGEX_BYTES: usize = 8192;
/// Most tools of which calls are checked.
pub const MAX_TOOLS: usize = 512;

/// Longest reason that is passed on.
const MAX_REASON_CHARACTERS: usize = 300;
/// Stack of the thread that compiles: the compiler recurses as deep as references lead, 128 levels at
/// most, some kilobytes each.
const COMPILER_STACK_BYTES: usize = 16 << 20;

/// Blanks between the parts of a JSON text: none, one, or a line's end and an indentation. Without a
/// bound, a model may go on writing blanks for ever.
const BLANKS: &str = r" |\n[ \t]{0,40}";

/// What an automaton is compiled from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A JSON schema.
    Schema(Value),
    /// A regular expression.
    Regex(String),
}

impl Source {
    /// A schema; without `strict`, keywords that cannot be enforced are left out.
    pub(crate) fn schema(
        schema: &JsonValue,
        strict: bool,
        place: &str,
    ) -> Result<Self, ConstraintError> {
        let mut left = MAX_SCHEMA_VALUES;
        let value = translate(schema, MAX_SCHEMA_DEPTH, &mut left, place)?;
        Self::with_options(value, strict, place)
    }

    /// The schema of a tool's arguments, which are an object whatever it says.
    pub(crate) fn arguments(
        schema: Option<&JsonValue>,
        strict: bool,
        place: &str,
    ) -> Result<Self, ConstraintError> {
        let mut left = MAX_SCHEMA_VALUES;
        let mut value = match schema {
            None | Some(JsonValue::Null) => json!({}),
            Some(schema) => translate(schema, MAX_SCHEMA_DEPTH, &mut left, place)?,
        };
        if let Value::Object(object) = &mut value {
            let may_be_object = match object.get("type") {
                None => true,
                Some(Value::Array(types)) => types.iter().any(|word| word == "object"),
                Some(word) => word == "object",
            };
            if !may_be_object {
                let reason = "its type is not \"object\"".to_owned();
                let hint = "arguments are an object: describe its properties";
                return Err(compile_error(place, reason, hint));
            }
            object.insert("type".to_owned(), "object".into());
        }
        Self::with_options(value, strict, place)
    }

    /// A JSON object.
    pub(crate) fn json_object() -> Self {
        let schema = json!({"type": "object"});
        Self::with_options(schema, true, "").expect("an object")
    }

    /// A pattern that the whole text matches.
    pub(crate) fn regex(pattern: &str) -> Result<Self, ConstraintError> {
        if pattern.len() > MAX_REGEX_BYTES {
            let bytes = pattern.len();
            return Err(ConstraintError::LongRegex { bytes });
        }
        // The compiler would not miss what a last backslash escapes.
        let backslashes = pattern.bytes().rev().take_while(|&byte| byte == b'\\');
        if backslashes.count() % 2 == 1 {
            let reason = "it ends in a backslash that escapes nothing".to_owned();
            return Err(compile_error(
                "the pattern",
                reason,
                "write \\\\ for a backslash",
            ));
        }
        Ok(Self::Regex(pattern.to_owned()))
    }

    fn with_options(value: Value, strict: bool, place: &str) -> Result<Self, ConstraintError> {
        let mut object = match value {
            Value::Object(object) => object,
            Value::Bool(true) => Map::new(),
            _ => {
                let reason = "a schema is an object".to_owned();
                return Err(compile_error(place, reason, "write {} for any value"));
            }
        };
        let options = json!({"whitespace_pattern": BLANKS, "lenient": !strict});
        object.insert("x-guidance".to_owned(), options);
        Ok(Self::Schema(Value::Object(object)))
    }

    /// Compiles it, on a thread whose stack is large enough.
    pub(crate) fn compile(
        &self,
        factory: &ParserFactory,
        place: &str,
    ) -> Result<Matcher, ConstraintError> {
        let grammar = match self {
            Self::Schema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Self::Regex(pattern) => TopLevelGrammar::from_regex(pattern),
        };
        let hint = match self {
            Self::Schema(_) => "leave out the keyword that it names, or simplify the schema",
            Self::Regex(_) => "write it in the syntax of Rust's regex, without lookaround",
        };
        let fault = |reason: String| compile_error(place, reason, hint);
        let compile = || {
            // Cloned once, so that a first mask is computed here and not in the engine.
            let parser = factory
                .create_parser(grammar)
                .map_err(|error| format!("{error:#}"))?;
            let mut matcher = Matcher::new(Ok(parser));
            matcher
                .deep_clone()
                .compute_mask_or_eos()
                .map_err(|error| format!("{error:#}"))?;
            match matcher.get_error() {
                Some(error) => Err(error),
                None => matcher
                    .is_accepting()
                    .map(|_| matcher)
                    .map_err(|error| format!("{error:#}")),
            }
        };
        let compiled = thread::scope(|scope| {
            thread::Builder::new()
                .name("k25-grammar".to_owned())
                .stack_size(COMPILER_STACK_BYTES)
                .spawn_scoped(scope, || catch_unwind(AssertUnwindSafe(compile)))
                .map(|thread| thread.join().unwrap_or_else(Err))
        });
        match compiled {
            Ok(Ok(matcher)) => matcher.map_err(fault),
            Ok(Err(_)) => Err(fault("the compiler does not understand it".to_owned())),
            Err(error) => Err(fault(format!("the system gives no thread: {error}"))),
        }
    }
}

fn compile_error(place: &str, reason: String, hint: &'static str) -> ConstraintError {
    let mut shown: String = reason.chars().take(MAX_REASON_CHARACTERS).collect();
    if shown.len() < reason.len() {
        shown.push('…');
    }
    ConstraintError::Compile {
        place: place.to_owned(),
        reason: shown.replace('\n', " "),
        hint,
    }
}

/// The schema in the compiler's form, at most `depth` levels and `left` values of it.
fn translate(
    value: &JsonValue,
    depth: usize,
    left: &mut usize,
    place: &str,
) -> Result<Value, ConstraintError> {
    let place_of = || place.to_owned();
    let Some(depth) = depth.checked_sub(1) else {
        return Err(ConstraintError::TooDeep { place: place_of() });
    };
    *left = left
        .checked_sub(1)
        .ok_or_else(|| ConstraintError::TooLarge { place: place_of() })?;
    Ok(match value {
        JsonValue::Null => Value::Null,
        JsonValue::Bool(value) => Value::Bool(*value),
        JsonValue::String(text) => Value::String(text.clone()),
        JsonValue::Integer(digits) => number(digits.as_str(), place)?,
        JsonValue::Float(value) => number(&value.to_string(), place)?,
        JsonValue::Array(items) => {
            let items = items.iter().map(|item| translate(item, depth, left, place));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        JsonValue::Object(object) => {
            let entries = object
                .iter()
                .map(|(key, value)| Ok((key.clone(), translate(value, depth, left, place)?)));
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
    })
}

fn number(text: &str, place: &str) -> Result<Value, ConstraintError> {
    let whole = text.parse::<i64>().map(Value::from);
    let whole = whole.or_else(|_| text.parse::<u64>().map(Value::from));
    whole.or_else(|_| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number
            .map(Value::from)
            .ok_or_else(|| ConstraintError::Number {
                place: place.to_owned(),
                number: text.chars().take(40).collect(),
            })
    })
}
