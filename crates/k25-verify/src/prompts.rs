//! Expectations on text: tokenizer vectors, renderings, tool declarations, parser cases. All exact.

use k25_chat::{
    Conversation, Detokenizer, JsonObject, JsonValue, Message, Reading, RenderOptions, Segment,
    SpecialToken, Specials, TemplateVersion, Tokenizer, render, segments_to_text,
    typescript_declaration,
};
use std::sync::Arc;

use crate::report::Part;

/// Checks texts and ids, both ways.
pub fn verify_tokenizer(part: &mut Part<'_>, tokenizer: &Arc<Tokenizer>, document: &JsonValue) {
    let cases = array(document, "vectors");
    let encode = |key: &str, encode: &dyn Fn(&str) -> Vec<u32>| {
        first_failure(cases, |case| {
            let text = string(case, "text")?;
            same(&encode(text), &ids(case, key)?)
        })
    };
    let plain = encode("ids_plain", &|text| tokenizer.encode_text(text));
    part.cases("vectors, specials as text", cases.len(), plain);
    let parsed = encode("ids_specials_allowed", &|text| {
        tokenizer.encode_with_specials(text)
    });
    part.cases("vectors, specials parsed", cases.len(), parsed);
    let round_trip = first_failure(cases, |case| {
        let text = string(case, "text")?;
        let decoded = tokenizer
            .decode(&ids(case, "ids_plain")?)
            .map_err(|error| error.to_string())?;
        same(&decoded.as_str(), &text)
    });
    part.cases("vectors, decoded again", cases.len(), round_trip);
    verify_decoding(part, tokenizer, array(document, "decode"));
}

/// Checks the texts of arbitrary ids, whole and id by id.
fn verify_decoding(part: &mut Part<'_>, tokenizer: &Arc<Tokenizer>, cases: &[JsonValue]) {
    let failure = first_failure(cases, |case| {
        let ids = ids(case, "ids")?;
        let bytes = tokenizer
            .decode_bytes(&ids)
            .map_err(|error| error.to_string())?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        same(&hex.as_str(), &string(case, "bytes_hex")?)?;
        let text = string(case, "text_replace")?;
        same(
            &tokenizer
                .decode(&ids)
                .map_err(|error| error.to_string())?
                .as_str(),
            &text,
        )?;
        let mut streaming = Detokenizer::new(Arc::clone(tokenizer), Specials::Keep);
        let mut streamed = String::new();
        for id in ids {
            streaming
                .push(id, &mut streamed)
                .map_err(|error| error.to_string())?;
        }
        streaming.finish(&mut streamed);
        same(&streamed.as_str(), &text)
    });
    part.cases("ids to bytes and text, also id by id", cases.len(), failure);
}

/// Checks conversations against their prompts and ids.
pub fn verify_renderings(part: &mut Part<'_>, tokenizer: Option<&Tokenizer>, cases: &[JsonValue]) {
    let texts = first_failure(cases, |case| {
        let segments = render_case(case)?;
        same(
            &segments_to_text(&segments).as_str(),
            &string(case, "rendered")?,
        )
    });
    part.cases("prompt texts", cases.len(), texts);
    let Some(tokenizer) = tokenizer else {
        part.not_checked("prompt ids", "no tokenizer in this folder");
        return;
    };
    let stock = first_failure(cases, |case| {
        same(
            &tokenizer.encode_with_specials(string(case, "rendered")?),
            &ids(case, "ids")?,
        )
    });
    part.cases(
        "prompt ids, markers parsed from the text",
        cases.len(),
        stock,
    );
    // Where a message spells a marker out, the stock tokenizer takes it for one and we do not.
    let spelled_out = |segments: &[Segment]| {
        segments.iter().any(|segment| match segment {
            Segment::Text(text) => SpecialToken::ALL
                .iter()
                .any(|token| text.contains(token.text())),
            _ => false,
        })
    };
    let own: Vec<&JsonValue> = cases
        .iter()
        .filter(|case| render_case(case).is_ok_and(|segments| !spelled_out(&segments)))
        .collect();
    let placed = first_failure(own.iter().copied(), |case| {
        same(
            &tokenizer.encode_segments(&render_case(case)?),
            &ids(case, "ids")?,
        )
    });
    part.cases(
        "prompt ids, markers placed by the renderer",
        own.len(),
        placed,
    );
}

