//! The client against a server that does what endpoints do on bad days.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k25_chat::{ChatClient, ChatError, ChatErrorKind, ChatReply, ChatRequest, Message, ReplyEnd};
use k25_client::{OpenAiClient, OpenAiOptions, RetryPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a connection.
#[derive(Clone)]
enum Act {
    /// Says these bytes and closes.
    Say(String),
    /// Says these bytes, and nothing more.
    Hang(String),
}

struct Fake {
    url: String,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

/// A server that follows a script, connection by connection; the last act repeats.
async fn fake(script: Vec<Act>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let connections = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    let (count, held) = (Arc::clone(&connections), Arc::clone(&open));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let act = script[number.min(script.len() - 1)].clone();
            let held = Arc::clone(&held);
            held.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                play(stream, act).await;
                held.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    Fake {
        url,
        connections,
        open,
    }
}

async fn play(mut stream: TcpStream, act: Act) {
    let mut request = vec![0; 64 << 10];
    let read = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]);
    assert!(
        request.starts_with("POST /v1/chat/completions"),
        "{request}"
    );
    match act {
        Act::Say(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Act::Hang(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            // Until the client goes away.
            let _ = stream.read(&mut [0; 64]).await;
        }
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

fn chunk(delta: &str) -> String {
    format!("data: {{\"choices\": [{{\"index\": 0, \"delta\": {delta}}}]}}\n\n")
}

fn good() -> Act {
    let body = [
        chunk("{\"role\": \"assistant\", \"reasoning_content\": \"r\"}"),
        chunk("{\"content\": \"hello\"}"),
        "data: {\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"stop\"}], \
         \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 2}}\n\ndata: [DONE]\n\n"
            .to_owned(),
    ];
    Act::Say(format!("{HEAD}{}", body.concat()))
}

fn refusal(status: &str, headers: &str, body: &str) -> Act {
    Act::Say(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    ))
}

fn client(fake: &Fake) -> OpenAiClient {
    let options = OpenAiOptions {
        retry: RetryPolicy {
            attempts: 4,
            first_wait: Duration::from_millis(10),
            longest_wait: Duration::from_secs(2),
        },
        silence_timeout: Duration::from_millis(300),
        first_byte_timeout: Duration::from_millis(300),
        api_key: Some("sk-test".to_owned()),
        ..OpenAiOptions::new(&fake.url)
    };
    OpenAiClient::new(options).expect("a client")
}

async fn ask(client: &OpenAiClient) -> (ChatReply, Option<ChatError>) {
    let mut stream = client.chat(ChatRequest::new("m", vec![Message::user("hi")]));
    let mut reply = ChatReply::default();
    while let Some(event) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
    {
        match event {
            Ok(event) => reply.add(&event),
            Err(error) => return (reply, Some(error)),
        }
    }
    (reply, None)
}

#[tokio::test]
async fn failures_that_pass_are_not_seen() {
    let fake = fake(vec![
        refusal("429 Too Many Requests", "retry-after-ms: 20\r\n", "{}"),
        refusal("500 Internal Server Error", "", "oops"),
        Act::Say(String::new()),
        good(),
    ])
    .await;
    let client = client(&fake);
    let (reply, error) = ask(&client).await;
    assert_eq!(error, None);
    assert_eq!(reply.message.reasoning.as_deref(), Some("r"));
    assert_eq!(reply.message.content.as_deref(), Some("hello"));
    assert_eq!(reply.end, Some(ReplyEnd::Stop));
    assert_eq!(reply.usage.prompt_tokens, 3);
    assert_eq!(client.attempts(), 4);
}

#[tokio::test]
async fn a_wait_that_the_endpoint_asks_for_is_kept() {
    let busy = refusal("429 Too Many Requests", "retry-after: 1\r\n", "{}");
    let fake = fake(vec![busy, good()]).await;
    let began = Instant::now();
    assert_eq!(ask(&client(&fake)).await.1, None);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_wait_longer_than_ours_is_told() {
    let busy = refusal("429 Too Many Requests", "retry-after: 60\r\n", "{}");
    let fake = fake(vec![busy]).await;
    let error = ask(&client(&fake)).await.1.expect("an error");
    assert_eq!(error.retry_after, Some(Duration::from_secs(60)));
    assert_eq!(fake.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn failures_that_stay_are_told_once_tried() {
    for (act, kind, attempts) in [
        (
            refusal("400 Bad Request", "", "{}"),
            ChatErrorKind::InvalidRequest,
            1,
        ),
        (
            refusal("401 Unauthorized", "", "{}"),
            ChatErrorKind::Authentication,
            1,
        ),
        (
            refusal("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
            ChatErrorKind::InvalidRequest,
            1,
        ),
        (
            refusal("503 Service Unavailable", "", ""),
            ChatErrorKind::Overloaded,
            4,
        ),
        (Act::Hang(String::new()), ChatErrorKind::Timeout, 4),
        (Act::Hang(HEAD.to_owned()), ChatErrorKind::Timeout, 4),
        (Act::Say(HEAD.to_owned()), ChatErrorKind::Connection, 4),
        (
            Act::Say(format!("{HEAD}data: nonsense\n\n")),
            ChatErrorKind::Server,
            4,
        ),
        (
            Act::Say(format!(
                "{HEAD}data: {{\"error\": {{\"message\": \"no\", \
                \"type\": \"exceeded_current_quota_error\", \"code\": 429}}}}\n\n"
            )),
            ChatErrorKind::QuotaExceeded,
            1,
        ),
    ] {
        let fake = fake(vec![act]).await;
        let client = client(&fake);
        let error = ask(&client).await.1.expect("an error");
        assert_eq!((error.kind, client.attempts()), (kind, attempts), "{error}");
        assert!(!error.to_string().contains("sk-test"));
    }
    let nobody = Fake {
        url: "http://127.0.0.1:1/v1".to_owned(),
        connections: Arc::default(),
        open: Arc::default(),
    };
    let error = ask(&client(&nobody)).await.1.expect("an error");
    assert_eq!(error.kind, ChatErrorKind::Connection);
}

#[tokio::test]
async fn nothing_is_told_twice() {
    let cut = Act::Say(format!("{HEAD}{}", chunk("{\"content\": \"hel\"}")));
    let fake = fake(vec![cut, good()]).await;
    let client = client(&fake);
    let (reply, error) = ask(&client).await;
    assert_eq!(reply.message.content.as_deref(), Some("hel"));
    assert_eq!(error.expect("cut off").kind, ChatErrorKind::Connection);
    assert_eq!(client.attempts(), 1);
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let fake = fake(vec![Act::Hang(format!(
        "{HEAD}{}",
        chunk("{\"content\": \"a\"}")
    ))])
    .await;
    let options = OpenAiOptions::new(&fake.url);
    let client = OpenAiClient::new(options).expect("a client");
    let mut stream = client.chat(ChatRequest::new("m", vec![Message::user("hi")]));
    let first = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await;
    assert!(matches!(first, Some(Ok(_))), "{first:?}");
    assert_eq!(fake.open.load(Ordering::SeqCst), 1);
    drop(stream);
    let began = Instant::now();
    while fake.open.load(Ordering::SeqCst) > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the connection stays open"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn fewer_answers_at_once_after_refusals() {
    let busy = refusal("429 Too Many Requests", "", "{}");
    let fake = fake(vec![busy.clone(), busy, good()]).await;
    let client = client(&fake);
    let before = client.concurrency();
    assert_eq!(ask(&client).await.1, None);
    assert!(
        client.concurrency() < before,
        "{} of {before}",
        client.concurrency()
    );
}

/// Streams are polled by whoever, without a runtime.
#[test]
fn no_runtime_is_needed() {
    let helper = tokio::runtime::Runtime::new().expect("a runtime");
    let fake = helper.block_on(fake(vec![good()]));
    let client = client(&fake);
    let mut stream = client.chat(ChatRequest::new("m", vec![Message::user("hi")]));
    drop(client);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut reply = ChatReply::default();
    let began = Instant::now();
    while reply.end.is_none() {
        assert!(began.elapsed() < Duration::from_secs(10), "no answer");
        if let std::task::Poll::Ready(Some(event)) = stream.as_mut().poll_next(&mut context) {
            reply.add(&event.expect("an event"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reply.message.content.as_deref(), Some("hello"));
}
