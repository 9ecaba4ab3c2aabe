//! The OpenAPI document against the server: every route is in it, and what goes over the wire fits it.

#[path = "support/scripted.rs"]
mod scripted;

use jsonschema::Validator;
use k25_client::PriceTable;
use k25_server::{App, FileOptions, Server, ServerOptions};
use reqwest::{Client, Method};
use scripted::Scripted;
use serde_json::{Value, json};

fn document() -> Value {
    serde_json::from_str(include_str!("../web/openapi.json")).expect("JSON")
}

/// A schema of the document, with the document's other schemas at hand.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    let faults: Vec<_> = validator(document, schema)
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{place}: {faults:?} in {value}");
}

struct Running {
    base: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut prices = PriceTable::default();
        prices
            .models
            .insert("scripted".to_owned(), prices.models["kimi-k2.5"]);
        let options = ServerOptions {
            files: Some(FileOptions::new(folder.path().to_owned())),
            prices: Some(prices),
            ..ServerOptions::default()
        };
        let app = App::new(vec![Scripted::default().model()], None, options).expect("an app");
        let server = Server::bind(app, "127.0.0.1:0".parse().expect("an address")).await;
        let server = server.expect("a port");
        let base = format!("http://{}", server.address().expect("an address"));
        tokio::spawn(server.run(std::future::pending()));
        Running {
            base,
            client: Client::builder().no_proxy().build().expect("a client"),
            _folder: folder,
        }
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method: Method = method.to_uppercase().parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.expect("a response");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("operations");
        item.iter()
            .map(move |(method, operation)| (path.clone(), method.clone(), operation.clone()))
    });
    operations.collect()
}

#[test]
fn examples_fit_their_schemas() {
    let document = document();
    let mut examples = 0;
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        let bodies = operation["responses"]
            .as_object()
            .expect("responses")
            .values();
        for body in bodies.chain([&operation["requestBody"]]) {
            let content = &body["content"]["application/json"];
            if content.get("schema").is_some() {
                validator(&document, &content["schema"]);
            }
            if let Some(example) = content.get("example") {
                check(&document, &content["schema"], example, &place);
                examples += 1;
            }
        }
    }
    assert!(examples > 15, "{examples} examples");
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let server = Running::start().await;
    let (status, served) = server.send("GET", "/openapi.json", None).await;
    assert_eq!((status, &served), (200, &document()));
    // The metrics name a route by its pattern only if there is one: others are `other`.
    for (path, method, _) in operations(&served) {
        let filled = path
            .replace("{model}", "scripted")
            .replace("{file}", "file-none");
        server.send(&method, &filled, None).await;
        let (_, metrics) = server.send("GET", "/metrics", None).await;
        let metrics = metrics.as_str().expect("text").to_owned();
        assert!(
            metrics.contains(&format!("route=\"{path}\"")) || path == "/metrics",
            "{path} is not served"
        );
        assert!(!metrics.contains("route=\"other\""), "{path}");
        assert!(!metrics.contains("status=\"405\""), "{method} {path}");
    }
    let described: Vec<_> = served["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .cloned()
        .collect();
    let page = ["/", "/chat.css", "/chat.js", "/markdown.js", "/stream.js"];
    for path in k25_server::paths() {
        assert!(
            page.contains(path) || described.iter().any(|known| known == path),
            "{path} is not described"
        );
    }
}

#[tokio::test]
async fn what_goes_over_the_wire_fits() {
    let document = document();
    let server = Running::start().await;
    let script =
        json!({"output": "hm</think>Hi<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0\
        <|tool_call_argument_begin|>{\"x\": 1}<|tool_call_end|><|tool_calls_section_end|>"})
        .to_string();
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let chat = json!({"model": "scripted", "messages": [{"role": "user", "content": script}], "tools": [tool],
        "logprobs": true, "top_logprobs": 2, "max_tokens": 9});
    let responses = json!({"model": "scripted", "input": [{"role": "user", "content": script}],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]});
    let messages = json!({"model": "scripted", "max_tokens": 9, "thinking": {"type": "adaptive"},
        "messages": [{"role": "user", "content": script}]});
    let wrong = json!({"model": "none", "messages": [{"role": "user", "content": "x"}], "input": "x",
        "max_tokens": 1});
    for (path, body) in [
        ("/v1/chat/completions", Some(&chat)),
        ("/v1/responses", Some(&responses)),
        ("/v1/messages", Some(&messages)),
        ("/v1/messages/count_tokens", Some(&messages)),
        ("/v1/tokenizers/estimate-token-count", Some(&chat)),
        ("/v1/models", None),
        ("/v1/models/{model}", None),
        ("/v1/files", None),
        ("/v1/users/me/usage", None),
    ] {
        let method = if body.is_some() { "post" } else { "get" };
        let operation = &document["paths"][path][method];
        let schema = |body: &Value| body["content"]["application/json"]["schema"].clone();
        if let Some(body) = body {
            check(&document, &schema(&operation["requestBody"]), body, path);
        }
        let (status, reply) = server
            .send(method, &path.replace("{model}", "scripted"), body)
            .await;
        assert_eq!(status, 200, "{path}: {reply}");
        check(
            &document,
            &schema(&operation["responses"]["200"]),
            &reply,
            path,
        );
        if body.is_some() {
            let (status, refusal) = server.send(method, path, Some(&wrong)).await;
            assert_eq!(status, 404, "{path}");
            check(
                &document,
                &schema(&operation["responses"]["400"]),
                &refusal,
                path,
            );
        }
    }

    let mut streamed = chat.clone();
    streamed["stream"] = true.into();
    let (_, events) = server
        .send("post", "/v1/chat/completions", Some(&streamed))
        .await;
    let events = events.as_str().expect("events");
    let chunk = json!({"$ref": "#/components/schemas/ChatCompletionChunk"});
    let chunks = events
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: {"));
    let mut count = 0;
    for data in chunks {
        let value = serde_json::from_str(&format!("{{{data}")).expect("JSON");
        check(&document, &chunk, &value, "a chunk");
        count += 1;
    }
    assert!(count > 4, "{events}");
}
