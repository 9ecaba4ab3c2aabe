//! Messages: requests read with the place of every fault; whole answers and streams of the same blocks.

#[path = "support/chunks.rs"]
#[allow(dead_code, reason = "shared with the tests of the parser")]
mod chunks;

use chunks::{events_of, random_chunks};
use k25_chat::dialect::anthropic::{BlockWriter, MessageBuilder, MessageHead, MessagesRequest};
use k25_chat::{
    Arguments, ChatEvent, ChatUsage, Content, JsonValue, Message, Part, ReplyEnd, ToolChoice,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(body: &Value) -> Result<MessagesRequest, k25_chat::dialect::RequestError> {
    let document = JsonValue::parse(&body.to_string()).expect("JSON");
    MessagesRequest::read(document, true)
}

fn with(extra: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in extra.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

#[test]
fn a_conversation_with_tools_is_read() {
    let request = read(&with(&json!({
        "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                {"type": "text", "text": "look"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "why", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1.50}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "4", "is_error": true},
                {"type": "tool_result", "tool_use_id": "t2"},
                {"type": "text", "text": "go on"}]},
            {"role": "assistant", "content": "So"},
        ],
    })))
    .expect("a valid request");
    let messages = &request.chat.conversation.messages;
    assert_eq!(messages[0], Message::system("a\n\nb"));
    assert!(matches!(&messages[1].content, Some(Content::Parts(parts))
        if matches!(&parts[0], Part::Media(media)
            if media.source.as_deref() == Some("data:image/png;base64,AA=="))));
    assert_eq!(messages[2].reasoning.as_deref(), Some("why"));
    assert_eq!(messages[2].content, None);
    assert!(matches!(
        &messages[2].tool_calls[0].arguments,
        Arguments::Json(_)
    ));
    assert_eq!(messages[3], Message::tool_result("t1", "Error: 4"));
    assert_eq!(messages[4], Message::tool_result("t2", ""));
    assert_eq!(messages[5], Message::user("go on"));
    assert!(messages[6].partial);
    assert_eq!(request.chat.tool_choice, ToolChoice::Required);
    assert!(request.chat.thinking && !request.parallel_tool_calls);
    assert_eq!(request.chat.conversation.tools.len(), 1);
}

