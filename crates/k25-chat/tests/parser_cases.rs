//! The parser against the hand-specified cases and against the table of its documentation, however
//! the text is cut.

#[path = "support/chunks.rs"]
mod chunks;

use chunks::{events_of, events_with_special_tokens, random_chunks};
use k25_chat::{ParsedMessage, ParsedToolCall, parse_message};
use serde::Deserialize;

const RANDOM_CHUNKINGS: u64 = 1_000;

#[derive(Deserialize)]
struct CaseFile {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model_output: String,
    thinking: bool,
    reasoning: Option<String>,
    content: Option<String>,
    tool_calls: Vec<CaseCall>,
}

#[derive(Deserialize)]
struct CaseCall {
    id: String,
    name: String,
    arguments: String,
}

/// Parses `text` in one piece and checks that every other way to hand it over says the same.
fn parse_every_way(text: &str, thinking: bool) -> ParsedMessage {
    let expected = events_of([text], thinking);
    for at in (0..=text.len()).filter(|&at| text.is_char_boundary(at)) {
        let halves = [&text[..at], &text[at..]];
        assert_eq!(events_of(halves, thinking), expected, "cut as {halves:?}");
    }
    for seed in 0..RANDOM_CHUNKINGS {
        let chunks = random_chunks(text, 1 + (seed % 40) as usize, seed);
        assert_eq!(
            events_of(chunks.iter().copied(), thinking),
            expected,
            "cut as {chunks:?}"
        );
    }
    assert_eq!(
        events_with_special_tokens(text, thinking),
        expected,
        "special tokens of {text:?}"
    );
    let mut message = ParsedMessage::default();
    message.extend(&expected);
    assert_eq!(message, parse_message(text, thinking));
    message
}

#[test]
fn every_specified_case() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/parser_cases.json"
    );
    let text = std::fs::read_to_string(path).expect("fixture");
    let file: CaseFile = serde_json::from_str(&text).expect("fixture has the expected form");
    assert!(file.cases.len() >= 18, "the fixture shrank");
    for case in file.cases {
        let message = parse_every_way(&case.model_output, case.thinking);
        assert_eq!(message.reasoning, case.reasoning, "{}", case.name);
        assert_eq!(message.content, case.content, "{}", case.name);
        let calls = case.tool_calls.into_iter().map(|call| ParsedToolCall {
            id: call.id,
            name: call.name,
            arguments: call.arguments,
        });
        assert_eq!(
            message.tool_calls,
            calls.collect::<Vec<_>>(),
            "{}",
            case.name
        );
    }
}

/// Short forms of the markers, so that a case fits on a line.
fn spelled(short: &str) -> String {
    [
        ("[S]", "<|tool_calls_section_begin|>"),
        ("[s]", "<|tool_call_section_begin|>"),
        ("[/S]", "<|tool_calls_section_end|>"),
        ("[/s]", "<|tool_call_section_end|>"),
        ("[C]", "<|tool_call_begin|>"),
        ("[A]", "<|tool_call_argument_begin|>"),
        ("[/C]", "<|tool_call_end|>"),
        ("[T]", "<think>"),
        ("[/T]", "</think>"),
    ]
    .into_iter()
    .fold(short.to_owned(), |text, (short, long)| {
        text.replace(short, long)
    })
}

/// Checks an output in short form: reasoning, content and `id|name|arguments` of each call; an empty
/// text stands for none.
#[track_caller]
fn check(output: &str, thinking: bool, reasoning: &str, content: &str, calls: &[&str]) {
    let message = parse_every_way(&spelled(output), thinking);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let seen: Vec<String> = message
        .tool_calls
        .iter()
        .map(|call| format!("{}|{}|{}", call.id, call.name, call.arguments))
        .collect();
    assert_eq!(
        (text(&message.reasoning), text(&message.content), seen),
        (
            reasoning.to_owned(),
            content.to_owned(),
            calls.iter().map(|&call| spelled(call)).collect()
        ),
        "{output}"
    );
    assert_ne!(
        message.reasoning.as_deref(),
        Some(""),
        "no reasoning is None"
    );
    assert_ne!(message.content.as_deref(), Some(""), "no content is None");
    assert_eq!(message.has_tool_calls(), !calls.is_empty());
}

