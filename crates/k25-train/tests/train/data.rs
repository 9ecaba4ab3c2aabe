//! Which tokens count, and how documents become batches.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use k25_chat::{Conversation, Reading, SpecialToken, Tokenizer};
use k25_train::data::{DataKind, Mixture, Source, conversation_document};

fn tokenizer() -> Tokenizer {
    Tokenizer::synthetic(300).expect("a tokenizer")
}

/// What counts in a conversation, as text with special tokens printed.
fn counted(json: &str, weights: &[f32]) -> Vec<(String, f32)> {
    let tokenizer = tokenizer();
    let conversation = Conversation::parse(json, Reading::Service).expect("a conversation");
    let document = conversation_document(&tokenizer, &conversation, weights);
    assert_eq!(document.tokens.len(), document.weights.len());
    let mut parts: Vec<(Vec<u32>, f32)> = Vec::new();
    for (token, weight) in document.tokens.iter().zip(&document.weights) {
        match parts.last_mut() {
            Some((tokens, last)) if last == weight => tokens.push(*token),
            _ => parts.push((vec![*token], *weight)),
        }
    }
    let counting = parts.into_iter().filter(|(_, weight)| *weight != 0.0);
    counting
        .map(|(tokens, weight)| (tokenizer.decode(&tokens).expect("text"), weight))
        .collect()
}

#[test]
fn reasoning_answer_and_end_count_where_there_is_reasoning() {
    let json = r#"[{"role":"user","content":"2+2? <|im_end|>"},
        {"role":"assistant","reasoning_content":"two and two","content":"4"}]"#;
    assert_eq!(
        counted(json, &[]),
        [("two and two</think>4<|im_end|>".to_owned(), 1.0)]
    );
}

#[test]
fn without_reasoning_the_empty_one_belongs_to_the_prompt() {
    let json = r#"[{"role":"system","content":"s"},{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},
        {"role":"user","content":"more"},{"role":"assistant","content":"no"}]"#;
    assert_eq!(
        counted(json, &[1.0, 0.5]),
        [
            ("ho<|im_end|>".to_owned(), 1.0),
            ("no<|im_end|>".to_owned(), 0.5)
        ]
    );
    assert_eq!(
        counted(json, &[0.0, 0.5]),
        [("no<|im_end|>".to_owned(), 0.5)]
    );
}

#[test]
fn an_earlier_answer_counts_only_if_it_was_said_without_reasoning() {
    let json = r#"[{"role":"user","content":"1"},{"role":"assistant","reasoning_content":"hm","content":"a"},
        {"role":"user","content":"2"},{"role":"assistant","content":"b"},
        {"role":"user","content":"3"},{"role":"assistant","reasoning_content":"so","content":"c"}]"#;
    assert_eq!(
        counted(json, &[]),
        [
            ("b<|im_end|>".to_owned(), 1.0),
            ("so</think>c<|im_end|>".to_owned(), 1.0)
        ]
    );
}

#[test]
fn tool_calls_count_and_their_results_do_not() {
    let json = r#"{"messages":[{"role":"user","content":"find"},
        {"role":"assistant","content":"","tool_calls":[{"id":"functions.search:0","type":"function",
          "function":{"name":"search","arguments":"{\"q\": \"x\"}"}}]},
        {"role":"tool","tool_call_id":"functions.search:0","content":"found"},
        {"role":"assistant","content":"done"}],
        "tools":[{"type":"function","function":{"name":"search","parameters":{"type":"object","properties":{}}}}]}"#;
    let call = "<|tool_calls_section_begin|><|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{\"q\": \"x\"}\
                <|tool_call_end|><|tool_calls_section_end|><|im_end|>";
    let expected = [(call.to_owned(), 1.0), ("done<|im_end|>".to_owned(), 1.0)];
    assert_eq!(counted(json, &[]), expected);
}

fn source(dir: &Path, name: &str, lines: &[String], kind: DataKind, context: usize) -> Source {
    let path = dir.join(name);
    fs::write(&path, lines.join("\n")).expect("a file");
    Source::open(&path, kind, Arc::new(tokenizer()), context).expect("a source")
}

fn text_line(len: usize) -> String {
    serde_json::json!({ "text": "x y ".repeat(len) }).to_string()
}

#[test]
fn sources_keep_their_parts_and_batches_their_limits() {
    let dir = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> = (1..30).map(text_line).collect();
    let open = |name| source(dir.path(), name, &lines, DataKind::Text, 32);
    let mut mixture = Mixture::new(vec![(open("a"), 3.0), (open("b"), 1.0)], 1);
    for _ in 0..60 {
        let batch = mixture.next_batch(128).expect("a batch");
        assert!(
            (97..=128).contains(&batch.tokens.len()),
            "{}",
            batch.tokens.len()
        );
        assert!(
            batch
                .segments
                .iter()
                .all(|segment| (1..=32).contains(&segment.len))
        );
        let mut next = 0;
        for segment in batch.segments.iter() {
            assert_eq!(segment.start, next);
            next += segment.len;
            let rows = segment.start..next - 1;
            assert!(
                rows.clone()
                    .all(|row| batch.targets[row] == batch.tokens[row + 1])
            );
        }
    }
    let [a, b] = [0, 1].map(|index| mixture.positions()[index].tokens as f64);
    // One document of at most 32 rows is the unit.
    assert!((a - 3.0 * b).abs() <= 4.0 * 32.0, "{a} and {b}");
}

#[test]
fn a_position_leads_to_the_next_batch_and_epochs_differ() {
    let dir = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> = (1..12).map(|len| text_line(3 * len)).collect();
    let open = || {
        Mixture::new(
            vec![(source(dir.path(), "a", &lines, DataKind::Text, 16), 1.0)],
            5,
        )
    };
    let mut first = open();
    let mut batches = Vec::new();
    for step in 0..40 {
        let mut other = open();
        assert!(other.seek(first.positions()));
        let batch = first.next_batch(48).expect("a batch");
        assert_eq!(other.next_batch(48).expect("a batch"), batch, "step {step}");
        batches.push(batch);
    }
    assert!(first.positions()[0].items > 11, "more than an epoch");
    assert!(!open().seek(&[]));
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = |name: &str, line: &str, kind| {
        let lines = [String::new(), line.to_owned()];
        Mixture::new(vec![(source(dir.path(), name, &lines, kind, 8), 1.0)], 0)
            .next_batch(16)
            .expect_err("a fault")
            .to_string()
    };
    let cases = [
        one("a", "{\"txt\": 1}", DataKind::Text),
        one("b", "{\"text\": ", DataKind::Text),
        one("c", "[{\"role\": 5}]", DataKind::Conversations),
    ];
    for case in cases {
        assert!(case.contains("line 2"), "{case}");
    }
    // A conversation that is too long, or in which nothing counts, is left out; if all are, there is nothing to train on.
    let long = serde_json::json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": "y ".repeat(50) }]);
    let none = one("d", &long.to_string(), DataKind::Conversations);
    assert!(none.contains("no document"), "{none}");
    let special = tokenizer().special_id(SpecialToken::Eos);
    assert_eq!(special, 301);
}
