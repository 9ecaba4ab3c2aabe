//! JSON schema to the few shapes that the TypeScript encoder knows.

use std::borrow::Cow;
use std::collections::HashSet;

use indexmap::IndexMap;
use thiserror::Error;

use crate::python_json::{JsonObject, JsonValue};

/// Longest TypeScript of all functions. A context of 256 Ki tokens holds about a tenth of it.
pub(super) const MAX_DECLARATION_BYTES: usize = 16 << 20;

/// What the encoder does not take in a schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaProblem {
    /// Neither `type`, `enum`, `anyOf` nor `$ref`: `oneOf`, `const` and `allOf` are unknown to it.
    #[error("a schema without `type`, `enum`, `anyOf` or `$ref`")]
    NoType,
    /// A key with a value of the wrong type.
    #[error("`{key}` is {found}")]
    WrongValue {
        /// The key.
        key: &'static str,
        /// What its value is.
        found: &'static str,
    },
    /// A `$ref` to somewhere else than `#` or a known `#/$defs/NAME`.
    #[error("`$ref` to {0:?}, which is no definition seen so far")]
    UnknownReference(String),
    /// A list of types with one that JSON schema does not have.
    #[error("`type` is a list with an unknown type")]
    UnknownType,
    /// A declaration that fits no context: indentation multiplies what deep schemas say.
    #[error("its declaration is longer than {MAX_DECLARATION_BYTES} bytes")]
    TooLong,
    /// An `enum` value that is not of the schema's `type`.
    #[error("`enum` has values that do not fit its `type`")]
    EnumType,
}

/// A problem and the way to it.
#[derive(Debug)]
pub(super) struct Fault {
    /// Steps from the inside out.
    steps: Vec<String>,
    pub(super) problem: SchemaProblem,
}

impl Fault {
    pub(super) fn path(&self) -> String {
        if self.steps.is_empty() {
            return "function".to_owned();
        }
        let steps: Vec<&str> = self.steps.iter().rev().map(String::as_str).collect();
        steps.join(".")
    }
}

impl From<SchemaProblem> for Fault {
    fn from(problem: SchemaProblem) -> Self {
        Fault {
            steps: Vec::new(),
            problem,
        }
    }
}

/// Adds a step to the way of a fault.
pub(super) fn within<T>(step: &str, result: Outcome<T>) -> Outcome<T> {
    result.map_err(|mut fault| {
        fault.steps.push(step.to_owned());
        fault
    })
}

pub(super) type Outcome<T> = Result<T, Fault>;

pub(super) fn wrong<T>(key: &'static str, found: &JsonValue) -> Outcome<T> {
    Err(SchemaProblem::WrongValue {
        key,
        found: found.kind(),
    }
    .into())
}

/// The definitions that `$ref` can name, in the order in which they are met.
#[derive(Default)]
pub(super) struct Registry<'a> {
    pub(super) definitions: IndexMap<&'a str, &'a JsonValue>,
    /// `"$ref": "#"` was met.
    pub(super) has_self_reference: bool,
}

/// A schema as far as the declaration shows it.
pub(super) struct Schema<'a> {
    pub(super) description: Option<&'a JsonValue>,
    /// Sorted by key.
    pub(super) constraints: Vec<(&'static str, &'a JsonValue)>,
    pub(super) shape: Shape<'a>,
}

