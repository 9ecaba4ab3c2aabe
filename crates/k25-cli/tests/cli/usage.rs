//! Flags, help, and readers that go away.

use std::process::Stdio;

use crate::command::{fixture, k25, program};

#[test]
fn help_shows_examples_for_every_command() {
    for command in [
        "inspect",
        "verify",
        "generate",
        "chat",
        "agent",
        "swarm",
        "mcp",
        "serve",
        "keys",
        "render",
        "tokenize",
        "train",
        "synth",
        "bench",
        "doctor",
        "completions",
        "man",
    ] {
        let help = k25([command, "--help"]).success();
        assert!(
            help.contains("Example") && help.contains(&format!("k25 {command} ")),
            "{help}"
        );
    }
    let help = k25(["--help"]).success();
    assert!(help.contains("k25 swarm --example crates"), "{help}");
    assert!(k25(["--version"]).success().starts_with("k25 "));
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let model = fixture("t1");
    let cases: &[(&[&str], &str)] = &[
        (&["sing"], "unrecognized subcommand"),
        (&["generate", &model], "<PROMPT>"),
        (
            &["generate", &model, "Hi", "--temperature", "-1"],
            "at least 0",
        ),
        (
            &["generate", &model, "Hi", "--temperature", "hot"],
            "at least 0",
        ),
        (
            &["generate", &model, "Hi", "--top-p", "0"],
            "above 0 and at most 1",
        ),
        (&["generate", &model, "Hi", "--min-p", "1.5"], "from 0 to 1"),
        (
            &["generate", &model, "Hi", "--max-tokens", "0"],
            "at least 1",
        ),
        (
            &["generate", &model, "Hi", "--threads", "none"],
            "whole number",
        ),
        (
            &["generate", &model, "Hi", "--thinking", "--instant"],
            "cannot be used with",
        ),
        (
            &["generate", &model, "Hi", "--messages", "x.json"],
            "cannot be used with",
        ),
        (
            &["generate", &model, "Hi", "--raw", "--image", "x.png"],
            "cannot be used with",
        ),
        (
            &["generate", &model, "Hi", "--execution", "magic"],
            "reference",
        ),
        (&["synth", "huge", "/nowhere"], "kimi-k2.5"),
        (&["tokenize", &model], "<TEXT>"),
        (&["tokenize", &model, "--decode", "1,x"], "invalid"),
        (&["render", "x.json", "--ids"], "--tokenizer"),
        (
            &["swarm", "q", "--docs", "a", "--example", "crates"],
            "cannot be used with",
        ),
        (
            &["swarm", "q", "--docs", "a", "--sample", "0"],
            "at least 1",
        ),
        (&["agent", "q", "--sample", "3"], "--docs DIR"),
        (&["swarm", "--example", "moon"], "there is crates"),
        (
            &["swarm", "q", "--thinking", "--instant"],
            "cannot be used with",
        ),
        (&["verify"], "<DIRS>"),
    ];
    for (arguments, part) in cases {
        k25(*arguments).refuses_flags(&[part]);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_to_talk_about() {
    let mut command = program();
    command.args(["tokenize", &fixture("tokenizer"), "Hello"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{:?}",
        output.status
    );
}
