//! Tokens and how much each counts.

use k25_chat::{
    Conversation, Message, RenderOptions, Role, Segment, SpecialToken, Tokenizer, render,
};
use k25_local::{PreparedMedia, PromptError, place_media, tokens as rows_of};

use crate::exec::Pictures;

/// A sequence to train on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// Its tokens, at least two.
    pub tokens: Vec<u32>,
    /// How much the prediction of each token counts; the first is never predicted.
    pub weights: Vec<f32>,
    /// Pictures, whose features stand at the places of pads.
    pub pictures: Pictures,
}

impl Document {
    /// Rows that it takes in a batch: every token but the last predicts one.
    pub fn rows(&self) -> usize {
        self.tokens.len() - 1
    }
}

/// Plain text as documents of at most `context` rows, every token counting. The text ends with `[EOS]`.
pub fn text_documents(tokenizer: &Tokenizer, text: &str, context: usize) -> Vec<Document> {
    let mut tokens = tokenizer.encode_text(text);
    tokens.push(tokenizer.special_id(SpecialToken::Eos));
    let mut documents = Vec::new();
    let mut first = 0;
    while first + 1 < tokens.len() {
        let end = (first + context + 1).min(tokens.len());
        let tokens = tokens[first..end].to_vec();
        let weights = vec![1.0; tokens.len()];
        documents.push(Document {
            tokens,
            weights,
            pictures: Pictures::default(),
        });
        first = end - 1;
    }
    documents
}

/// A conversation as the chat template renders it. What the assistant says counts: reasoning where there is some, answer, tool calls
/// and the end of the message; `message_weights` gives each assistant message's factor (1 where it ends). What the prompt holds
/// already, the mark and `<think>` (or `<think></think>` without reasoning), does not count.
///
/// The last message keeps its reasoning, as it had it when it was said. Answers before it have none any more in the prompt of a later
/// turn; those that had some do not count, since nobody would say them without it. Pictures and films are the template's
/// placeholders, of one pad, that show nothing.
pub fn conversation_document(
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    message_weights: &[f32],
) -> Document {
    document(
        tokenizer,
        conversation,
        &segments(conversation),
        message_weights,
    )
}

/// [`conversation_document`] with what the conversation shows: `media` in order, of which `window` patches along each side become one
/// row.
///
/// # Errors
/// Where `media` is not what the conversation shows.
pub(super) fn seen_document(
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    message_weights: &[f32],
    media: Vec<PreparedMedia>,
    window: [usize; 2],
) -> Result<Document, PromptError> {
    let (segments, items) = place_media(segments(conversation), media, window)?;
    let mut document = document(tokenizer, conversation, &segments, message_weights);
    let pad = tokenizer.special_id(SpecialToken::MediaPad);
    let is_pad = |(place, id): (usize, &u32)| (*id == pad).then_some(place);
    let mut pads = document.tokens.iter().enumerate().filter_map(is_pad);
    for item in items {
        let rows = rows_of(&item, window);
        // The pads of an item stand side by side.
        let first = pads.next().expect("a pad for every row");
        pads.by_ref().take(rows - 1).for_each(drop);
        document.pictures.rows.push(first..first + rows);
        document.pictures.items.push(item);
    }
    Ok(document)
}

fn document(
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    segments: &[Segment],
    message_weights: &[f32],
) -> Document {
    let lost = reasoning_is_lost(&conversation.messages);
    let mut document = Document {
        tokens: Vec::new(),
        weights: Vec::new(),
        pictures: Pictures::default(),
    };
    let mut place = Place::Outside;
    let mut answers = 0;
    for (index, segment) in segments.iter().enumerate() {
        let ids = tokenizer.encode_segments(std::slice::from_ref(segment));
        let special = match segment {
            Segment::Special(token) => Some(*token),
            _ => None,
        };
        let next = segments.get(index + 1);
        let (counts, after) = place.read(special, next);
        let weight = match counts {
            true if lost[answers] => 0.0,
            true => message_weights.get(answers).copied().unwrap_or(1.0),
            false => 0.0,
        };
        if place != Place::Outside && after == Place::Outside {
            answers += 1;
        }
        place = after;
        document
            .weights
            .resize(document.weights.len() + ids.len(), weight);
        document.tokens.extend(ids);
    }
    document
}

/// The prompt at the last message, and that message with its reasoning.
fn segments(conversation: &Conversation) -> Vec<Segment> {
    let options = RenderOptions {
        add_generation_prompt: false,
        ..RenderOptions::default()
    };
    let (before, last) = match conversation.messages.split_last() {
        Some((last, before)) if last.role == Role::Assistant => (before, Some(last)),
        _ => (conversation.messages.as_slice(), None),
    };
    let prompt = Conversation {
        messages: before.to_vec(),
        tools: conversation.tools.clone(),
    };
    let mut segments = render(&prompt, &options).segments;
    if let Some(last) = last {
        let options = RenderOptions {
            preserve_thinking: true,
            ..options
        };
        let shown = before.iter().flat_map(Message::media).count();
        let said = render(&Conversation::new(vec![last.clone()]), &options).segments;
        segments.extend(said.into_iter().map(|segment| match segment {
            Segment::Media { kind, index } => Segment::Media {
                kind,
                index: index + shown,
            },
            other => other,
        }));
    }
    segments
}

/// For every assistant message: whether it had reasoning that the prompt of the last message no longer has.
fn reasoning_is_lost(messages: &[Message]) -> Vec<bool> {
    let before = &messages[..messages.len().saturating_sub(1)];
    let is_plain =
        |message: &Message| message.role == Role::Assistant && message.tool_calls.is_empty();
    let history = before.iter().rposition(is_plain).map_or(0, |last| last + 1);
    let assistants = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| message.role == Role::Assistant);
    assistants
        .map(|(index, message)| {
            index < history
                && message
                    .reasoning
                    .as_ref()
                    .is_some_and(|text| !text.is_empty())
        })
        .collect()
}

/// Where in a rendered conversation a segment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not in an assistant's message.
    Outside,
    /// Between the mark and the body.
    Header,
    /// At the body's `<think>`.
    Opening,
    /// At the `</think>` of an empty reasoning.
    EmptyReasoning,
    /// In what the assistant says.
    Body,
}

impl Place {
    /// Whether a segment counts, and where the next one lies.
    fn read(self, special: Option<SpecialToken>, next: Option<&Segment>) -> (bool, Self) {
        match (self, special) {
            (Self::Outside, Some(SpecialToken::ImAssistant)) => (false, Self::Header),
            (Self::Outside, _) => (false, Self::Outside),
            (Self::Header, Some(SpecialToken::ImMiddle)) => (false, Self::Opening),
            (Self::Header, _) => (false, Self::Header),
            (Self::Opening, _) if next == Some(&Segment::Special(SpecialToken::ThinkEnd)) => {
                (false, Self::EmptyReasoning)
            }
            (Self::Opening | Self::EmptyReasoning, _) => (false, Self::Body),
            (Self::Body, Some(SpecialToken::ImEnd)) => (true, Self::Outside),
            (Self::Body, _) => (true, Self::Body),
        }
    }
}
