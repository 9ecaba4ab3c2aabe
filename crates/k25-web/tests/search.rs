//! Each provider's wire format, against a server that answers as the provider documents and keeps what
//! it was sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use k25_agent::tools::{CallContext, FailureKind, Tool, ToolError};
use k25_web::{Provider, WebError, WebSearch};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that gives each request the same answer.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

async fn server(status: &str, body: String) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let count = stream.read(&mut piece).await.unwrap_or(0);
                request.extend_from_slice(&piece[..count]);
                if count == 0 || is_whole(&request) {
                    break;
                }
            }
            kept.lock()
                .expect("nobody panics")
                .push(String::from_utf8_lossy(&request).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Server { url, requests }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    body.len() >= length
}

impl Server {
    fn tool(&self, provider: Provider) -> WebSearch {
        let url = self.url.clone();
        let variable = move |name: &str| match name {
            "SEARXNG_URL" | "BRAVE_URL" | "TAVILY_URL" | "MOONSHOT_BASE_URL" => Some(url.clone()),
            "BRAVE_API_KEY" | "TAVILY_API_KEY" | "MOONSHOT_API_KEY" => Some("key-1".to_owned()),
            _ => None,
        };
        WebSearch::new(provider.open(&variable).expect("a provider")).expect("a tool")
    }

    fn request(&self, index: usize) -> String {
        self.requests.lock().expect("nobody panics")[index].clone()
    }

    fn count(&self) -> usize {
        self.requests.lock().expect("nobody panics").len()
    }
}

async fn call(tool: &WebSearch, query: &str) -> Result<String, ToolError> {
    let context = CallContext {
        task: "t".to_owned(),
        call: "c".to_owned(),
        group: 1,
    };
    let output = tool.call(json!({"query": query}), context).await;
    output.map(|output| output.text)
}

const SHOWN: &str = "1. One & two\n   https://a.example/x?y=1\n   about one < two\n2. Second\n   https://b.example/\n   ";

#[tokio::test]
async fn searxng() {
    let body = json!({"query": "q", "results": [
        {"title": "One & two", "url": "https://a.example/x?y=1", "content": "about\n <b>one</b> < two\u{200b}", "engine": "e"},
        {"title": "Second", "url": "https://b.example/", "content": null},
        {"title": "no address"}]});
    let server = server("200 OK", body.to_string()).await;
    let tool = server.tool(Provider::Searxng);
    assert_eq!(call(&tool, "große  wörter").await.expect("hits"), SHOWN);
    let request = server.request(0);
    assert!(
        request.starts_with("GET /search?q=gro%C3%9Fe+w%C3%B6rter&format=json HTTP/1.1"),
        "{request}"
    );
}

