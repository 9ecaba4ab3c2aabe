//! A fixture model behind the trait that agents, evaluations and servers use.

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_core::Stream;
use k25_chat::{
    ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatReply, ChatRequest, ChatStream, Content,
    JsonValue, Media, MediaKind, Message, ParsedMessage, Part, RenderOptions, ReplyEnd, Retry,
    TokenLogprobs,
};
use k25_local::{AnswerOptions, LocalClient, LocalEvent, LocalModel, LocalOptions, SamplingParams};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

fn client_with(options: LocalOptions) -> LocalClient {
    let options = LocalOptions {
        tokenizer: Some(fixture("tokenizer")),
        ..options
    };
    let model = LocalModel::open(fixture("t1"), &options).expect("a sound model");
    LocalClient::new(Arc::new(model)).expect("threads")
}

fn client() -> LocalClient {
    client_with(LocalOptions::default())
}

/// Greedy, 24 tokens.
fn request(text: &str) -> ChatRequest {
    let mut request = ChatRequest::new("", vec![Message::user(text)]);
    request.sampling.temperature = Some(0.0);
    request.max_tokens = Some(24);
    request
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The next event, waited for without any runtime.
fn next(stream: &mut ChatStream) -> Option<Result<ChatEvent, ChatError>> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut stream = pin!(stream);
    loop {
        match Pin::as_mut(&mut stream).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(event) => return event,
            Poll::Pending => thread::park_timeout(Duration::from_secs(60)),
        }
    }
}

/// The whole answer, and the tokens that came with it.
fn answer(
    client: &LocalClient,
    request: ChatRequest,
) -> Result<(ChatReply, Vec<TokenLogprobs>), ChatError> {
    let mut stream = client.chat(request);
    let (mut reply, mut tokens) = (ChatReply::default(), Vec::new());
    while let Some(event) = next(&mut stream) {
        let event = event?;
        assert_eq!(reply.end, None, "nothing follows the end");
        reply.add(&event);
        if let ChatEvent::Tokens(more) = event {
            tokens.extend(more);
        }
    }
    assert!(next(&mut stream).is_none(), "the end stays the end");
    Ok((reply, tokens))
}

fn reply(client: &LocalClient, request: ChatRequest) -> ChatReply {
    answer(client, request).expect("an answer").0
}

fn refusal(client: &LocalClient, request: ChatRequest) -> ChatError {
    answer(client, request).expect_err("a refusal")
}

#[test]
fn the_stream_says_what_the_model_says() {
    let client = client();
    for thinking in [true, false] {
        let asked = ChatRequest {
            thinking,
            ..request("Hello")
        };
        let options = RenderOptions {
            thinking,
            ..RenderOptions::default()
        };
        let model = client.model();
        let prepared = model
            .prepare(asked.conversation.clone(), &options)
            .expect("a good prompt");
        let sampling = SamplingParams {
            max_tokens: 24,
            ..SamplingParams::greedy()
        };
        let mut expected = ParsedMessage::default();
        let mut usage = None;
        let spoken = model.answer(prepared, AnswerOptions::new(sampling));
        for event in spoken.expect("an engine") {
            match event.expect("no error") {
                LocalEvent::Delta(delta) => expected.add(&delta),
                LocalEvent::Finished(finished) => usage = Some(finished.usage),
                LocalEvent::Token(_) => panic!("none were asked for"),
            }
        }
        let found = reply(&client, asked);
        assert_eq!(found.message, expected, "thinking {thinking}");
        assert_eq!(found.end, Some(ReplyEnd::Length));
        let usage = usage.expect("an end");
        assert_eq!(found.usage.prompt_tokens, usage.prompt_rows as u64);
        assert_eq!(found.usage.completion_tokens, 24);
        // Random weights do not end the reasoning, and do not begin it either.
        assert_eq!(found.usage.reasoning_tokens, if thinking { 24 } else { 0 });
        assert_eq!(found.usage.cached_tokens, usage.prompt_rows as u64 - 1);
    }
}

