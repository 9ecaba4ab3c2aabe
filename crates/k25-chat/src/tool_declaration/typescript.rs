//! Shapes to TypeScript, as the reference's encoder prints it.

use super::schema::{
    Additional, Field, MAX_DECLARATION_BYTES, Object, Outcome, Registry, Schema, SchemaProblem,
    Shape, enum_values, within, wrong,
};
use crate::python_json::{JsonObject, JsonValue};

/// One function: its interfaces, its description, its type.
pub(super) fn function(function: &JsonObject) -> Outcome<String> {
    let empty = JsonObject::new();
    let parameters = match function.get("parameters") {
        Some(JsonValue::Object(parameters)) => parameters,
        Some(other) if other.is_truthy() => return wrong("parameters", other),
        _ => &empty,
    };
    let mut registry = Registry::default();
    let parameters = within("parameters", Object::read(parameters, &mut registry))?;

    let mut out = String::new();
    // Definitions are read only below, so a reference to the root in one of them comes too late.
    let is_recursive = registry.has_self_reference;
    if is_recursive {
        out.push_str("interface parameters {");
        let fields: Vec<&Field<'_>> = parameters.fields.iter().collect();
        within("parameters", write_lines(&mut out, &fields, None, 0))?;
        out.push_str("}\n");
    }
    within("$defs", write_interfaces(&mut out, &mut registry))?;
    write_description(&mut out, function.get("description"), 0)?;
    out.push_str(&format!("type {} = (_: ", function_name(function)));
    if is_recursive {
        out.push_str("parameters");
    } else {
        within("parameters", write_object(&mut out, &parameters, 0))?;
    }
    out.push_str(") => any;");
    Ok(out)
}

/// The name as it is printed.
pub(super) fn function_name(function: &JsonObject) -> String {
    function
        .get("name")
        .map_or_else(|| "function".to_owned(), JsonValue::python_str)
}

/// One interface for each definition known so far; definitions inside of definitions get none.
fn write_interfaces<'a>(out: &mut String, registry: &mut Registry<'a>) -> Outcome<()> {
    for (name, definition) in registry.definitions.clone() {
        within(name, write_interface(out, name, definition, registry))?;
    }
    Ok(())
}