#[tokio::test]
async fn brave() {
    let body = json!({"type": "search", "web": {"results": [
        {"title": "One & two", "url": "https://a.example/x?y=1", "description": "about <strong>one</strong> < two"},
        {"title": "Second", "url": "https://b.example/"}]}});
    let server = server("200 OK", body.to_string()).await;
    let tool = server.tool(Provider::Brave);
    assert_eq!(call(&tool, "q").await.expect("hits"), SHOWN);
    let request = server.request(0).to_lowercase();
    assert!(
        request.starts_with("get /res/v1/web/search?q=q&count=10 "),
        "{request}"
    );
    assert!(
        request.contains("x-subscription-token: key-1\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn tavily() {
    let body = json!({"query": "q", "results": [
        {"title": "One & two", "url": "https://a.example/x?y=1", "content": "about one < two", "score": 0.9},
        {"title": "Second", "url": "https://b.example/", "content": ""}]});
    let server = server("200 OK", body.to_string()).await;
    let tool = server.tool(Provider::Tavily);
    assert_eq!(call(&tool, "q").await.expect("hits"), SHOWN);
    let request = server.request(0);
    assert!(request.starts_with("POST /search HTTP/1.1"), "{request}");
    assert!(
        request
            .to_lowercase()
            .contains("authorization: bearer key-1\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with("{\"query\":\"q\",\"max_results\":10}"),
        "{request}"
    );
}

#[tokio::test]
async fn kimi() {
    let body = json!({"id": "fiber-1", "status": "succeeded", "context": {
        "encrypted_output": "----MOONSHOT ENCRYPTED BEGIN----x----MOONSHOT ENCRYPTED END----"}});
    let good = server("200 OK", body.to_string()).await;
    let tool = good.tool(Provider::Kimi);
    let text = call(&tool, "a \"b\"").await.expect("a text");
    assert_eq!(
        text,
        "----MOONSHOT ENCRYPTED BEGIN----x----MOONSHOT ENCRYPTED END----"
    );
    let request = good.request(0);
    assert!(
        request.starts_with("POST /formulas/moonshot/web-search:latest/fibers HTTP/1.1"),
        "{request}"
    );
    assert!(
        request.ends_with(r#"{"name":"web_search","arguments":"{\"query\":\"a \\\"b\\\"\"}"}"#),
        "{request}"
    );

    let failed = json!({"status": "failed", "context": {"error": "quota"}});
    let failed = server("200 OK", failed.to_string()).await;
    let error = call(&failed.tool(Provider::Kimi), "q")
        .await
        .expect_err("it failed");
    assert_eq!(
        (error.kind, error.message.as_str()),
        (FailureKind::Transient, "Kimi: quota")
    );
}

static DAY: AtomicU64 = AtomicU64::new(1);

#[tokio::test]
async fn a_query_is_asked_once_a_day_however_many_ask() {
    let server = server("200 OK", json!({"results": []}).to_string()).await;
    let tool = server
        .tool(Provider::Searxng)
        .with_day(|| DAY.load(Ordering::Relaxed));
    let tool = Arc::new(tool);
    let asking = (0..50).map(|_| {
        let tool = Arc::clone(&tool);
        tokio::spawn(async move { call(&tool, " The  Question ").await })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(
            asked.await.expect("no panic").expect("an answer"),
            "nothing found"
        );
    }
    call(&tool, "the question").await.expect("the same query");
    assert_eq!(server.count(), 1);
    DAY.store(2, Ordering::Relaxed);
    call(&tool, "the question").await.expect("another day");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn failures_are_said_and_not_kept() {
    let cases = [
        ("401 Unauthorized", "{}", "check the key"),
        ("429 Too Many Requests", "", "too many requests"),
        ("302 Found", "", "302"),
        ("200 OK", "<html>", "no JSON"),
        ("200 OK", "{\"results\": 3}", "no results"),
    ];
    for (status, body, expected) in cases {
        let server = server(status, body.to_owned()).await;
        let tool = server.tool(Provider::Tavily);
        for _ in 0..2 {
            let error = call(&tool, "q").await.expect_err(status);
            assert!(error.message.contains(expected), "{status}: {error}");
            assert!(!error.message.contains("key-1"), "{error}");
        }
        assert_eq!(server.count(), 2, "a failure is not an answer");
    }
    let endless = server("200 OK", " ".repeat(5 << 20)).await;
    let error = call(&endless.tool(Provider::Searxng), "q")
        .await
        .expect_err("too long");
    assert!(error.message.contains("too long"), "{error}");
    let gone = Server {
        url: "http://127.0.0.1:1".to_owned(),
        requests: Arc::default(),
    };
    let tool = gone.tool(Provider::Brave);
    assert!(
        call(&tool, "q")
            .await
            .expect_err("gone")
            .message
            .contains("cannot be reached")
    );
    for query in ["", "  ", &"x".repeat(401)] {
        let error = call(&tool, query).await.expect_err("no query");
        assert_eq!(error.kind, FailureKind::Refused);
    }
}

#[test]
fn providers_say_what_they_need() {
    let none = |_: &str| None;
    for provider in Provider::ALL {
        let Err(error) = provider.open(&none) else {
            panic!("nothing is set");
        };
        assert!(matches!(error, WebError::Variable { .. }), "{error}");
    }
    assert!(matches!(Provider::first(&none), Err(WebError::NoProvider)));
    let only_tavily = |name: &str| (name == "TAVILY_API_KEY").then(|| "k".to_owned());
    assert_eq!(
        Provider::first(&only_tavily).expect("Tavily").name(),
        "Tavily"
    );
}
