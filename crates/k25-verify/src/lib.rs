//! Compares k25 with the values that a reference computed, for any folder of the form of `fixtures/`.
//!
//! A fixture folder has model folders (a checkpoint with expected tensors beside it) and parts that
//! belong to no model: pictures, films, tokenizer vectors, conversations with their renderings, tool
//! declarations, parser cases. Parts are known by content, not by file name. Everything found is
//! either checked or reported as not checked; nothing is passed over.

mod expected;
mod fast_error;
mod fixture;
mod images;
mod parser;
mod prompts;
mod report;
mod text;
mod videos;
mod vision;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k25_chat::{JsonValue, Tokenizer};
use k25_config::MediaConfig;
use k25_model::media::preprocess;
use k25_model::weights::Model;
use thiserror::Error;

use crate::fixture::{Document, DocumentKind, Fixture, ModelFolder, TensorFile, TensorKind};
use crate::report::Part;
use crate::vision::{MediaSet, Surroundings};

pub use fast_error::{FastChoice, FastError, FastErrorFault, fast_errors};
pub use report::{Check, Outcome, Report};

/// A folder that cannot be verified at all.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It cannot be listed.
    #[error("{path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds nothing to compare with.
    #[error(
        "{path} holds no expectations; hint: give a fixture folder (with expected_*.safetensors, or JSON cases), \
         or look at a checkpoint with `k25 inspect`"
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// Runs every expectation found in `folder` and hands each check to `sink` as soon as it is known.
///
/// # Errors
/// If the folder cannot be read, or holds nothing to compare with. What goes wrong within one part
/// is a check that falls short.
pub fn verify(folder: &Path, sink: &mut dyn FnMut(&Check)) -> Result<Report, VerifyError> {
    let read = |folder: &Path| {
        Fixture::read(folder).map_err(|source| VerifyError::Folder {
            path: folder.to_owned(),
            source,
        })
    };
    let fixture = read(folder)?;
    let is_model_folder = folder.join("config.json").is_file();
    let neighbours = match (is_model_folder, absolute_parent(folder)) {
        (true, Some(parent)) => Some(read(&parent)?),
        _ => None,
    };
    let root = if is_model_folder {
        absolute_parent(folder).unwrap_or_default()
    } else {
        folder.to_owned()
    };

    let mut report = Report::default();
    let mut record = |check: Check| {
        sink(&check);
        report.checks.push(check);
    };
    let verification = Verification {
        fixture: &fixture,
        around: neighbours.as_ref().unwrap_or(&fixture),
        root: &root,
    };
    verification.run(&mut record);
    if report.checks.is_empty() {
        return Err(VerifyError::Empty {
            path: folder.to_owned(),
        });
    }
    Ok(report)
}

fn absolute_parent(folder: &Path) -> Option<PathBuf> {
    folder.canonicalize().ok()?.parent().map(Path::to_owned)
}

type Sink<'a> = &'a mut dyn FnMut(Check);

/// One folder's verification.
struct Verification<'a> {
    /// What is verified.
    fixture: &'a Fixture,
    /// Where media, tokenizer, manifest and sibling models lie.
    around: &'a Fixture,
    /// The folder that paths in documents are relative to.
    root: &'a Path,
}

