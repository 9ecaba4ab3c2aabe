//! What is kept of answers: the audit log, and spans at a collector.

#[path = "support/scripted.rs"]
mod scripted;

use std::time::{Duration, Instant};

use k25_server::{
    App, AuditOptions, KeyFile, KeyLimits, NewKey, RedactionRules, Server, ServerOptions,
    TelemetryOptions,
};
use reqwest::Client;
use scripted::Scripted;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A collector of OTLP: what it is sent, by path and body.
async fn collector() -> (String, mpsc::UnboundedReceiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sent, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sent = sent.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let mut piece = vec![0; 64 << 10];
                    let read = stream.read(&mut piece).await.unwrap_or(0);
                    bytes.extend_from_slice(&piece[..read]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    if let Ok(body) = serde_json::from_str(body) {
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        let _ = sent.send((path, body));
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                        let _ = stream.write_all(answer).await;
                        return;
                    }
                    if read == 0 {
                        return;
                    }
                }
            });
        }
    });
    (url, received)
}

struct Running {
    url: String,
    client: Client,
    secret: String,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<bool>,
}

impl Running {
    async fn start(options: ServerOptions) -> Self {
        let key = NewKey::make("alice", KeyLimits::default()).expect("a key");
        let mut keys = KeyFile::default();
        keys.add(key.record).expect("added");
        let models = vec![Scripted::default().model()];
        let app = App::new(models, Some(&keys), options).expect("an app");
        let server = Server::bind(app, "127.0.0.1:0".parse().expect("an address")).await;
        let server = server.expect("a port");
        let url = format!(
            "http://{}/v1/chat/completions",
            server.address().expect("an address")
        );
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Running {
            url,
            client: Client::builder().no_proxy().build().expect("a client"),
            secret: key.secret,
            stop,
            ended,
        }
    }

    async fn ask(&self, script: &Value, more: Value) -> String {
        let mut body = json!({"model": "scripted", "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": script.to_string()},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]});
        for (key, value) in more.as_object().expect("an object") {
            body[key] = value.clone();
        }
        let request = self
            .client
            .post(&self.url)
            .bearer_auth(&self.secret)
            .header(
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
            .header("x-request-id", "mine")
            .json(&body);
        let response = request.send().await.expect("a response");
        response.text().await.expect("a body")
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        assert!(self.ended.await.expect("no panic"));
    }
}

#[tokio::test]
async fn the_audit_log_has_what_was_said_and_no_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let rules = r#"{"fields": ["reasoning_content"], "patterns": [{"pattern": "4\\d{3}-\\d{4}", "with": "[card]"}]}"#;
    let server = Running::start(ServerOptions {
        audit: Some(AuditOptions {
            file: file.clone(),
            rules: RedactionRules::parse(rules).expect("rules"),
        }),
        ..ServerOptions::default()
    })
    .await;
    let secret = server.secret.clone();
    let output = format!(
        "thought</think>card 4111-1111, key {secret}\
        <|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>\
        {{\"a\": 1}}<|tool_call_end|><|tool_calls_section_end|>"
    );
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    server
        .ask(&json!({"output": output}), json!({"tools": [tool]}))
        .await;
    server
        .ask(&json!({"output": "abc", "cut": 1, "fail": 2}), json!({}))
        .await;
    // Refused: by the request, by the model's name, by the key.
    server.ask(&json!({}), json!({"n": "many"})).await;
    server.ask(&json!({}), json!({"model": "nobody"})).await;
    let stranger = server.client.post(&server.url).bearer_auth("k25-wrong");
    let refused = stranger.json(&json!({})).send().await.expect("a response");
    assert_eq!(refused.status(), 401);
    server.stop().await;
    let log = std::fs::read_to_string(&file).expect("the log");
    assert!(!log.contains(&secret[7..]), "a key in the log");
    assert!(!log.contains("iVBORw0KGgo"), "a picture in the log");
    assert!(!log.contains("thought\"") && !log.contains("4111"), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 5);
    let refused = [("alice", "n: "), ("alice", "nobody"), ("", "key")];
    for (line, (key, why)) in lines[2..].iter().zip(refused) {
        assert_eq!(
            (&line["end"], &line["key"]),
            (&"refused".into(), &key.into())
        );
        let error = line["error"].as_str().expect("words");
        assert!(error.contains(why), "{error}");
        assert_eq!(
            (&line["messages"], &line["replies"]),
            (&Value::Null, &json!([]))
        );
    }
    let first = &lines[0];
    assert_eq!(
        (&first["key"], &first["request_id"]),
        (&"alice".into(), &"mine".into())
    );
    assert_eq!(
        first["messages"][0]["content"][1]["image_url"]["url"],
        "[image/png, 34 characters]"
    );
    assert_eq!(first["tools"][0]["function"]["name"], "f");
    let reply = &first["replies"][0];
    assert_eq!(reply["reasoning_content"], "[redacted]");
    assert_eq!(reply["content"], "card [card], key [secret]");
    assert_eq!(reply["tool_calls"][0]["arguments"], "{\"a\": 1}");
    assert!(first["prompt_tokens"].as_u64().expect("a count") > 0);
    assert_eq!(
        (&lines[1]["end"], &lines[1]["replies"][0]["content"]),
        (&"error".into(), &Value::Null)
    );
    assert!(
        lines[1]["error"]
            .as_str()
            .expect("words")
            .contains("the script fails")
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file)
            .expect("the log")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "others may read it");
    }
}

