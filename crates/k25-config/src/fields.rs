//! Reading typed fields out of a JSON object; every fault is noted and reading goes on.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::{ConfigError, Problem};

/// What a message shows in place of a value that the file does not have.
pub(crate) const ABSENT: &str = "absent";

/// The faults found so far.
#[derive(Default)]
pub(crate) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Notes one fault. A file with very many faults is not worth listing them all.
    pub(crate) fn note(
        &self,
        field: impl Into<String>,
        value: impl ToString,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        const MOST_PROBLEMS: usize = 64;
        let mut problems = self.0.borrow_mut();
        if problems.len() == MOST_PROBLEMS {
            return;
        }
        problems.push(Problem {
            field: field.into(),
            value: shorten(value.to_string()),
            reason: reason.into(),
            hint: hint.into(),
        });
    }

    /// The end of a stage: an error if anything was noted, and a clean slate if not.
    pub(crate) fn stop_if_any(&self, origin: &str) -> Result<(), ConfigError> {
        let problems = self.0.take();
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            origin: origin.to_owned(),
            problems,
        })
    }
}

/// The start of a value that may be very long.
pub(crate) fn shorten(mut value: String) -> String {
    const MOST_CHARS: usize = 80;
    if let Some((end, _)) = value.char_indices().nth(MOST_CHARS) {
        value.truncate(end);
        value.push('…');
    }
    value
}

/// A JSON object, the path that leads to it, and where its faults are noted.
///
/// A reader that notes a fault returns some value of its type so that reading can go on; the
/// stage's end discards the result. `null` counts as absent.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    path: String,
    object: &'a Map<String, Value>,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// The top of a file; a fault if it is not an object.
    pub(crate) fn top(value: &'a Value, problems: &'a Problems) -> Option<Self> {
        let object = value.as_object();
        if object.is_none() {
            problems.note(
                "the top level",
                value,
                "must be an object",
                "this is not a configuration file of a model",
            );
        }
        object.map(|object| Self {
            path: String::new(),
            object,
            problems,
        })
    }

    /// The full path of field `name`.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Notes a fault of field `name`.
    pub(crate) fn note(&self, name: &str, reason: impl Into<String>, hint: impl Into<String>) {
        let value = self
            .object
            .get(name)
            .map_or_else(|| ABSENT.to_owned(), Value::to_string);
        self.problems.note(self.path_of(name), value, reason, hint);
    }

    /// Whether the field is there, be it `null`.
    pub(crate) fn has_key(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// The field's value, unless it is absent or `null`.
    pub(crate) fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The first of several names that has a value; the first name where none has.
    pub(crate) fn first_present<'n>(&self, names: &[&'n str]) -> &'n str {
        names
            .iter()
            .copied()
            .find(|name| self.value(name).is_some())
            .unwrap_or(names[0])
    }

    /// The object in a field, if there is one; a fault if it is something else.
    pub(crate) fn child(&self, name: &str) -> Option<Fields<'a>> {
        let value = self.value(name)?;
        let Some(object) = value.as_object() else {
            self.note(
                name,
                "must be an object",
                "compare with the model's published file",
            );
            return None;
        };
        Some(Fields {
            path: self.path_of(name),
            object,
            problems: self.problems,
        })
    }

    /// All objects among the values, each with its path.
    pub(crate) fn children(&self) -> Vec<Fields<'a>> {
        self.object
            .keys()
            .filter_map(|name| self.child(name))
            .collect()
    }

    /// A whole number within `range` that must be there.
    pub(crate) fn size(&self, name: &str, range: RangeInclusive<usize>) -> usize {
        if self.value(name).is_none() {
            self.note(
                name,
                "must be there",
                format!(
                    "add it: a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
            return *range.start();
        }
        self.optional_size(name, range.clone())
            .unwrap_or(*range.start())
    }

    /// A whole number within `range`, or `default` where there is none.
    pub(crate) fn size_or(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        self.optional_size(name, range).unwrap_or(default)
    }

    /// A whole number within `range`, if there is one.
    pub(crate) fn optional_size(&self, name: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let value = self.value(name)?;
        let size = value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        if size.is_some_and(|size| range.contains(&size)) {
            return size;
        }
        let (low, high) = (range.start(), range.end());
        self.note(
            name,
            format!("must be a whole number from {low} to {high}"),
            "take the number from the model's published file",
        );
        None
    }

    /// A number within `range` that must be there.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<f64>) -> f64 {
        if self.value(name).is_none() {
            self.note(
                name,
                "must be there",
                format!(
                    "add it: a number from {:e} to {:e}",
                    range.start(),
                    range.end()
                ),
            );
            return *range.start();
        }
        self.number_or(name, range.clone(), *range.start())
    }

    /// A number within `range`, or `default` where there is none.
    pub(crate) fn number_or(&self, name: &str, range: RangeInclusive<f64>, default: f64) -> f64 {
        let Some(value) = self.value(name) else {
            return default;
        };
        if let Some(number) = value.as_f64().filter(|number| range.contains(number)) {
            return number;
        }
        let (low, high) = (range.start(), range.end());
        self.note(
            name,
            format!("must be a number from {low:e} to {high:e}"),
            "take the number from the model's published file",
        );
        default
    }

    /// `true` or `false`, or `default` where there is none.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        let Some(value) = self.value(name) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            self.note(
                name,
                "must be true or false",
                "take the value from the model's published file",
            );
            default
        })
    }

    /// Text, if there is some; a fault if it is something else.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.value(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.note(
                name,
                "must be text",
                "take the value from the model's published file",
            );
        }
        text
    }

    /// A fault unless the field is absent or exactly `only`: the one value that k25 computes.
    pub(crate) fn only(&self, name: &str, only: &Value) {
        if self.value(name).is_some_and(|value| value != only) {
            self.note(name, format!("only {only} is computed"), "k25 runs the Kimi K2.5 / DeepSeek-V3 architecture; this model needs other software");
        }
    }

    /// A fault unless the field is absent or `null`.
    pub(crate) fn only_null(&self, name: &str) {
        if self.value(name).is_some() {
            self.note(name, "only null is supported", "k25 runs the Kimi K2.5 / DeepSeek-V3 architecture; this model needs other software");
        }
    }

    /// A token id, if there is one.
    pub(crate) fn token_id(&self, name: &str) -> Option<u32> {
        let value = self.value(name)?;
        let id = as_token_id(value);
        if id.is_none() {
            self.note(
                name,
                "must be a token id",
                "give a whole number that is not negative, or null",
            );
        }
        id
    }

    /// One token id or a list of them; empty where there is none.
    pub(crate) fn token_ids(&self, name: &str) -> Vec<u32> {
        const MOST_IDS: usize = 1024;
        let Some(value) = self.value(name) else {
            return Vec::new();
        };
        let ids: Option<Vec<u32>> = match value.as_array() {
            Some(list) if list.len() > MOST_IDS => None,
            Some(list) => list.iter().map(as_token_id).collect(),
            None => as_token_id(value).map(|id| vec![id]),
        };
        ids.unwrap_or_else(|| {
            self.note(
                name,
                "must be a token id or a list of them",
                "give whole numbers that are not negative",
            );
            Vec::new()
        })
    }
}

fn as_token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
