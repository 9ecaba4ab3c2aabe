//! Ten thousand malformed requests: each is refused in the client's dialect, and the server goes on.

#[path = "support/scripted.rs"]
mod scripted;

use std::net::SocketAddr;

use k25_server::{App, Server, ServerOptions};
use scripted::Scripted;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUESTS: u64 = 10_000;
const PATHS: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/tokenizers/estimate-token-count",
];

/// Steele, Lea and Flood's splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn valid() -> Value {
    json!({
        "model": "scripted", "max_tokens": 5, "temperature": 0.5, "stop": ["x"], "n": 1,
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [
                {"type": "text", "text": "{\"output\": \"a</think>b\"}"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function",
                "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "4"},
            {"role": "user", "content": "{}"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "r"}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "4"}],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "logit_bias": {"5": 1}, "stream_options": {"include_usage": true},
    })
}

/// Puts something of another type at a random place.
fn wrong_type(value: &mut Value, random: &mut Random) {
    let goes_in = random.below(4) > 0;
    match value {
        Value::Object(object) if goes_in && !object.is_empty() => {
            let index = random.below(object.len());
            if let Some(inner) = object.values_mut().nth(index) {
                return wrong_type(inner, random);
            }
        }
        Value::Array(items) if goes_in && !items.is_empty() => {
            let index = random.below(items.len());
            return wrong_type(&mut items[index], random);
        }
        _ => {}
    }
    let others = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e308),
        json!(""),
        json!("\u{0}\u{fffd}<|im_end|>"),
        json!([]),
        json!([[[[]]]]),
        json!({}),
        json!({"a": {"b": null}}),
        json!(u64::MAX),
        json!("x".repeat(3000)),
    ];
    *value = others[random.below(others.len())].clone();
}

/// Addresses of pictures that must lead nowhere. (What hostile pictures do to a model that looks at them is
/// in the contract suite, with a model that does.)
const MEDIA: [&str; 10] = [
    "http://127.0.0.1:1/",
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:10.0.0.1]/",
    "http://0x7f.1/",
    "file:///etc/passwd",
    "/dev/zero",
    "ms://file-0000",
    "ms://../../etc/passwd",
    "file-/../x",
    "gopher://x",
];

/// A body that is probably wrong.
fn malformed(random: &mut Random) -> Vec<u8> {
    let mut value = valid();
    for _ in 0..=random.below(3) {
        wrong_type(&mut value, random);
    }
    let mut bytes = value.to_string().into_bytes();
    match random.below(6) {
        _ if random.below(8) == 0 => {
            let text = String::from_utf8(bytes).expect("JSON is UTF-8");
            let medium = MEDIA[random.below(MEDIA.len())];
            bytes = text
                .replace("data:image/png;base64,AAAA", medium)
                .into_bytes();
        }
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        1 => {
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
        2 => bytes = [b'[', b'{'][random.below(2)..][..1].repeat(random.below(5000)),
        3 => {
            let at = random.below(bytes.len() + 1);
            bytes.splice(at..at, (0..random.below(40)).map(|_| random.next() as u8));
        }
        _ => {}
    }
    bytes
}

/// Sends one request on its own connection and returns the status.
async fn send(address: SocketAddr, path: &str, body: &[u8]) -> (u16, String) {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.expect("sent");
    connection.write_all(body).await.expect("sent");
    let mut answer = Vec::new();
    connection
        .read_to_end(&mut answer)
        .await
        .expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.expect("a status"), answer)
}

#[tokio::test]
async fn malformed_requests_leave_the_server_serving() {
    let scripted = Scripted::default();
    let options = ServerOptions {
        max_body_bytes: 1 << 20,
        ..ServerOptions::default()
    };
    let app = App::new(vec![scripted.model()], None, options).expect("an app");
    let server = Server::bind(app, "127.0.0.1:0".parse().expect("an address")).await;
    let server = server.expect("a port");
    let address = server.address().expect("an address");
    tokio::spawn(server.run(std::future::pending()));
    let mut random = Random(25);
    let mut refused = 0;
    for number in 0..REQUESTS {
        let path = PATHS[random.below(PATHS.len())];
        let body = malformed(&mut random);
        let (status, answer) = send(address, path, &body).await;
        let shown = || String::from_utf8_lossy(&body).into_owned();
        assert!(
            status == 200 || (400..500).contains(&status),
            "{number}: {status} {}",
            shown()
        );
        if status != 200 {
            refused += 1;
            assert!(answer.contains("\"message\""), "{answer}");
        }
    }
    // Most mutations hurt; some only touch what is not looked at.
    assert!(
        refused > REQUESTS * 6 / 10,
        "only {refused} of {REQUESTS} were refused"
    );
    let healthy = json!({"model": "scripted", "max_tokens": 5, "input": "hello",
        "messages": [{"role": "user", "content": "hello"}]});
    for path in PATHS {
        let (status, answer) = send(address, path, healthy.to_string().as_bytes()).await;
        assert_eq!(status, 200, "{answer}");
    }
}
