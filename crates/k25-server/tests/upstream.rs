//! A server in front of other servers: real sockets on both sides, with a model whose words are known.

#[path = "support/scripted.rs"]
mod scripted;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use k25_client::{PriceTable, Prices};
use k25_server::{
    App, EndpointRoute, KeyFile, KeyLimits, NewKey, Route, Routes, Server, ServerOptions, UsageFile,
};
use reqwest::{Client, Response, StatusCode};
use scripted::Scripted;
use serde_json::{Value, json};

/// A server on a port, with a model of its own or of others.
struct Running {
    address: SocketAddr,
    client: Client,
}

impl Running {
    async fn of(app: std::sync::Arc<App>) -> Self {
        let server = Server::bind(app, "127.0.0.1:0".parse().expect("an address")).await;
        let server = server.expect("a port");
        let address = server.address().expect("an address");
        tokio::spawn(server.run(std::future::pending()));
        let client = Client::builder().no_proxy().build().expect("a client");
        Running { address, client }
    }

    async fn upstream(scripted: &Scripted, options: ServerOptions) -> Self {
        Running::of(App::new(vec![scripted.model()], None, options).expect("an app")).await
    }

    async fn front(routes: Routes, keys: Option<&KeyFile>, options: ServerOptions) -> Self {
        let models = routes.into_models(|_| None).expect("models");
        Running::of(App::new(models, keys, options).expect("an app")).await
    }

    fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        let url = format!("http://{}{path}", self.address);
        let request = self.client.post(url).json(body);
        request.send().await.expect("a response")
    }

    async fn ask(&self, body: &Value) -> Value {
        json_of(self.post("/v1/chat/completions", body).await).await
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address);
        let response = self.client.get(url).send().await.expect("a response");
        response.text().await.expect("text")
    }
}

fn routes(models: Value) -> Routes {
    Routes::parse(&json!({ "models": models }).to_string()).expect("routes")
}

/// One model, `front`, which is `scripted` at these addresses.
fn one_model(endpoints: &[(String, u32)]) -> Routes {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(url, weight)| json!({"url": url, "model": "scripted", "weight": weight}))
        .collect();
    routes(json!({"front": {"endpoints": endpoints}}))
}

fn ask(script: &Value) -> Value {
    json!({"model": "front", "messages": [{"role": "user", "content": script.to_string()}]})
}

