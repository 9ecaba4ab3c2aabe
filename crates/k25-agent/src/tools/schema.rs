//! Schemas in the model's dialect (MFJS): made from others, and values fitted to them.
//!
//! The dialect knows `type`, `properties`, `required`, `items`, `enum`, `anyOf`, `$ref` to `#/$defs`,
//! `additionalProperties`, `description`, `default` and bounds; not `oneOf`, `allOf`, `const`,
//! `format`, `pattern` … (MoonshotAI/walle, docs/mfjs-walle-vs-draft-2020-12.md).

use serde_json::{Map, Value, json};
use thiserror::Error;

/// Deepest nesting of a schema or a value that is followed.
const MAX_DEPTH: usize = 48;
/// Keys that the dialect knows and that are taken over as they are.
const KEPT: [&str; 11] = [
    "description",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "enum",
    "required",
    "title",
];

/// Why arguments do not fit. Short, since a model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaFault {
    /// Not there.
    #[error("{0} is missing")]
    Missing(String),
    /// Something else than asked for.
    #[error("{path} must be {expected}, not {found}")]
    Wrong {
        /// The place.
        path: String,
        /// What the schema asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A key that does not exist.
    #[error("{path} is unknown; there are: {known}")]
    Unknown {
        /// The place.
        path: String,
        /// The keys that exist.
        known: String,
    },
    /// Nested beyond what is followed.
    #[error("{0} is nested too deeply")]
    TooDeep(String),
}

/// Fits arguments to a schema: checks them, and does what changes no meaning (`"3"` → 3 where a
/// number is asked for, 3 → `"3"` where a string is, one thing → a list of it, a list or object that
/// came as text).
///
/// # Errors
/// The first [`SchemaFault`].
pub fn fit(schema: &Value, value: Value) -> Result<Value, SchemaFault> {
    Fitting { root: schema }.fit(schema, value, "", 0)
}

struct Fitting<'a> {
    root: &'a Value,
}