#[test]
fn samples_share_the_prompt_and_differ_by_their_seed() {
    let client = client();
    let sampled = |seed| {
        let mut request = request("Tell me a long story about the sea and the people who sail it.");
        request.sampling.temperature = Some(1.0);
        request.sampling.seed = Some(seed);
        client.chat(request)
    };
    let mut streams: Vec<_> = [1, 2, 1].map(sampled).into();
    let replies: Vec<ChatReply> = streams
        .iter_mut()
        .map(|stream| {
            let mut reply = ChatReply::default();
            while let Some(event) = next(stream) {
                reply.add(&event.expect("no error"));
            }
            reply
        })
        .collect();
    assert_eq!(replies[0].message, replies[2].message);
    assert_ne!(replies[0].message, replies[1].message);
    let prompt = replies[0].usage.prompt_tokens;
    let cached: u64 = replies.iter().map(|reply| reply.usage.cached_tokens).sum();
    assert_eq!(cached, 2 * (prompt - 1), "the prompt is computed once");
}

#[test]
fn tokens_come_with_their_logprobs_when_asked_for() {
    let client = client();
    let mut asked = request("Hello");
    asked.thinking = false;
    asked.logprobs = Some(3);
    let (reply, tokens) = answer(&client, asked.clone()).expect("an answer");
    assert_eq!(tokens.len(), 24);
    // Tokens that stand around messages have bytes, but no text.
    let has_text = |token: &&TokenLogprobs| !token.chosen.bytes.starts_with(b"<|reserved_token_");
    let bytes: Vec<u8> = tokens
        .iter()
        .filter(has_text)
        .flat_map(|token| token.chosen.bytes.clone())
        .collect();
    assert_eq!(
        reply.message.content,
        Some(String::from_utf8_lossy(&bytes).into_owned())
    );
    for token in &tokens {
        assert!(token.chosen.id.is_some() && token.chosen.logprob < 0.0);
        assert_eq!(token.top.len(), 3);
        assert_eq!(token.top[0], token.chosen, "greedy takes the likeliest");
        assert!(token.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
    }
    asked.logprobs = None;
    assert_eq!(
        answer(&client, asked).expect("an answer").1,
        Vec::new(),
        "unasked"
    );
}

#[test]
fn a_stop_text_ends_the_answer_before_it() {
    let client = client();
    let mut asked = request("Hello");
    asked.thinking = false;
    let free = reply(&client, asked.clone())
        .message
        .content
        .expect("an answer");
    let mut middle: Vec<char> = free.chars().skip(free.chars().count() / 2).collect();
    middle.truncate(4);
    let stop: String = middle.into_iter().collect();
    asked.stop = vec!["never said".to_owned(), stop.clone()];
    let stopped = reply(&client, asked);
    let (before, _) = free.split_once(&stop).expect("it was said");
    assert_eq!(stopped.message.content.as_deref(), Some(before));
    // The second of the texts that were asked for.
    assert_eq!(stopped.end, Some(ReplyEnd::StopText(1)));
    let tokens = stopped.usage.completion_tokens;
    assert!(tokens < 24, "{tokens} tokens count");
}

#[test]
fn dropping_a_stream_cancels_at_once() {
    let client = client();
    let long = || {
        let mut request = request("Hello");
        request.max_tokens = Some(100_000);
        client.chat(request)
    };
    let idle = || {
        let snapshot = client.model().snapshot();
        snapshot.running_sequences + snapshot.waiting_sequences == 0
    };
    let soon = |what: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !what() {
            assert!(started.elapsed() < Duration::from_secs(60), "in time");
            thread::sleep(Duration::from_millis(1));
        }
    };
    let mut read = long();
    assert!(matches!(next(&mut read), Some(Ok(ChatEvent::Begun { .. }))));
    assert!(matches!(next(&mut read), Some(Ok(ChatEvent::Output(_)))));
    soon(&|| !idle());
    let unread = long();
    soon(&|| client.model().snapshot().running_sequences == 2);
    drop(read);
    drop(unread);
    drop(long());
    soon(&idle);
    // Served next: nothing of the others is left in line.
    assert_eq!(reply(&client, request("Bye")).end, Some(ReplyEnd::Length));
}

