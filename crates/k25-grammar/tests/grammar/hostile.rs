//! Schemas and patterns of someone who means ill: each compiles or is refused with a reason; none
//! panics, overflows the stack or goes on for ever.

use k25_chat::JsonValue;
use k25_grammar::{AnswerForm, ConstraintError};
use proptest::prelude::*;

use crate::walk::{GRAMMARS, constraint, json, walk};

fn compile(schema: JsonValue) -> Result<(), ConstraintError> {
    let form = AnswerForm::JsonSchema {
        schema,
        strict: true,
    };
    GRAMMARS.answer(&constraint(form)).map(|grammar| {
        // A few steps, too: some traps are in the masks.
        let mut grammar = grammar.expect("it constrains");
        let mut words = vec![0; 41];
        let _ = grammar.allowed(&mut words);
        let _ = grammar.forced(8);
    })
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn traps_are_refused_with_a_reason() {
    let many = (0..30_000)
        .map(|i| i.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let traps = [
        nested(r#"{"items":"#, "}", 70),
        nested(r#"{"anyOf":["#, "]}", 40),
        format!(r#"{{"enum":[{many}]}}"#),
        r#"{"minimum": 1e999}"#.to_owned(),
        r#"{"type": "string", "pattern": "(?=a)b"}"#.to_owned(),
        r#"{"type": "string", "pattern": "("}"#.to_owned(),
        r#"{"type": "nonsense"}"#.to_owned(),
        r#"{"$ref": "https://example.org/schema.json"}"#.to_owned(),
        r##"{"$ref": "#/nowhere"}"##.to_owned(),
        r#"{"type": "object", "properties": {"a": false}, "required": ["a"]}"#.to_owned(),
        r#"{"type": "integer", "minimum": 5, "maximum": 4}"#.to_owned(),
        r#"{"not": {}}"#.to_owned(),
        "[]".to_owned(),
        "false".to_owned(),
    ];
    for trap in traps {
        let shown: String = trap.chars().take(60).collect();
        let message = compile(json(&trap)).expect_err(&shown).to_string();
        assert!(
            message.contains("hint:") && message.len() < 1000,
            "{message}"
        );
    }
}

#[test]
fn what_only_looks_like_a_trap_compiles_or_is_refused() {
    let twice = |name: &str| {
        format!(r##"{{"allOf":[{{"$ref":"#/$defs/{name}"}},{{"$ref":"#/$defs/{name}"}}]}}"##)
    };
    let doubling: Vec<String> = (0..30)
        .map(|i| format!(r#""d{i}": {}"#, twice(&format!("d{}", i + 1))))
        .collect();
    let products = [r#"{"anyOf":[{"minimum":1},{"maximum":9},{"multipleOf":3}]}"#; 12];
    let cases = [
        r##"{"$ref": "#"}"##.to_owned(),
        r##"{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}"##.to_owned(),
        format!(r#"{{"$defs": {{{}, "d30": {{"type": "integer"}}}}, {}}}"#, doubling.join(","), r##""$ref": "#/$defs/d0""##),
        format!(r#"{{"allOf":[{}]}}"#, products.join(",")),
        r#"{"type": "string", "minLength": 100000, "maxLength": 10000000}"#.to_owned(),
        r#"{"type": "array", "minItems": 1000000, "items": {"type": "string"}}"#.to_owned(),
        r#"{"type": "string", "pattern": "(a{1,1000}){1,1000}"}"#.to_owned(),
        r#"{"type": "string", "pattern": "^(a|a|a|a|a|a)*(b|.)*.{500}c$"}"#.to_owned(),
        r#"{"type": "integer", "multipleOf": 999999937}"#.to_owned(),
        r#"{"patternProperties": {".*a.*": {}, ".*b.*": {}, ".*c.*": {"type": "string"}}, "maxProperties": 3}"#.to_owned(),
        r#"{"x-guidance": {"whitespace_pattern": "("}, "type": "integer"}"#.to_owned(),
    ];
    for case in cases {
        if let Err(error) = compile(json(&case)) {
            assert!(error.to_string().contains("hint:"), "{error}");
        }
    }
}

#[test]
fn patterns_are_bounded() {
    let compile = |pattern: String| {
        let form = AnswerForm::Regex(pattern);
        GRAMMARS
            .answer(&constraint(form))
            .map(|grammar| walk(grammar.expect("it constrains"), 1))
    };
    assert!(matches!(
        compile("a".repeat(9000)),
        Err(ConstraintError::LongRegex { bytes: 9000 })
    ));
    for refused in ["(", "(?=a)", "\\", "[z-a]", "a{9,1}"] {
        assert!(compile(refused.to_owned()).is_err(), "{refused}");
    }
    for taken in [
        "a/b",
        "a\nb",
        "\"",
        "/",
        "é+|漢",
        "(?i)abc",
        "[^a-z]{2}",
        "x*y{3,}",
    ] {
        assert!(compile(taken.to_owned()).is_ok(), "{taken}");
    }
}

fn any_schema() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("{}".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just(r#"{"type":"string"}"#.to_owned()),
        Just(r#"{"type":["integer","null"]}"#.to_owned()),
        Just(r#"{"enum":[1,"a",null]}"#.to_owned()),
        Just(r##"{"$ref":"#"}"##.to_owned()),
        "[a-z]{1,6}".prop_map(|word| format!(r#"{{"{word}":1}}"#)),
        (-5i64..5, -5i64..5)
            .prop_map(|(a, b)| format!(r#"{{"minimum":{a},"maximum":{b},"multipleOf":{b}}}"#)),
        (0u64..9, 0u64..9)
            .prop_map(|(a, b)| format!(r#"{{"type":"string","minLength":{a},"maxLength":{b}}}"#)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            (prop::sample::select(vec!["anyOf", "oneOf", "allOf", "prefixItems"]), list)
                .prop_map(|(word, items)| format!(r#"{{"{word}":[{}]}}"#, items.join(","))),
            inner.clone().prop_map(|item| format!(r#"{{"items":{item},"maxItems":2}}"#)),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!(
                r#"{{"type":"object","properties":{{"a":{a},"b":{b}}},"required":["b"],"additionalProperties":{c}}}"#
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_schema_panics(schema in any_schema()) {
        let _ = compile(json(&schema));
    }
}
