//! Ways to hand one output to the parser.

use k25_chat::{ParserEvent, SpecialToken, StreamParser};

/// All events of an output that arrives in these chunks, neighbouring deltas joined: how deltas are
/// cut is all that may depend on the chunks.
pub fn events_of<'t>(
    chunks: impl IntoIterator<Item = &'t str>,
    thinking: bool,
) -> Vec<ParserEvent> {
    let mut parser = StreamParser::new(thinking);
    let mut events = Vec::new();
    for chunk in chunks {
        events.extend(parser.feed(chunk));
    }
    events.extend(parser.finish());
    joined(events)
}

/// The same with every special token fed as a token and the text between fed in single characters.
pub fn events_with_special_tokens(text: &str, thinking: bool) -> Vec<ParserEvent> {
    let mut parser = StreamParser::new(thinking);
    let mut events = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let special = SpecialToken::ALL
            .iter()
            .find(|token| rest.starts_with(token.text()));
        let len = match special {
            Some(&token) => {
                events.extend(parser.feed_special(token));
                token.text().len()
            }
            None => {
                events.extend(parser.feed(&rest[..c.len_utf8()]));
                c.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    events.extend(parser.finish());
    joined(events)
}

fn joined(events: Vec<ParserEvent>) -> Vec<ParserEvent> {
    let mut joined: Vec<ParserEvent> = Vec::new();
    for event in events {
        match (joined.last_mut(), &event) {
            (Some(ParserEvent::ReasoningDelta(text)), ParserEvent::ReasoningDelta(more))
            | (Some(ParserEvent::ContentDelta(text)), ParserEvent::ContentDelta(more)) => {
                text.push_str(more);
            }
            (
                Some(ParserEvent::ToolCallArgumentsDelta { delta, .. }),
                ParserEvent::ToolCallArgumentsDelta { delta: more, .. },
            ) => delta.push_str(more),
            _ => joined.push(event),
        }
    }
    joined
}

/// Cuts a text into random chunks of up to `longest` characters; the same for the same seed.
pub fn random_chunks(text: &str, longest: usize, seed: u64) -> Vec<&str> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut chunks = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let chars = 1 + (state % longest as u64) as usize;
        let end = rest
            .char_indices()
            .nth(chars)
            .map_or(rest.len(), |(at, _)| at);
        let (chunk, behind) = rest.split_at(end);
        chunks.push(chunk);
        rest = behind;
    }
    chunks
}
