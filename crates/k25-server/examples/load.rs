//! What the server adds to its model, and 500 streams held for a minute.
//!
//! `cargo run --release -p k25-server --example load [STREAMS [SECONDS]]`. Server and clients share this
//! process and its cores, so the figures are an upper bound.

#[path = "../tests/support/scripted.rs"]
mod scripted;

use std::time::{Duration, Instant};

use k25_chat::ChatReply;
use k25_chat::dialect::openai::ChunkReader;
use k25_server::{App, Server, ServerOptions};
use reqwest::Client;
use serde_json::{Value, json};

const TOKENS: usize = 5000;
const ASKS: usize = 200;
const PACE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let streams = arguments.next().map_or(500, |n| n.expect("a number"));
    let seconds = arguments.next().map_or(60, |n| n.expect("a number"));
    let options = ServerOptions {
        max_running: streams.max(64),
        ..ServerOptions::default()
    };
    let models = vec![scripted::Scripted::default().model()];
    let app = App::new(models, None, options).expect("an app");
    let server = Server::bind(app, "127.0.0.1:0".parse().expect("an address")).await;
    let server = server.expect("a port");
    let address = server.address().expect("an address");
    let url = format!("http://{address}/v1/chat/completions");
    tokio::spawn(server.run(std::future::pending()));
    let client = Client::builder().no_proxy().build().expect("a client");
    first_token(&client, &url).await;
    per_token(&client, &url).await;
    hold(&client, &url, streams, seconds).await;
}

fn body(script: &Value) -> Value {
    json!({"model": "scripted", "stream": true,
        "messages": [{"role": "user", "content": script.to_string()}]})
}

/// From the request to the first byte of its events.
async fn first_token(client: &Client, url: &str) {
    let mut times = Vec::new();
    for _ in 0..ASKS {
        let began = Instant::now();
        let script = json!({"output": "a</think>b"});
        let mut response = client
            .post(url)
            .json(&body(&script))
            .send()
            .await
            .expect("an answer");
        response.chunk().await.expect("a piece");
        times.push(began.elapsed());
        while response.chunk().await.expect("a piece").is_some() {}
    }
    times.sort();
    println!(
        "to the first token   median {:.0} µs, 99 % {:.0} µs over {ASKS} requests",
        times[ASKS / 2].as_secs_f64() * 1e6,
        times[ASKS * 99 / 100].as_secs_f64() * 1e6
    );
}

/// A long answer of a model that takes no time.
async fn per_token(client: &Client, url: &str) {
    let script = json!({"output": format!("</think>{}", "word ".repeat(TOKENS)), "cut": 5});
    let began = Instant::now();
    let response = client
        .post(url)
        .json(&body(&script))
        .send()
        .await
        .expect("an answer");
    let text = response.text().await.expect("events");
    let events = text.matches("data: ").count();
    let each = began.elapsed().as_secs_f64() / events as f64;
    println!(
        "per streamed token   {:.1} µs over {events} events",
        each * 1e6
    );
}

/// Many streams at a steady pace: none may lose an event, and memory must stay.
async fn hold(client: &Client, url: &str, streams: usize, seconds: usize) {
    let tokens = seconds * 1000 / PACE.as_millis() as usize;
    let script = json!({"output": format!("</think>{}", "word ".repeat(tokens)), "cut": 5,
        "delay_ms": PACE.as_millis() as u64});
    let began = Instant::now();
    let tasks: Vec<_> = (0..streams)
        .map(|_| tokio::spawn(read(client.clone(), url.to_owned(), body(&script))))
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds as u64 / 6)).await;
    let early = resident_mb();
    tokio::time::sleep(Duration::from_secs(seconds as u64 / 2)).await;
    let late = resident_mb();
    let mut counts = Vec::new();
    let mut times = Vec::new();
    for task in tasks {
        let (words, time) = task.await.expect("no panic");
        counts.push(words);
        times.push(time.as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let whole = counts.iter().filter(|&&count| count == tokens).count();
    println!(
        "{streams} streams          {whole} whole of {tokens} words each in {:.1} s; slowest {:.2} s, \
         fastest {:.2} s",
        began.elapsed().as_secs_f64(),
        times[times.len() - 1],
        times[0]
    );
    println!("memory               {early:.0} MB early, {late:.0} MB late");
}

/// Words of the answer, put together as a client does.
async fn read(client: Client, url: String, body: Value) -> (usize, Duration) {
    let began = Instant::now();
    let mut response = client
        .post(url)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    let (mut reader, mut reply) = (ChunkReader::new(), ChatReply::default());
    let mut rest = String::new();
    while let Some(bytes) = response.chunk().await.expect("a piece") {
        rest.push_str(std::str::from_utf8(&bytes).expect("whole events of ASCII"));
        while let Some(end) = rest.find("\n\n") {
            let event: String = rest.drain(..end + 2).collect();
            let data = event.trim_end().strip_prefix("data: ");
            let Some(data) = data.filter(|data| *data != "[DONE]") else {
                continue;
            };
            reader.read(data).expect("a chunk");
            while let Some(event) = reader.next_event() {
                reply.add(&event);
            }
        }
    }
    reader.finish().expect("an end");
    let said = reply.message.content.unwrap_or_default();
    (said.matches("word ").count(), began.elapsed())
}

fn resident_mb() -> f64 {
    const PAGE_BYTES: f64 = 4096.0;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0.0);
    pages * PAGE_BYTES / 1e6
}
