//! Where documents come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k25_chat::{Conversation, Reading, Tokenizer};
use k25_config::VisionConfig;
use k25_local::LocalError;
use serde_json::Value;

use super::document::{Document, conversation_document, seen_document, text_documents};
use super::sight::Sight;
use crate::error::TrainError;

/// What a line of a JSONL file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// `{"text": …}`: every token counts.
    Text,
    /// A conversation in the OpenAI form; what the assistant says counts.
    Conversations,
}

/// A JSONL file in memory.
pub struct Source {
    path: PathBuf,
    kind: DataKind,
    text: String,
    /// Where each line that is not blank lies, and its number.
    lines: Vec<(std::ops::Range<usize>, usize)>,
    tokenizer: Arc<Tokenizer>,
    context: usize,
    /// Looks at pictures; `None` where the model has no tower.
    sight: Option<Sight>,
}

/// A file of more bytes is refused: it would not fit beside the model.
const LARGEST_FILE: u64 = 4 << 30;

impl Source {
    /// Reads a file whose documents shall have at most `context` rows.
    ///
    /// # Errors
    /// Where the file cannot be read, is larger than 4 GiB, or has no line.
    pub fn open(
        path: &Path,
        kind: DataKind,
        tokenizer: Arc<Tokenizer>,
        context: usize,
    ) -> Result<Self, TrainError> {
        let io = || TrainError::io("read", path);
        if fs::metadata(path).map_err(io())?.len() > LARGEST_FILE {
            return Err(TrainError::Data {
                path: path.to_owned(),
                line: 1,
                problem: "the file is larger than 4 GiB".to_owned(),
                hint: "split it into several [[data]] entries and take a part of them",
            });
        }
        let text = fs::read_to_string(path).map_err(io())?;
        let mut lines = Vec::new();
        let mut start = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            if !line.trim().is_empty() {
                lines.push((start..start + line.len(), index + 1));
            }
            start += line.len();
        }
        let source = Self {
            path: path.to_owned(),
            kind,
            text,
            lines,
            tokenizer,
            context,
            sight: None,
        };
        match source.lines.is_empty() {
            true => Err(source.empty()),
            false => Ok(source),
        }
    }

    /// The same source, whose pictures are shown to a tower of this shape. Paths in its conversations are relative to its folder.
    pub fn seeing(mut self, vision: Option<&VisionConfig>) -> Self {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        self.sight = vision.map(|vision| Sight::new(vision, folder));
        self
    }

    /// How many items there are; `None` where there is no end of them.
    pub fn len(&self) -> Option<usize> {
        Some(self.lines.len())
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// That there is nothing to train on.
    pub(super) fn empty(&self) -> TrainError {
        TrainError::Empty {
            path: self.path.clone(),
            context: self.context,
        }
    }

    /// The documents of an item: one of a conversation that fits the context, as many as needed of a text.
    ///
    /// # Errors
    /// Where the line is not what the kind of data asks for.
    pub fn documents(&self, item: u64) -> Result<Vec<Document>, TrainError> {
        let (range, line) = &self.lines[item as usize];
        let json = &self.text[range.clone()];
        match self.kind {
            DataKind::Text => self.text_line(json, *line),
            DataKind::Conversations => self.conversation_line(json, *line),
        }
    }

    fn text_line(&self, json: &str, line: usize) -> Result<Vec<Document>, TrainError> {
        let value: Value = self.parsed(json, line)?;
        let Some(text) = value.get("text").and_then(Value::as_str) else {
            return Err(TrainError::Data {
                path: self.path.clone(),
                line,
                problem: "no \"text\"".to_owned(),
                hint: "every line is {\"text\": \"…\"}; conversations are for `k25 train sft`",
            });
        };
        Ok(text_documents(&self.tokenizer, text, self.context))
    }

    fn conversation_line(&self, json: &str, line: usize) -> Result<Vec<Document>, TrainError> {
        let conversation = Conversation::parse(json, Reading::Service).map_err(|source| {
            TrainError::Conversation {
                path: self.path.clone(),
                line,
                source,
            }
        })?;
        let weights = message_weights(&self.parsed(json, line)?);
        let document = match &self.sight {
            Some(sight) if conversation.media().next().is_some() => {
                self.shown(sight, &conversation, &weights, line)?
            }
            _ => Some(conversation_document(
                &self.tokenizer,
                &conversation,
                &weights,
            )),
        };
        let Some(document) = document else {
            return Ok(Vec::new());
        };
        let counts = document.weights.iter().skip(1).any(|weight| *weight != 0.0);
        let fits = document.tokens.len() >= 2 && document.rows() <= self.context;
        Ok(if counts && fits {
            vec![document]
        } else {
            Vec::new()
        })
    }

    /// A conversation with its pictures; `None` where they alone are longer than the context.
    fn shown(
        &self,
        sight: &Sight,
        conversation: &Conversation,
        weights: &[f32],
        line: usize,
    ) -> Result<Option<Document>, TrainError> {
        let fault = |source: LocalError| TrainError::Media {
            path: self.path.clone(),
            line,
            source: Box::new(source),
        };
        let Some(media) = sight.load(conversation, self.context).map_err(fault)? else {
            return Ok(None);
        };
        let document = seen_document(
            &self.tokenizer,
            conversation,
            weights,
            media,
            sight.window(),
        )
        .map_err(|error| fault(error.into()))?;
        let checked = sight.check(&document.pictures.items);
        checked.map_err(|error| TrainError::Data {
            path: self.path.clone(),
            line,
            problem: error.to_string(),
            hint: "give the picture in another size, or as a file of its own",
        })?;
        Ok(Some(document))
    }

    fn parsed(&self, json: &str, line: usize) -> Result<Value, TrainError> {
        serde_json::from_str(json).map_err(|error| TrainError::Data {
            path: self.path.clone(),
            line,
            problem: error.to_string(),
            hint: "every line is one JSON value",
        })
    }
}

/// The `weight` of every assistant message, 1 where there is none.
fn message_weights(conversation: &Value) -> Vec<f32> {
    let messages = conversation.get("messages").unwrap_or(conversation);
    let assistants = messages
        .as_array()
        .into_iter()
        .flatten()
        .filter(|message| message.get("role").and_then(Value::as_str) == Some("assistant"));
    assistants
        .map(|message| {
            message
                .get("weight")
                .and_then(Value::as_f64)
                .map_or(1.0, |weight| weight as f32)
        })
        .collect()
}
