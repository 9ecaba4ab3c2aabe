//! From a rendered conversation and its media to what the model reads: token ids, and the vision
//! items whose features replace the media pads (spec: architecture §4.2, §6).

use k25_chat::{
    MediaKind, Prompt, Segment, Tokenizer, fill_media, image_prompt, video_chunk_prompt,
};
use k25_model::media::video::VideoChunk;
use k25_model::vision::VisionItem;
use thiserror::Error;

/// A picture or a film, ready for the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub enum PreparedMedia {
    /// One picture.
    Image(VisionItem),
    /// A film's chunks in order.
    Video(Vec<VideoChunk>),
}

/// What the model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptInput {
    /// Token ids; each media pad stands for one feature row.
    pub ids: Vec<u32>,
    /// Vision items in the order of their pads.
    pub items: Vec<VisionItem>,
    /// The model's output begins with reasoning.
    pub ends_in_reasoning: bool,
}

/// A prompt whose media do not fit its conversation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PromptError {
    /// The conversation shows a medium that was not prepared.
    #[error(
        "the conversation shows a {expected} as medium {index}, and {found} was prepared for it"
    )]
    Media {
        /// Place in the conversation's media.
        index: usize,
        /// What the conversation shows.
        expected: &'static str,
        /// What was prepared.
        found: &'static str,
    },
    /// Media for a model that has no vision tower.
    #[error(
        "the conversation shows pictures, and this model reads text alone; hint: use a checkpoint with a vision tower, \
         such as Kimi K2.5"
    )]
    NoVision,
}

impl PreparedMedia {
    fn name(&self) -> &'static str {
        match self {
            Self::Image(_) => "a picture",
            Self::Video(_) => "a film",
        }
    }

    /// Feature rows that it becomes; `window` as in [`assemble`].
    pub fn tokens(&self, window: [usize; 2]) -> usize {
        match self {
            Self::Image(item) => tokens(item, window),
            Self::Video(chunks) => chunks.iter().map(|chunk| tokens(&chunk.item, window)).sum(),
        }
    }
}

/// Encodes `prompt`; `media` are the conversation's media in order, `window` the patches along each
/// side that become one token.
///
/// # Errors
/// [`PromptError::Media`] where `media` is not what the conversation shows.
pub fn assemble(
    tokenizer: &Tokenizer,
    prompt: Prompt,
    media: Vec<PreparedMedia>,
    window: [usize; 2],
) -> Result<PromptInput, PromptError> {
    let (segments, items) = place_media(prompt.segments, media, window)?;
    Ok(PromptInput {
        ids: tokenizer.encode_segments(&segments),
        items,
        ends_in_reasoning: prompt.ends_in_reasoning,
    })
}

/// Puts media at their places in a rendered conversation: its segments with a pad for every feature
/// row, and the vision items in the order of their pads. Arguments as of [`assemble`].
///
/// # Errors
/// As [`assemble`].
pub fn place_media(
    segments: Vec<Segment>,
    media: Vec<PreparedMedia>,
    window: [usize; 2],
) -> Result<(Vec<Segment>, Vec<VisionItem>), PromptError> {
    let mut media: Vec<Option<PreparedMedia>> = media.into_iter().map(Some).collect();
    let mut items = Vec::new();
    let segments = fill_media(segments, |kind, index| {
        let prepared = media.get_mut(index).and_then(Option::take);
        fill(kind, index, prepared, window, &mut items)
    })?;
    Ok((segments, items))
}

/// The prompt of one medium; its items are appended to `items`.
fn fill(
    kind: MediaKind,
    index: usize,
    prepared: Option<PreparedMedia>,
    window: [usize; 2],
    items: &mut Vec<VisionItem>,
) -> Result<Vec<Segment>, PromptError> {
    match (kind, prepared) {
        (MediaKind::Image, Some(PreparedMedia::Image(item))) => {
            let segments = image_prompt(tokens(&item, window));
            items.push(item);
            Ok(segments)
        }
        (MediaKind::Video, Some(PreparedMedia::Video(chunks))) => {
            let mut segments = Vec::new();
            for chunk in chunks {
                segments.extend(video_chunk_prompt(
                    &chunk.timestamp,
                    tokens(&chunk.item, window),
                ));
                items.push(chunk.item);
            }
            Ok(segments)
        }
        (kind, prepared) => Err(PromptError::Media {
            index,
            expected: match kind {
                MediaKind::Image => "picture",
                MediaKind::Video => "film",
            },
            found: prepared.as_ref().map_or("nothing", PreparedMedia::name),
        }),
    }
}

/// Feature rows of an item, whatever its number of frames.
pub fn tokens(item: &VisionItem, window: [usize; 2]) -> usize {
    let [_, rows, columns] = item.grid;
    (rows / window[0]) * (columns / window[1])
}