impl Verification<'_> {
    fn run(&self, sink: Sink<'_>) {
        for (path, reason) in &self.fixture.unreadable {
            Part::new(display_name(path), sink).failed("file", reason);
        }
        let tokenizer = self.open_tokenizer(sink);
        self.verify_documents(tokenizer.as_ref(), sink);
        for file in &self.fixture.tensors {
            if file.kind == TensorKind::Unknown {
                Part::new(display_name(&file.path), sink)
                    .not_checked("file", "holds no known kind of expectation");
            }
        }
        if !self.fixture.models.is_empty() {
            let media = self.prepare_media();
            for model in &self.fixture.models {
                self.verify_model(model, &media, tokenizer.as_deref(), sink);
            }
        }
    }

    fn open_tokenizer(&self, sink: Sink<'_>) -> Option<Arc<Tokenizer>> {
        let folder = self.around.tokenizers.first()?;
        match Tokenizer::open(folder) {
            Ok(tokenizer) => Some(Arc::new(tokenizer)),
            Err(error) => {
                Part::new(display_name(folder), sink).failed("open", error);
                None
            }
        }
    }

    fn verify_documents(&self, tokenizer: Option<&Arc<Tokenizer>>, sink: Sink<'_>) {
        for document in &self.fixture.documents {
            let part = &mut Part::new(display_name(&document.path), sink);
            let cases = match &document.content {
                JsonValue::Array(cases) => cases.as_slice(),
                _ => &[],
            };
            match document.kind {
                DocumentKind::TokenizerVectors => match tokenizer {
                    Some(tokenizer) => {
                        prompts::verify_tokenizer(part, tokenizer, &document.content);
                    }
                    None => part.failed("vectors", "no tokenizer that opens in this folder"),
                },
                DocumentKind::Renderings => {
                    prompts::verify_renderings(part, tokenizer.map(Arc::as_ref), cases);
                }
                DocumentKind::ToolDeclarations => prompts::verify_declarations(part, cases),
                DocumentKind::ParserCases => parser::verify(part, &document.content),
                DocumentKind::Images => {
                    let processed = tensors_of(&self.fixture.tensors, TensorKind::Images).next();
                    images::verify(
                        part,
                        self.root,
                        &document.content,
                        processed.map(|file| &file.tensors),
                    );
                }
                DocumentKind::Videos => {
                    match tensors_of(&self.fixture.tensors, TensorKind::Videos).next() {
                        Some(file) => videos::verify(part, cases, &file.tensors),
                        None => part.failed("films", "their frames are not in this folder"),
                    }
                }
                DocumentKind::MultimodalPrompts | DocumentKind::Ours => {}
                DocumentKind::Unknown => {
                    part.not_checked("file", "holds no known kind of expectation");
                }
            }
        }
    }

    /// Every picture and film of the folder, preprocessed. What cannot be read is missing here, and
    /// reported by the checks that need it.
    fn prepare_media(&self) -> MediaSet {
        let config = MediaConfig::default();
        let mut media = MediaSet {
            images: BTreeMap::new(),
            videos: BTreeMap::new(),
        };
        for document in documents_of(&self.around.documents, DocumentKind::Images) {
            for (name, file) in vision::picture_files(&document.content) {
                if let Ok(picture) = images::load(self.root, &file) {
                    media.images.insert(name, preprocess(picture, &config));
                }
            }
        }
        for document in documents_of(&self.around.documents, DocumentKind::Videos) {
            for file in tensors_of(&self.around.tensors, TensorKind::Videos) {
                media.videos.extend(videos::prepare_all(
                    &document.content,
                    &file.tensors,
                    &config,
                ));
            }
        }
        media
    }

    fn verify_model(
        &self,
        folder: &ModelFolder,
        media: &MediaSet,
        tokenizer: Option<&Tokenizer>,
        sink: Sink<'_>,
    ) {
        let name = display_name(&folder.path);
        let part = &mut Part::new(name.clone(), sink);
        let model = match Model::open(&folder.path) {
            Ok(model) => model,
            Err(error) => return part.failed("open", error),
        };
        part.cases("opened: every tensor as the configuration says", 1, None);
        let surroundings = Surroundings {
            media,
            tokenizer,
            prompts: documents_of(&folder.documents, DocumentKind::MultimodalPrompts)
                .next()
                .map(|d| &d.content),
            packed: vision::packed_names(self.around.manifest.as_ref(), &name),
        };
        for file in &folder.tensors {
            match file.kind {
                TensorKind::Text => text::verify(part, &model, &file.tensors),
                TensorKind::Vision => vision::verify(part, &model, &file.tensors, &surroundings),
                TensorKind::Int4Unit => text::verify_int4_unit(part, &file.tensors),
                TensorKind::Variants => self.verify_variants(part, folder, &model, file),
                TensorKind::Images | TensorKind::Videos | TensorKind::Unknown => {
                    part.not_checked(
                        &display_name(&file.path),
                        "no known kind of expectation on a model",
                    );
                }
            }
        }
        for document in documents_of(&folder.documents, DocumentKind::Unknown) {
            part.not_checked(
                &display_name(&document.path),
                "holds no known kind of expectation",
            );
        }
    }

    fn verify_variants(
        &self,
        part: &mut Part<'_>,
        folder: &ModelFolder,
        model: &Model,
        variants: &TensorFile,
    ) {
        let Some(prompts) = tensors_of(&folder.tensors, TensorKind::Text).next() else {
            return part.failed(
                &display_name(&variants.path),
                "the prompts are not in this folder",
            );
        };
        let unquantised = self.unquantised_sibling(folder, model);
        text::verify_variants(
            part,
            model,
            unquantised.as_ref(),
            &prompts.tensors,
            &variants.tensors,
        );
    }

    /// The same language model with dense experts: a model folder without expectations of its own.
    fn unquantised_sibling(&self, folder: &ModelFolder, model: &Model) -> Option<Model> {
        self.around
            .models
            .iter()
            .filter(|other| {
                other.tensors.is_empty() && other.path.file_name() != folder.path.file_name()
            })
            .filter_map(|other| Model::open(&other.path).ok())
            .find(|other| other.config.text == model.config.text)
    }
}

fn documents_of(documents: &[Document], kind: DocumentKind) -> impl Iterator<Item = &Document> {
    documents
        .iter()
        .filter(move |document| document.kind == kind)
}

fn tensors_of(files: &[TensorFile], kind: TensorKind) -> impl Iterator<Item = &TensorFile> {
    files.iter().filter(move |file| file.kind == kind)
}

/// The last part of a path: what a person calls the thing.
fn display_name(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    absolute.file_stem().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}