fn render_case(case: &JsonValue) -> Result<Vec<Segment>, String> {
    let none = JsonObject::new();
    let kwargs = field(case, "kwargs")
        .ok()
        .and_then(JsonValue::as_object)
        .unwrap_or(&none);
    let options = RenderOptions::from_kwargs(kwargs).map_err(|error| error.to_string())?;
    // Only K2.6's template knows this argument.
    let version = match kwargs.contains_key("preserve_thinking") {
        true => TemplateVersion::K26,
        false => TemplateVersion::K25,
    };
    let conversation = Conversation::read(case.clone(), Reading::Reference(version))
        .map_err(|error| error.to_string())?;
    Ok(render(&conversation, &options).segments)
}

/// Checks tools against their TypeScript, and against the prompt that declares them.
pub fn verify_declarations(part: &mut Part<'_>, cases: &[JsonValue]) {
    let declarations = first_failure(cases, |case| {
        let encoded = typescript_declaration(array(case, "tools"));
        match (encoded, field(case, "expected_ts")?) {
            (Ok(text), JsonValue::String(expected)) => same(&text, expected),
            (Err(_), JsonValue::Null) => Ok(()),
            (Ok(text), _) => Err(format!(
                "encoded as {text:?}; the reference falls back to JSON"
            )),
            (Err(error), _) => Err(error.to_string()),
        }
    });
    part.cases("declarations", cases.len(), declarations);
    let rendered = first_failure(cases, |case| {
        let conversation = Conversation {
            messages: vec![Message::user("q")],
            tools: array(case, "tools").to_vec(),
        };
        let prompt = render(&conversation, &RenderOptions::default());
        same(
            &segments_to_text(&prompt.segments).as_str(),
            &string(case, "rendered")?,
        )
    });
    part.cases("prompts that declare them", cases.len(), rendered);
}

/// `None` if every case holds; otherwise the first that does not, by name.
pub(crate) fn first_failure<'a>(
    cases: impl IntoIterator<Item = &'a JsonValue>,
    check: impl Fn(&JsonValue) -> Result<(), String>,
) -> Option<String> {
    cases.into_iter().enumerate().find_map(|(index, case)| {
        let name = string(case, "name").map_or_else(|_| format!("case {index}"), str::to_owned);
        check(case).err().map(|reason| format!("{name}: {reason}"))
    })
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(actual: &T, expected: &T) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    Err(format!(
        "is {} and should be {}",
        clipped(actual),
        clipped(expected)
    ))
}

/// The debug form, cut to what fits a report.
fn clipped(value: &impl std::fmt::Debug) -> String {
    const LIMIT: usize = 300;
    let text = format!("{value:?}");
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(crate) fn field<'a>(case: &'a JsonValue, key: &str) -> Result<&'a JsonValue, String> {
    let object: Option<&JsonObject> = case.as_object();
    object
        .and_then(|object| object.get(key))
        .ok_or_else(|| format!("the case has no {key}"))
}

pub(crate) fn string<'a>(case: &'a JsonValue, key: &str) -> Result<&'a str, String> {
    field(case, key)?
        .as_str()
        .ok_or_else(|| format!("{key} is no text"))
}

pub(crate) fn array<'a>(value: &'a JsonValue, key: &str) -> &'a [JsonValue] {
    match field(value, key) {
        Ok(JsonValue::Array(items)) => items,
        _ => &[],
    }
}

fn ids(case: &JsonValue, key: &str) -> Result<Vec<u32>, String> {
    field(case, key)?;
    array(case, key)
        .iter()
        .map(|id| match id {
            JsonValue::Integer(id) => id
                .as_str()
                .parse()
                .map_err(|_| format!("{key} holds {}", id.as_str())),
            other => Err(format!("{key} holds {}", other.kind())),
        })
        .collect()
}
