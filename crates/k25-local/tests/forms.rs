//! Answers of a given form, by a model that would rather say anything else: random weights, high
//! temperatures.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use k25_chat::{
    ChatClient, ChatError, ChatErrorKind, ChatReply, ChatRequest, JsonValue, Message, ReplyEnd,
    ResponseFormat, ToolChoice,
};
use k25_local::{Execution, LocalClient, LocalModel, LocalOptions};

const CITY: &str = r#"{"type": "object", "properties": {"city": {"enum": ["Bern", "Zürich"]}, "days": {"type": "integer", "minimum": 1, "maximum": 14}}, "required": ["city"], "additionalProperties": false}"#;
const FLAG: &str = r#"{"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": false}"#;
const RECORD: &str = r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 4}, "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3}}, "required": ["name", "sizes"], "additionalProperties": false}"#;

fn client(execution: Execution) -> LocalClient {
    let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"));
    let options = LocalOptions {
        tokenizer: Some(fixtures.join("tokenizer")),
        execution,
        ..LocalOptions::default()
    };
    let model = LocalModel::open(fixtures.join("t1"), &options).expect("a sound model");
    LocalClient::new(Arc::new(model)).expect("threads")
}

fn json(text: &str) -> JsonValue {
    JsonValue::parse(text).expect("JSON")
}

fn tools() -> Vec<JsonValue> {
    let tool = |(name, parameters)| {
        json(&format!(
            r#"{{"type": "function", "function": {{"name": "{name}", "parameters": {parameters}}}}}"#
        ))
    };
    [("weather", CITY), ("set-light", FLAG)].map(tool).into()
}

/// An instant answer at this temperature.
fn request(seed: u64, temperature: f32) -> ChatRequest {
    let mut request = ChatRequest::new("", vec![Message::user("Hello")]);
    request.thinking = false;
    request.sampling.temperature = Some(temperature);
    request.sampling.top_p = Some(1.0);
    request.sampling.seed = Some(seed);
    request.max_tokens = Some(400);
    request
}

/// Answers all requests together.
fn answers(
    client: &LocalClient,
    requests: impl Iterator<Item = ChatRequest>,
) -> Vec<Result<ChatReply, ChatError>> {
    let mut streams: Vec<_> = requests.map(|request| client.chat(request)).collect();
    let finish = |stream: &mut k25_chat::ChatStream| {
        let mut reply = ChatReply::default();
        loop {
            let mut context = Context::from_waker(Waker::noop());
            match stream.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(event)) => reply.add(&event?),
                Poll::Ready(None) => return Ok(reply),
                Poll::Pending => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    };
    streams.iter_mut().map(finish).collect()
}

fn replies(client: &LocalClient, requests: impl Iterator<Item = ChatRequest>) -> Vec<ChatReply> {
    let answers = answers(client, requests).into_iter();
    answers.map(|answer| answer.expect("an answer")).collect()
}

fn check(schema: &str, text: &str) {
    let schema = serde_json::from_str(schema).expect("JSON");
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(validator.is_valid(&value), "{text}");
}

/// Seeds and temperatures from 1 to 2.
fn cases() -> impl Iterator<Item = (u64, f32)> {
    (0..48).map(|seed| (seed, 1.0 + seed as f32 / 47.0))
}

#[test]
fn a_schema_holds_at_any_temperature() {
    let client = client(Execution::Fast);
    let asked = cases().map(|(seed, temperature)| {
        let mut request = request(seed, temperature);
        request.response_format = ResponseFormat::JsonSchema {
            name: "record".to_owned(),
            schema: json(RECORD),
            strict: true,
        };
        request
    });
    for reply in replies(&client, asked) {
        assert_eq!(reply.end, Some(ReplyEnd::Stop));
        check(RECORD, &reply.message.content.expect("an answer"));
    }
    let counters = client.model().snapshot().counters;
    let held = counters.drafts_held as f64 / counters.drafts.max(1) as f64;
    println!("{counters:?}, {held:.2} of the guesses held");
    assert!(counters.drafts_held > 0, "the grammar's guesses are used");
}

