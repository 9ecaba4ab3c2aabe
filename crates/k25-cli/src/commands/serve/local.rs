//! A checkpoint of this machine as a served model.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use k25_chat::{ChatError, ChatRequest, RenderOptions};
use k25_local::{FileAccess, LocalClient, LocalModel};
use k25_server::{Model, ModelInfo, TokenCounter};

use crate::answer::open_with;
use crate::args::ServeArgs;
use crate::model_name::{ModelFolder, ModelName};

/// Counts with the model's own template, tokenizer and media preprocessing.
struct Counter(Arc<LocalModel>);

impl TokenCounter for Counter {
    fn count(&self, request: &ChatRequest) -> Result<u64, ChatError> {
        let options = RenderOptions {
            thinking: request.thinking,
            preserve_thinking: request.preserve_thinking,
            ..RenderOptions::default()
        };
        let prepared = self.0.prepare(request.conversation.clone(), &options)?;
        Ok(prepared.tokens() as u64)
    }
}

/// Opens a model. Conversations of strangers name no files of this machine.
pub fn open(model: &ModelName, args: &ServeArgs) -> Result<Model> {
    let folder = model.folder()?;
    folder.announce("k25 serve DIR, or --upstream URL")?;
    let name = args.name.clone().unwrap_or_else(|| name_of(model, &folder));
    let (model, _) = open_with(&folder, &args.how, FileAccess::Refused)?;
    let model = Arc::new(model);
    let sees = model.config().vision.is_some();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let info = ModelInfo {
        name,
        created: now.map_or(0, |time| time.as_secs()),
        context_length: model.context_tokens() as u64,
        supports_image_in: sees,
        supports_video_in: sees,
        supports_reasoning: true,
    };
    Ok(Model {
        info,
        aliases: args.alias.clone(),
        client: Arc::new(LocalClient::new(Arc::clone(&model))?),
        counter: Arc::new(Counter(model)),
        upstreams: Vec::new(),
    })
}

/// The folder's name in small letters: `Kimi-K2.5` is served as `kimi-k2.5`.
fn name_of(model: &ModelName, folder: &ModelFolder) -> String {
    if *model == ModelName::Nano {
        return folder.title.clone();
    }
    let full = folder.path().canonicalize();
    let full = full.unwrap_or_else(|_| folder.path().to_owned());
    let name = full.file_name().unwrap_or_default().to_string_lossy();
    name.to_lowercase()
}