#[test]
fn faults_are_told_with_their_place() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let cases = [
        (json!({"model": ""}), "model"),
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [7]}), "messages[0]"),
        (
            json!({"messages": [{"role": "system", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (
            user(json!({"type": "document"})),
            "messages[0].content[0].type",
        ),
        (
            user(json!({"type": "image"})),
            "messages[0].content[0].source",
        ),
        (
            user(json!({"type": "image", "source": {"type": "disk"}})),
            "messages[0].content[0].source.type",
        ),
        (
            user(json!({"type": "tool_result"})),
            "messages[0].content[0].tool_use_id",
        ),
        (json!({"system": 4}), "system"),
        (
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
            "tools[0].type",
        ),
        (json!({"tools": [{}]}), "tools[0].name"),
        (
            json!({"tool_choice": {"type": "maybe"}}),
            "tool_choice.type",
        ),
        (json!({"thinking": {"type": "often"}}), "thinking.type"),
        (json!({"stop_sequences": [""]}), "stop_sequences"),
        (json!({"temperature": 3}), "temperature"),
    ];
    for (extra, place) in cases {
        let error = read(&with(&extra)).expect_err(&extra.to_string());
        assert_eq!(error.param, place, "{extra}: {error}");
        assert!(!error.hint.is_empty());
    }
}

/// What a client makes of a stream.
fn joined(stream: &str) -> (Vec<Value>, Value) {
    let mut blocks: Vec<Value> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    let mut last = Value::Null;
    let mut open = None;
    for event in stream.split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').expect("two lines");
        let data: Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(
            name,
            format!("event: {}", data["type"].as_str().expect("a type"))
        );
        let index = data["index"].as_u64().map(|index| index as usize);
        match data["type"].as_str().expect("a type") {
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(blocks.len())));
                open = index;
                blocks.push(data["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_stop" => assert_eq!(open.take(), index),
            "content_block_delta" => {
                assert_eq!(open, index);
                let index = index.expect("an index");
                let delta = data["delta"].as_object().expect("a delta");
                let (key, text) = delta
                    .iter()
                    .find(|(key, _)| *key != "type")
                    .expect("a text");
                let text = text.as_str().expect("text");
                if key == "partial_json" {
                    inputs[index].push_str(text);
                } else {
                    let before = blocks[index][key].as_str().expect("text").to_owned();
                    blocks[index][key] = (before + text).into();
                }
            }
            "message_delta" => last = data,
            _ => {}
        }
    }
    for (block, input) in blocks.iter_mut().zip(inputs) {
        if block["type"] == "tool_use" {
            block["input"] = match serde_json::from_str(&input) {
                Ok(Value::Object(object)) => Value::Object(object),
                _ if input.is_empty() => json!({}),
                _ => json!({"raw_arguments": input}),
            };
        }
    }
    (blocks, last)
}

fn head() -> MessageHead {
    MessageHead {
        id: "msg_1".into(),
        model: "m".into(),
        stops: vec!["END".into()],
    }
}

proptest! {
    #[test]
    fn streams_equal_whole_answers(
        pieces in prop::collection::vec(prop_oneof![
            Just("</think>"), Just("<|tool_calls_section_begin|>"), Just("<|tool_calls_section_end|>"),
            Just("<|tool_call_begin|>"), Just("<|tool_call_argument_begin|>"), Just("<|tool_call_end|>"),
            Just("functions.f:0"), Just("{\"a\": 1}"), Just("é\n"), Just("text"),
        ], 0..20),
        thinking: bool,
        longest in 1usize..30,
        seed: u64,
    ) {
        let output = pieces.concat();
        let usage = ChatUsage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 3, reasoning_tokens: 0 };
        let mut events: Vec<_> = events_of(random_chunks(&output, longest, seed), thinking)
            .into_iter().map(ChatEvent::Output).collect();
        events.push(ChatEvent::Finished { reason: ReplyEnd::Length, usage });
        let (mut writer, mut builder) = (BlockWriter::new(head()), MessageBuilder::new(head()));
        let mut stream = String::new();
        for event in &events {
            writer.write(event, &mut stream);
            builder.add(event);
        }
        writer.finish(usage, &mut stream);
        let whole: Value = serde_json::from_str(&builder.write(usage)).expect("JSON");
        let (blocks, last) = joined(&stream);
        prop_assert_eq!(&whole["content"], &Value::Array(blocks));
        prop_assert_eq!(&whole["usage"], &last["usage"]);
        prop_assert_eq!(&whole["stop_reason"], &last["delta"]["stop_reason"]);
        prop_assert_eq!(whole["usage"]["input_tokens"].as_u64(), Some(5));
    }
}

#[test]
fn the_stop_text_is_named() {
    let met = ChatEvent::Finished {
        reason: ReplyEnd::StopText(0),
        usage: ChatUsage::default(),
    };
    let mut whole = MessageBuilder::new(head());
    whole.add(&met);
    let whole = whole.write(ChatUsage::default());
    assert!(
        whole.contains(r#""stop_reason":"stop_sequence","stop_sequence":"END""#),
        "{whole}"
    );
    let mut streamed = BlockWriter::new(head());
    let mut out = String::new();
    streamed.write(&ChatEvent::Begun { prompt_tokens: 7 }, &mut out);
    assert!(out.contains("\"input_tokens\":7"), "{out}");
    streamed.write(&met, &mut out);
    streamed.finish(ChatUsage::default(), &mut out);
    assert!(
        out.contains(r#""stop_reason":"stop_sequence","stop_sequence":"END""#),
        "{out}"
    );
    assert_eq!(
        out.matches("message_start").count(),
        2,
        "one event with its name: {out}"
    );
}
