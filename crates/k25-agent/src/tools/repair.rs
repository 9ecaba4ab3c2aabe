//! Arguments that are almost JSON.

use serde_json::{Map, Value};

/// Longest arguments that are read.
const MAX_BYTES: usize = 4 << 20;
/// Deepest nesting that is mended.
const MAX_DEPTH: usize = 64;

/// The object that `text` says or almost says: fences around it, commas too many, brackets that were
/// cut off, a second encoding as a string. `None` if there is no object to be found. Nothing is
/// added but brackets and quotes at the end.
pub fn repaired_json(text: &str) -> Option<Value> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let text = text.trim();
    if text.is_empty() {
        return Some(Value::Object(Map::new()));
    }
    match serde_json::from_str(text) {
        Ok(Value::String(inner)) => return object(&inner),
        Ok(value @ Value::Object(_)) => return Some(value),
        Ok(_) => return None,
        Err(_) => {}
    }
    let start = text.find('{')?;
    object(&text[start..]).or_else(|| object(&closed(&text[start..])?))
}

fn object(text: &str) -> Option<Value> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.next()?.ok().filter(Value::is_object)
}

/// The text with its open strings and brackets closed and without commas before closing ones.
fn closed(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 8);
    let mut open = Vec::new();
    let mut in_string = false;
    let mut escaped = false;
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            match character {
                // A line break as it is typed.
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                other => out.push(other),
            }
            continue;
        }
        match character {
            '"' => in_string = true,
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => {
                drop_comma(&mut out);
                if open.pop() != Some(character) {
                    return None;
                }
            }
            _ => {}
        }
        out.push(character);
        if open.is_empty() {
            return Some(out);
        }
        if open.len() > MAX_DEPTH {
            return None;
        }
    }
    if in_string {
        if escaped {
            out.pop();
        }
        out.push('"');
    }
    drop_comma(&mut out);
    if out.trim_end().ends_with(':') {
        out.push_str("null");
    }
    out.extend(open.iter().rev());
    Some(out)
}

fn drop_comma(out: &mut String) {
    let trimmed = out.trim_end().len();
    if out[..trimmed].ends_with(',') {
        out.truncate(trimmed - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn almost_json_is_read() {
        let cases = [
            ("", "{}"),
            ("{\"a\": 1}", "{\"a\":1}"),
            ("```json\n{\"a\": [1, 2,],}\n```", "{\"a\":[1,2]}"),
            ("{\"a\": {\"b\": \"c", "{\"a\":{\"b\":\"c\"}}"),
            ("\"{\\\"a\\\": 1}\"", "{\"a\":1}"),
            ("{\"a\": 1} and more", "{\"a\":1}"),
            ("{\"a\": \"x\ny\"}", "{\"a\":\"x\\ny\"}"),
            ("{\"a\":", "{\"a\":null}"),
        ];
        for (text, expected) in cases {
            let value = repaired_json(text).map(|value| value.to_string());
            assert_eq!(value.as_deref(), Some(expected), "{text}");
        }
        for text in ["hello", "[1]", "3", "{]", "{a: 1}"] {
            assert_eq!(repaired_json(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let _ = repaired_json(&text);
            let _ = repaired_json(&format!("{{{text}"));
        }

        #[test]
        fn a_cut_object_is_an_object(cut in 1usize..60) {
            let text = r#"{"rows": [{"name": {"value": "a\"b", "line": 3}}], "source": "x"}"#;
            prop_assert!(repaired_json(&text[..cut.min(text.len())]).is_none_or(|v| v.is_object()));
        }
    }
}
