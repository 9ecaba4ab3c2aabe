//! The models that a server answers with.

use std::sync::Arc;

use k25_chat::{ChatClient, ChatError, ChatRequest};
use k25_client::OpenAiClient;

/// A model under a name.
#[derive(Clone)]
pub struct Model {
    /// What `/v1/models` tells.
    pub info: ModelInfo,
    /// Other names under which requests may ask for it.
    pub aliases: Vec<String>,
    /// What answers.
    pub client: Arc<dyn ChatClient>,
    /// What counts the tokens of a prompt.
    pub counter: Arc<dyn TokenCounter>,
    /// The endpoints behind it, for the metrics; none if it computes here.
    pub upstreams: Vec<OpenAiClient>,
}

/// What a client may want to know of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Tokens that prompt and answer may have together.
    pub context_length: u64,
    /// It sees pictures.
    pub supports_image_in: bool,
    /// It sees films.
    pub supports_video_in: bool,
    /// It can reason before it answers.
    pub supports_reasoning: bool,
}

/// Counts the tokens of a prompt. May take as long as rendering and encoding it; called off the threads
/// that serve connections.
pub trait TokenCounter: Send + Sync {
    /// Tokens of the prompt, media included.
    ///
    /// # Errors
    /// If the conversation cannot be rendered.
    fn count(&self, request: &ChatRequest) -> Result<u64, ChatError>;
}

impl Model {
    /// Whether a request for `name` means this model.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.info.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}