async fn json_of(response: Response) -> Value {
    let text = response.text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn metric(metrics: &str, start: &str) -> Vec<f64> {
    let lines = metrics.lines().filter(|line| line.starts_with(start));
    lines
        .map(|line| {
            let value = line.rsplit(' ').next().expect("a value");
            value.parse().expect("a number")
        })
        .collect()
}

#[tokio::test]
async fn the_surface_is_the_same_in_front_of_an_endpoint() {
    let scripted = Scripted::default();
    let upstream = Running::upstream(&scripted, ServerOptions::default()).await;
    let front = Running::front(
        one_model(&[(upstream.base(), 1)]),
        None,
        ServerOptions::default(),
    )
    .await;
    let script = json!({"output": "hm</think>Hi <|tool_calls_section_begin|><|tool_call_begin|>\
        functions.a-b:0<|tool_call_argument_begin|>{\"x\": 1}<|tool_call_end|><|tool_call_begin|>\
        functions.c:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        "cut": 3});
    let behind = upstream
        .ask(&json!({"model": "scripted",
            "messages": [{"role": "user", "content": script.to_string()}]}))
        .await;
    let through = front.ask(&ask(&script)).await;
    assert_eq!(through["choices"], behind["choices"]);
    assert_eq!(through["usage"], behind["usage"]);
    assert_eq!(through["model"], "front");

    let mut streamed = ask(&script);
    streamed["stream"] = true.into();
    let text = front.post("/v1/chat/completions", &streamed).await;
    let text = text.text().await.expect("events");
    assert!(
        text.ends_with("data: [DONE]\n\n") && !text.contains("<|"),
        "{text}"
    );

    let message = json_of(
        front
            .post(
                "/v1/messages",
                &json!({"model": "front", "max_tokens": 50, "thinking": {"type": "adaptive"},
                    "messages": [{"role": "user", "content": script.to_string()}]}),
            )
            .await,
    )
    .await;
    assert_eq!(message["content"][0]["thinking"], "hm");
    assert_eq!(message["content"][3]["name"], "c");

    // What the prompt costs is told at the beginning where the endpoint tells it then.
    let begins_with = async |front: &Running| {
        let body = json!({"model": "front", "max_tokens": 50, "stream": true,
            "messages": [{"role": "user", "content": script.to_string()}]});
        let events = front.post("/v1/messages", &body).await;
        let events = events.text().await.expect("events");
        let first = events.lines().find_map(|line| line.strip_prefix("data: "));
        let first: Value = serde_json::from_str(first.expect("an event")).expect("JSON");
        assert_eq!(first["type"], "message_start", "{events}");
        first["message"]["usage"]["input_tokens"]
            .as_u64()
            .expect("a count")
    };
    assert_eq!(begins_with(&front).await, 0);
    let endpoint = json!({"url": upstream.base(), "model": "scripted", "usage_in_chunks": true});
    let told = routes(json!({"front": {"endpoints": [endpoint]}}));
    let told = Running::front(told, None, ServerOptions::default()).await;
    let counted = begins_with(&told).await;
    assert_eq!(Some(counted), behind["usage"]["prompt_tokens"].as_u64());

    let echoed = front
        .ask(&json!({"model": "front", "temperature": 0.5, "seed": 7, "stop": ["END"], "max_tokens": 9,
            "thinking": {"type": "disabled"}, "logit_bias": {"5": 1.5},
            "messages": [{"role": "user", "content": "{\"echo\": true}"}]}))
        .await;
    let seen = echoed["choices"][0]["message"]["content"].as_str();
    let seen: Value = serde_json::from_str(seen.expect("text")).expect("JSON");
    assert_eq!(
        (
            &seen["model"],
            &seen["temperature"],
            &seen["seed"],
            &seen["thinking"]
        ),
        (&"scripted".into(), &0.5.into(), &7.into(), &false.into())
    );
    assert_eq!(seen["stop"], json!(["END"]));

    let count = front
        .post(
            "/v1/tokenizers/estimate-token-count",
            &json!({"model": "front", "messages": [{"role": "user", "content": "12345"}]}),
        )
        .await;
    assert_eq!(json_of(count).await["data"]["total_tokens"], 5);
}

#[tokio::test]
async fn models_go_where_their_routes_say() {
    let upstream = Running::upstream(&Scripted::default(), ServerOptions::default()).await;
    let base = upstream.base();
    let front = Running::front(
        routes(json!({
            "one": {"aliases": ["uno"], "context_length": 1000,
                "endpoints": [{"url": base, "model": "scripted"}]},
            "two": {"endpoints": [{"url": base, "model": "kimi-k2.5"}]}})),
        None,
        ServerOptions::default(),
    )
    .await;
    for (name, model) in [("one", "one"), ("uno", "one"), ("two", "two")] {
        let body =
            json!({"model": name, "messages": [{"role": "user", "content": "{\"echo\": true}"}]});
        let reply = front.ask(&body).await;
        assert_eq!(reply["choices"][0]["finish_reason"], "stop", "{reply}");
        let metrics = front.metrics().await;
        let line = format!("k25_upstream_requests_total{{model=\"{model}\"");
        assert!(metric(&metrics, &line)[0] > 0.0, "{metrics}");
    }
    let unknown = json!({"model": "three", "messages": [{"role": "user", "content": "x"}]});
    let unknown = front.post("/v1/chat/completions", &unknown).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);

    let endpoint = EndpointRoute::new(base);
    let found = tokio::task::spawn_blocking(|| Routes::discover(vec![endpoint], |_| None));
    let found = found.await.expect("no panic").expect("a list");
    assert_eq!(found.models["scripted"].context_length, Some(262_144));
}

#[tokio::test]
async fn shares_follow_weights_and_others_answer_for_the_dead() {
    let one = Running::upstream(&Scripted::default(), ServerOptions::default()).await;
    let two = Running::upstream(&Scripted::default(), ServerOptions::default()).await;
    let front = Running::front(
        one_model(&[(one.base(), 3), (two.base(), 1)]),
        None,
        ServerOptions::default(),
    )
    .await;
    for _ in 0..12 {
        front.ask(&ask(&json!({"output": "a</think>b"}))).await;
    }
    let shares = metric(&front.metrics().await, "k25_upstream_requests_total{");
    assert_eq!(shares, [9.0, 3.0]);

    // A port that was free a moment ago: nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = format!("http://{}/v1", closed.local_addr().expect("an address"));
    drop(closed);
    let front = Running::front(
        one_model(&[(nowhere.clone(), 1), (two.base(), 0)]),
        None,
        ServerOptions::default(),
    )
    .await;
    let reply = front.ask(&ask(&json!({"output": "a</think>b"}))).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "b");

    let endpoint = EndpointRoute::new(nowhere.clone());
    let refused = tokio::task::spawn_blocking(|| Routes::discover(vec![endpoint], |_| None));
    let refused = refused.await.expect("no panic").expect_err("nobody there");
    assert!(refused.to_string().contains("--name"), "{refused}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_asked_again_and_for_less() {
    let scripted = Scripted::default();
    let upstream = Running::upstream(
        &scripted,
        ServerOptions {
            max_running: 1,
            max_waiting: 0,
            ..ServerOptions::default()
        },
    )
    .await;
    let front = Running::front(
        one_model(&[(upstream.base(), 1)]),
        None,
        ServerOptions::default(),
    )
    .await;
    let body = ask(&json!({"output": "a</think>bcdef", "cut": 1, "delay_ms": 20}));
    let (first, second, third) = tokio::join!(front.ask(&body), front.ask(&body), front.ask(&body));
    for reply in [first, second, third] {
        assert_eq!(
            reply["choices"][0]["message"]["content"], "bcdef",
            "{reply}"
        );
    }
    let metrics = front.metrics().await;
    assert!(
        metric(&metrics, "k25_upstream_requests_total{")[0] > 3.0,
        "{metrics}"
    );
    assert!(
        metric(&metrics, "k25_upstream_concurrency{")[0] < 8.0,
        "{metrics}"
    );
}

#[tokio::test]
async fn leaving_the_front_ends_the_work_behind() {
    let scripted = Scripted::default();
    let upstream = Running::upstream(&scripted, ServerOptions::default()).await;
    let front = Running::front(
        one_model(&[(upstream.base(), 1)]),
        None,
        ServerOptions::default(),
    )
    .await;
    let mut body = ask(&json!({"output": "x</think>more", "cut": 1, "hang": true}));
    body["stream"] = true.into();
    let mut response = front.post("/v1/chat/completions", &body).await;
    response.chunk().await.expect("a piece");
    let wait_for = |count: usize| {
        let open = &scripted.open;
        async move {
            let began = Instant::now();
            while open.load(Ordering::Acquire) != count {
                assert!(
                    began.elapsed() < Duration::from_secs(20),
                    "not {count} open"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    wait_for(1).await;
    drop(response);
    wait_for(0).await;
}

#[tokio::test]
async fn what_a_key_used_and_what_it_cost() {
    let upstream = Running::upstream(&Scripted::default(), ServerOptions::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let usage_file = folder.path().join("usage.json");
    let mut keys = KeyFile::default();
    let secrets = ["alice", "bob"].map(|name| {
        let key = NewKey::make(name, KeyLimits::default()).expect("a key");
        keys.add(key.record).expect("added");
        key.secret
    });
    let prices = Prices {
        input: 2e6,
        cached_input: 1e6,
        output: 10e6,
    };
    let options = ServerOptions {
        prices: Some(PriceTable {
            currency: "EUR".to_owned(),
            models: [("front".to_owned(), prices)].into(),
        }),
        usage_file: Some(usage_file.clone()),
        ..ServerOptions::default()
    };
    let front = Running::front(one_model(&[(upstream.base(), 1)]), Some(&keys), options).await;
    let script = json!({"output": "a</think>b", "cut": 1});
    let prompt = script.to_string().chars().count() as f64;
    let asked = |secret: &str| {
        let url = format!("{}/chat/completions", front.base());
        front
            .client
            .post(url)
            .bearer_auth(secret)
            .json(&ask(&script))
            .send()
    };
    for secret in [&secrets[0], &secrets[0], &secrets[1]] {
        assert_eq!(
            asked(secret).await.expect("a response").status(),
            StatusCode::OK
        );
    }
    let cached = (prompt / 2.0).floor();
    let each = (prompt - cached) * 2.0 + cached + 10.0 * 10.0;
    let metrics = front.metrics().await;
    let alice = metric(
        &metrics,
        "k25_cost_total{model=\"front\",key=\"alice\",currency=\"EUR\"}",
    );
    assert!((alice[0] - 2.0 * each).abs() < 1e-6, "{each} {metrics}");

    let url = format!("{}/users/me/usage", front.base());
    let report = front.client.get(&url).bearer_auth(&secrets[1]).send().await;
    let report = json_of(report.expect("a response")).await;
    assert_eq!(report["currency"], "EUR");
    assert_eq!(report["data"].as_array().expect("entries").len(), 1);
    assert_eq!(report["data"][0]["key"], "bob");
    assert_eq!(report["data"][0]["requests"], 1);
    assert_eq!(report["data"][0]["completion_tokens"], 10);
    let refused = front.client.get(&url).send().await.expect("a response");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    // The file follows within seconds, without the server having to end.
    let began = Instant::now();
    loop {
        let file = UsageFile::open(&usage_file).expect("a usage file");
        let all: u64 = file.entries.iter().map(|entry| entry.sum.requests).sum();
        if all == 3 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{file:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn odd_routes_are_told() {
    for (text, told) in [
        ("{}", "hint"),
        ("{\"models\": {\"a\": {\"endpoints\": []}}}", "no endpoint"),
        (
            "{\"models\": {\"a\": {\"endpoints\": [{\"url\": \"nowhere\"}]}}}",
            "nowhere",
        ),
        (
            "{\"models\": {\"a\": {\"endpoints\": [{\"url\": \"http://x/v1\", \"key_from\": \"K\"}]}}}",
            "export K=",
        ),
    ] {
        let error = Routes::parse(text).and_then(|routes| routes.into_models(|_| None));
        let error = error.err().expect(text).to_string();
        assert!(error.contains(told), "{error}");
    }
    let wrong_key = Route::new(vec![EndpointRoute {
        key_from: Some("K".to_owned()),
        ..EndpointRoute::new("http://127.0.0.1:1/v1")
    }]);
    let routes = Routes {
        models: [("a".to_owned(), wrong_key)].into(),
    };
    let error = routes.into_models(|_| Some("a\nb".to_owned()));
    assert!(error.is_err(), "a key with a line end");
}