/// The value of an attribute, as the protocol writes it.
fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let attributes = span["attributes"].as_array().expect("attributes");
    let found = attributes.iter().find(|one| one["key"] == key)?;
    found["value"].as_object().expect("a value").values().next()
}

#[tokio::test]
async fn spans_reach_a_collector_without_words() {
    let (endpoint, mut received) = collector().await;
    let server = Running::start(ServerOptions {
        telemetry: Some(TelemetryOptions {
            endpoint,
            with_content: false,
        }),
        ..ServerOptions::default()
    })
    .await;
    let script = json!({"output": "hm</think>unmistakable", "cut": 3});
    server
        .ask(&script, json!({"max_tokens": 9, "temperature": 0.5}))
        .await;
    server
        .ask(&json!({"output": "abc", "cut": 1, "fail": 2}), json!({}))
        .await;
    server.ask(&json!({}), json!({"n": "many"})).await;
    // The last spans go out before the server ends.
    server.stop().await;
    let mut spans = Vec::new();
    while let Ok((path, body)) = received.try_recv() {
        assert_eq!(path, "/v1/traces");
        assert!(
            !body.to_string().contains("unmistakable"),
            "words in a span"
        );
        let scope = &body["resourceSpans"][0]["scopeSpans"][0];
        spans.extend(scope["spans"].as_array().expect("spans").clone());
    }
    assert_eq!(spans.len(), 3);
    assert_eq!(
        (&spans[2]["name"], &spans[2]["status"]["code"]),
        (&"chat".into(), &2.into())
    );
    assert_eq!(attribute(&spans[2], "error.type"), Some(&"refused".into()));
    let span = &spans[0];
    assert_eq!(span["name"], "chat scripted");
    assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(span["spanId"].as_str().expect("an id").len(), 16);
    let time = |key: &str| -> u128 { span[key].as_str().expect("text").parse().expect("a number") };
    assert!(time("startTimeUnixNano") < time("endTimeUnixNano"));
    assert_eq!(
        attribute(span, "gen_ai.operation.name"),
        Some(&"chat".into())
    );
    assert_eq!(
        attribute(span, "gen_ai.request.max_tokens"),
        Some(&"9".into())
    );
    assert_eq!(
        attribute(span, "gen_ai.request.temperature"),
        Some(&0.5.into())
    );
    assert_eq!(attribute(span, "k25.key_name"), Some(&"alice".into()));
    assert!(attribute(span, "gen_ai.usage.output_tokens").is_some());
    assert_eq!(attribute(span, "gen_ai.input.messages"), None);
    assert_eq!(spans[1]["status"]["code"], 2);
    assert_eq!(attribute(&spans[1], "error.type"), Some(&"error".into()));
}

#[tokio::test]
async fn words_are_in_spans_where_that_is_wanted_and_a_dead_collector_costs_nothing() {
    let (endpoint, mut received) = collector().await;
    let options = |endpoint: &str| ServerOptions {
        telemetry: Some(TelemetryOptions {
            endpoint: endpoint.to_owned(),
            with_content: true,
        }),
        ..ServerOptions::default()
    };
    let server = Running::start(options(&endpoint)).await;
    server
        .ask(&json!({"output": "hm</think>unmistakable"}), json!({}))
        .await;
    server.stop().await;
    let (_, body) = received.recv().await.expect("spans");
    let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    let said = attribute(span, "gen_ai.output.messages").and_then(Value::as_str);
    assert!(said.expect("words").contains("unmistakable"));

    let server = Running::start(options("http://127.0.0.1:9")).await;
    let began = Instant::now();
    let answer = server
        .ask(&json!({"output": "hm</think>fine"}), json!({}))
        .await;
    assert!(answer.contains("fine") && began.elapsed() < Duration::from_secs(5));
    server.stop().await;
    for odd in ["", "nowhere", "ftp://x"] {
        assert!(App::new(Vec::new(), None, options(odd)).is_err(), "{odd}");
    }
}