pub(super) enum Shape<'a> {
    /// `{}` or `true`, or an array's items that are not described.
    Any,
    /// `false`.
    Null,
    /// One type that is neither an object nor an array; the encoder takes any value for it.
    Single(&'a JsonValue),
    /// A list of types, in TypeScript's words.
    Union(Vec<&'static str>),
    Enum(&'a JsonValue),
    AnyOf(Vec<Schema<'a>>),
    Array(Box<Schema<'a>>),
    Object(Object<'a>),
    /// The name of an interface.
    Reference(&'a str),
}

pub(super) struct Object<'a> {
    /// In the order of the schema.
    pub(super) fields: Vec<Field<'a>>,
    pub(super) additional: Additional<'a>,
}

pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) schema: Schema<'a>,
    pub(super) is_optional: bool,
    pub(super) default: Option<&'a JsonValue>,
}

/// `additionalProperties`.
pub(super) enum Additional<'a> {
    Unsaid,
    /// A boolean, or a value that cannot be printed.
    Plain(&'a JsonValue),
    Schema(Box<Schema<'a>>),
}

impl<'a> Schema<'a> {
    fn bare(shape: Shape<'a>) -> Self {
        Schema {
            description: None,
            constraints: Vec::new(),
            shape,
        }
    }

    pub(super) fn read(schema: &'a JsonValue, registry: &mut Registry<'a>) -> Outcome<Self> {
        match schema {
            JsonValue::Bool(true) => Ok(Schema::bare(Shape::Any)),
            JsonValue::Bool(false) => Ok(Schema::bare(Shape::Null)),
            JsonValue::Object(schema) => Schema::read_object(schema, registry),
            other => wrong("schema", other),
        }
    }

    fn read_object(schema: &'a JsonObject, registry: &mut Registry<'a>) -> Outcome<Self> {
        let shape = if let Some(reference) = schema.get("$ref") {
            read_reference(reference, registry)?
        } else if let Some(types) = schema.get("anyOf") {
            Shape::AnyOf(read_any_of(types, registry)?)
        } else if let Some(values) = schema.get("enum") {
            check_enum(values, schema.get("type"))?;
            Shape::Enum(values)
        } else if let Some(kind) = schema.get("type") {
            read_type(kind, schema, registry)?
        } else if schema.is_empty() {
            Shape::Any
        } else {
            return Err(SchemaProblem::NoType.into());
        };
        let constraints = constraint_keys(&shape)
            .iter()
            .filter_map(|&key| schema.get(key).map(|value| (key, value)))
            .collect();
        Ok(Schema {
            description: schema.get("description"),
            constraints,
            shape,
        })
    }
}

fn read_type<'a>(
    kind: &'a JsonValue,
    schema: &'a JsonObject,
    registry: &mut Registry<'a>,
) -> Outcome<Shape<'a>> {
    Ok(match kind {
        JsonValue::Array(kinds) => {
            let words: Option<Vec<_>> = kinds.iter().map(union_word).collect();
            Shape::Union(words.ok_or(SchemaProblem::UnknownType)?)
        }
        JsonValue::String(word) if word == "object" => {
            Shape::Object(Object::read(schema, registry)?)
        }
        JsonValue::String(word) if word == "array" => {
            let items = match schema.get("items") {
                Some(items) if items.is_truthy() => within("items", Schema::read(items, registry))?,
                _ => Schema::bare(Shape::Any),
            };
            Shape::Array(Box::new(items))
        }
        other => Shape::Single(other),
    })
}

/// The constraints that are printed for a shape, sorted.
fn constraint_keys(shape: &Shape<'_>) -> &'static [&'static str] {
    match shape {
        Shape::Array(_) => &["maxItems", "minItems"],
        Shape::Single(kind) => match kind.as_str() {
            Some("string") => &["maxLength", "minLength", "pattern"],
            Some("number" | "integer") => &["maximum", "minimum"],
            _ => &[],
        },
        _ => &[],
    }
}

fn union_word(kind: &JsonValue) -> Option<&'static str> {
    Some(match kind.as_str()? {
        "string" => "string",
        "number" | "integer" => "number",
        "boolean" => "boolean",
        "null" => "null",
        "object" => "{}",
        "array" => "Array<any>",
        _ => return None,
    })
}

fn read_reference<'a>(reference: &'a JsonValue, registry: &mut Registry<'a>) -> Outcome<Shape<'a>> {
    const SELF: &str = "parameters";
    let JsonValue::String(reference) = reference else {
        return wrong("$ref", reference);
    };
    if reference == "#" {
        registry.has_self_reference = true;
        return Ok(Shape::Reference(SELF));
    }
    let unknown = || SchemaProblem::UnknownReference(reference.clone());
    let path = reference.strip_prefix("#/$defs/").ok_or_else(unknown)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    match registry.definitions.get(name).copied() {
        // The encoder marks a reference to the root by this key, and meets it here too.
        Some(JsonValue::Object(schema))
            if schema.get("$self_ref").is_some_and(JsonValue::is_truthy) =>
        {
            Ok(Shape::Reference(SELF))
        }
        Some(JsonValue::Object(_)) => Ok(Shape::Reference(name)),
        Some(other) => wrong("$defs", other),
        None => Err(unknown().into()),
    }
}

fn read_any_of<'a>(types: &'a JsonValue, registry: &mut Registry<'a>) -> Outcome<Vec<Schema<'a>>> {
    match types {
        JsonValue::Array(types) => types
            .iter()
            .map(|kind| within("anyOf", Schema::read(kind, registry)))
            .collect(),
        // The encoder walks over the keys or characters: of nothing, if there are none.
        JsonValue::Object(_) | JsonValue::String(_) if !types.is_truthy() => Ok(Vec::new()),
        other => wrong("anyOf", other),
    }
}

/// The values of an `enum`: of an array its items, of a string its characters, of an object its keys,
/// as Python walks over them.
pub(super) fn enum_values(values: &JsonValue) -> Outcome<Vec<JsonValue>> {
    match values {
        JsonValue::Array(values) => Ok(values.clone()),
        JsonValue::String(text) => Ok(text.chars().map(|c| JsonValue::String(c.into())).collect()),
        JsonValue::Object(object) => Ok(object.keys().cloned().map(JsonValue::String).collect()),
        other => wrong("enum", other),
    }
}

/// The encoder checks the values against the type only if there is one.
fn check_enum(values: &JsonValue, kind: Option<&JsonValue>) -> Outcome<()> {
    let Some(kind) = kind else { return Ok(()) };
    let kind = match kind {
        JsonValue::Array(kinds) => match kinds.as_slice() {
            [kind] => kind,
            [null, kind] if null.as_str() == Some("null") => kind,
            [kind, null] if null.as_str() == Some("null") => kind,
            _ => return Err(SchemaProblem::EnumType.into()),
        },
        kind => kind,
    };
    if enum_values(values)?
        .iter()
        .all(|value| fits(value, kind.as_str()))
    {
        Ok(())
    } else {
        Err(SchemaProblem::EnumType.into())
    }
}

/// To Python a boolean is an integer, too.
fn fits(value: &JsonValue, kind: Option<&str>) -> bool {
    use JsonValue::{Bool, Float, Integer, Null, String};
    match kind {
        Some("string") => matches!(value, Null | String(_)),
        Some("number") => matches!(value, Null | Bool(_) | Integer(_) | Float(_)),
        Some("integer") => matches!(value, Null | Bool(_) | Integer(_)),
        Some("boolean") => matches!(value, Null | Bool(_)),
        _ => true,
    }
}

impl<'a> Object<'a> {
    pub(super) fn read(schema: &'a JsonObject, registry: &mut Registry<'a>) -> Outcome<Self> {
        register_definitions(schema, registry)?;
        let additional = match schema.get("additionalProperties") {
            None | Some(JsonValue::Null) => Additional::Unsaid,
            Some(value @ JsonValue::Object(_)) => {
                let value = within("additionalProperties", Schema::read(value, registry))?;
                Additional::Schema(Box::new(value))
            }
            Some(other) => Additional::Plain(other),
        };
        let properties = match schema.get("properties") {
            None => {
                return Ok(Object {
                    fields: Vec::new(),
                    additional,
                });
            }
            Some(JsonValue::Object(properties)) => properties,
            Some(other) => return wrong("properties", other),
        };
        let required = required_names(schema.get("required"))?;
        let mut fields = Vec::with_capacity(properties.len());
        for (name, property) in properties.iter() {
            let schema = within(name, Schema::read(property, registry))?;
            let is_optional = !required.contains(name.as_str());
            let default = property
                .as_object()
                .and_then(|property| property.get("default"));
            fields.push(Field {
                name,
                schema,
                is_optional,
                default,
            });
        }
        Ok(Object { fields, additional })
    }
}

fn register_definitions<'a>(schema: &'a JsonObject, registry: &mut Registry<'a>) -> Outcome<()> {
    match schema.get("$defs") {
        Some(JsonValue::Object(definitions)) => {
            let definitions = definitions
                .iter()
                .map(|(name, schema)| (name.as_str(), schema));
            registry.definitions.extend(definitions);
            Ok(())
        }
        Some(other) if other.is_truthy() => wrong("$defs", other),
        _ => Ok(()),
    }
}

/// `set(required)`: of a string its characters, of an object its keys; names that no property has do
/// no harm.
fn required_names(required: Option<&JsonValue>) -> Outcome<HashSet<Cow<'_, str>>> {
    match required {
        None => Ok(HashSet::new()),
        Some(JsonValue::Array(names)) => {
            let unhashable =
                |name: &&JsonValue| matches!(name, JsonValue::Array(_) | JsonValue::Object(_));
            match names.iter().find(unhashable) {
                Some(found) => wrong("required", found),
                None => Ok(names
                    .iter()
                    .filter_map(JsonValue::as_str)
                    .map(Cow::Borrowed)
                    .collect()),
            }
        }
        Some(JsonValue::String(text)) => Ok(text
            .chars()
            .map(|character| Cow::Owned(character.into()))
            .collect()),
        Some(JsonValue::Object(object)) => Ok(object
            .keys()
            .map(|key| Cow::Borrowed(key.as_str()))
            .collect()),
        Some(other) => wrong("required", other),
    }
}
