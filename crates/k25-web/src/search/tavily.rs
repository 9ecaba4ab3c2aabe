//! Tavily: `POST /search`, the key as a bearer token.

use reqwest::Client;
use serde_json::json;

use super::{HITS, Provider, SearchProvider, Searching, ask, hits};

pub(super) const URL: &str = "https://api.tavily.com";

pub(super) struct Tavily {
    url: String,
    key: String,
}

impl Tavily {
    pub(super) fn new(base: &str, key: String) -> Self {
        let url = format!("{}/search", base.trim_end_matches('/'));
        Tavily { url, key }
    }
}

impl SearchProvider for Tavily {
    fn name(&self) -> &'static str {
        Provider::Tavily.name()
    }

    fn search<'a>(&'a self, client: &'a Client, query: &'a str) -> Searching<'a> {
        Box::pin(async move {
            let body = json!({"query": query, "max_results": HITS});
            let request = client.post(&self.url).bearer_auth(&self.key).json(&body);
            let answer = ask(request).await?;
            hits(&answer["results"], ["title", "url", "content"])
        })
    }
}
