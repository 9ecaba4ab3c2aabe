//! What a grammar costs per token at the real size of the vocabulary: `cargo bench -p k25-grammar`.
//!
//! Without harness: each line is over all tokens of one text, on one thread. The vocabulary is
//! synthetic, of the family's size, with the joints of JSON among its tokens as real ones have them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k25_chat::{JsonValue, Tokenizer};
use k25_grammar::{AnswerForm, CallRule, Constraint, Grammars, Opening};

const VOCAB_SIZE: u32 = 163_840;
const N_BASE: usize = 163_584;

fn main() {
    let tokenizer = Arc::new(vocabulary());
    let started = Instant::now();
    let grammars =
        Grammars::new(Arc::clone(&tokenizer), VOCAB_SIZE).expect("a possible vocabulary");
    println!(
        "{:<34} {:>9.1} ms",
        "trie and slices of the vocabulary",
        ms(started.elapsed())
    );

    let prose =
        "the engine that answers this question reads the weights where they lie ".repeat(12);
    let record = r#"{"type": "object", "properties": {"name": {"type": "string"}, "licence": {"enum": ["MIT", "Apache-2.0"]}, "edition": {"type": "integer"}, "notes": {"type": "array", "items": {"type": "string", "maxLength": 400}}}, "required": ["name", "licence", "edition", "notes"], "additionalProperties": false}"#;
    let record_text = format!(
        r#"{{"name": "anyhow", "licence": "MIT", "edition": 2021, "notes": ["{}", "short"]}}"#,
        &prose[..390]
    );
    let schema = |text: &str| AnswerForm::JsonSchema {
        schema: JsonValue::parse(text).expect("JSON"),
        strict: true,
    };
    report(
        &grammars,
        &tokenizer,
        "JSON schema",
        schema(record),
        &record_text,
    );
    let object = format!(r#"{{"text": "{prose}", "list": [1, 2.5, {{"deep": [null, true]}}]}}"#);
    report(
        &grammars,
        &tokenizer,
        "any JSON object",
        AnswerForm::JsonObject,
        &object,
    );
    let pattern = AnswerForm::Regex(r"([a-z]+ ){100,200}".to_owned());
    report(&grammars, &tokenizer, "regex", pattern, &prose);
    calls(&grammars, &tokenizer);
}

/// The synthetic vocabulary, its rarest words exchanged for joints of JSON and numbers.
fn vocabulary() -> Tokenizer {
    let synthetic = Tokenizer::synthetic(N_BASE as u32).expect("a possible size");
    let mut tokens: Vec<Vec<u8>> = (0..N_BASE as u32)
        .map(|id| synthetic.token_bytes(id).expect("a base token").to_vec())
        .collect();
    let known: BTreeSet<Vec<u8>> = tokens.iter().cloned().collect();
    let marks = [
        "\"", "{", "}", "[", "]", ":", ",", " ", "\n", "\\", "'", "(", ")", ";", ".",
    ];
    let mut joints = Vec::new();
    for a in marks {
        for b in marks {
            joints.push(format!("{a}{b}"));
            joints.extend(marks.map(|c| format!("{a}{b}{c}")));
        }
    }
    let numbers = (10..1000).map(|number: u32| number.to_string());
    let blanks = (3..80).map(|count| " ".repeat(count));
    let new: BTreeSet<Vec<u8>> = joints
        .into_iter()
        .chain(numbers)
        .chain(blanks)
        .map(String::into_bytes)
        .collect();
    let new: Vec<Vec<u8>> = new
        .into_iter()
        .filter(|token| !known.contains(token))
        .collect();
    tokens.truncate(N_BASE - new.len());
    tokens.extend(new);
    Tokenizer::from_base_tokens(&tokens).expect("a possible vocabulary")
}

fn constraint(form: AnswerForm) -> Constraint {
    Constraint {
        form,
        calls: CallRule::Auto,
        tools: Vec::new(),
        next_call: 0,
        opening: Opening::Answer(String::new()),
    }
}

fn calls(grammars: &Grammars, tokenizer: &Tokenizer) {
    let tool = |name: String| {
        let text = format!(
            r#"{{"type": "function", "function": {{"name": "{name}", "parameters": {{"type": "object", "properties": {{"query": {{"type": "string"}}, "count": {{"type": "integer"}}}}, "required": ["query"]}}}}}}"#
        );
        JsonValue::parse(&text).expect("JSON")
    };
    let constraint = Constraint {
        calls: CallRule::Required,
        tools: (0..40)
            .map(|index| tool(format!("tool_number_{index}")))
            .collect(),
        ..constraint(AnswerForm::Text)
    };
    let text = "<|tool_calls_section_begin|><|tool_call_begin|>functions.tool_number_7:0\
                <|tool_call_argument_begin|>{\"query\": \"what the engine reads\", \"count\": 12}";
    follow(
        grammars,
        "a call of one of 40 tools",
        &constraint,
        &tokenizer.encode_with_specials(text),
    );
}

fn report(grammars: &Grammars, tokenizer: &Tokenizer, name: &str, form: AnswerForm, text: &str) {
    follow(
        grammars,
        name,
        &constraint(form),
        &tokenizer.encode_text(text),
    );
}

/// Compiles the constraint twice (the second time from what is kept) and follows the text.
fn follow(grammars: &Grammars, name: &str, constraint: &Constraint, tokens: &[u32]) {
    let mut compile_times = [Duration::ZERO; 2];
    let mut grammar = None;
    for time in &mut compile_times {
        let started = Instant::now();
        grammar = grammars.answer(constraint).expect("it compiles");
        *time = started.elapsed();
    }
    let mut grammar = grammar.expect("it constrains");
    let mut words = vec![0u32; VOCAB_SIZE as usize / 32];
    let (mut masks, mut accepts, mut forced) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for &token in tokens {
        words.fill(0);
        let started = Instant::now();
        grammar.allowed(&mut words).expect("a mask");
        masks.push(started.elapsed());
        let started = Instant::now();
        grammar.accept(token).expect("the text has the form");
        accepts += started.elapsed();
        let started = Instant::now();
        std::hint::black_box(grammar.forced(16));
        forced += started.elapsed();
    }
    masks.sort();
    let count = tokens.len() as f64;
    let us = |time: Duration| 1000.0 * ms(time);
    println!(
        "{name:<34} compiled {:>6.2} ms, again {:>5.2} ms; per token: mask {:>5.0} us (median {:.0}, worst {:.0}), accept {:.1} us, guesses {:.1} us; {count} tokens",
        ms(compile_times[0]),
        ms(compile_times[1]),
        us(masks.iter().sum()) / count,
        us(masks[masks.len() / 2]),
        us(masks[masks.len() - 1]),
        us(accepts) / count,
        us(forced) / count,
    );
}

fn ms(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}
