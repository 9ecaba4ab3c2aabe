//! Tool calls in the model's own format.

use k25_chat::{JsonValue, ParsedMessage, SpecialToken};
use k25_grammar::{AnswerForm, CallRule, Constraint, ConstraintError, Opening};

use crate::walk::{GRAMMARS, TOKENIZER, allows, check, constraint, grammar, json, read, walk};

const PARAMETERS: [(&str, &str); 3] = [
    (
        "get_weather",
        r#"{"type": "object", "properties": {"city": {"enum": ["Bern", "Zürich"]}, "days": {"type": "integer", "minimum": 1, "maximum": 14}}, "required": ["city"], "additionalProperties": false}"#,
    ),
    (
        "get_time.in-zone",
        r#"{"type": "object", "properties": {"zone": {"type": "string", "maxLength": 3}}, "required": ["zone"], "additionalProperties": false}"#,
    ),
    (
        "stop",
        r#"{"type": "object", "properties": {}, "additionalProperties": false}"#,
    ),
];

fn tools() -> Vec<JsonValue> {
    let tool = |(name, parameters)| {
        json(&format!(
            r#"{{"type": "function", "function": {{"name": "{name}", "parameters": {parameters}}}}}"#
        ))
    };
    PARAMETERS.map(tool).into()
}

fn calling(calls: CallRule) -> Constraint {
    Constraint {
        calls,
        tools: tools(),
        next_call: 9,
        ..constraint(AnswerForm::Text)
    }
}

/// Ids count on, names are tools, arguments match.
fn check_calls(message: &ParsedMessage) {
    for (index, call) in message.tool_calls.iter().enumerate() {
        assert_eq!(call.id, format!("functions.{}:{}", call.name, 9 + index));
        let parameters = PARAMETERS.iter().find(|(name, _)| *name == call.name);
        let (_, parameters) = parameters.unwrap_or_else(|| panic!("no tool {}", call.name));
        check(&json(parameters), &call.arguments).expect("the tool's schema");
    }
}

#[test]
fn a_required_call_is_made_and_its_arguments_match() {
    for thinking in [true, false] {
        let start = grammar(&Constraint {
            opening: match thinking {
                true => Opening::Reasoning,
                false => Opening::Answer(String::new()),
            },
            ..calling(CallRule::Required)
        });
        let mut counts = [0; 3];
        for seed in 0..60 {
            let tokens = walk(start.clone(), seed).expect("it is short");
            let message = read(&tokens, thinking);
            assert!(!message.tool_calls.is_empty() && message.content.is_none());
            check_calls(&message);
            for call in &message.tool_calls {
                let place = PARAMETERS.iter().position(|(name, _)| *name == call.name);
                counts[place.expect("a tool")] += 1;
            }
        }
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }
}

#[test]
fn a_named_function_is_called_once() {
    let name = "get_time.in-zone".to_owned();
    let start = grammar(&calling(CallRule::Named(name.clone())));
    for seed in 0..40 {
        let message = read(&walk(start.clone(), seed).expect("it is short"), false);
        let names: Vec<&str> = message.tool_calls.iter().map(|call| &*call.name).collect();
        assert_eq!(names, [&name]);
        check_calls(&message);
    }
}

#[test]
fn a_call_of_ones_own_accord_matches_too() {
    for (form, begins_so) in [(AnswerForm::Text, "a"), (AnswerForm::JsonObject, "{")] {
        let start = grammar(&Constraint {
            form,
            ..calling(CallRule::Auto)
        });
        let section = TOKENIZER.special_id(SpecialToken::ToolCallsSectionBegin);
        let mut said = start.clone();
        assert!(allows(&mut said, section));
        assert!(allows(&mut said, TOKENIZER.encode_text(begins_so)[0]));
        for seed in 0..20 {
            let mut called = start.clone();
            called.accept(section).expect("allowed");
            let mut tokens = vec![section];
            tokens.extend(walk(called, seed).expect("it is short"));
            let message = read(&tokens, false);
            assert!(!message.tool_calls.is_empty());
            check_calls(&message);
        }
    }
}

#[test]
fn a_text_that_was_begun_is_not_left_for_a_call() {
    let mut said = grammar(&Constraint {
        form: AnswerForm::JsonObject,
        ..calling(CallRule::Auto)
    });
    let section = TOKENIZER.special_id(SpecialToken::ToolCallsSectionBegin);
    said.accept(TOKENIZER.encode_text("{")[0]).expect("allowed");
    assert!(!allows(&mut said, section));
}

#[test]
fn structure_is_forced_from_end_to_end() {
    let mut grammar = grammar(&calling(CallRule::Named("stop".to_owned())));
    let forced = grammar.forced(64);
    let text = TOKENIZER.decode(&forced).expect("known tokens");
    let expected = "<|tool_calls_section_begin|><|tool_call_begin|>functions.stop:9\
                    <|tool_call_argument_begin|>{";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(grammar.forced(3), forced[..3]);
    for token in forced {
        assert!(allows(&mut grammar, token), "{text}");
        grammar.accept(token).expect("allowed");
    }
}

#[test]
fn impossible_calls_say_why() {
    let faults: [(Constraint, &str); 7] = [
        (
            calling(CallRule::Named("fly".to_owned())),
            "one of get_weather",
        ),
        (
            Constraint {
                tools: Vec::new(),
                ..calling(CallRule::Required)
            },
            "there are no tools",
        ),
        (
            Constraint {
                tools: vec![json("3")],
                ..calling(CallRule::Auto)
            },
            "tool 0: it is no object",
        ),
        (
            Constraint {
                tools: vec![json(r#"{"function": {"name": "a<|tool_call_end|>"}}"#)],
                ..calling(CallRule::Auto)
            },
            "cannot be told",
        ),
        (
            Constraint {
                tools: vec![json(
                    r#"{"function": {"name": "f", "parameters": {"type": "string"}}}"#,
                )],
                ..calling(CallRule::Auto)
            },
            "parameters of f",
        ),
        (
            Constraint {
                tools: vec![json(r#"{"function": {"name": "f"}}"#); 513],
                ..calling(CallRule::Auto)
            },
            "513 tools",
        ),
        (
            Constraint {
                opening: Opening::Answer("So: ".to_owned()),
                ..calling(CallRule::Required)
            },
            "is text",
        ),
    ];
    for (constraint, expected) in faults {
        let error = GRAMMARS
            .answer(&constraint)
            .map(|_| ())
            .expect_err(expected);
        let message = error.to_string();
        assert!(
            message.contains(expected) && message.contains("hint:"),
            "{message}"
        );
    }
    // A tool that nobody may call is not looked at.
    let unused = Constraint {
        tools: vec![json("3")],
        ..calling(CallRule::Never)
    };
    assert!(GRAMMARS.answer(&unused).is_ok());
}

#[test]
fn keywords_that_cannot_be_enforced_are_an_error_where_the_tool_is_strict() {
    let tool = |strict: bool| {
        json(&format!(
            r#"{{"function": {{"name": "f", "strict": {strict}, "parameters":
            {{"type": "object", "properties": {{}}, "if": {{}}, "additionalProperties": false}}}}}}"#
        ))
    };
    let with = |strict| Constraint {
        tools: vec![tool(strict)],
        ..calling(CallRule::Required)
    };
    assert!(GRAMMARS.answer(&with(false)).is_ok());
    let error = GRAMMARS.answer(&with(true)).map(|_| ()).expect_err("`if`");
    assert!(
        matches!(&error, ConstraintError::Compile { reason, .. } if reason.contains("if")),
        "{error}"
    );
}