impl Fitting<'_> {
    fn fit(
        &self,
        schema: &Value,
        value: Value,
        path: &str,
        depth: usize,
    ) -> Result<Value, SchemaFault> {
        if depth > MAX_DEPTH {
            return Err(SchemaFault::TooDeep(shown_path(path)));
        }
        if let Some(name) = schema["$ref"].as_str() {
            let target = name
                .strip_prefix("#/$defs/")
                .map(|name| &self.root["$defs"][name]);
            return self.fit(target.unwrap_or(self.root), value, path, depth + 1);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            return self.fit_any(choices, value, path, depth);
        }
        let value = self.fit_type(schema, value, path)?;
        let value = match value {
            Value::Object(object) => self.fit_object(schema, object, path, depth)?,
            Value::Array(items) => self.fit_array(schema, items, path, depth)?,
            other => other,
        };
        self.check_bounds(schema, &value, path)?;
        Ok(value)
    }

    fn fit_any(
        &self,
        choices: &[Value],
        value: Value,
        path: &str,
        depth: usize,
    ) -> Result<Value, SchemaFault> {
        let mut first_fault = None;
        for choice in choices {
            match self.fit(choice, value.clone(), path, depth + 1) {
                Ok(value) => return Ok(value),
                Err(fault) => first_fault = first_fault.or(Some(fault)),
            }
        }
        Err(first_fault.unwrap_or_else(|| wrong(path, "nothing", &value)))
    }

    fn fit_type(&self, schema: &Value, value: Value, path: &str) -> Result<Value, SchemaFault> {
        let types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name.as_str()],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return Ok(value),
        };
        if types.iter().any(|name| is_of(name, &value)) {
            return Ok(value);
        }
        let converted = types.iter().find_map(|name| converted(name, &value));
        converted.ok_or_else(|| wrong(path, &types.join(" or "), &value))
    }

    fn fit_object(
        &self,
        schema: &Value,
        object: Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<Value, SchemaFault> {
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        let is_required = |key: &str| {
            let names = schema["required"].as_array();
            names.is_some_and(|names| names.iter().any(|name| name == key))
        };
        let mut fitted = Map::new();
        for (key, value) in object {
            let place = join(path, &key);
            match properties.get(&key) {
                // Models write null for what they leave out.
                Some(property)
                    if value.is_null() && !is_required(&key) && !takes_null(property) => {}
                Some(property) => {
                    fitted.insert(key, self.fit(property, value, &place, depth + 1)?);
                }
                None => match &schema["additionalProperties"] {
                    Value::Bool(false) => {
                        let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                        return Err(SchemaFault::Unknown {
                            path: place,
                            known: known.join(", "),
                        });
                    }
                    schema @ Value::Object(_) => {
                        fitted.insert(key, self.fit(schema, value, &place, depth + 1)?);
                    }
                    _ => {
                        fitted.insert(key, value);
                    }
                },
            }
        }
        let missing = properties
            .keys()
            .find(|key| is_required(key) && !fitted.contains_key(*key));
        match missing {
            Some(key) => Err(SchemaFault::Missing(join(path, key))),
            None => Ok(Value::Object(fitted)),
        }
    }

    fn fit_array(
        &self,
        schema: &Value,
        items: Vec<Value>,
        path: &str,
        depth: usize,
    ) -> Result<Value, SchemaFault> {
        let item_schema = &schema["items"];
        let fitted = items.into_iter().enumerate().map(|(index, item)| {
            self.fit(item_schema, item, &format!("{path}[{index}]"), depth + 1)
        });
        fitted.collect::<Result<_, _>>().map(Value::Array)
    }

    fn check_bounds(&self, schema: &Value, value: &Value, path: &str) -> Result<(), SchemaFault> {
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
            return Err(wrong(
                path,
                &format!("one of {}", allowed.join(", ")),
                value,
            ));
        }
        let size = match value {
            Value::Number(number) => number.as_f64().map(|n| ("minimum", "maximum", n)),
            Value::String(text) => Some(("minLength", "maxLength", text.chars().count() as f64)),
            Value::Array(items) => Some(("minItems", "maxItems", items.len() as f64)),
            _ => None,
        };
        let Some((low, high, size)) = size else {
            return Ok(());
        };
        if schema[low].as_f64().is_some_and(|bound| size < bound) {
            return Err(wrong(path, &format!("{low} {}", schema[low]), value));
        }
        if schema[high].as_f64().is_some_and(|bound| size > bound) {
            return Err(wrong(path, &format!("{high} {}", schema[high]), value));
        }
        Ok(())
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn takes_null(schema: &Value) -> bool {
    match &schema["type"] {
        Value::String(name) => name == "null",
        Value::Array(names) => names.iter().any(|name| name == "null"),
        _ => true,
    }
}

/// The value as the type `name`, where that is a matter of writing only.
fn converted(name: &str, value: &Value) -> Option<Value> {
    match (name, value) {
        ("integer", Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        ("number", Value::String(text)) => {
            let number: f64 = text.trim().parse().ok()?;
            serde_json::Number::from_f64(number).map(Value::Number)
        }
        ("boolean", Value::String(text)) => text.trim().parse::<bool>().ok().map(Value::Bool),
        ("string", Value::Number(_) | Value::Bool(_)) => Some(Value::String(value.to_string())),
        ("array" | "object", Value::String(text)) => {
            let inner: Value = serde_json::from_str(text).ok()?;
            is_of(name, &inner).then_some(inner)
        }
        ("array", Value::Object(_)) => Some(json!([value])),
        _ => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn shown_path(path: &str) -> String {
    if path.is_empty() {
        "the arguments".to_owned()
    } else {
        path.to_owned()
    }
}

fn wrong(path: &str, expected: &str, found: &Value) -> SchemaFault {
    SchemaFault::Wrong {
        path: shown_path(path),
        expected: expected.to_owned(),
        found: crate::table::shortened(&found.to_string(), 60),
    }
}

/// A schema from elsewhere in the model's dialect. What the dialect lacks is dropped or loosened,
/// never tightened: whatever fits the schema fits the result.
pub fn normalise_schema(schema: &Value) -> Value {
    let mut normal = normal(schema, 0);
    let is_object = normal["type"] == "object";
    if !is_object {
        normal = json!({"type": "object", "properties": {}});
    }
    // Definitions stand at the root only.
    let definitions = ["$defs", "definitions"]
        .iter()
        .find_map(|key| schema[*key].as_object());
    if let (Some(definitions), Some(object)) = (definitions, normal.as_object_mut()) {
        let definitions = definitions
            .iter()
            .map(|(name, schema)| (name.clone(), self::normal(schema, 1)));
        object.insert("$defs".to_owned(), Value::Object(definitions.collect()));
    }
    normal
}

fn normal(schema: &Value, depth: usize) -> Value {
    let Some(object) = schema.as_object().filter(|_| depth < MAX_DEPTH) else {
        return json!({});
    };
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return json!({"$ref": format!("#/$defs/{name}")});
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let choices: Vec<Value> = choices
                .iter()
                .map(|choice| normal(choice, depth + 1))
                .collect();
            return described(json!({"anyOf": choices}), schema);
        }
    }
    if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice) {
        return described(normal(only, depth + 1), schema);
    }
    let mut out = Map::new();
    if let Some(kind) = type_of(schema) {
        out.insert("type".to_owned(), kind);
    }
    for (key, value) in object {
        if KEPT.contains(&key.as_str()) {
            out.insert(key.clone(), value.clone());
        }
    }
    if let Some(value) = object.get("const") {
        out.insert("enum".to_owned(), json!([value]));
    }
    if let Some(properties) = schema["properties"].as_object() {
        let normal = properties
            .iter()
            .map(|(key, schema)| (key.clone(), normal(schema, depth + 1)));
        out.insert("properties".to_owned(), Value::Object(normal.collect()));
    }
    if object.contains_key("items") {
        out.insert("items".to_owned(), normal(&schema["items"], depth + 1));
    }
    match &schema["additionalProperties"] {
        Value::Bool(flag) => {
            out.insert("additionalProperties".to_owned(), Value::Bool(*flag));
        }
        additional @ Value::Object(_) => {
            out.insert(
                "additionalProperties".to_owned(),
                normal(additional, depth + 1),
            );
        }
        _ => {}
    }
    Value::Object(out)
}

fn described(mut schema: Value, from: &Value) -> Value {
    let may_have = schema.get("$ref").is_none();
    if let (true, Some(object), Some(text)) = (
        may_have,
        schema.as_object_mut(),
        from["description"].as_str(),
    ) {
        object.insert("description".to_owned(), text.into());
    }
    schema
}

/// The type that is said, or that follows from what else is said.
fn type_of(schema: &Value) -> Option<Value> {
    let said = schema
        .get("type")
        .filter(|kind| kind.is_string() || kind.is_array());
    said.cloned().or_else(|| {
        let has = |key: &str| schema.get(key).is_some();
        let values = schema["enum"].as_array();
        let sample = values
            .and_then(|v| v.first())
            .or_else(|| schema.get("const"));
        match sample {
            Some(Value::String(_)) => Some("string".into()),
            Some(Value::Number(_)) => Some("number".into()),
            Some(Value::Bool(_)) => Some("boolean".into()),
            _ if has("properties") => Some("object".into()),
            _ if has("items") || has("prefixItems") => Some("array".into()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_fitted_and_faults_named() {
        let schema = json!({
            "type": "object",
            "properties": {
                "list": {"type": "array", "items": {"$ref": "#/$defs/item"}, "maxItems": 2},
                "size": {"type": "number", "minimum": 0},
                "kind": {"type": "string", "enum": ["a", "b"]},
                "either": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
            },
            "required": ["list"],
            "additionalProperties": false,
            "$defs": {"item": {"type": "object", "properties": {"n": {"type": "string"}}}},
        });
        let good = fit(
            &schema,
            json!({"list": {"n": 3}, "size": "2.5", "either": true, "kind": null}),
        );
        assert_eq!(
            good.unwrap(),
            json!({"list": [{"n": "3"}], "size": 2.5, "either": true})
        );
        let cases = [
            (json!({}), "list is missing"),
            (json!({"list": 3}), "list must be array, not 3"),
            (
                json!({"list": [{"n": []}]}),
                "list[0].n must be string, not []",
            ),
            (
                json!({"list": [{}, {}, {}]}),
                "list must be maxItems 2, not [{},{},{}]",
            ),
            (
                json!({"list": [], "size": -1}),
                "size must be minimum 0, not -1",
            ),
            (
                json!({"list": [], "kind": "c"}),
                "kind must be one of \"a\", \"b\", not \"c\"",
            ),
            (
                json!({"list": [], "sise": 1}),
                "sise is unknown; there are: list, size, kind, either",
            ),
        ];
        for (value, message) in cases {
            assert_eq!(fit(&schema, value).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn foreign_schemas_become_ones_that_the_model_can_read() {
        let foreign = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "mode": {"oneOf": [{"const": "x"}, {"const": "y"}], "description": "how"},
                "count": {"type": "integer", "format": "uint32", "minimum": 0},
                "pick": {"allOf": [{"$ref": "#/definitions/Pick"}]},
                "pair": {"prefixItems": [{"type": "string"}]},
            },
            "definitions": {"Pick": {"type": "string", "pattern": "^a"}},
        });
        let normal = normalise_schema(&foreign);
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": normal}});
        let tool = JsonValue::try_from(tool).unwrap();
        k25_chat::typescript_declaration(&[tool]).expect("a declaration in TypeScript");
        let text = normal.to_string();
        for word in [
            "oneOf",
            "allOf",
            "const",
            "format",
            "pattern",
            "definitions",
            "$schema",
        ] {
            assert!(!text.contains(&format!("\"{word}\"")), "{word}: {text}");
        }
        assert!(
            fit(
                &normal,
                json!({"mode": "x", "count": 3, "pick": "abc", "pair": ["q"]})
            )
            .is_ok()
        );
        for odd in [
            json!(null),
            json!(true),
            json!([1]),
            json!({"type": "string"}),
        ] {
            assert_eq!(normalise_schema(&odd)["type"], "object");
        }
    }

    use k25_chat::JsonValue;

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"$ref": "#/$defs/a"}}});
        assert!(matches!(
            fit(&schema, json!({"a": 1})),
            Err(SchemaFault::TooDeep(_))
        ));
    }
}
