//! The keys of a request, read one by one with errors that name the place.

use std::ops::RangeInclusive;

use thiserror::Error;

use crate::message::MessageError;
use crate::python_json::{JsonObject, JsonValue};

/// A request that does not have the form it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}; hint: {hint}")]
pub struct RequestError {
    /// The place, as in `tools[0].function.name`; empty for the request as a whole.
    pub param: String,
    /// What is wrong there.
    pub message: String,
    /// What to send instead.
    pub hint: String,
}

pub(super) type Read<T> = Result<T, RequestError>;

impl RequestError {
    /// A fault at `param`. The message begins with the place.
    pub fn new(
        param: impl Into<String>,
        fault: impl AsRef<str>,
        hint: impl Into<String>,
    ) -> RequestError {
        let param = param.into();
        let message = match param.as_str() {
            "" => fault.as_ref().to_owned(),
            place => format!("{place}: {}", fault.as_ref()),
        };
        RequestError {
            param,
            message,
            hint: hint.into(),
        }
    }
}

impl From<MessageError> for RequestError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Unexpected {
                path,
                expected,
                found,
                hint,
            } => RequestError::new(path, format!("expected {expected}, found {found}"), hint),
            MessageError::Missing { path, hint } => RequestError::new(path, "missing", hint),
            MessageError::Json(error) => RequestError::new(
                "",
                error.to_string(),
                "send one JSON object, encoded as UTF-8",
            ),
        }
    }
}

/// An object of which keys are taken. A null counts as an absent key.
pub(super) struct Fields {
    object: JsonObject,
    place: String,
}

impl Fields {
    /// The request itself.
    pub(super) fn of_document(document: JsonValue) -> Read<Self> {
        Fields::of(document, String::new(), "send one JSON object")
    }

    /// The object at `place`.
    pub(super) fn of(value: JsonValue, place: String, hint: &str) -> Read<Self> {
        match value {
            JsonValue::Object(object) => Ok(Fields {
                object: *object,
                place,
            }),
            other => Err(RequestError::new(
                place,
                format!("expected an object, found {}", other.kind()),
                hint,
            )),
        }
    }

    /// The place of a key.
    pub(super) fn place(&self, key: &str) -> String {
        match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}.{key}"),
        }
    }

    pub(super) fn fault(&self, key: &str, fault: impl AsRef<str>, hint: &str) -> RequestError {
        RequestError::new(self.place(key), fault, hint)
    }

    fn unexpected(&self, key: &str, expected: &str, found: &JsonValue) -> RequestError {
        let shown = match found {
            JsonValue::Integer(digits) if digits.as_str().len() < 24 => digits.as_str().to_owned(),
            JsonValue::Float(number) => number.to_string(),
            JsonValue::String(text) if text.len() < 40 => format!("{text:?}"),
            other => other.kind().to_owned(),
        };
        let hint = format!("send {expected}, or leave the key out");
        RequestError::new(
            self.place(key),
            format!("expected {expected}, found {shown}"),
            hint,
        )
    }

    pub(super) fn take(&mut self, key: &str) -> Option<JsonValue> {
        self.object
            .swap_remove(key)
            .filter(|value| *value != JsonValue::Null)
    }

    pub(super) fn boolean(&mut self, key: &str) -> Read<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(JsonValue::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.unexpected(key, "true or false", &other)),
        }
    }

    pub(super) fn string(&mut self, key: &str) -> Read<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(JsonValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.unexpected(key, "a string", &other)),
        }
    }

    pub(super) fn required_string(&mut self, key: &str, hint: &str) -> Read<String> {
        let text = self.string(key)?.unwrap_or_default();
        if text.is_empty() {
            return Err(self.fault(key, "missing", hint));
        }
        Ok(text)
    }

    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Read<Option<f32>> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = as_number(&value).filter(|number| range.contains(number));
        let expected = || format!("a number from {} to {}", range.start(), range.end());
        number
            .map(|number| Some(number as f32))
            .ok_or_else(|| self.unexpected(key, &expected(), &value))
    }

    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Read<Option<i64>> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = as_integer(&value).filter(|number| range.contains(number));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        number
            .map(Some)
            .ok_or_else(|| self.unexpected(key, &expected(), &value))
    }

    /// A count that fits 32 bits.
    pub(super) fn count(&mut self, key: &str, range: RangeInclusive<u32>) -> Read<Option<u32>> {
        let range = i64::from(*range.start())..=i64::from(*range.end());
        let count = self.integer(key, range)?;
        Ok(count.map(|count| u32::try_from(count).expect("the range fits")))
    }

    pub(super) fn object(&mut self, key: &str, hint: &str) -> Read<Option<Fields>> {
        let place = self.place(key);
        self.take(key)
            .map(|value| Fields::of(value, place, hint))
            .transpose()
    }

    pub(super) fn array(&mut self, key: &str) -> Read<Option<Vec<JsonValue>>> {
        match self.take(key) {
            None => Ok(None),
            Some(JsonValue::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.unexpected(key, "an array", &other)),
        }
    }

    /// A key's value, left in its place.
    pub(super) fn peek(&self, key: &str) -> Option<&JsonValue> {
        self.object.get(key)
    }

    /// The keys that were not taken.
    pub(super) fn into_object(self) -> JsonObject {
        self.object
    }
}

pub(super) fn as_number(value: &JsonValue) -> Option<f64> {
    match value {
        JsonValue::Integer(digits) => digits.as_str().parse().ok(),
        JsonValue::Float(number) => Some(*number).filter(|number| number.is_finite()),
        _ => None,
    }
}

/// A whole number; `3.0` is one, as in JavaScript.
pub(super) fn as_integer(value: &JsonValue) -> Option<i64> {
    match value {
        JsonValue::Integer(digits) => digits.as_str().parse().ok(),
        // 2^53: beyond it a float no longer tells whole numbers apart.
        JsonValue::Float(number) if number.fract() == 0.0 && number.abs() <= 9e15 => {
            Some(*number as i64)
        }
        _ => None,
    }
}
