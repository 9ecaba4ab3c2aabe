//! Our own client against our own server: what one writes, the other reads.

#[path = "support/scripted.rs"]
mod scripted;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use k25_chat::{
    ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatReply, ChatRequest, Message, ReplyEnd,
    SamplingOptions,
};
use k25_client::{OpenAiClient, OpenAiOptions, RetryPolicy};
use k25_server::{App, Server, ServerOptions};
use scripted::Scripted;
use serde_json::{Value, json};

async fn start(options: ServerOptions) -> (OpenAiClient, Scripted) {
    let scripted = Scripted::default();
    let app = App::new(vec![scripted.model()], None, options).expect("an app");
    let server = Server::bind(app, "127.0.0.1:0".parse().expect("an address")).await;
    let server = server.expect("a port");
    let url = format!("http://{}/v1", server.address().expect("an address"));
    tokio::spawn(server.run(std::future::pending()));
    let options = OpenAiOptions {
        model: Some("scripted".to_owned()),
        retry: RetryPolicy {
            attempts: 20,
            first_wait: Duration::from_millis(20),
            longest_wait: Duration::from_secs(5),
        },
        ..OpenAiOptions::new(url)
    };
    (OpenAiClient::new(options).expect("a client"), scripted)
}

fn request(script: &Value) -> ChatRequest {
    ChatRequest::new("any", vec![Message::user(script.to_string())])
}

async fn ask(client: &OpenAiClient, request: ChatRequest) -> Result<ChatReply, ChatError> {
    let mut stream = client.chat(request);
    let mut reply = ChatReply::default();
    while let Some(event) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
    {
        reply.add(&event?);
    }
    Ok(reply)
}

#[tokio::test]
async fn answers_come_through_unchanged() {
    let (client, _) = start(ServerOptions::default()).await;
    let script = json!({"cut": 3, "output": "why\n</think>Look: é<|tool_calls_section_begin|>\
        <|tool_call_begin|>functions.a-b:0<|tool_call_argument_begin|>{\"x\": [1, 2]}<|tool_call_end|>\
        <|tool_call_begin|>functions.c:1<|tool_call_argument_begin|>{}<|tool_call_end|>\
        <|tool_calls_section_end|>"});
    let reply = ask(&client, request(&script)).await.expect("an answer");
    assert_eq!(reply.message.reasoning.as_deref(), Some("why\n"));
    assert_eq!(reply.message.content.as_deref(), Some("Look: é"));
    let calls: Vec<_> = reply
        .message
        .tool_calls
        .iter()
        .map(|call| {
            (
                call.id.as_str(),
                call.name.as_str(),
                call.arguments.as_str(),
            )
        })
        .collect();
    assert_eq!(
        calls,
        [
            ("functions.a-b:0", "a-b", "{\"x\": [1, 2]}"),
            ("functions.c:1", "c", "{}")
        ]
    );
    assert_eq!(reply.end, Some(ReplyEnd::ToolCalls));
    assert!(reply.usage.cached_tokens > 0 && reply.usage.reasoning_tokens > 0);
}

#[tokio::test]
async fn requests_come_through_unchanged() {
    let (client, _) = start(ServerOptions::default()).await;
    let asked = ChatRequest {
        thinking: false,
        max_tokens: Some(17),
        stop: vec!["END".to_owned()],
        sampling: SamplingOptions {
            temperature: Some(0.6),
            top_k: Some(4),
            seed: Some(u64::MAX),
            logit_bias: vec![(3, -1.5)],
            ..SamplingOptions::default()
        },
        ..request(&json!({"echo": true}))
    };
    let reply = ask(&client, asked).await.expect("an answer");
    let seen: Value = serde_json::from_str(&reply.message.content.expect("text")).expect("JSON");
    assert_eq!(seen["thinking"], false);
    assert_eq!(
        (&seen["max_tokens"], &seen["top_k"]),
        (&json!(17), &json!(4))
    );
    assert_eq!(
        (&seen["stop"], &seen["seed"]),
        (&json!(["END"]), &json!(u64::MAX))
    );
    assert_eq!(seen["logit_bias"], json!([[3, -1.5]]));
}

#[tokio::test]
async fn refusals_keep_their_kind() {
    let (client, _) = start(ServerOptions::default()).await;
    let wrong = ChatRequest {
        stop: vec![String::new()],
        ..request(&json!({}))
    };
    let error = ask(&client, wrong).await.expect_err("an empty stop text");
    assert_eq!(error.kind, ChatErrorKind::InvalidRequest);
    assert!(error.message.contains("stop"), "{error}");
    let cut = request(&json!({"output": "abcd", "cut": 1, "fail": 2}));
    let error = ask(&client, cut).await.expect_err("it breaks off");
    assert_eq!(error.kind, ChatErrorKind::Server);
    assert_eq!(client.attempts(), 2, "neither was asked again");
}

#[tokio::test]
async fn log_probabilities_come_through() {
    let (client, _) = start(ServerOptions::default()).await;
    let asked = ChatRequest {
        logprobs: Some(2),
        ..request(&json!({"output": "a</think>bc", "cut": 1}))
    };
    let mut stream = client.chat(asked);
    let mut bytes = Vec::new();
    while let Some(event) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
    {
        if let ChatEvent::Tokens(tokens) = event.expect("an event") {
            assert!(tokens.iter().all(|token| token.top.len() == 2));
            bytes.extend(tokens.into_iter().flat_map(|token| token.chosen.bytes));
        }
    }
    assert_eq!(bytes, b"a</think>bc");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_until_all_have_answered() {
    let options = ServerOptions {
        max_running: 2,
        max_waiting: 1,
        ..ServerOptions::default()
    };
    let (client, _) = start(options).await;
    let client = Arc::new(client);
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let client = Arc::clone(&client);
            let script = json!({"output": format!("</think>{number}"), "cut": 1, "delay_ms": 2});
            tokio::spawn(async move { ask(&client, request(&script)).await })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let reply = task.await.expect("no panic").expect("an answer");
        assert_eq!(reply.message.content, Some(number.to_string()));
    }
    assert!(client.attempts() > 12, "some were refused");
}

#[tokio::test]
async fn dropping_a_stream_ends_the_work_at_the_server() {
    let (client, scripted) = start(ServerOptions::default()).await;
    let mut stream = client.chat(request(&json!({"output": "abc", "cut": 1, "hang": true})));
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await;
    assert_eq!(scripted.open.load(Ordering::Acquire), 1);
    drop(stream);
    let began = Instant::now();
    while scripted.open.load(Ordering::Acquire) > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the answer goes on"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
