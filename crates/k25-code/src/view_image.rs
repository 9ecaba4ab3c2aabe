//! `view_image`: the model sees a picture that code made, or that lies among the documents.

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use k25_agent::event::{EventKind, Picture};
use k25_agent::tools::{CallContext, Calling, FailureKind, Tool, ToolError, ToolOutput};
use serde_json::{Value, json};

use crate::workspace::Workspaces;

/// Largest picture, in bytes of its file.
const MAX_BYTES: u64 = 8 << 20;

/// Shows pictures.
pub struct ViewImage {
    workspaces: Arc<Workspaces>,
    documents: Option<PathBuf>,
}

impl ViewImage {
    /// The tool over the folders of tasks, and over a folder of documents where there is one.
    pub fn new(workspaces: Arc<Workspaces>, documents: Option<PathBuf>) -> Self {
        ViewImage {
            workspaces,
            documents: documents.and_then(|folder| folder.canonicalize().ok()),
        }
    }

    async fn view(&self, path: &str, context: CallContext) -> Result<ToolOutput, ToolError> {
        let refused = |text: String| ToolError::new(FailureKind::Refused, text);
        let path = path.strip_prefix("./").unwrap_or(path);
        let found = {
            let _turn = self.workspaces.turn(&context.task).await;
            self.workspaces.find(&context.task, path)
        };
        let found =
            found.map_err(|error| ToolError::new(FailureKind::Internal, error.to_string()))?;
        let bytes = match found {
            Some(file) => Some(file.bytes),
            None => self.document(path).map_err(refused)?,
        };
        let Some(bytes) = bytes else {
            let text = format!("there is no {path:?}, neither among your files nor the documents");
            return Err(refused(text));
        };
        let Some(kind) = kind(&bytes) else {
            let text = format!(
                "{path:?} is no picture of a kind that can be shown: PNG, JPEG, WebP, GIF, BMP"
            );
            return Err(refused(text));
        };
        let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let picture = Picture {
            name: path.to_owned(),
            data: format!("data:image/{kind};base64,{encoded}").into(),
        };
        Ok(ToolOutput {
            text: format!("{path} ({kind}, {} bytes)", bytes.len()),
            events: vec![EventKind::Pictured {
                call: context.call,
                pictures: vec![picture],
            }],
            ..ToolOutput::default()
        })
    }

    /// A file below the documents, whatever links lie between; `None` if there is none.
    fn document(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(folder) = &self.documents else {
            return Ok(None);
        };
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !Path::new(path).components().all(is_plain) {
            return Err(format!("{path:?} is no path below the documents"));
        }
        let Ok(whole) = folder.join(path).canonicalize() else {
            return Ok(None);
        };
        if !whole.starts_with(folder) {
            return Err(format!("{path:?} leads out of the documents"));
        }
        let is_file = std::fs::metadata(&whole).is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(format!("{path:?} is no file"));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&whole).map_err(|error| format!("{path:?}: {error}"))?;
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("{path:?}: {error}"))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!(
                "{path:?} is larger than 8 MiB: make a smaller copy first"
            ));
        }
        Ok(Some(bytes))
    }
}

/// What the first bytes say.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("webp"),
        [b'B', b'M', ..] if bytes.len() > 26 => Some("bmp"),
        _ => None,
    }
}

impl Tool for ViewImage {
    fn name(&self) -> &str {
        "view_image"
    }

    fn description(&self) -> &str {
        "Look at a picture: one that your code wrote into the current folder, or a document."
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
        })
    }

    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_> {
        Box::pin(async move {
            let path = arguments["path"].as_str().unwrap_or_default();
            self.view(path, context).await
        })
    }
}
