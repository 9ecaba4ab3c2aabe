//! Brave: `GET /res/v1/web/search`, the key in `X-Subscription-Token`.

use reqwest::Client;

use super::{HITS, Provider, SearchProvider, Searching, ask, hits};

pub(super) const URL: &str = "https://api.search.brave.com";

pub(super) struct Brave {
    url: String,
    key: String,
}

impl Brave {
    pub(super) fn new(base: &str, key: String) -> Self {
        let url = format!("{}/res/v1/web/search", base.trim_end_matches('/'));
        Brave { url, key }
    }
}

impl SearchProvider for Brave {
    fn name(&self) -> &'static str {
        Provider::Brave.name()
    }

    fn search<'a>(&'a self, client: &'a Client, query: &'a str) -> Searching<'a> {
        Box::pin(async move {
            let request = client
                .get(&self.url)
                .header("accept", "application/json")
                .header("x-subscription-token", &self.key)
                .query(&[("q", query), ("count", &HITS.to_string())]);
            let answer = ask(request).await?;
            // Without a single page the whole part is missing.
            match answer.get("web") {
                None => Ok(super::Answer::Hits(Vec::new())),
                Some(web) => hits(&web["results"], ["title", "url", "description"]),
            }
        })
    }
}