fn write_interface<'a>(
    out: &mut String,
    name: &str,
    definition: &'a JsonValue,
    registry: &mut Registry<'a>,
) -> Outcome<()> {
    let schema = Schema::read(definition, registry)?;
    let JsonValue::Object(definition) = definition else {
        return wrong("$defs", definition);
    };
    write_description(out, definition.get("description"), 0)?;
    out.push_str(&format!("interface {name} "));
    write_type(out, &schema, 0)?;
    out.push('\n');
    Ok(())
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// Every line of a description as a comment; empty lines stay empty.
fn write_description(
    out: &mut String,
    description: Option<&JsonValue>,
    level: usize,
) -> Outcome<()> {
    let description = match description {
        Some(JsonValue::String(text)) if !text.is_empty() => text,
        Some(other) if other.is_truthy() => return wrong("description", other),
        _ => return Ok(()),
    };
    for line in description.split('\n') {
        if !line.is_empty() {
            indent(out, level);
            out.push_str("// ");
            out.push_str(line);
        }
        out.push('\n');
        check_length(out)?;
    }
    Ok(())
}

/// Called wherever a line was written, so that no more than one line goes beyond the limit.
pub(super) fn check_length(out: &str) -> Outcome<()> {
    if out.len() > MAX_DECLARATION_BYTES {
        Err(SchemaProblem::TooLong.into())
    } else {
        Ok(())
    }
}

fn write_comments(out: &mut String, schema: &Schema<'_>, level: usize) -> Outcome<()> {
    write_description(out, schema.description, level)?;
    if schema.constraints.is_empty() {
        return Ok(());
    }
    let constraints: Vec<String> = schema
        .constraints
        .iter()
        .map(|(key, value)| format!("{key}: {}", value.python_str()))
        .collect();
    indent(out, level);
    out.push_str("// ");
    out.push_str(&constraints.join(", "));
    out.push('\n');
    Ok(())
}

fn write_type(out: &mut String, schema: &Schema<'_>, level: usize) -> Outcome<()> {
    match &schema.shape {
        Shape::Any => out.push_str("any"),
        Shape::Null => out.push_str("null"),
        Shape::Single(JsonValue::String(word)) if word == "integer" => out.push_str("number"),
        Shape::Single(word) => out.push_str(&word.python_str()),
        Shape::Union(words) => out.push_str(&words.join(" | ")),
        Shape::Enum(values) => out.push_str(&enum_literals(values)?),
        Shape::Reference(name) => out.push_str(name),
        Shape::Object(object) => write_object(out, object, level)?,
        Shape::Array(items) => write_array(out, items, level)?,
        Shape::AnyOf(types) => {
            for (index, kind) in types.iter().enumerate() {
                out.push_str(if index > 0 { " | " } else { "" });
                check_is_word(kind)?;
                write_type(out, kind, level)?;
            }
        }
    }
    Ok(())
}

/// Where types are joined to other text the encoder takes no `"type": null`, which it prints elsewhere.
fn check_is_word(schema: &Schema<'_>) -> Outcome<()> {
    match &schema.shape {
        Shape::Single(kind) if kind.as_str().is_none() => wrong("type", kind),
        _ => Ok(()),
    }
}

fn enum_literals(values: &JsonValue) -> Outcome<String> {
    let literals: Vec<String> = enum_values(values)?
        .iter()
        .map(|value| match value {
            JsonValue::String(text) => format!("\"{text}\""),
            other => other.python_repr(),
        })
        .collect();
    Ok(literals.join(" | "))
}

fn write_array(out: &mut String, items: &Schema<'_>, level: usize) -> Outcome<()> {
    let mut comments = String::new();
    write_comments(&mut comments, items, level + 1)?;
    if comments.is_empty() {
        out.push_str("Array<");
        write_type(out, items, level)?;
    } else {
        check_is_word(items)?;
        out.push_str("Array<\n");
        out.push_str(&comments);
        indent(out, level + 1);
        write_type(out, items, level + 1)?;
        out.push('\n');
        indent(out, level);
    }
    out.push('>');
    Ok(())
}

fn write_object(out: &mut String, object: &Object<'_>, level: usize) -> Outcome<()> {
    let mut fields: Vec<&Field<'_>> = object.fields.iter().collect();
    fields.sort_by_key(|field| (field.is_optional, field.name));
    out.push('{');
    if write_lines(out, &fields, Some(&object.additional), level)? {
        indent(out, level);
    }
    out.push('}');
    Ok(())
}

/// The lines between the braces, and whether there are any.
fn write_lines(
    out: &mut String,
    fields: &[&Field<'_>],
    additional: Option<&Additional<'_>>,
    level: usize,
) -> Outcome<bool> {
    let mut separator = "\n";
    for field in fields {
        out.push_str(separator);
        within(field.name, write_field(out, field, level + 1))?;
        separator = ",\n";
    }
    let additional = additional.unwrap_or(&Additional::Unsaid);
    if !matches!(additional, Additional::Unsaid) {
        out.push_str(separator);
        indent(out, level + 1);
        out.push_str("[k: string]: ");
        write_additional(out, additional, level + 1)?;
        separator = ",\n";
    }
    let has_lines = separator != "\n";
    if has_lines {
        out.push('\n');
    }
    Ok(has_lines)
}

fn write_additional(out: &mut String, additional: &Additional<'_>, level: usize) -> Outcome<()> {
    match additional {
        Additional::Unsaid => Ok(()),
        Additional::Plain(JsonValue::Bool(true)) => {
            out.push_str("any");
            Ok(())
        }
        Additional::Plain(JsonValue::Bool(false)) => {
            out.push_str("never");
            Ok(())
        }
        Additional::Plain(other) => wrong("additionalProperties", other),
        Additional::Schema(schema) => write_type(out, schema, level),
    }
}

fn write_field(out: &mut String, field: &Field<'_>, level: usize) -> Outcome<()> {
    write_comments(out, &field.schema, level)?;
    let default = match field.default {
        None | Some(JsonValue::Null) => None,
        Some(value @ (JsonValue::Bool(_) | JsonValue::Integer(_) | JsonValue::Float(_))) => {
            Some(value.python_repr())
        }
        Some(value) => Some(value.to_json()),
    };
    if let Some(default) = default {
        indent(out, level);
        out.push_str(&format!("// Default: {default}\n"));
    }
    indent(out, level);
    out.push_str(field.name);
    out.push_str(if field.is_optional { "?: " } else { ": " });
    write_type(out, &field.schema, level)?;
    check_length(out)
}
