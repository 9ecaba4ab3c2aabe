//! Forms of answers, samples, and exact or fast, on the small fixture models.

use serde_json::{Value, json};

use crate::command::{Folder, Run, fixture, k25};

fn generate(rest: &[&str]) -> Run {
    let (model, tokenizer) = (fixture("t1"), fixture("tokenizer"));
    let fixed = [
        "generate",
        &model,
        "--tokenizer",
        &tokenizer,
        "Hello",
        "--instant",
        "--seed",
        "4",
    ];
    k25([fixed.as_slice(), rest].concat())
}

#[test]
fn an_answer_has_the_form_that_was_asked_for() {
    let folder = Folder::empty();
    let schema = json!({"type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["size"], "additionalProperties": false});
    let path = folder.with("schema.json", schema.to_string());
    let run = generate(&["--json-schema", &path, "--temperature", "2"]);
    let answer = run.json();
    assert!(
        (1..=99).contains(&answer["size"].as_i64().expect("an integer")),
        "{answer}"
    );

    let run = generate(&["--regex", "(yes|no)!", "--temperature", "2"]);
    let answer = run.success();
    assert!(["yes!\n", "no!\n"].contains(&answer.as_str()), "{answer}");
}

#[test]
fn forms_that_cannot_be_are_refused() {
    let folder = Folder::empty();
    let path = folder.with("schema.json", r#"{"not": {}}"#);
    for (flags, expected) in [
        (["--json-schema", &path], "not"),
        (["--json-schema", "/no/such/file"], "/no/such/file"),
        (["--regex", "("], "response_format"),
    ] {
        generate(&flags).fails(&[expected]);
    }
    generate(&["--regex", "a", "--json-object"]).refuses_flags(&["--json-object"]);
}

#[test]
fn samples_share_the_prompt() {
    let run = generate(&["-n", "3", "--max-tokens", "8", "--json"]);
    let replies: Vec<Value> = serde_json::from_value(run.json()).expect("a list");
    assert_eq!(replies.len(), 3);
    let cached = |reply: &Value| reply["usage"]["cached_tokens"].as_u64().expect("a number");
    let prompt = replies[0]["usage"]["prompt_tokens"]
        .as_u64()
        .expect("a number");
    assert_eq!(replies.iter().map(cached).sum::<u64>(), 2 * (prompt - 1));
    assert_ne!(replies[0]["content"], replies[1]["content"]);
    let one = generate(&["--max-tokens", "8", "--json"]);
    assert_eq!(
        one.json()["content"],
        replies[0]["content"],
        "the first is what one is"
    );
}

#[test]
fn a_stop_text_ends_the_answer() {
    let free = generate(&["--max-tokens", "12"]);
    let text = free.success().trim_end().to_owned();
    let (at, _) = text
        .char_indices()
        .nth(text.chars().count() / 2)
        .expect("text");
    let stop: String = text[at..].chars().take(3).collect();
    let stopped = generate(&["--max-tokens", "12", "--stop", &stop]);
    let expected = text.split_once(&stop).expect("it is there").0;
    assert_eq!(stopped.success().trim_end(), expected.trim_end());
}

#[test]
fn fast_choices_run_and_contradictions_are_named() {
    generate(&[
        "--max-tokens",
        "4",
        "--dense",
        "int8",
        "--activations",
        "int8",
        "--cache",
        "int8",
    ])
    .success();
    generate(&["--dense", "int8"]).fails(&["--activations int8"]);
    generate(&["--execution", "reference", "--cache", "int8"]).fails(&["--execution fast"]);
    generate(&["--memory", "1MB"]).fails(&["raise --memory"]);
    generate(&["--memory", "8"]).refuses_flags(&["8GiB"]);
}

#[test]
fn the_error_of_fast_choices_is_measured() {
    let model = fixture("t1");
    let run = k25([
        "verify",
        &model,
        "--fast",
        "--activations",
        "int8",
        "--json",
    ]);
    let errors = run.json();
    assert!(errors[0]["worst_error"].as_f64() > Some(0.0));
    assert!(errors[0]["top1_agreement"].as_f64() > Some(0.9));
    k25(["verify", &model, "--activations", "int8"]).fails(&["--fast"]);
}