#[test]
fn thinking_and_its_markers() {
    check("", true, "", "", &[]);
    check("[T][T]a[T]b[/T]c", true, "ab", "c", &[]);
    check("a[/T]b[/T]c[T]d[/T]e", true, "a", "bcde", &[]);
    check("\n[T]\na\n[/T]\n\nb\n", true, "\n\na\n", "\n\nb\n", &[]);
    check("[T]a[/T]b", false, "", "ab", &[]);
    check("a[/C][A][/S]b[/s]c[/T]d", true, "abc", "d", &[]);
    check("[/T]a[/C]b[A]c[/S]d", true, "", "abcd", &[]);
    check("思[/T]答", true, "思", "答", &[]);
}

#[test]
fn sections_and_what_is_around_them() {
    check(
        "r[S][C]f:0[A]{}[/C][/S]late[/T]x",
        true,
        "r",
        "latex",
        &["f:0|f|{}"],
    );
    check("r[C]f:0[A]{}[/C][/T]x", true, "r", "x", &["f:0|f|{}"]);
    check(
        "a[S][C]f:0[A]1[/C][/S]b[S][C]g:1[A]2[/C][/S]c",
        false,
        "",
        "abc",
        &["f:0|f|1", "g:1|g|2"],
    );
    check("a [S][C]f:0[A]1[/C][/S]\n\n", false, "", "a ", &["f:0|f|1"]);
    check(
        "a[S][C]f:0[A]1[/C][/S]\n\nb",
        false,
        "",
        "a\n\nb",
        &["f:0|f|1"],
    );
    check(
        "a[S][C]f:0[A]1[/C][/S]\n[S][C]g:1[A]2[/C][/S]\n",
        false,
        "",
        "a",
        &["f:0|f|1", "g:1|g|2"],
    );
    check(
        "[S]x[C]f:0[A]1[/C]y[C]g:1[A]2[/C]z[/S]",
        false,
        "",
        "",
        &["f:0|f|1", "g:1|g|2"],
    );
    check("[S][/S]", false, "", "", &[]);
    check("[S]x[/S]y", false, "", "y", &[]);
    check("[s][C]f:0[A]1[/C][/s]", false, "", "", &["f:0|f|1"]);
    check("[S][S][C]f:0[A]1[/C][/S][/S]", false, "", "", &["f:0|f|1"]);
    // Nothing closed the calls and nothing follows: the rest is the answer.
    check(
        "[S][C]f:0[A]1[/C] and more",
        false,
        "",
        " and more",
        &["f:0|f|1"],
    );
    check(
        "[C]f:0[A]1[/C]\n[C]g:1[A]2[/C]\n",
        false,
        "",
        "",
        &["f:0|f|1", "g:1|g|2"],
    );
    check(
        "[C]f:0[A]1[/C]noise[C]g:1[A]2[/C]rest",
        false,
        "",
        "rest",
        &["f:0|f|1", "g:1|g|2"],
    );
    check("[S]no call", false, "", "no call", &[]);
    check("[S]a[T]b[/T]c", false, "", "abc", &[]);
}

#[test]
fn ids_and_names() {
    check(
        "[C]functions.a_b-c.d:7[A]{}[/C]",
        false,
        "",
        "",
        &["functions.a_b-c.d:7|a_b-c.d|{}"],
    );
    check("[C]a:b:7[A]{}[/C]", false, "", "", &["a:b:7|a:b|{}"]);
    check(
        "[C]functions.f[A]{}[/C]",
        false,
        "",
        "",
        &["functions.f|f|{}"],
    );
    check(
        "[C]functions.:0[A]{}[/C]",
        false,
        "",
        "",
        &["functions.:0||{}"],
    );
    check("[C][A]{}[/C]", false, "", "", &["||{}"]);
    check(
        "[C]call_1a2b[A]{}[/C]",
        false,
        "",
        "",
        &["call_1a2b|call_1a2b|{}"],
    );
    check(
        "[C]\n\tf:0\u{3000}\n[A]{}[/C]",
        false,
        "",
        "",
        &["f:0|f|{}"],
    );
    check("[C]f[T]:[/T]0[A]{}[/C]", false, "", "", &["f:0|f|{}"]);
    check(
        "[C]functions.天気:0[A]{}[/C]",
        false,
        "",
        "",
        &["functions.天気:0|天気|{}"],
    );
}

