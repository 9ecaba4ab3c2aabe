//! Speed of the tokenizer and the stream parser: `cargo bench -p k25-chat`.
//!
//! No harness: each line is the best of many passes on one thread. An argument names the lines to
//! measure: `cargo bench -p k25-chat -- encode`.
//!
//! The vocabulary is synthetic, of the family's size. With the words of the text in it, nearly every
//! word is one look-up, as English is with a real vocabulary; without them every word is merged from
//! its bytes, as rare words and other languages are.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use k25_chat::{StreamParser, Tokenizer, parse_message, write_tiktoken, write_tokenizer_config};

const N_BASE: u32 = 163_584;
const PASSES: usize = 40;
const TEXT_BYTES: usize = 128 << 10;

fn main() {
    let english = text_of(
        "The orchestrator reads the question, splits it into parts that can be answered apart, and \
         gives each part to a sub-agent; when all of them have returned, it's their evidence that \
         decides, not their number.\n\n",
    );
    let code = text_of(
        "    for (index, slot) in table.iter_mut().enumerate() {\n        \
         *slot = offsets[index + 1] - offsets[index]; // lengths\n    }\n",
    );
    let chinese = text_of(
        "统筹者先把问题拆开，再把每一部分交给一个子代理；全部返回之后，由证据而不是数量来决定。\n",
    );
    let tokenizer = Tokenizer::synthetic(N_BASE).expect("a possible size");
    let with_words = with_words_of(&tokenizer, &[&english, &code, &chinese]);

    for (name, text) in [
        ("English", &english),
        ("code", &code),
        ("Chinese", &chinese),
    ] {
        let bytes = text.len();
        report(&format!("encode {name}"), bytes, || {
            with_words.encode_text(text)
        });
        report(&format!("encode {name}, unknown words"), bytes, || {
            tokenizer.encode_text(text)
        });
    }
    for (name, unit) in [
        ("a", "a"),
        ("blanks", " "),
        ("Han", "漢"),
        ("emoji", "🚀"),
        ("marks", "\u{301}"),
    ] {
        let run = unit.repeat((1 << 20) / unit.len());
        report(&format!("encode 1 MiB run of {name}"), run.len(), || {
            tokenizer.encode_text(&run).len()
        });
    }
    let ids = tokenizer.encode_text(&english);
    report("decode English", english.len(), || {
        tokenizer.decode(&ids).map_or(0, |text| text.len())
    });
    bench_parser(&english);
    bench_open(&tokenizer);
}

/// The synthetic vocabulary with the words of these texts in place of its last tokens.
fn with_words_of(tokenizer: &Tokenizer, texts: &[&str]) -> Tokenizer {
    let words = texts
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let words: BTreeSet<Vec<u8>> = words
        .filter(|word| !word.is_empty())
        .map(|word| format!(" {word}").into_bytes())
        .collect();
    let known = |word: &[u8]| {
        let ids = tokenizer.encode_text(&String::from_utf8_lossy(word));
        ids.len() == 1
    };
    let mut tokens: Vec<Vec<u8>> = (0..N_BASE)
        .map_while(|id| Some(tokenizer.token_bytes(id).ok()?.to_vec()))
        .collect();
    let new: Vec<Vec<u8>> = words.into_iter().filter(|word| !known(word)).collect();
    tokens.truncate(tokens.len() - new.len());
    tokens.extend(new);
    Tokenizer::from_base_tokens(&tokens).expect("distinct tokens")
}

/// A unit of text repeated to about [`TEXT_BYTES`].
fn text_of(unit: &str) -> String {
    unit.repeat(TEXT_BYTES / unit.len())
}

fn bench_parser(english: &str) {
    let call =
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>";
    let outputs = [
        ("reasoning", english.to_owned()),
        (
            "arguments",
            format!("</think>{call}{{\"text\": \"{english}\"}}"),
        ),
        ("all '<'", "<".repeat(english.len())),
    ];
    for (name, output) in &outputs {
        report(&format!("parse {name}, whole"), output.len(), || {
            parse_message(output, true)
        });
        report(
            &format!("parse {name}, in tokens of 4 bytes"),
            output.len(),
            || {
                let mut parser = StreamParser::new(true);
                let tokens = output
                    .as_bytes()
                    .chunks(4)
                    .filter_map(|t| std::str::from_utf8(t).ok());
                tokens.map(|token| parser.feed(token).len()).sum::<usize>() + parser.finish().len()
            },
        );
    }
}

fn bench_open(tokenizer: &Tokenizer) {
    let tokens: Vec<&[u8]> = (0..tokenizer.n_base())
        .map_while(|id| tokenizer.token_bytes(id).ok())
        .collect();
    let (ranks, config) = (
        write_tiktoken(&tokens),
        write_tokenizer_config(tokenizer.n_base()),
    );
    report("open, 163,584 ranks", ranks.len(), || {
        Tokenizer::from_bytes(ranks.as_bytes(), config.as_bytes()).map_or(0, |t| t.n_base())
    });
}

fn report<T>(name: &str, bytes: usize, mut pass: impl FnMut() -> T) {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if !name.contains(&wanted.unwrap_or_default()) {
        return;
    }
    let once = |_| {
        let start = Instant::now();
        black_box(pass());
        start.elapsed()
    };
    let best = (0..PASSES).map(once).min().unwrap_or(Duration::MAX);
    let ns_per_byte = best.as_secs_f64() * 1e9 / bytes as f64;
    println!(
        "{name:<40} {:>8.1} MB/s {ns_per_byte:>8.2} ns/byte {:>9.2} ms",
        1e3 / ns_per_byte,
        best.as_secs_f64() * 1e3
    );
}
