//! Reading and printing JSON as Python does. The expected texts are Python's own.

use k25_chat::{JsonProblem, JsonValue, MAX_JSON_DEPTH};
use proptest::prelude::*;

fn parse(text: &str) -> JsonValue {
    JsonValue::parse(text).expect(text)
}

/// JSON, `json.dumps(…, ensure_ascii=False)`, `repr`.
const PRINTED: &[(&str, &str, &str)] = &[
    (
        "[1,2.0,null,true]",
        "[1, 2.0, null, true]",
        "[1, 2.0, None, True]",
    ),
    (
        r#"{"b":1,"a":[],"b":2}"#,
        r#"{"b": 2, "a": []}"#,
        "{'b': 2, 'a': []}",
    ),
    (
        "[1e16,1E15,1e-4,1e-5,-0.0,-0]",
        "[1e+16, 1000000000000000.0, 0.0001, 1e-05, -0.0, 0]",
        "[1e+16, 1000000000000000.0, 0.0001, 1e-05, -0.0, 0]",
    ),
    // Halfway between two shortest forms Python takes the even one.
    (
        "1801514316094494.25",
        "1801514316094494.2",
        "1801514316094494.2",
    ),
    (
        "5.6843418860808015e-14",
        "5.684341886080802e-14",
        "5.684341886080802e-14",
    ),
    (
        "[1e400,-1e400,NaN,-Infinity]",
        "[Infinity, -Infinity, NaN, -Infinity]",
        "[inf, -inf, nan, -inf]",
    ),
    (
        "123456789012345678901234567890",
        "123456789012345678901234567890",
        "123456789012345678901234567890",
    ),
    (
        r#""\u00e9\ud83d\ude00\/\b\u001f\u007f""#,
        "\"é😀/\\b\\u001f\u{7f}\"",
        "'é😀/\\x08\\x1f\\x7f'",
    ),
    (
        r#"["it's","\"","'\""]"#,
        r#"["it's", "\"", "'\""]"#,
        r#"["it's", '"', '\'"']"#,
    ),
    (
        "\"e\u{301}\u{200b}\u{3000}\u{ad}\u{e0001}\"",
        "\"e\u{301}\u{200b}\u{3000}\u{ad}\u{e0001}\"",
        "'e\u{301}\\u200b\\u3000\\xad\\U000e0001'",
    ),
];

#[test]
fn values_are_printed_as_python_prints_them() {
    for (text, json, repr) in PRINTED {
        let value = parse(text);
        assert_eq!(value.to_json(), *json, "{text}");
        assert_eq!(value.python_repr(), *repr, "{text}");
    }
    assert_eq!(parse(r#""it's""#).python_str(), "it's");
    assert_eq!(
        parse(r#"{"b":[{"z":1,"a":2}],"a":"é"}"#)
            .sorted_deep()
            .to_compact_json(),
        r#"{"a":"é","b":[{"a":2,"z":1}]}"#
    );
}

#[test]
fn keys_are_sorted_by_code_point() {
    // Sorted by UTF-16, 😀 would stand before ﬁ.
    let value = parse("{\"\u{fb01}\":1,\"\u{1f600}\":2,\"a\":3,\"Z\":4,\"é\":5}");
    assert_eq!(
        value.sorted_deep().to_compact_json(),
        "{\"Z\":4,\"a\":3,\"é\":5,\"\u{fb01}\":1,\"\u{1f600}\":2}"
    );
}

#[test]
fn an_error_names_the_place() {
    let place = |text: &str| {
        let error = JsonValue::parse(text).expect_err(text);
        assert!(error.to_string().contains("hint"), "{error}");
        (error.line, error.column)
    };
    assert_eq!(place("{\n  \"é\": tru\n}"), (2, 8));
    assert_eq!(place("[1,]"), (1, 4));
    assert_eq!(place(""), (1, 1));
    assert_eq!(place("[\"a\nb\"]"), (1, 4));
    assert_eq!(place("01"), (1, 2));
    assert_eq!(place("\"\\x\""), (1, 3));
    let lone = JsonValue::parse(r#""\ud800""#).expect_err("half of a pair");
    assert_eq!(lone.problem, JsonProblem::LoneSurrogate);
    let long = JsonValue::parse(&"1".repeat(4301)).expect_err("too many digits");
    assert_eq!(long.problem, JsonProblem::IntegerTooLong);
}

/// A million brackets end in an error, and the deepest document that is read can be walked on the
/// 2 MiB stack of a test's thread.
#[test]
fn depth_is_bounded() {
    let million = JsonValue::parse(&"[".repeat(1_000_000)).expect_err("too deep");
    assert_eq!(million.problem, JsonProblem::TooDeep);
    let deepest = "{\"k\":".repeat(MAX_JSON_DEPTH - 1) + "[]" + &"}".repeat(MAX_JSON_DEPTH - 1);
    let value = parse(&deepest);
    assert_eq!(value.sorted_deep().clone().to_compact_json(), deepest);
    assert_eq!(
        value.python_repr().len(),
        deepest.len() + MAX_JSON_DEPTH - 1
    );

    let mut deeper = serde_json::Value::Null;
    for _ in 0..MAX_JSON_DEPTH {
        deeper = serde_json::Value::Array(vec![deeper]);
    }
    assert!(JsonValue::try_from(deeper).is_err());
}

#[test]
fn serde_values_convert() {
    let text = r#"{"b":[1,-2,2.5,18446744073709551615],"a":{"x":null,"y":true}}"#;
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(JsonValue::try_from(value).unwrap().to_compact_json(), text);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,64}") {
        let _ = JsonValue::parse(&text);
    }

    #[test]
    fn json_like_text_is_read_as_it_is_printed(text in "[\\[\\]{}\",:\\\\u0-9eE.+tfnrueals -]{0,40}") {
        if let Ok(value) = JsonValue::parse(&text) {
            let printed = value.to_json();
            prop_assert_eq!(JsonValue::parse(&printed).unwrap().to_json(), printed);
        }
    }

    /// Oracle: `serde_json` writes and reads the same strings and integers.
    #[test]
    fn serde_agrees(text in any::<String>(), integer in any::<i64>()) {
        let value = serde_json::json!({ "t": text, "i": integer, "k": { text.clone(): [] } });
        let ours = JsonValue::parse(&value.to_string()).unwrap();
        let back: serde_json::Value = serde_json::from_str(&ours.to_json()).unwrap();
        prop_assert_eq!(back, value);
    }

    /// Oracle: the standard library's float. (`serde_json` may miss the last bit.)
    #[test]
    fn floats_keep_every_bit(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let value = JsonValue::parse(&JsonValue::Float(float).to_json()).unwrap();
        prop_assert!(matches!(value, JsonValue::Float(back) if back.to_bits() == bits));
    }
}
