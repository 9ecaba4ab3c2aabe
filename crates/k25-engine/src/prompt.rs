//! What a sequence reads: prompt tokens, media rows, and the tokens it generated.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

/// Identifies the content of an image or a video chunk: a cryptographic hash of its preprocessed
/// patches, so that strangers cannot make two contents look like one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

/// An image or a video chunk, ready for the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaItem {
    /// Hash of what follows: items of one hash are taken for the same.
    pub content: ContentHash,
    /// Patches in time, height and width (spec: architecture §4).
    pub grid: [usize; 3],
    /// Patch values `[patches, 3 · patch · patch]`.
    pub pixels: Vec<f32>,
    /// Feature rows that the item becomes.
    pub rows: usize,
}

/// Where a media item stands in a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaSpan {
    /// The prompt row of the item's first feature row.
    pub start: usize,
    /// The item; its rows take the place of as many prompt tokens.
    pub item: Arc<MediaItem>,
}

/// A prompt: token ids, some of which are places of media rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    tokens: Vec<u32>,
    media: Vec<MediaSpan>,
}

/// A prompt that no model could read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PromptError {
    /// No token at all.
    #[error("the prompt is empty\n  hint: send at least one token")]
    Empty,
    /// A token that the vocabulary does not have.
    #[error(
        "prompt row {row} is token {id}, but the vocabulary has {vocab_size} tokens\n  hint: token ids \
         depend on the model; tokenize with this model's tokenizer"
    )]
    UnknownToken {
        /// Where.
        row: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// A media item without rows, outside the prompt, or over another one.
    #[error(
        "media item {index} takes prompt rows {start}..{end}, but {reason}\n  hint: give media in the \
         order of the prompt, one placeholder token per feature row"
    )]
    MediaPlace {
        /// Which item.
        index: usize,
        /// Its first row.
        start: usize,
        /// The row after its last.
        end: usize,
        /// What is wrong with that.
        reason: &'static str,
    },
}

/// One row's identity: equal keys at equal positions after equal rows have equal cache contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// A token.
    Token(u32),
    /// A feature row of a media item.
    Media(ContentHash, u32),
}

/// What the runner reads for one row.
#[derive(Debug, Clone, PartialEq)]
pub enum InputRow {
    /// The embedding of a token.
    Token(u32),
    /// A feature row of a media item.
    Media {
        /// The item.
        item: Arc<MediaItem>,
        /// Which of its rows.
        row: usize,
    },
}

impl Prompt {
    /// A prompt of `tokens` in which each media item replaces as many tokens as it has rows.
    pub fn new(tokens: Vec<u32>, media: Vec<MediaSpan>) -> Result<Self, PromptError> {
        if tokens.is_empty() {
            return Err(PromptError::Empty);
        }
        let mut taken = 0;
        for (index, span) in media.iter().enumerate() {
            let (start, end) = (span.start, span.start.saturating_add(span.item.rows));
            let fault = |reason| {
                Err(PromptError::MediaPlace {
                    index,
                    start,
                    end,
                    reason,
                })
            };
            if span.item.rows == 0 {
                return fault("it has no rows");
            }
            if start < taken {
                return fault("the item before it reaches further");
            }
            if end > tokens.len() {
                return fault("the prompt ends before");
            }
            taken = end;
        }
        Ok(Self { tokens, media })
    }

    /// A prompt of tokens only.
    pub fn text(tokens: Vec<u32>) -> Result<Self, PromptError> {
        Self::new(tokens, Vec::new())
    }

    /// Rows of the prompt: tokens and media rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Never: an empty prompt cannot be made.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Checks the tokens against the vocabulary; what stands in a media place does not matter.
    pub fn validate(&self, vocab_size: usize) -> Result<(), PromptError> {
        let unknown =
            |&(row, id): &(usize, u32)| id as usize >= vocab_size && self.media_at(row).is_none();
        match (0..).zip(self.tokens.iter().copied()).find(unknown) {
            Some((row, id)) => Err(PromptError::UnknownToken {
                row,
                id,
                vocab_size,
            }),
            None => Ok(()),
        }
    }

    /// The media items in order.
    pub fn media(&self) -> impl Iterator<Item = &MediaItem> {
        self.media.iter().map(|span| span.item.as_ref())
    }

