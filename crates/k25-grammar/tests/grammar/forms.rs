//! Forms of the answer's text.

use k25_chat::{JsonValue, SpecialToken};
use k25_grammar::{AnswerForm, CallRule, Constraint, ConstraintError, Opening};

use crate::walk::{GRAMMARS, TOKENIZER, allows, check, constraint, grammar, json, read, walk};

/// Schemas whose values are short, so that every walk ends.
const SCHEMAS: &[&str] = &[
    r#"{"type": "boolean"}"#,
    r#"{"type": "integer", "minimum": -3, "maximum": 1200}"#,
    r#"{"type": "number", "minimum": 0, "maximum": 2}"#,
    r#"{"type": "string", "maxLength": 6}"#,
    r#"{"type": "string", "pattern": "^[a-c]{2,4}-\\d\\d$"}"#,
    r#"{"type": "string", "format": "date"}"#,
    r#"{"enum": ["left", "right", 3, null, {"a": [1]}]}"#,
    r#"{"const": {"exactly": ["this", 1.5]}}"#,
    r#"{"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 2, "maxItems": 4}"#,
    r#"{"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}], "items": false}"#,
    r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 4}, "size": {"type": "integer", "minimum": 1, "maximum": 99}}, "required": ["name"], "additionalProperties": false}"#,
    r#"{"anyOf": [{"type": "null"}, {"type": "object", "properties": {"é\"\\": {"enum": ["ü", "\"", "\\", "\n", "漢"]}}, "required": ["é\"\\"], "additionalProperties": false}]}"#,
    r##"{"$defs": {"node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"], "additionalProperties": false}}, "$ref": "#/$defs/node"}"##,
    r#"{"allOf": [{"type": "integer", "minimum": 10}, {"maximum": 20, "multipleOf": 5}]}"#,
];

#[test]
fn text_of_a_schema_matches_it() {
    for schema in SCHEMAS {
        let schema = json(schema);
        let form = AnswerForm::JsonSchema {
            schema: schema.clone(),
            strict: true,
        };
        let start = grammar(&constraint(form));
        let mut ended = 0;
        for seed in 0..40 {
            let Some(tokens) = walk(start.clone(), seed) else {
                continue;
            };
            ended += 1;
            let content = read(&tokens, false).content.unwrap_or_default();
            if let Err(fault) = check(&schema, &content) {
                panic!("{} at seed {seed}: {fault}", schema.to_json());
            }
        }
        assert!(ended > 30, "{}: {ended} of 40 walks end", schema.to_json());
    }
}

#[test]
fn any_object_is_an_object() {
    let start = grammar(&constraint(AnswerForm::JsonObject));
    let mut ended = 0;
    for seed in 0..60 {
        if let Some(tokens) = walk(start.clone(), seed) {
            let content = read(&tokens, false).content.unwrap_or_default();
            // Numbers may be longer than the other library reads.
            let value = JsonValue::parse(&content).expect("JSON");
            assert!(value.as_object().is_some(), "{content}");
            ended += 1;
        }
    }
    assert!(ended > 10, "{ended} walks end");
}

#[test]
fn text_of_a_pattern_matches_it() {
    let form = AnswerForm::Regex("(yes|no), [0-9]{1,3}(/[a-z]+)?!".to_owned());
    let start = grammar(&constraint(form));
    for seed in 0..40 {
        let tokens = walk(start.clone(), seed).expect("it is short");
        let content = read(&tokens, false).content.unwrap_or_default();
        let rest = content
            .strip_prefix("yes, ")
            .or_else(|| content.strip_prefix("no, "));
        let rest = rest.and_then(|rest| rest.strip_suffix('!'));
        let (digits, path) = rest
            .map(|rest| rest.split_once('/').unwrap_or((rest, "a")))
            .unwrap_or_else(|| panic!("{content}"));
        assert!((1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()));
        assert!(!path.is_empty() && path.bytes().all(|b| b.is_ascii_lowercase()));
    }
}

