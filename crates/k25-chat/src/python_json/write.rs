//! Value to text: `json.dumps(ensure_ascii=False)`, `str` and `repr`.

use std::fmt::Write;

use super::JsonValue;

/// What `json.dumps` puts between things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separators {
    /// `", "` and `": "`, Python's default.
    Spaced,
    /// `","` and `":"`.
    Compact,
}

impl JsonValue {
    /// `json.dumps(value, ensure_ascii=False)`: as the template prints a tool call's arguments.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        write_json(self, Separators::Spaced, &mut out);
        out
    }

    /// `json.dumps(value, ensure_ascii=False, separators=(",", ":"))`.
    pub fn to_compact_json(&self) -> String {
        let mut out = String::new();
        write_json(self, Separators::Compact, &mut out);
        out
    }

    /// Python's `repr(value)`.
    pub fn python_repr(&self) -> String {
        let mut out = String::new();
        write_repr(self, &mut out);
        out
    }

    /// Python's `str(value)`: a string as it is, all else as its `repr`.
    pub fn python_str(&self) -> String {
        match self {
            JsonValue::String(text) => text.clone(),
            other => other.python_repr(),
        }
    }
}

fn write_json(value: &JsonValue, separators: Separators, out: &mut String) {
    let (comma, colon) = match separators {
        Separators::Spaced => (", ", ": "),
        Separators::Compact => (",", ":"),
    };
    match value {
        JsonValue::Null => out.push_str("null"),
        JsonValue::Bool(true) => out.push_str("true"),
        JsonValue::Bool(false) => out.push_str("false"),
        JsonValue::Integer(integer) => out.push_str(integer.as_str()),
        JsonValue::Float(float) => write_json_float(*float, out),
        JsonValue::String(text) => write_json_string(text, out),
        JsonValue::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { comma } else { "" });
                write_json(item, separators, out);
            }
            out.push(']');
        }
        JsonValue::Object(object) => {
            out.push('{');
            for (index, (key, item)) in object.iter().enumerate() {
                out.push_str(if index > 0 { comma } else { "" });
                write_json_string(key, out);
                out.push_str(colon);
                write_json(item, separators, out);
            }
            out.push('}');
        }
    }
}

fn write_json_float(float: f64, out: &mut String) {
    if float.is_nan() {
        out.push_str("NaN");
    } else if float.is_infinite() {
        out.push_str(if float > 0.0 { "Infinity" } else { "-Infinity" });
    } else {
        write_finite_float(float, out);
    }
}

fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' => push_hex(out, 'u', 4, character),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn write_repr(value: &JsonValue, out: &mut String) {
    match value {
        JsonValue::Null => out.push_str("None"),
        JsonValue::Bool(true) => out.push_str("True"),
        JsonValue::Bool(false) => out.push_str("False"),
        JsonValue::Integer(integer) => out.push_str(integer.as_str()),
        JsonValue::Float(float) if float.is_nan() => out.push_str("nan"),
        JsonValue::Float(f64::INFINITY) => out.push_str("inf"),
        JsonValue::Float(f64::NEG_INFINITY) => out.push_str("-inf"),
        JsonValue::Float(float) => write_finite_float(*float, out),
        JsonValue::String(text) => write_string_repr(text, out),
        JsonValue::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(item, out);
            }
            out.push(']');
        }
        JsonValue::Object(object) => {
            out.push('{');
            for (index, (key, item)) in object.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_string_repr(key, out);
                out.push_str(": ");
                write_repr(item, out);
            }
            out.push('}');
        }
    }
}

/// Python's `repr` of a finite float: the shortest digits that read back as the same number, with an
/// exponent below 1e-4 and from 1e16 on.
fn write_finite_float(float: f64, out: &mut String) {
    let scientific = shortest_scientific(float);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a `String` does not fail.
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |digits| ("-", digits));
    let digits = mantissa.replace('.', "");
    out.push_str(sign);
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        let _ = write!(out, "0.{zeros}{digits}");
        return;
    }
    let integer_len = exponent as usize + 1;
    if digits.len() > integer_len {
        let (integer, fraction) = digits.split_at(integer_len);
        let _ = write!(out, "{integer}.{fraction}");
    } else {
        let _ = write!(out, "{digits:0<integer_len$}.0");
    }
}

/// The shortest digits that read back as the number, in Rust's form `-d.ddde-7`; of two that are
/// equally near the even one, which is where Rust and Python differ (1801514316094494.25).
fn shortest_scientific(float: f64) -> String {
    let shortest = format!("{float:e}");
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let decimals = mantissa
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let nearest = format!("{float:.decimals$e}");
    // Next to a power of two the nearest decimal of this length can belong to the number below.
    if nearest.parse() == Ok(float) {
        nearest
    } else {
        shortest
    }
}

/// Python's `repr` of a string: in single quotes, unless it holds those and no double ones.
fn write_string_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => {
                out.push('\\');
                out.push(character);
            }
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{ad}' => push_hex(out, 'x', 2, character),
            _ if is_printable(character) => out.push(character),
            '\u{100}'..='\u{ffff}' => push_hex(out, 'u', 4, character),
            _ => push_hex(out, 'U', 8, character),
        }
    }
    out.push(quote);
}

/// Python's `str.isprintable`: not of the categories C and Z, apart from the space. The standard
/// library's debug escapes have the same rule; after a first character they leave combining ones.
fn is_printable(character: char) -> bool {
    let mut pair = String::from("a");
    pair.push(character);
    character.is_ascii_graphic() || character == ' ' || pair.escape_debug().count() == 2
}

fn push_hex(out: &mut String, letter: char, width: usize, character: char) {
    // Writing to a `String` does not fail.
    let _ = write!(out, "\\{letter}{:0width$x}", u32::from(character));
}
