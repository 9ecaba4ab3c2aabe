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
    /// The place of the conversation's `index`-th medium (images and videos are counted together,
    /// from 0, in the order of their appearance), for the media layer to fill.
    Media {
        /// What is to be placed here.
        kind: MediaKind,
        /// Number of the medium in the conversation.
        index: usize,
    },
}

/// What a media slot of the prompt stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// One picture.
    Image,
    /// A film, which becomes chunks of up to four frames, each with its time.
    Video,
}

impl MediaKind {
    /// What the reference's chat template prints at the place of a medium. The video placeholder is
    /// plain text: it is no entry of the vocabulary.
    pub const fn placeholder(self) -> &'static str {
        match self {
            MediaKind::Image => "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>",
            MediaKind::Video => "<|kimi_k25_video_placeholder|>",
        }
    }
}

impl Segment {
    /// The printed form of the piece.
    pub fn as_str(&self) -> &str {
        match self {
            Segment::Special(token) => token.text(),
            Segment::Text(text) => text,
            Segment::Media { kind, .. } => kind.placeholder(),
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
