//! What the parser promises for every output: the chunks do not matter, no marker shows, nothing
//! outside the tool calls is lost, and the work is linear.

#[path = "support/chunks.rs"]
mod chunks;

use std::time::{Duration, Instant};

use chunks::{events_of, events_with_special_tokens, random_chunks};
use k25_chat::{ParserEvent, StreamParser, parse_message};
use proptest::prelude::*;

const THINK: [&str; 2] = ["<think>", "</think>"];
const TOOL: [&str; 7] = [
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_section_begin|>",
    "<|tool_call_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
];
const FRAGMENTS: [&str; 26] = [
    "a",
    "é",
    "漢字",
    "🚀",
    " ",
    "\n",
    "\u{3000}",
    "{",
    "}",
    "\"",
    ":",
    "0",
    "functions.f:0",
    "f",
    ".",
    "<",
    "<thi",
    "nk>",
    "</",
    "think>",
    "<|tool_call",
    "_begin|>",
    "s_section",
    "_end|>",
    "_argument_begin|>",
    "<|im_end|>",
];

/// Outputs made of markers, of halves of markers and of other text.
fn outputs() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(&THINK[..]),
        prop::sample::select(&TOOL[..]),
        prop::sample::select(&FRAGMENTS[..]),
        prop::sample::select(&FRAGMENTS[..]),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn chunks_do_not_matter(output in outputs(), thinking: bool, longest in 1usize..30, seed: u64) {
        let expected = events_of([output.as_str()], thinking);
        let chunks = random_chunks(&output, longest, seed);
        prop_assert_eq!(&events_of(chunks, thinking), &expected);
        prop_assert_eq!(&events_of(random_chunks(&output, 1, 0), thinking), &expected);
        prop_assert_eq!(&events_with_special_tokens(&output, thinking), &expected);
    }

    #[test]
    fn no_marker_shows(output in outputs(), thinking: bool) {
        let message = parse_message(&output, thinking);
        let calls = &message.tool_calls;
        let free_of = |text: &str, markers: &[&str]| markers.iter().all(|&m| !text.contains(m));
        for text in message.reasoning.iter().chain(&message.content) {
            prop_assert!(free_of(text, &TOOL) && free_of(text, &THINK), "{:?}", text);
        }
        for call in calls {
            prop_assert!(free_of(&call.id, &TOOL) && free_of(&call.id, &THINK), "{:?}", call);
            prop_assert!(free_of(&call.arguments, &TOOL), "{:?}", call);
        }
    }

    /// Without tool markers, whole or halved, everything but the thinking markers is shown.
    #[test]
    fn plain_text_is_shown_whole(
        texts in prop::collection::vec("[a-z <>/|é漢\n]{0,12}", 1..8),
        thinking: bool,
    ) {
        let message = parse_message(&texts.join("</think>"), thinking);
        let shown = message.reasoning.unwrap_or_default() + &message.content.unwrap_or_default();
        prop_assert_eq!(shown, texts.concat());
    }

    #[test]
    fn well_formed_output_comes_back(
        reasoning in "[a-z .\n]{0,20}",
        content in "[a-z .\n]{0,20}",
        calls in prop::collection::vec(("[a-zA-Z0-9_.:-]{1,12}", "\\{[a-z\": <>|\n]{0,30}\\}"), 0..5),
    ) {
        let mut output = format!("{reasoning}</think>{content}");
        if !calls.is_empty() {
            output.push_str(TOOL[0]);
            for (index, (name, arguments)) in calls.iter().enumerate() {
                let parts = [TOOL[4], "functions.", name, ":", &index.to_string(), TOOL[5], arguments, TOOL[6]];
                output.push_str(&parts.concat());
            }
            output.push_str(TOOL[1]);
        }
        let message = parse_message(&output, true);
        prop_assert_eq!(message.reasoning.unwrap_or_default(), reasoning);
        prop_assert_eq!(message.content.unwrap_or_default(), content);
        prop_assert_eq!(message.tool_calls.len(), calls.len());
        for (index, (parsed, (name, arguments))) in message.tool_calls.iter().zip(&calls).enumerate() {
            prop_assert_eq!(&parsed.id, &format!("functions.{name}:{index}"));
            prop_assert_eq!(&parsed.name, name);
            prop_assert_eq!(&parsed.arguments, arguments);
        }
    }
}

#[test]
fn arguments_flow_as_they_arrive() {
    let mut parser = StreamParser::new(false);
    parser.feed("<|tool_call_begin|>f:0<|tool_call_argument_begin|>{\"text\": \"");
    for _ in 0..1_000 {
        let word = "word ".repeat(40);
        let events = parser.feed(&word);
        let [ParserEvent::ToolCallArgumentsDelta { index: 0, delta }] = events.as_slice() else {
            panic!("200 bytes bring {events:?}");
        };
        // Only the blank at the end is kept back, so one is short and the next begins with it.
        assert_eq!(delta.trim(), word.trim());
    }
}

/// A generous limit for four megabytes in single characters on a busy machine, unoptimised; work
/// that grows with the square of the length would take hours.
const LINEAR: Duration = Duration::from_secs(60);

#[test]
fn work_is_linear_in_the_output() {
    let bytes = 4_000_000;
    for (start, unit) in [
        ("", "a"),
        ("", "<"),
        ("", "<thi"),
        ("", "<|tool_call_argument_begin|"),
        ("</think>", "</think><thi"),
        ("<|tool_calls_section_begin|>", "noise "),
        (
            "<|tool_calls_section_begin|><|tool_calls_section_end|>",
            "\n",
        ),
        ("<|tool_call_begin|>", "id:"),
        ("<|tool_call_begin|>f:0<|tool_call_argument_begin|>{", " "),
        (
            "<|tool_call_begin|>f:0<|tool_call_argument_begin|>",
            "<|tool_<think>",
        ),
        (
            "",
            "<|tool_call_begin|>f:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        ),
    ] {
        let output = start.to_owned() + &unit.repeat(bytes / unit.len());
        let begin = Instant::now();
        let mut parser = StreamParser::new(true);
        for chunk in output.as_bytes().chunks(3) {
            parser.feed(std::str::from_utf8(chunk).expect("ASCII"));
        }
        parser.finish();
        let taken = begin.elapsed();
        assert!(taken < LINEAR, "{unit:?} took {taken:?}");
    }
}
