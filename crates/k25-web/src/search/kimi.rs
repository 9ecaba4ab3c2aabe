//! Moonshot's own search, as a Formula: a tool that runs on their side (a "fiber").
//!
//! Its output is a text for the model, often enciphered so that only theirs can read it; it is handed
//! on as it is.

use reqwest::Client;
use serde_json::{Value, json};

use super::{Answer, Provider, SearchProvider, Searching, ask};
use crate::WebError;

pub(super) const URL: &str = "https://api.moonshot.ai/v1";

pub(super) struct Kimi {
    url: String,
    key: String,
}

impl Kimi {
    pub(super) fn new(base: &str, key: String) -> Self {
        let base = base.trim_end_matches('/');
        let url = format!("{base}/formulas/moonshot/web-search:latest/fibers");
        Kimi { url, key }
    }
}

impl SearchProvider for Kimi {
    fn name(&self) -> &'static str {
        Provider::Kimi.name()
    }

    fn search<'a>(&'a self, client: &'a Client, query: &'a str) -> Searching<'a> {
        Box::pin(async move {
            let arguments = json!({"query": query}).to_string();
            let body = json!({"name": "web_search", "arguments": arguments});
            let request = client.post(&self.url).bearer_auth(&self.key).json(&body);
            text_of(&ask(request).await?)
        })
    }
}

fn text_of(fiber: &Value) -> Result<Answer, WebError> {
    let context = &fiber["context"];
    if fiber["status"] == "succeeded" {
        let output = ["output", "encrypted_output"]
            .iter()
            .find_map(|key| context[*key].as_str());
        if let Some(text) = output {
            return Ok(Answer::Text(text.to_owned()));
        }
    }
    let said = [&fiber["error"], &context["error"]]
        .into_iter()
        .find_map(Value::as_str);
    let said = said.unwrap_or("it did not succeed");
    let said = &said[..said.floor_char_boundary(300)];
    Err(WebError::Request(said.to_owned()))
}
