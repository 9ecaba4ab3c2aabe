//! What a fixture folder holds. Parts are known by their content, so a folder of the same form with
//! other file names is understood too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k25_chat::JsonValue;

use crate::expected::Expected;
use crate::prompts::field;

/// Largest JSON file that is read; the real checkpoint's index is 20 MB.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// Every part of a fixture folder.
#[derive(Default)]
pub struct Fixture {
    /// Model folders: those with a `config.json`.
    pub models: Vec<ModelFolder>,
    /// Folders with a tokenizer.
    pub tokenizers: Vec<PathBuf>,
    /// JSON documents that belong to no model.
    pub documents: Vec<Document>,
    /// Files of expected tensors that belong to no model.
    pub tensors: Vec<TensorFile>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Contents of the manifest, if there is one.
    pub manifest: Option<JsonValue>,
}

/// A checkpoint with what is expected of it.
pub struct ModelFolder {
    /// The checkpoint's folder.
    pub path: PathBuf,
    /// Expected tensors, by kind.
    pub tensors: Vec<TensorFile>,
    /// JSON documents beside the checkpoint.
    pub documents: Vec<Document>,
}

/// A JSON document and what it is.
pub struct Document {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub kind: DocumentKind,
    /// Its content.
    pub content: JsonValue,
}

/// Kinds of JSON documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// Conversations with their renderings and ids.
    Renderings,
    /// Tools with their declarations.
    ToolDeclarations,
    /// Model outputs with what a parser makes of them.
    ParserCases,
    /// Texts with their ids.
    TokenizerVectors,
    /// Pictures with their sizes, and resize cases.
    Images,
    /// Films with their samples and chunks.
    Videos,
    /// Prompts of the multimodal expectations.
    MultimodalPrompts,
    /// A file of the checkpoint itself, or the manifest.
    Ours,
    /// Something else.
    Unknown,
}

/// Expected tensors and what they are.
pub struct TensorFile {
    /// Where they lie.
    pub path: PathBuf,
    /// What they are.
    pub kind: TensorKind,
    /// The tensors.
    pub tensors: Expected,
}

/// Kinds of expected tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorKind {
    /// Prompts with logits and states.
    Text,
    /// Logits of other computations on the same prompts.
    Variants,
    /// Vision features and multimodal logits.
    Vision,
    /// One packed matrix with its values.
    Int4Unit,
    /// Preprocessed pictures.
    Images,
    /// Frames and preprocessed chunks of films.
    Videos,
    /// Something else.
    Unknown,
}

impl Fixture {
    /// Reads `folder`: a model folder, whose media and tokenizer then lie beside it, or a folder
    /// with several parts.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut fixture = Self::default();
        fixture.read_folder(folder)?;
        for child in folders_in(folder)? {
            fixture.read_folder(&child)?;
        }
        Ok(fixture)
    }

    fn read_folder(&mut self, folder: &Path) -> io::Result<()> {
        let is_model = folder.join("config.json").is_file();
        let (mut documents, mut tensors) = (Vec::new(), Vec::new());
        for path in files_in(folder)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => match read_json(&path) {
                    Ok(content) => {
                        let kind = document_kind(&path, &content);
                        documents.push(Document {
                            path,
                            kind,
                            content,
                        });
                    }
                    Err(reason) => self.unreadable.push((path, reason)),
                },
                Some("safetensors") if !(is_model && is_shard(&path)) => {
                    match Expected::open(&path) {
                        Ok(expected) => {
                            let kind = tensor_kind(&expected);
                            tensors.push(TensorFile {
                                path,
                                kind,
                                tensors: expected,
                            });
                        }
                        Err(error) => self.unreadable.push((path, error.to_string())),
                    }
                }
                _ => {}
            }
        }
        if folder.join("tiktoken.model").is_file() {
            self.tokenizers.push(folder.to_owned());
        }
        if is_model {
            self.models.push(ModelFolder {
                path: folder.to_owned(),
                tensors,
                documents,
            });
        } else {
            let is_manifest = |document: &Document| {
                document
                    .path
                    .file_name()
                    .is_some_and(|name| name == "manifest.json")
            };
            if let Some(manifest) = documents.iter().position(is_manifest) {
                self.manifest = Some(documents.remove(manifest).content);
            }
            self.documents.append(&mut documents);
            self.tensors.append(&mut tensors);
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(entries(folder)?
        .into_iter()
        .filter(|path| path.is_file())
        .collect())
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

/// A checkpoint's own weights, which are not expectations.
fn is_shard(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name == "model.safetensors" || (name.starts_with("model-") && name.contains("-of-"))
}

fn read_json(path: &Path) -> Result<JsonValue, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_JSON_BYTES {
        return Err(format!(
            "{length} bytes, more than the {MAX_JSON_BYTES} that are read"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    JsonValue::parse(&text).map_err(|error| error.to_string())
}

fn document_kind(path: &Path, content: &JsonValue) -> DocumentKind {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let has = |key: &str| field(content, key).is_ok();
    let first_has = |items: &JsonValue, key: &str| match items {
        JsonValue::Array(items) => items.first().is_some_and(|first| field(first, key).is_ok()),
        _ => false,
    };
    if first_has(content, "expected_ts") {
        DocumentKind::ToolDeclarations
    } else if first_has(content, "rendered") && first_has(content, "messages") {
        DocumentKind::Renderings
    } else if first_has(content, "sampled_indices") {
        DocumentKind::Videos
    } else if field(content, "cases").is_ok_and(|cases| first_has(cases, "model_output")) {
        DocumentKind::ParserCases
    } else if has("vectors") {
        DocumentKind::TokenizerVectors
    } else if has("resize_cases") || has("images") {
        DocumentKind::Images
    } else if has("prompts") {
        DocumentKind::MultimodalPrompts
    } else if has("added_tokens_decoder")
        || has("weight_map")
        || name.ends_with("config.json")
        || name == "manifest.json"
    {
        DocumentKind::Ours
    } else {
        DocumentKind::Unknown
    }
}

fn tensor_kind(tensors: &Expected) -> TensorKind {
    let names = tensors.names();
    let any = |test: &dyn Fn(&str) -> bool| names.iter().any(|name| test(name));
    if any(&|name| name.ends_with(".frames")) {
        TensorKind::Videos
    } else if any(&|name| name.ends_with(".u8")) {
        TensorKind::Images
    } else if any(&|name| name.ends_with(".features")) {
        TensorKind::Vision
    } else if any(&|name| name.ends_with(".input_ids")) {
        TensorKind::Text
    } else if any(&|name| name.ends_with(".logits")) {
        TensorKind::Variants
    } else if any(&|name| name == "weight_packed") {
        TensorKind::Int4Unit
    } else {
        TensorKind::Unknown
    }
}
