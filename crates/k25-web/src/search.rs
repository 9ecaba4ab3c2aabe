//! `web_search`: a query, answered by whichever provider is set up.

mod brave;
mod kimi;
mod searxng;
mod tavily;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use k25_agent::documents::without_hidden;
use k25_agent::tools::{CallContext, Calling, Effect, FailureKind, Tool, ToolError, ToolOutput};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::WebError;

/// Hits of one call, and how long their parts may be.
const HITS: usize = 10;
const MAX_TITLE: usize = 200;
const MAX_URL: usize = 2_000;
const MAX_SNIPPET: usize = 400;
/// Longest answer of a provider that is read, and longest of those that are text already.
const MAX_BODY: usize = 4 << 20;
const MAX_TEXT: usize = 64 << 10;
/// Queries that are kept.
const MAX_KEPT: usize = 4_096;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A page that answers a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its title.
    pub title: String,
    /// Its address.
    pub url: String,
    /// A few of its words.
    pub snippet: String,
}

/// What a provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Pages, best first.
    Hits(Vec<Hit>),
    /// A text for the model, which only it may be able to read.
    Text(String),
}

/// An answer on its way.
pub type Searching<'a> = Pin<Box<dyn Future<Output = Result<Answer, WebError>> + Send + 'a>>;

/// Someone who searches the web.
pub trait SearchProvider: Send + Sync {
    /// The name in reports.
    fn name(&self) -> &'static str;

    /// Longest query, in characters.
    fn max_query(&self) -> usize {
        400
    }

    /// Asks. What comes back is bounded by the caller.
    fn search<'a>(&'a self, client: &'a Client, query: &'a str) -> Searching<'a>;
}

/// The providers that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// A metasearch that people run themselves.
    Searxng,
    /// Brave's index.
    Brave,
    /// Tavily, made for agents.
    Tavily,
    /// Moonshot's own, through its Formula interface.
    Kimi,
}

impl Provider {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Provider; 4] = [
        Provider::Searxng,
        Provider::Brave,
        Provider::Tavily,
        Provider::Kimi,
    ];

    /// Its name, as [`SearchProvider::name`] gives it too.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Searxng => "SearXNG",
            Provider::Brave => "Brave",
            Provider::Tavily => "Tavily",
            Provider::Kimi => "Kimi",
        }
    }

    /// The provider, set up by the environment that `variable` looks into.
    ///
    /// # Errors
    /// [`WebError::Variable`] where its key or address is missing.
    pub fn open(
        self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Arc<dyn SearchProvider>, WebError> {
        let provider = self.name();
        let get = |name: &'static str, hint| {
            let value = variable(name).filter(|value| !value.trim().is_empty());
            value.ok_or(WebError::Variable {
                provider,
                variable: name,
                hint,
            })
        };
        // Addresses can be changed, for proxies and regions.
        let base = |name: &str, default: &str| {
            let given = variable(name).filter(|value| !value.trim().is_empty());
            given.unwrap_or_else(|| default.to_owned())
        };
        Ok(match self {
            Provider::Searxng => {
                let hint = "the address of an instance that allows format=json";
                Arc::new(searxng::Searxng::new(&get("SEARXNG_URL", hint)?))
            }
            Provider::Brave => {
                let key = get(
                    "BRAVE_API_KEY",
                    "keys are at api-dashboard.search.brave.com",
                )?;
                Arc::new(brave::Brave::new(&base("BRAVE_URL", brave::URL), key))
            }
            Provider::Tavily => {
                let key = get("TAVILY_API_KEY", "keys are at app.tavily.com")?;
                Arc::new(tavily::Tavily::new(&base("TAVILY_URL", tavily::URL), key))
            }
            Provider::Kimi => {
                let key = get("MOONSHOT_API_KEY", "keys are at platform.moonshot.ai")?;
                Arc::new(kimi::Kimi::new(&base("MOONSHOT_BASE_URL", kimi::URL), key))
            }
        })
    }

    /// The first provider that the environment sets up.
    ///
    /// # Errors
    /// [`WebError::NoProvider`].
    pub fn first(
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Arc<dyn SearchProvider>, WebError> {
        let mut opened = Provider::ALL.iter().map(|provider| provider.open(variable));
        opened.find_map(Result::ok).ok_or(WebError::NoProvider)
    }
}

/// The tool. An answer is kept for its day: the same query of a hundred agents is asked once.
pub struct WebSearch {
    provider: Arc<dyn SearchProvider>,
    client: Client,
    kept: Mutex<HashMap<(String, u64), Kept>>,
    day: fn() -> u64,
}

type Kept = Arc<OnceCell<String>>;

