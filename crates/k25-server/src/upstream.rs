//! Models that answer at other endpoints: under which names, and where.

use std::collections::BTreeMap;
use std::sync::Arc;

use k25_chat::dialect::openai::UsageWish;
use k25_chat::{ChatClient, ChatError, ChatErrorKind, ChatRequest};
use k25_client::{ClientError, Fallback, ListedModel, OpenAiClient, OpenAiOptions, RetryPolicy};
use serde::Deserialize;
use thiserror::Error;

use crate::app::unix_seconds;
use crate::model::{Model, ModelInfo, TokenCounter};

/// Tokens of a context where nobody tells: the family's.
const FAMILY_CONTEXT: u64 = 262_144;
/// Attempts at an endpoint that others answer for.
const ATTEMPTS_OF_MANY: u32 = 2;

/// Which models answer at which endpoints.
///
/// ```json
/// {"models": {"kimi-k2.5": {
///   "aliases": ["kimi"],
///   "endpoints": [
///     {"url": "http://gpu-1:8000/v1", "model": "moonshotai/Kimi-K2.5", "weight": 3},
///     {"url": "https://api.moonshot.ai/v1", "key_from": "MOONSHOT_API_KEY", "weight": 0}]}}}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// The models by the name that clients ask for.
    pub models: BTreeMap<String, Route>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Other names under which clients may ask for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Tokens that prompt and answer may have together.
    #[serde(default)]
    pub context_length: Option<u64>,
    /// It sees pictures [default: yes].
    #[serde(default)]
    pub supports_image_in: Option<bool>,
    /// It sees films [default: yes].
    #[serde(default)]
    pub supports_video_in: Option<bool>,
    /// It can reason [default: yes].
    #[serde(default)]
    pub supports_reasoning: Option<bool>,
    /// Where it answers. Each has its share; where one fails the others answer, the heaviest first.
    pub endpoints: Vec<EndpointRoute>,
}

/// One endpoint of a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRoute {
    /// The address before `/chat/completions`, usually ending in `/v1`.
    pub url: String,
    /// The model's name there, if it is another.
    #[serde(default)]
    pub model: Option<String>,
    /// The environment variable with its key.
    #[serde(default)]
    pub key_from: Option<String>,
    /// Its share of the requests; 0 answers only where others fail.
    #[serde(default = "one")]
    pub weight: u32,
    /// Most answers at once; fewer are asked for while it refuses.
    #[serde(default)]
    pub max_concurrency: Option<usize>,
    /// It can say what an answer costs with every chunk (vLLM, SGLang), and so the prompt's tokens
    /// before the first word.
    #[serde(default)]
    pub usage_in_chunks: bool,
}

/// Routes that cannot be taken.
#[derive(Debug, Error)]
pub enum RouteError {
    /// The text is not of the form.
    #[error(
        "no routes: {0}\n  hint: {{\"models\": {{\"NAME\": {{\"endpoints\": [{{\"url\": \"https://…/v1\"}}]}}}}}}"
    )]
    Form(#[from] serde_json::Error),
    /// A model has nowhere to answer.
    #[error("{model} has no endpoint\n  hint: give at least one url")]
    NoEndpoint {
        /// The model.
        model: String,
    },
    /// A key is named and not there.
    #[error("the key of {url} is not there: {variable} is not set\n  hint: export {variable}=…")]
    NoKey {
        /// The endpoint.
        url: String,
        /// The variable.
        variable: String,
    },
    /// An endpoint cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An endpoint does not say which models it has.
    #[error(
        "{url} does not say which models it has: {source}\n  hint: name the model with --name NAME"
    )]
    Listing {
        /// The endpoint.
        url: String,
        /// What it said.
        source: ChatError,
    },
    /// An endpoint has no models.
    #[error("{url} has no models\n  hint: name one with --name NAME")]
    NoModels {
        /// The endpoint.
        url: String,
    },
}

fn one() -> u32 {
    1
}

impl EndpointRoute {
    /// An endpoint with an even share and no key.
    pub fn new(url: impl Into<String>) -> Self {
        EndpointRoute {
            url: url.into(),
            model: None,
            key_from: None,
            weight: 1,
            max_concurrency: None,
            usage_in_chunks: false,
        }
    }

