//! A model's output through the stream parser: one result however it is cut, and no marker in it.
#![no_main]

use k25_chat::{ParsedMessage, SpecialToken, StreamParser, parse_message};
use k25_fuzz::{Dice, choices_and_text};
use libfuzzer_sys::fuzz_target;

/// What no reader may ever see.
const TOOL_MARKERS: [&str; 7] = [
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_section_begin|>",
    "<|tool_call_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
];

fuzz_target!(|data: &[u8]| {
    let Some((choices, text)) = choices_and_text(data) else {
        return;
    };
    let thinking = choices % 2 == 1;
    let whole = parse_message(text, thinking);
    let mut dice = Dice::of(data);
    for longest in [1, 7, 40] {
        assert_eq!(
            in_chunks(text, thinking, longest, &mut dice),
            whole,
            "chunks of up to {longest}"
        );
    }
    shows_no_marker(&whole);
    shows_no_marker(&with_special_tokens(text, thinking));
});

fn in_chunks(text: &str, thinking: bool, longest: usize, dice: &mut Dice) -> ParsedMessage {
    let mut parser = StreamParser::new(thinking);
    let mut message = ParsedMessage::default();
    let mut rest = text;
    while !rest.is_empty() {
        message.extend(&parser.feed(dice.next_chunk(&mut rest, longest)));
    }
    message.extend(&parser.finish());
    message
}

/// The same output with its markers as tokens rather than as text.
fn with_special_tokens(text: &str, thinking: bool) -> ParsedMessage {
    let mut parser = StreamParser::new(thinking);
    let mut message = ParsedMessage::default();
    let mut rest = text;
    while let Some((at, token)) = first_special(rest) {
        message.extend(&parser.feed(&rest[..at]));
        message.extend(&parser.feed_special(token));
        rest = &rest[at + token.text().len()..];
    }
    message.extend(&parser.feed(rest));
    message.extend(&parser.finish());
    message
}

/// The first name of a special token in `text`, and where it stands.
fn first_special(text: &str) -> Option<(usize, SpecialToken)> {
    text.match_indices(['<', '[']).find_map(|(at, _)| {
        let stands_here = |token: &&SpecialToken| text[at..].starts_with(token.text());
        SpecialToken::ALL
            .iter()
            .find(stands_here)
            .map(|&token| (at, token))
    })
}

fn shows_no_marker(message: &ParsedMessage) {
    let shown = message.reasoning.iter().chain(&message.content);
    for text in shown {
        let markers = TOOL_MARKERS.iter().chain(&["<think>", "</think>"]);
        markers.for_each(|marker| assert!(!text.contains(marker), "{marker} in {text:?}"));
    }
    for call in &message.tool_calls {
        for text in [&call.id, &call.name, &call.arguments] {
            TOOL_MARKERS
                .iter()
                .for_each(|marker| assert!(!text.contains(marker), "{marker} in {text:?}"));
        }
    }
}
