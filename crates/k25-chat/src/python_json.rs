//! JSON as Python reads and prints it.
//!
//! The reference renders prompts with Python: what `json.dumps`, `str` and `repr` print of a client's
//! tools and arguments is what the model was trained on. Floats keep their Python form (`2.0`,
//! `1e+16`), integers keep every digit, keys keep their order, `NaN` and `Infinity` are read and
//! printed. A general JSON type loses the long integers, hence [`JsonValue`].
//!
//! Source: Python's `json` module; specification sections 6 and 6.1.

mod parse;
mod write;

use indexmap::IndexMap;
use thiserror::Error;

pub use parse::{JsonError, JsonProblem};

/// Deepest nesting of a document that is read. The functions that walk a value recurse, so this also
/// bounds their stack.
pub const MAX_JSON_DEPTH: usize = 512;

/// Longest integer that is read, in digits: the limit of Python's `int`.
pub const MAX_INTEGER_DIGITS: usize = 4300;

/// A JSON object; keys in the order of their first appearance.
pub type JsonObject = IndexMap<String, JsonValue>;

/// A JSON value as Python's `json.loads` gives it.
///
/// [`JsonValue::parse`] and the conversion from `serde_json` bound the nesting by
/// [`MAX_JSON_DEPTH`]; code that builds values by hand keeps to it too.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonValue {
    /// `null`, Python's `None`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction or exponent, with all its digits.
    Integer(Integer),
    /// Any other number, `NaN` and the infinities among them.
    Float(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<JsonValue>),
    /// An object. Boxed, since it would more than double the size of every other value.
    Object(Box<JsonObject>),
}

/// An integer of any length, as its decimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Integer(String);

impl Integer {
    /// The decimal digits, with a leading `-` if negative.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<i64> for Integer {
    fn from(value: i64) -> Self {
        Integer(value.to_string())
    }
}

impl From<u64> for Integer {
    fn from(value: u64) -> Self {
        Integer(value.to_string())
    }
}

/// A value nested deeper than [`MAX_JSON_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("JSON is nested deeper than {MAX_JSON_DEPTH} levels; hint: flatten the document")]
pub struct TooDeep;

impl JsonValue {
    /// The value as an object.
    pub fn as_object(&self) -> Option<&JsonObject> {
        match self {
            JsonValue::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The value as a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            JsonValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// Python's `bool(value)`: false for `null`, `false`, zero and whatever is empty.
    pub fn is_truthy(&self) -> bool {
        match self {
            JsonValue::Null => false,
            JsonValue::Bool(value) => *value,
            JsonValue::Integer(digits) => digits.as_str() != "0",
            JsonValue::Float(value) => *value != 0.0,
            JsonValue::String(text) => !text.is_empty(),
            JsonValue::Array(items) => !items.is_empty(),
            JsonValue::Object(object) => !object.is_empty(),
        }
    }

    /// What the value is called in an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            JsonValue::Null => "null",
            JsonValue::Bool(_) => "a boolean",
            JsonValue::Integer(_) | JsonValue::Float(_) => "a number",
            JsonValue::String(_) => "a string",
            JsonValue::Array(_) => "an array",
            JsonValue::Object(_) => "an object",
        }
    }

    /// The value with the keys of every object in it sorted, by code point as Python sorts strings.
    pub fn sorted_deep(&self) -> JsonValue {
        match self {
            JsonValue::Array(items) => {
                JsonValue::Array(items.iter().map(JsonValue::sorted_deep).collect())
            }
            JsonValue::Object(object) => {
                // UTF-8 orders strings as their code points do.
                let mut sorted: JsonObject = object
                    .iter()
                    .map(|(key, value)| (key.clone(), value.sorted_deep()))
                    .collect();
                sorted.sort_unstable_keys();
                JsonValue::from(sorted)
            }
            scalar => scalar.clone(),
        }
    }

    fn from_serde(value: serde_json::Value, depth: usize) -> Result<Self, TooDeep> {
        use serde_json::Value;
        if depth > MAX_JSON_DEPTH {
            return Err(TooDeep);
        }
        Ok(match value {
            Value::Null => JsonValue::Null,
            Value::Bool(value) => JsonValue::Bool(value),
            Value::Number(number) => from_serde_number(&number),
            Value::String(text) => JsonValue::String(text),
            Value::Array(items) => JsonValue::Array(
                items
                    .into_iter()
                    .map(|item| JsonValue::from_serde(item, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(object) => JsonValue::from(
                object
                    .into_iter()
                    .map(|(key, item)| Ok((key, JsonValue::from_serde(item, depth + 1)?)))
                    .collect::<Result<JsonObject, TooDeep>>()?,
            ),
        })
    }
}

fn from_serde_number(number: &serde_json::Number) -> JsonValue {
    if let Some(value) = number.as_i64() {
        JsonValue::from(value)
    } else if let Some(value) = number.as_u64() {
        JsonValue::Integer(value.into())
    } else {
        JsonValue::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

impl From<bool> for JsonValue {
    fn from(value: bool) -> Self {
        JsonValue::Bool(value)
    }
}

impl From<i64> for JsonValue {
    fn from(value: i64) -> Self {
        JsonValue::Integer(value.into())
    }
}

impl From<f64> for JsonValue {
    fn from(value: f64) -> Self {
        JsonValue::Float(value)
    }
}

impl From<&str> for JsonValue {
    fn from(text: &str) -> Self {
        JsonValue::String(text.to_owned())
    }
}

impl From<String> for JsonValue {
    fn from(text: String) -> Self {
        JsonValue::String(text)
    }
}

impl From<Vec<JsonValue>> for JsonValue {
    fn from(items: Vec<JsonValue>) -> Self {
        JsonValue::Array(items)
    }
}

impl From<JsonObject> for JsonValue {
    fn from(object: JsonObject) -> Self {
        JsonValue::Object(Box::new(object))
    }
}

/// `serde_json` has already turned integers of more than 64 bits into floats, and may have missed the
/// last bit of a float; where the text is at hand, [`JsonValue::parse`] keeps both.
impl TryFrom<serde_json::Value> for JsonValue {
    type Error = TooDeep;

    fn try_from(value: serde_json::Value) -> Result<Self, TooDeep> {
        JsonValue::from_serde(value, 1)
    }
}