    fn client(
        &self,
        attempts: Option<u32>,
        key: impl Fn(&str) -> Option<String>,
    ) -> Result<OpenAiClient, RouteError> {
        let api_key = self.key_from.as_deref().map(|variable| {
            key(variable)
                .filter(|key| !key.is_empty())
                .ok_or_else(|| RouteError::NoKey {
                    url: self.url.clone(),
                    variable: variable.to_owned(),
                })
        });
        let usual = OpenAiOptions::new(&self.url);
        Ok(OpenAiClient::new(OpenAiOptions {
            model: self.model.clone(),
            api_key: api_key.transpose()?,
            max_concurrency: self.max_concurrency.unwrap_or(usual.max_concurrency),
            usage: match self.usage_in_chunks {
                true => UsageWish::Throughout,
                false => UsageWish::AtTheEnd,
            },
            retry: RetryPolicy {
                attempts: attempts.unwrap_or(usual.retry.attempts),
                ..usual.retry
            },
            ..usual
        })?)
    }
}

impl Route {
    /// A model at these endpoints, of which nothing else is known.
    pub fn new(endpoints: Vec<EndpointRoute>) -> Self {
        Route {
            aliases: Vec::new(),
            context_length: None,
            supports_image_in: None,
            supports_video_in: None,
            supports_reasoning: None,
            endpoints,
        }
    }

    fn listed(endpoints: Vec<EndpointRoute>, listed: &ListedModel) -> Self {
        Route {
            context_length: listed.context_length,
            supports_image_in: listed.supports_image_in,
            supports_video_in: listed.supports_video_in,
            supports_reasoning: listed.supports_reasoning,
            ..Route::new(endpoints)
        }
    }

    fn model(
        self,
        name: String,
        key: impl Fn(&str) -> Option<String>,
    ) -> Result<Model, RouteError> {
        let attempts = (self.endpoints.len() > 1).then_some(ATTEMPTS_OF_MANY);
        let clients = self.endpoints.iter().map(|endpoint| {
            // The name that a client asks by may be an alias.
            let model = endpoint.model.clone().or_else(|| Some(name.clone()));
            let endpoint = EndpointRoute {
                model,
                ..endpoint.clone()
            };
            Ok((endpoint.client(attempts, &key)?, endpoint.weight))
        });
        let clients: Vec<(OpenAiClient, u32)> = clients.collect::<Result<_, RouteError>>()?;
        let upstreams: Vec<OpenAiClient> =
            clients.iter().map(|(client, _)| client.clone()).collect();
        let client: Arc<dyn ChatClient> = match &upstreams[..] {
            [] => return Err(RouteError::NoEndpoint { model: name }),
            [only] => Arc::new(only.clone()),
            _ => Arc::new(Fallback::new(clients.into_iter().map(
                |(client, weight)| -> (Arc<dyn ChatClient>, u32) { (Arc::new(client), weight) },
            ))),
        };
        Ok(Model {
            info: ModelInfo {
                name,
                created: unix_seconds(),
                context_length: self.context_length.unwrap_or(FAMILY_CONTEXT),
                supports_image_in: self.supports_image_in.unwrap_or(true),
                supports_video_in: self.supports_video_in.unwrap_or(true),
                supports_reasoning: self.supports_reasoning.unwrap_or(true),
            },
            aliases: self.aliases,
            client,
            counter: Arc::new(Counter(upstreams.clone())),
            upstreams,
        })
    }
}

impl Routes {
    /// Reads routes.
    ///
    /// # Errors
    /// If the text is not of the form.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        Ok(serde_json::from_str(text)?)
    }

    /// All models that the first of these endpoints lists, each at all of them. Blocks.
    ///
    /// # Errors
    /// If it does not list any.
    pub fn discover(
        endpoints: Vec<EndpointRoute>,
        key: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, RouteError> {
        let mut models = BTreeMap::new();
        if let Some(first) = endpoints.first() {
            let url = || first.url.clone();
            let listed = first.client(Some(1), key)?.models();
            let listed = listed.map_err(|source| RouteError::Listing { url: url(), source })?;
            if listed.is_empty() {
                return Err(RouteError::NoModels { url: url() });
            }
            for model in listed {
                let route = Route::listed(endpoints.clone(), &model);
                models.insert(model.name, route);
            }
        }
        Ok(Routes { models })
    }

    /// The models. `key` looks an environment variable up.
    ///
    /// # Errors
    /// If an endpoint cannot be asked, or a key is not there.
    pub fn into_models(
        self,
        key: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Model>, RouteError> {
        let models = self.models.into_iter();
        models
            .map(|(name, route)| route.model(name, &key))
            .collect()
    }
}

/// Counts where the model answers: the first endpoint that can.
struct Counter(Vec<OpenAiClient>);

impl TokenCounter for Counter {
    fn count(&self, request: &ChatRequest) -> Result<u64, ChatError> {
        let mut last = None;
        for client in &self.0 {
            match client.count_tokens(request) {
                Ok(tokens) => return Ok(tokens),
                // What is wrong with a request is wrong everywhere.
                Err(error) if error.kind == ChatErrorKind::InvalidRequest => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a model has endpoints"))
    }
}