#[test]
fn required_calls_match_their_tools_at_any_temperature() {
    let client = client(Execution::Fast);
    let asked = cases().map(|(seed, temperature)| {
        let mut request = request(seed, temperature);
        request.conversation.tools = tools();
        request.tool_choice = match seed % 3 {
            0 => ToolChoice::Function("set-light".to_owned()),
            _ => ToolChoice::Required,
        };
        request
    });
    for (seed, reply) in (0..).zip(replies(&client, asked)) {
        let calls = &reply.message.tool_calls;
        assert!(reply.message.content.is_none() && !calls.is_empty());
        assert!(seed % 3 != 0 || calls.len() == 1 && calls[0].name == "set-light");
        // Of an answer that was cut off, the last call may be unfinished.
        let whole = match reply.end {
            Some(ReplyEnd::ToolCalls) => calls.len(),
            _ => calls.len() - 1,
        };
        for (index, call) in calls[..whole].iter().enumerate() {
            assert_eq!(call.id, format!("functions.{}:{index}", call.name));
            let schema = match call.name.as_str() {
                "weather" => CITY,
                "set-light" => FLAG,
                other => panic!("no tool {other}"),
            };
            check(schema, &call.arguments);
        }
    }
}

#[test]
fn guesses_and_executions_change_no_answer() {
    let asked = || {
        (0..4).map(|seed| {
            let mut request = request(seed, 1.0);
            request.conversation.tools = tools();
            request.tool_choice = ToolChoice::Required;
            request
        })
    };
    let fast = replies(&client(Execution::Fast), asked());
    let reference = replies(&client(Execution::Reference), asked());
    let messages = |replies: Vec<ChatReply>| -> Vec<_> {
        replies.into_iter().map(|reply| reply.message).collect()
    };
    assert_eq!(messages(fast), messages(reference));
}

#[test]
fn no_choice_means_no_call() {
    let client = client(Execution::Fast);
    let asked = cases().map(|(seed, temperature)| {
        let mut request = request(seed, temperature);
        request.max_tokens = Some(60);
        request.conversation.tools = tools();
        request.tool_choice = ToolChoice::None;
        // The model would begin a section at once.
        let section = client
            .model()
            .tokenizer()
            .special_id(k25_chat::SpecialToken::ToolCallsSectionBegin);
        request.sampling.logit_bias = vec![(section, 100.0)];
        request
    });
    for reply in replies(&client, asked) {
        assert!(reply.message.tool_calls.is_empty());
    }
}

#[test]
fn a_call_of_its_own_accord_matches_and_is_numbered_on() {
    let client = client(Execution::Fast);
    let asked = (0..12).map(|seed| {
        let mut request = request(seed, 1.5);
        request.conversation.tools = tools();
        let call = k25_chat::ToolCall {
            id: "call_x".to_owned(),
            name: "weather".to_owned(),
            arguments: k25_chat::Arguments::Text("{\"city\": \"Bern\"}".to_owned()),
        };
        let called = Message {
            tool_calls: vec![call],
            ..Message::assistant("")
        };
        let result = Message::tool_result("call_x", "sunny");
        request.conversation.messages.extend([called, result]);
        let section = client
            .model()
            .tokenizer()
            .special_id(k25_chat::SpecialToken::ToolCallsSectionBegin);
        request.sampling.logit_bias = vec![(section, 100.0)];
        request
    });
    for reply in replies(&client, asked) {
        let call = &reply.message.tool_calls[0];
        assert_eq!(call.id, format!("functions.{}:1", call.name));
        if reply.end == Some(ReplyEnd::ToolCalls) {
            check(
                if call.name == "weather" { CITY } else { FLAG },
                &call.arguments,
            );
        }
    }
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    let client = client(Execution::Fast);
    let schema = |text: &str, strict| ResponseFormat::JsonSchema {
        name: "x".to_owned(),
        schema: json(text),
        strict,
    };
    let refused = [
        (schema(r#"{"not": {}}"#, true), ToolChoice::Auto),
        (schema(r#"{"type": "nonsense"}"#, false), ToolChoice::Auto),
        (ResponseFormat::Text, ToolChoice::Required),
        (ResponseFormat::Text, ToolChoice::Function("fly".to_owned())),
    ];
    for (response_format, tool_choice) in refused {
        let asked = ChatRequest {
            response_format,
            tool_choice,
            ..request(0, 1.0)
        };
        let answer = answers(&client, std::iter::once(asked)).remove(0);
        let error = answer.expect_err("a refusal");
        assert_eq!(error.kind, ChatErrorKind::InvalidRequest, "{error}");
    }
}
