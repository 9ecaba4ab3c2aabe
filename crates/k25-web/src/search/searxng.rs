//! SearXNG: `GET /search?q=…&format=json`.

use reqwest::Client;

use super::{Provider, SearchProvider, Searching, ask, hits};

/// An instance that allows `format=json`.
pub(super) struct Searxng {
    url: String,
}

impl Searxng {
    pub(super) fn new(base: &str) -> Self {
        Searxng {
            url: format!("{}/search", base.trim_end_matches('/')),
        }
    }
}

impl SearchProvider for Searxng {
    fn name(&self) -> &'static str {
        Provider::Searxng.name()
    }

    fn search<'a>(&'a self, client: &'a Client, query: &'a str) -> Searching<'a> {
        Box::pin(async move {
            let request = client.get(&self.url);
            let answer = ask(request.query(&[("q", query), ("format", "json")])).await?;
            hits(&answer["results"], ["title", "url", "content"])
        })
    }
}
