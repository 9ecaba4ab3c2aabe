//! The places of pictures and films in a prompt, and what goes there.
//!
//! Source: specification sections 4.2 and 6.

use crate::segment::{MediaKind, Segment};
use crate::special::SpecialToken;

/// Puts at every media slot what `fill` gives for it (its kind, and its place in
/// [`Conversation::media`](crate::Conversation::media)): an [`image_prompt`], or the
/// [`video_chunk_prompt`]s of a film one after the other. The first error ends it.
pub fn fill_media<E>(
    segments: Vec<Segment>,
    mut fill: impl FnMut(MediaKind, usize) -> Result<Vec<Segment>, E>,
) -> Result<Vec<Segment>, E> {
    let mut filled = Vec::with_capacity(segments.len());
    for segment in segments {
        match segment {
            Segment::Media { kind, index } => {
                fill(kind, index)?
                    .into_iter()
                    .for_each(|piece| push(&mut filled, piece));
            }
            other => push(&mut filled, other),
        }
    }
    Ok(filled)
}

/// A picture of `pads` vision tokens.
pub fn image_prompt(pads: usize) -> Vec<Segment> {
    media_prompt("image", pads)
}

/// A chunk of a film: the time of its first frame, as `HH:MM:SS.mmm`, and its `pads` vision tokens.
pub fn video_chunk_prompt(time: &str, pads: usize) -> Vec<Segment> {
    let mut segments = vec![Segment::Text(time.to_owned())];
    segments.extend(media_prompt("video", pads));
    segments
}

fn media_prompt(kind: &str, pads: usize) -> Vec<Segment> {
    let mut segments = vec![
        Segment::Special(SpecialToken::MediaBegin),
        Segment::Text(kind.to_owned()),
        Segment::Special(SpecialToken::MediaContent),
    ];
    segments.extend(std::iter::repeat_n(
        Segment::Special(SpecialToken::MediaPad),
        pads,
    ));
    segments.push(Segment::Special(SpecialToken::MediaEnd));
    segments
}

fn push(segments: &mut Vec<Segment>, piece: Segment) {
    match piece {
        Segment::Text(text) => push_text(segments, &text),
        other => segments.push(other),
    }
}

/// Adds text, to the last piece if that is text: the tokenizer must see the whole run, since a token
/// may span the seam.
pub(super) fn push_text(segments: &mut Vec<Segment>, text: &str) {
    match segments.last_mut() {
        _ if text.is_empty() => {}
        Some(Segment::Text(last)) => last.push_str(text),
        _ => segments.push(Segment::Text(text.to_owned())),
    }
}
