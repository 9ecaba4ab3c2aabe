//! One piece of a rendered prompt: a marker that we placed, or text that we do not trust.

use crate::special::SpecialToken;

/// A piece of a rendered prompt.
///
/// Markers are placed by the renderer as [`Segment::Special`]; whatever came from outside is
/// [`Segment::Text`] and is encoded with specials disallowed, so that a user who writes
/// `<|im_end|>` sends ten ordinary characters and not the end of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A marker placed by us.
    Special(SpecialToken),
    /// Untrusted text: never parsed for specials.
    Text(String),
}

impl Segment {
    /// The printed form of the piece.
    pub fn as_str(&self) -> &str {
        match self {
            Segment::Special(token) => token.text(),
            Segment::Text(text) => text,
        }
    }
}

impl From<SpecialToken> for Segment {
    fn from(token: SpecialToken) -> Self {
        Segment::Special(token)
    }
}

/// The prompt as one string, as the reference's chat template prints it.
///
/// For display and comparison only: the string no longer tells a marker from text that looks like
/// one, so a prompt for the model is encoded from the segments.
pub fn segments_to_text(segments: &[Segment]) -> String {
    segments.iter().map(Segment::as_str).collect()
}