    /// The tokens that are not places of media.
    pub fn text_tokens(&self) -> impl Iterator<Item = u32> {
        (0..)
            .zip(self.tokens.iter().copied())
            .filter(|&(row, _)| self.media_at(row).is_none())
            .map(|(_, token)| token)
    }

    /// The media item over `row`, and which of its rows.
    fn media_at(&self, row: usize) -> Option<(&Arc<MediaItem>, usize)> {
        let after = self.media.partition_point(|span| span.start <= row);
        let span = self.media[..after].last()?;
        let within = row - span.start;
        (within < span.item.rows).then_some((&span.item, within))
    }
}

/// Everything a sequence has read or will read next: its prompt and what it generated.
#[derive(Debug, Clone)]
pub struct SequenceRows {
    prompt: Arc<Prompt>,
    /// Prompt and generated tokens; placeholders where media rows stand.
    tokens: Vec<u32>,
}

impl SequenceRows {
    /// The rows of a sequence that has generated nothing.
    pub fn new(prompt: Arc<Prompt>) -> Self {
        Self {
            tokens: prompt.tokens.clone(),
            prompt,
        }
    }

    /// Prompt and generated tokens; placeholders where media rows stand.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Rows of the prompt.
    pub fn prompt_len(&self) -> usize {
        self.prompt.len()
    }

    /// Tokens generated so far.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt.len()..]
    }

    /// Appends generated tokens.
    pub fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// The identities of a range of rows.
    pub fn keys(&self, rows: Range<usize>) -> Vec<RowKey> {
        rows.map(|row| match self.prompt.media_at(row) {
            Some((item, within)) => RowKey::Media(item.content, within as u32),
            None => RowKey::Token(self.tokens[row]),
        })
        .collect()
    }

    /// What the runner reads at `row`.
    pub fn input(&self, row: usize) -> InputRow {
        match self.prompt.media_at(row) {
            Some((item, row)) => InputRow::Media {
                item: Arc::clone(item),
                row,
            },
            None => InputRow::Token(self.tokens[row]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(rows: usize, content: u8) -> Arc<MediaItem> {
        let content = ContentHash([content; 32]);
        Arc::new(MediaItem {
            content,
            grid: [1, 1, rows],
            pixels: Vec::new(),
            rows,
        })
    }

    #[test]
    fn media_rows_stand_in_for_tokens() {
        let (first, second) = (item(2, 1), item(1, 2));
        let media = vec![
            MediaSpan {
                start: 1,
                item: Arc::clone(&first),
            },
            MediaSpan {
                start: 3,
                item: Arc::clone(&second),
            },
        ];
        let prompt = Prompt::new(vec![5, 999, 999, 999, 6], media).expect("a valid prompt");
        assert_eq!(prompt.validate(10), Ok(()));
        assert_eq!(prompt.text_tokens().collect::<Vec<_>>(), [5, 6]);

        let mut rows = SequenceRows::new(Arc::new(prompt));
        rows.extend(&[7]);
        let expected = [
            RowKey::Token(5),
            RowKey::Media(first.content, 0),
            RowKey::Media(first.content, 1),
            RowKey::Media(second.content, 0),
            RowKey::Token(6),
            RowKey::Token(7),
        ];
        assert_eq!(rows.keys(0..6), expected);
        assert_eq!(
            rows.input(2),
            InputRow::Media {
                item: first,
                row: 1
            }
        );
        assert_eq!(rows.input(5), InputRow::Token(7));
    }

    #[test]
    fn impossible_prompts_are_refused() {
        assert_eq!(Prompt::text(Vec::new()), Err(PromptError::Empty));
        let place = |starts: &[(usize, usize)]| {
            let media = starts
                .iter()
                .map(|&(start, rows)| MediaSpan {
                    start,
                    item: item(rows, 0),
                })
                .collect();
            Prompt::new(vec![0; 4], media)
                .expect_err("a misplaced item")
                .to_string()
        };
        assert!(place(&[(0, 0)]).contains("has no rows"));
        assert!(place(&[(0, 2), (1, 1)]).contains("reaches further"));
        assert!(place(&[(3, 2)]).contains("ends before"));
        assert!(place(&[(usize::MAX, 2)]).contains("ends before"));
        let prompt = Prompt::text(vec![1, 12]).expect("a prompt");
        assert!(
            prompt
                .validate(12)
                .expect_err("an unknown token")
                .to_string()
                .contains("row 1")
        );
    }
}
