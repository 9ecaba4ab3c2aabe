//! The model of agents: a checkpoint here, or an endpoint.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use k25_agent::agent::ModelChoice;
use k25_agent::budget::Prices;
use k25_chat::ChatClient;
use k25_client::{OpenAiClient, OpenAiOptions, PriceTable, RetryPolicy};
use k25_local::{FileAccess, LocalClient, LocalModel, LocalOptions};

use super::folder::RunNote;
use crate::args::AgentModelArgs;
use crate::model_name::{ModelFolder, ModelName};
use crate::output::Status;

/// Tokens of an endpoint's context where no flag says otherwise: the family's.
const ENDPOINT_CONTEXT: u64 = 262_144;
/// Contexts below this many tokens are small.
const SMALL_CONTEXT: u64 = 32_768;
const ENDPOINT_PARALLEL: usize = 100;
const LOCAL_PARALLEL: usize = 16;

/// The models of a run.
#[derive(Clone)]
pub struct Models {
    /// The main agent's.
    pub main: ModelChoice,
    /// The sub-agents'.
    pub subagents: ModelChoice,
    /// The currency of the prices.
    pub currency: String,
    /// Most requests at once.
    pub parallel: usize,
    /// How the model is called for people.
    pub title: String,
}

impl Models {
    /// Opens what the flags name, or what the run was begun with, or what the environment names.
    pub fn open(args: &AgentModelArgs, note: Option<&RunNote>) -> Result<Self> {
        let of_note = || note.and_then(|note| note.model.as_ref());
        let model = ModelName::chosen(args.model.as_ref().or_else(of_note));
        let mut models = match &model {
            ModelName::Endpoint(url) => Self::endpoint(url, args, note)?,
            here => {
                let folder = here.folder()?;
                folder.announce("--model DIR or --model URL")?;
                Self::local(&folder, args)?
            }
        };
        let fallbacks = match (args.fallback_models.as_slice(), note) {
            ([], Some(note)) => &note.fallback_models,
            _ => &args.fallback_models,
        };
        // The last is behind the last but one, and so on to the model itself.
        let mut last = None;
        for name in fallbacks.iter().rev() {
            let fallback = ModelChoice {
                fallback: last.map(Box::new),
                ..fallback(name, &model, &models.main, args)?
            };
            last = Some(fallback);
        }
        models.main.fallback = last.map(Box::new);
        models.subagents.fallback.clone_from(&models.main.fallback);
        Ok(models)
    }

    /// Whether there is little room: documents are shown in small windows, and agents work as small
    /// models are trained to.
    pub fn is_small(&self) -> bool {
        self.main.context_tokens < SMALL_CONTEXT
    }

    fn local(folder: &ModelFolder, args: &AgentModelArgs) -> Result<Self> {
        let _status = Status::show(&format!("opening {} …", folder.path().display()));
        let options = LocalOptions {
            context_tokens: args.context.and_then(|tokens| usize::try_from(tokens).ok()),
            files: FileAccess::Refused,
            ..LocalOptions::default()
        };
        let model = Arc::new(LocalModel::open(folder.path(), &options)?);
        let context_tokens = model.context_tokens() as u64;
        let title = folder.title.clone();
        let client: Arc<dyn ChatClient> = Arc::new(LocalClient::new(model)?);
        let main = choice(client, &title, context_tokens, args, Prices::default());
        Ok(Models {
            subagents: main.clone(),
            main,
            currency: String::new(),
            parallel: args.parallel.unwrap_or(LOCAL_PARALLEL),
            title,
        })
    }