#[test]
fn reasoning_comes_first_and_ends() {
    let form = AnswerForm::Regex("[ab]{3}".to_owned());
    let start = grammar(&Constraint {
        opening: Opening::Reasoning,
        ..constraint(form)
    });
    for seed in 0..20 {
        let tokens = walk(start.clone(), seed).expect("it is short");
        let message = read(&tokens, true);
        let content = message.content.expect("an answer after the reasoning");
        assert!(content.len() == 3 && content.bytes().all(|byte| b"ab".contains(&byte)));
        assert!(message.tool_calls.is_empty());
    }
}

#[test]
fn a_message_that_was_begun_goes_on() {
    let schema = json(
        r#"{"type": "object", "properties": {"a": {"enum": [1, 22]}}, "required": ["a"], "additionalProperties": false}"#,
    );
    let begun = |text: &str| Constraint {
        opening: Opening::Answer(text.to_owned()),
        ..constraint(AnswerForm::JsonSchema {
            schema: schema.clone(),
            strict: true,
        })
    };
    for seed in 0..10 {
        let beginning = r#"{"a": 2"#;
        let tokens = walk(grammar(&begun(beginning)), seed).expect("it is short");
        let rest = TOKENIZER.decode(&tokens).expect("known tokens");
        check(&schema, &format!("{beginning}{rest}")).expect("the schema");
    }
    let error = GRAMMARS.answer(&begun(r#"{"b"#)).err();
    assert_eq!(error, Some(ConstraintError::Beginning));
}

#[test]
fn an_answer_without_calls_has_none_and_no_marker_either() {
    let tool = r#"{"type": "function", "function": {"name": "f"}}"#;
    let mut start = grammar(&Constraint {
        calls: CallRule::Never,
        tools: vec![json(tool)],
        ..constraint(AnswerForm::Text)
    });
    let section = TOKENIZER.special_id(SpecialToken::ToolCallsSectionBegin);
    assert!(!allows(&mut start, section));
    let word = TOKENIZER.encode_text("word")[0];
    assert!(allows(&mut start, word));
    assert!(allows(
        &mut start,
        TOKENIZER.special_id(SpecialToken::ImEnd)
    ));
    // Nor can ordinary tokens spell one.
    for token in TOKENIZER.encode_text("so: <|tool_cal") {
        assert!(allows(&mut start, token));
        start.accept(token).expect("text");
    }
    let l = TOKENIZER.encode_text("l")[0];
    assert!(!allows(&mut start, l));
    assert!(allows(&mut start, word));
}

#[test]
fn free_answers_have_no_grammar() {
    for calls in [CallRule::Auto, CallRule::Never] {
        let free = Constraint {
            calls,
            ..constraint(AnswerForm::Text)
        };
        assert!(GRAMMARS.answer(&free).expect("nothing to refuse").is_none());
    }
}

#[test]
fn forks_go_their_own_ways() {
    let form = AnswerForm::Regex("a(bcd|xyz)".to_owned());
    let mut first = grammar(&constraint(form));
    let tokens = |text: &str| TOKENIZER.encode_text(text);
    for token in tokens("a") {
        first.accept(token).expect("allowed");
    }
    let mut second = first.clone();
    first.accept(tokens("b")[0]).expect("allowed");
    second.accept(tokens("x")[0]).expect("allowed");
    assert!(allows(&mut first, tokens("c")[0]) && !allows(&mut first, tokens("y")[0]));
    assert!(allows(&mut second, tokens("y")[0]) && !allows(&mut second, tokens("c")[0]));
}

#[test]
fn what_is_forced_is_allowed() {
    let schema = json(
        r#"{"type": "object", "properties": {"a long name of a field": {"const": "and a long value"}}, "required": ["a long name of a field"], "additionalProperties": false}"#,
    );
    let form = AnswerForm::JsonSchema {
        schema,
        strict: true,
    };
    let mut grammar = grammar(&constraint(form));
    for token in TOKENIZER.encode_text("{\"") {
        grammar.accept(token).expect("allowed");
    }
    let forced = grammar.forced(16);
    let text = TOKENIZER.decode(&forced).expect("known tokens");
    assert!("a long name of a field\":".starts_with(&text), "{text}");
    assert!(text.len() > 10, "{text}");
    for token in forced {
        assert!(allows(&mut grammar, token));
        grammar.accept(token).expect("allowed");
    }
    assert_eq!(grammar.forced(0), [0; 0]);
}
