//! Expectations on the parser of model output. Every case must hold however the text arrives.

use k25_chat::{JsonValue, ParsedMessage, ParsedToolCall, StreamParser, parse_message};

use crate::prompts::{array, field, first_failure, same, string};
use crate::report::Part;

/// Random ways of cutting each case.
const RANDOM_CHUNKINGS: u64 = 1_000;

/// Checks every case whole, at every two-way split, and in random chunks.
pub fn verify(part: &mut Part<'_>, document: &JsonValue) {
    let cases = array(document, "cases");
    let whole = first_failure(cases, |case| {
        same(
            &parse_message(string(case, "model_output")?, thinking(case)?),
            &expected(case)?,
        )
    });
    part.cases("whole outputs", cases.len(), whole);

    let splits: usize = cases
        .iter()
        .map(|case| string(case, "model_output").map_or(0, |text| text.chars().count() + 1))
        .sum();
    let halves = first_failure(cases, |case| {
        let text = string(case, "model_output")?;
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        ends.map(|at| vec![&text[..at], &text[at..]])
            .try_for_each(|chunks| holds(case, &chunks))
    });
    part.cases("every two-way split", splits, halves);

    let random = first_failure(cases, |case| {
        let text = string(case, "model_output")?;
        (1..=RANDOM_CHUNKINGS).try_for_each(|seed| holds(case, &cut(text, seed)))
    });
    part.cases(
        "random chunkings",
        cases.len() * RANDOM_CHUNKINGS as usize,
        random,
    );
}

fn holds(case: &JsonValue, chunks: &[&str]) -> Result<(), String> {
    let mut parser = StreamParser::new(thinking(case)?);
    let mut message = ParsedMessage::default();
    for chunk in chunks {
        message.extend(&parser.feed(chunk));
    }
    message.extend(&parser.finish());
    same(&message, &expected(case)?).map_err(|reason| format!("cut as {chunks:?}: {reason}"))
}

fn thinking(case: &JsonValue) -> Result<bool, String> {
    match field(case, "thinking")? {
        JsonValue::Bool(thinking) => Ok(*thinking),
        other => Err(format!("thinking is {}", other.kind())),
    }
}

/// What the case expects; null and empty mean the same.
fn expected(case: &JsonValue) -> Result<ParsedMessage, String> {
    let text = |key| {
        string(case, key)
            .ok()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let tool_calls = array(case, "tool_calls")
        .iter()
        .map(|call| {
            Ok(ParsedToolCall {
                id: string(call, "id")?.to_owned(),
                name: string(call, "name")?.to_owned(),
                arguments: string(call, "arguments")?.to_owned(),
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(ParsedMessage {
        reasoning: text("reasoning"),
        content: text("content"),
        tool_calls,
    })
}

/// Cuts a text into chunks of one to eight characters, or longer ones, as `seed` decides.
fn cut(text: &str, seed: u64) -> Vec<&str> {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let longest = 1 + seed % 40;
    let (mut chunks, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        // One step of xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let length = 1 + random % longest;
        let end = rest
            .char_indices()
            .nth(length as usize)
            .map_or(rest.len(), |(at, _)| at);
        let (chunk, after) = rest.split_at(end);
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