#[test]
fn pictures_come_as_data() {
    let client = client();
    let bytes = std::fs::read(fixture("images/rgb_100x37.png")).expect("a fixture");
    let show = |source: String| {
        let picture = Part::Media(Media {
            kind: MediaKind::Image,
            source: Some(source),
        });
        let parts = vec![picture, Part::Text("What is this?".to_owned())];
        ChatRequest {
            conversation: k25_chat::Conversation::new(vec![Message {
                content: Some(Content::Parts(parts)),
                ..Message::user("")
            }]),
            ..request("")
        }
    };
    let text = reply(&client, request("What is this?")).usage.prompt_tokens;
    let data = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes));
    let shown = reply(&client, show(data)).usage.prompt_tokens;
    assert!(
        shown >= text + 8,
        "eight feature rows and the markers: {shown} and {text}"
    );
    for refused in ["https://example.org/a.png", "/etc/passwd"] {
        let error = refusal(&client, show(refused.to_owned()));
        assert_eq!(error.kind, ChatErrorKind::InvalidRequest, "{error}");
        assert!(error.message.contains("medium 1"), "{error}");
    }
}

#[test]
fn tools_are_told_to_the_model() {
    let client = client();
    let mut asked = request("Hello");
    let plain = reply(&client, asked.clone()).usage.prompt_tokens;
    let tool = r#"{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{}}}}"#;
    asked.conversation.tools = vec![JsonValue::parse(tool).expect("JSON")];
    assert!(reply(&client, asked).usage.prompt_tokens > plain + 10);
}

#[test]
fn refusals_say_what_and_what_to_do() {
    let client = client_with(LocalOptions {
        context_tokens: Some(40),
        ..LocalOptions::default()
    });
    type Damage = fn(&mut ChatRequest);
    let cases: &[(&str, ChatErrorKind, Damage)] = &[
        ("empty", ChatErrorKind::InvalidRequest, |r| {
            r.conversation.messages.clear();
        }),
        ("room", ChatErrorKind::ContextTooLong, |r| {
            r.max_tokens = Some(1000);
        }),
        ("room", ChatErrorKind::ContextTooLong, |r| {
            r.conversation.messages = vec![Message::user("word ".repeat(100))];
        }),
        ("max_tokens", ChatErrorKind::InvalidRequest, |r| {
            r.max_tokens = Some(0);
        }),
        ("temperature", ChatErrorKind::InvalidRequest, |r| {
            r.sampling.temperature = Some(-1.0);
        }),
        ("logit_bias", ChatErrorKind::InvalidRequest, |r| {
            r.sampling.logit_bias = vec![(u32::MAX, 1.0)];
        }),
        ("logprobs", ChatErrorKind::InvalidRequest, |r| {
            r.logprobs = Some(21);
        }),
        ("stop", ChatErrorKind::InvalidRequest, |r| {
            r.stop = vec![String::new()];
        }),
        ("stop", ChatErrorKind::InvalidRequest, |r| {
            r.stop = vec!["x".repeat(1025)];
        }),
        ("stop", ChatErrorKind::InvalidRequest, |r| {
            r.stop = vec!["x".to_owned(); 17];
        }),
    ];
    for (what, kind, damage) in cases {
        let mut asked = request("Hi");
        asked.max_tokens = Some(4);
        damage(&mut asked);
        let error = refusal(&client, asked);
        assert_eq!(error.kind, *kind, "{error}");
        assert!(
            error.message.contains(what) && !error.hint.is_empty(),
            "{error}"
        );
        assert_eq!(error.retry(), Retry::Never);
    }
    // Without a number, the answer may be as long as there is room.
    let mut asked = request("Hi");
    asked.max_tokens = None;
    let whole = reply(&client, asked).usage;
    assert_eq!(whole.prompt_tokens + whole.completion_tokens, 40);
}