    fn endpoint(url: &str, args: &AgentModelArgs, note: Option<&RunNote>) -> Result<Self> {
        let name = note
            .map_or(&args.model_name, |note| &note.model_name)
            .clone();
        let of_subagents = args.subagent_model.clone();
        let of_subagents =
            of_subagents.or_else(|| note.and_then(|note| note.subagent_model.clone()));
        let parallel = args.parallel.unwrap_or(ENDPOINT_PARALLEL);
        let client = client(url, &args.key_from, parallel)?;
        let table = prices(args)?;
        let is_priced = table.models.contains_key(&name);
        let context = args.context.unwrap_or(ENDPOINT_CONTEXT);
        let model = |name: &str| {
            let client = Arc::clone(&client);
            choice(client, name, context, args, price_of(&table, name))
        };
        Ok(Models {
            main: model(&name),
            subagents: model(of_subagents.as_deref().unwrap_or(&name)),
            currency: if is_priced {
                table.currency.clone()
            } else {
                String::new()
            },
            parallel,
            title: format!("{name} at {url}"),
        })
    }
}

/// A client of an endpoint.
fn client(url: &str, key_from: &str, parallel: usize) -> Result<Arc<dyn ChatClient>> {
    let key = std::env::var(key_from).ok();
    let client = OpenAiClient::new(OpenAiOptions {
        api_key: key.filter(|key| !key.is_empty()),
        max_concurrency: parallel,
        // The runtime tries again too, and knows when to rest.
        retry: RetryPolicy {
            attempts: 2,
            ..RetryPolicy::default()
        },
        ..OpenAiOptions::new(url)
    })?;
    Ok(Arc::new(client))
}

/// The price table that the flags name.
fn prices(args: &AgentModelArgs) -> Result<PriceTable> {
    let Some(path) = &args.prices else {
        return Ok(PriceTable::default());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow!("cannot read {}: {error}", path.display()))?;
    PriceTable::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn price_of(table: &PriceTable, name: &str) -> Prices {
    let prices = table.models.get(name).map(|prices| Prices {
        input: prices.input,
        cached: prices.cached_input,
        output: prices.output,
    });
    prices.unwrap_or_default()
}

/// A model to ask when the first one fails: a name at its endpoint, `URL#NAME`, or a folder.
fn fallback(
    name: &str,
    first: &ModelName,
    main: &ModelChoice,
    args: &AgentModelArgs,
) -> Result<ModelChoice> {
    let parallel = args.parallel.unwrap_or(ENDPOINT_PARALLEL);
    let context = args.context.unwrap_or(ENDPOINT_CONTEXT);
    let is_address = |name: &str| matches!(ModelName::of(name), ModelName::Endpoint(_));
    if let Some((url, name)) = name.rsplit_once('#').filter(|(url, _)| is_address(url)) {
        let client = client(url, &args.fallback_key_from, parallel)?;
        return Ok(choice(
            client,
            name,
            context,
            args,
            price_of(&prices(args)?, name),
        ));
    }
    if is_address(name) {
        return Err(anyhow!(
            "--fallback-model {name} names no model\n  hint: write URL#NAME, as in {name}#kimi-k2.5"
        ));
    }
    if name == k25_nano::NAME || Path::new(name).is_dir() {
        return Ok(Models::local(&ModelName::of(name).folder()?, args)?.main);
    }
    if !matches!(first, ModelName::Endpoint(_)) {
        return Err(anyhow!(
            "--fallback-model {name}: there is no such folder\n  hint: name the folder of a checkpoint, or URL#NAME"
        ));
    }
    Ok(ModelChoice {
        name: name.to_owned(),
        prices: price_of(&prices(args)?, name),
        fallback: None,
        ..main.clone()
    })
}

fn choice(
    client: Arc<dyn ChatClient>,
    name: &str,
    context_tokens: u64,
    args: &AgentModelArgs,
    prices: Prices,
) -> ModelChoice {
    ModelChoice {
        client,
        name: name.to_owned(),
        context_tokens,
        max_tokens: args.max_answer,
        // Models with little room are trained on the likeliest token.
        temperature: args
            .temperature
            .or((context_tokens < SMALL_CONTEXT).then_some(0.0)),
        prices,
        fallback: None,
    }
}
