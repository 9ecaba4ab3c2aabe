//! `k25 chat` with its messages on standard input.

use crate::command::{Folder, Run, fixture, k25, k25_with_input};

fn chat(flags: &[&str], input: &str) -> Run {
    let (model, tokenizer) = (fixture("t1"), fixture("tokenizer"));
    let arguments = [
        "chat",
        &model,
        "--tokenizer",
        &tokenizer,
        "--instant",
        "--max-tokens",
        "6",
        "--temperature",
        "0",
    ];
    k25_with_input(arguments.iter().chain(flags), input.as_bytes())
}

/// One answer to `question`, as `k25 generate` gives it.
fn generated(question: &str) -> String {
    let (model, tokenizer) = (fixture("t1"), fixture("tokenizer"));
    k25([
        "generate",
        &model,
        "--tokenizer",
        &tokenizer,
        "--instant",
        "--max-tokens",
        "6",
        "--temperature",
        "0",
        question,
    ])
    .success()
}

#[test]
fn each_line_is_answered_until_the_end() {
    let (one, two) = (generated("Hello"), generated("Bye"));
    assert_eq!(chat(&[], "Hello\n").success(), one);
    assert_eq!(
        chat(&[], "Hello\n/quit\nBye\n").success(),
        one,
        "nothing is answered after /quit"
    );
    assert_eq!(
        chat(&[], "Hello\n/clear\nBye\n").success(),
        format!("{one}{two}")
    );
    assert_eq!(
        chat(&[], "\n  \nHello").success(),
        one,
        "empty lines ask nothing"
    );
}

#[test]
fn the_conversation_is_remembered() {
    let remembered = chat(&[], "Hello\nBye\n").success();
    assert_ne!(remembered, generated("Hello") + &generated("Bye"));
    assert!(remembered.starts_with(&generated("Hello")));
}

#[test]
fn commands_are_obeyed() {
    assert!(chat(&[], "/help\n").success().contains("/image FILE"));
    let picture = fixture("images/rgb_28x28.png");
    let seen = chat(&[], &format!("/image {picture}\nHello\n")).success();
    assert!(!seen.is_empty());
    // A thinking answer of six tokens is all reasoning, which a pipe does not get.
    assert_eq!(chat(&[], "/thinking\nHello\n").success(), "");
}

#[test]
fn a_script_ends_at_the_first_error() {
    for (input, part) in [
        ("/sing\nHello\n", "no command /sing"),
        ("/image\nHello\n", "which file?"),
        ("/image /no/such.png\nHello\n", "/no/such.png is no file"),
    ] {
        chat(&[], input).fails(&[part]);
    }
    let folder = Folder::empty();
    let text = folder.with("text.png", "no picture");
    chat(&[], &format!("/image {text}\nHello\n")).fails(&["no image that can be read"]);
}