#[test]
fn arguments_are_verbatim_but_for_blanks_at_the_ends() {
    check(
        "[C]f:0[A]\n {\"a\": \"b \n\"} \n\t[/C]",
        false,
        "",
        "",
        &["f:0|f|{\"a\": \"b \n\"}"],
    );
    check(
        "[C]f:0[A]{\"q\": \"温度 <b> 🌡️\"}[/C]",
        false,
        "",
        "",
        &["f:0|f|{\"q\": \"温度 <b> 🌡️\"}"],
    );
    check(
        "[C]f:0[A]not json {[/C]",
        false,
        "",
        "",
        &["f:0|f|not json {"],
    );
    check("[C]f:0[A][/C]", false, "", "", &["f:0|f|"]);
    check("[C]f:0[A] \n [/C]", false, "", "", &["f:0|f|"]);
    check(
        "[C]f:0[A]{\"t\": \"[T]x[/T]\"}[/C]",
        false,
        "",
        "",
        &["f:0|f|{\"t\": \"[T]x[/T]\"}"],
    );
    check("[C]f:0[A]{[A]}[/C]", false, "", "", &["f:0|f|{}"]);
    check(
        "[C]f:0[A]{\"a\": \"<|tool_call\"}[/C]",
        false,
        "",
        "",
        &["f:0|f|{\"a\": \"<|tool_call\"}"],
    );
}

#[test]
fn calls_with_markers_missing() {
    check("[S][C]f:0[A]{\"a\":", false, "", "", &["f:0|f|{\"a\":"]);
    check(
        "[S][C]f:0[A]{\"a\": 1} \n",
        false,
        "",
        "",
        &["f:0|f|{\"a\": 1}"],
    );
    check(
        "[S][C]f:0[A]1[C]g:1[A]2[/S]b",
        false,
        "",
        "b",
        &["f:0|f|1", "g:1|g|2"],
    );
    check(
        "[S][C]f:0[A]1[S][C]g:1[A]2[/C][/S]",
        false,
        "",
        "",
        &["f:0|f|1", "g:1|g|2"],
    );
    check(
        "[S][C]f:0[/C][C]g:1[/S]",
        false,
        "",
        "",
        &["f:0|f|", "g:1|g|"],
    );
    check(
        "[S][C]f:0 {\"a\": 1}\n[/C][/S]",
        false,
        "",
        "",
        &["f:0|f|{\"a\": 1}"],
    );
    check(
        "[S][C]f:0[C]g:1[A]2[/C][/S]",
        false,
        "",
        "",
        &["f:0|f|", "g:1|g|2"],
    );
    check(
        "[S][C][C]g:1[A]2[/C][C][/C][/S]",
        false,
        "",
        "",
        &["g:1|g|2"],
    );
    check("[S]f:0[A]1[/C][/S]", false, "", "", &["f:0|f|1"]);
    check("[S]noise[A]1[/C][/S]", false, "", "", &[]);
    check("[S][C]functions.f:0", false, "", "", &["functions.f:0|f|"]);
    check("[S][C]functions.get_w", false, "", "", &[]);
    check("a[S][C]", false, "", "a", &[]);
}

#[test]
fn unfinished_markers_at_the_end() {
    check("why</thin", true, "why</thin", "", &[]);
    check(
        "a <|tool_calls_section_begin|",
        false,
        "",
        "a <|tool_calls_section_begin|",
        &[],
    );
    check("a <", false, "", "a <", &[]);
    check(
        "[C]f:0[A]{\"a\": \"<",
        false,
        "",
        "",
        &["f:0|f|{\"a\": \"<"],
    );
    check("[C]f:0<|tool_call_argu", false, "", "", &["f:0|f|"]);
    check(
        "[S][C]f:0[A]1[/C]<|tool_call_be",
        false,
        "",
        "",
        &["f:0|f|1"],
    );
    check("[S][C]f:0[A]1[/C][/S]<", false, "", "<", &["f:0|f|1"]);
}

#[test]
fn markers_that_removed_markers_join_are_removed() {
    check("<thi[/T]nk>a", false, "", "a", &[]);
    check("<thi[T]nk>a[/T]b", true, "a", "b", &[]);
    check("a<|tool_call[T]_begin|>b", false, "", "ab", &[]);
    check(
        "a<|tool[S][C]f:0[A]1[/C][/S]_call_end|>b",
        false,
        "",
        "ab",
        &["f:0|f|1"],
    );
    check(
        "[C]f:0[A]<|tool_call[A]_end|>1[/C]",
        false,
        "",
        "",
        &["f:0|f|1"],
    );
    check(
        "[C]<|tool_call[T]_end|>f:0[A]1[/C]",
        false,
        "",
        "",
        &["f:0|f|1"],
    );
    check("[S]<thi[T]nk>x", false, "", "x", &[]);
}

#[test]
fn other_special_tokens_are_text() {
    check("a<|im_end|>b[EOS]", false, "", "a<|im_end|>b[EOS]", &[]);
}