impl WebSearch {
    /// The tool over this provider.
    ///
    /// # Errors
    /// [`WebError::Client`].
    pub fn new(provider: Arc<dyn SearchProvider>) -> Result<Self, WebError> {
        // Two parts of a program may both want the provider of TLS: whoever comes second finds it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A person named the provider, so its address may be anywhere; it leads nowhere else.
        let client = Client::builder()
            .user_agent(concat!("k25/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| WebError::Client(error.to_string()))?;
        Ok(WebSearch {
            provider,
            client,
            kept: Mutex::default(),
            day: today,
        })
    }

    /// The same with another calendar.
    #[must_use]
    pub fn with_day(mut self, day: fn() -> u64) -> Self {
        self.day = day;
        self
    }

    async fn search(&self, query: &str) -> Result<String, ToolError> {
        let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
        let refused = |message: String| ToolError::new(FailureKind::Refused, message);
        if query.is_empty() {
            return Err(refused("an empty query".to_owned()));
        }
        let most = self.provider.max_query();
        if query.chars().count() > most {
            return Err(refused(format!(
                "a query of more than {most} characters; ask with fewer words"
            )));
        }
        let slot = self.slot((query.to_lowercase(), (self.day)()));
        let ask = || async {
            let answer = self.provider.search(&self.client, &query).await;
            let failed = |error: WebError| {
                let message = format!("{}: {error}", self.provider.name());
                ToolError::new(FailureKind::Transient, message)
            };
            answer.map(shown).map_err(failed)
        };
        slot.get_or_try_init(ask).await.cloned()
    }

    fn slot(&self, key: (String, u64)) -> Kept {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.entry(key).or_default().clone()
    }
}

impl Tool for WebSearch {
    fn name(&self) -> &str {
        "web_search"
    }

    fn description(&self) -> &str {
        "Search the web. Returns titles, addresses and a few words of each page."
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
        })
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        Box::pin(async move {
            let query = arguments["query"].as_str().unwrap_or_default();
            self.search(query).await.map(ToolOutput::from)
        })
    }
}

fn today() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / 86_400)
}

/// An answer as a model reads it.
fn shown(answer: Answer) -> String {
    let hits = match answer {
        Answer::Text(text) => return without_hidden(&text[..text.floor_char_boundary(MAX_TEXT)]),
        Answer::Hits(hits) => hits,
    };
    if hits.is_empty() {
        return "nothing found".to_owned();
    }
    let one = |(index, hit): (usize, &Hit)| {
        format!(
            "{}. {}\n   {}\n   {}",
            index + 1,
            one_line(&hit.title, MAX_TITLE),
            one_line(&hit.url, MAX_URL),
            one_line(&hit.snippet, MAX_SNIPPET)
        )
    };
    let lines: Vec<String> = hits.iter().take(HITS).enumerate().map(one).collect();
    lines.join("\n")
}

/// Plain text of one line: no marks of HTML, no characters that nobody sees.
fn one_line(text: &str, bytes: usize) -> String {
    let text = &text[..text.floor_char_boundary(bytes * 4)];
    let mut plain = String::new();
    let mut rest = text;
    // Providers mark the words of the query with a few known tags.
    while let Some(start) = rest.find('<') {
        let tag = [
            "<strong>",
            "</strong>",
            "<b>",
            "</b>",
            "<em>",
            "</em>",
            "<mark>",
            "</mark>",
        ]
        .iter()
        .find(|tag| rest[start..].starts_with(**tag));
        let (keep, skip) = tag.map_or((start + 1, 0), |tag| (start, tag.len()));
        plain.push_str(&rest[..keep]);
        rest = &rest[keep + skip..];
    }
    plain.push_str(rest);
    let plain = without_hidden(&plain);
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.floor_char_boundary(bytes) {
        end if end < line.len() => format!("{}…", &line[..end]),
        _ => line,
    }
}

/// The JSON that a request is answered with.
async fn ask(request: RequestBuilder) -> Result<Value, WebError> {
    let failed = |error: reqwest::Error| {
        let what = match error.is_timeout() {
            true => "no answer in time",
            false => "it cannot be reached",
        };
        WebError::Request(what.to_owned())
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        let hint = match status.as_u16() {
            401 | 403 => "; hint: check the key",
            429 => "; hint: too many requests, or an empty account",
            _ => "",
        };
        return Err(WebError::Request(format!("it answered {status}{hint}")));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > MAX_BODY {
            return Err(WebError::Request("its answer is too long".to_owned()));
        }
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).map_err(|_| WebError::Request("its answer is no JSON".to_owned()))
}

/// The hits in an array of objects, by the names of their parts.
fn hits(list: &Value, [title, url, snippet]: [&str; 3]) -> Result<Answer, WebError> {
    let list = list
        .as_array()
        .ok_or_else(|| WebError::Request("its answer has no results".to_owned()))?;
    let text = |hit: &Value, key: &str| hit[key].as_str().unwrap_or_default().to_owned();
    let found = list.iter().take(HITS).map(|hit| Hit {
        title: text(hit, title),
        url: text(hit, url),
        snippet: text(hit, snippet),
    });
    Ok(Answer::Hits(
        found.filter(|hit| !hit.url.is_empty()).collect(),
    ))
}
