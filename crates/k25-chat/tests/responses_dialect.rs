//! The Responses form: reading requests, writing answers whole and in pieces.

use k25_chat::dialect::openai::Rules;
use k25_chat::dialect::responses::{ResponseHead, ResponseWriter, ResponsesRequest};
use k25_chat::{
    ChatEvent, ChatUsage, Content, JsonValue, Part, ReplyEnd, ResponseFormat, Role, StreamParser,
    ToolChoice,
};
use serde_json::{Value, json};

fn read(body: Value) -> Result<ResponsesRequest, String> {
    let document = JsonValue::try_from(body).expect("shallow");
    ResponsesRequest::read(document, Rules::Free).map_err(|error| error.to_string())
}

fn text(content: &Option<Content>) -> Option<&str> {
    match content {
        Some(Content::Text(text)) => Some(text),
        _ => None,
    }
}

#[test]
fn items_become_messages() {
    let request = read(json!({
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5,
        "input": [
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": [],
             "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "Look", "annotations": []},
                {"type": "output_text", "text": ":"}]},
            {"type": "function_call", "call_id": "functions.w:0", "name": "w", "arguments": "{\"a\": 1}"},
            {"type": "function_call", "call_id": "functions.w:1", "name": "w", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "functions.w:0", "output": "Sun"},
            {"type": "function_call_output", "call_id": "functions.w:1", "output": [
                {"type": "input_text", "text": "a"}, {"type": "input_image", "file_id": "f1"}]},
            {"role": "user", "content": [
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}]}],
        "tools": [{"type": "function", "name": "w", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "w"},
    }))
    .expect("a request");
    let messages = &request.chat.conversation.messages;
    let roles: Vec<_> = messages
        .iter()
        .map(|message| message.role.clone())
        .collect();
    use Role::{Assistant, System, Tool, User};
    assert_eq!(roles, [System, User, Assistant, Tool, Tool, User]);
    assert_eq!(messages[2].reasoning.as_deref(), Some("hm"));
    assert_eq!(text(&messages[2].content), Some("Look:"));
    let ids: Vec<_> = messages[2]
        .tool_calls
        .iter()
        .map(|call| call.id.as_str())
        .collect();
    assert_eq!(ids, ["functions.w:0", "functions.w:1"]);
    assert_eq!(text(&messages[3].content), Some("Sun"));
    let Some(Content::Parts(parts)) = &messages[4].content else {
        panic!("parts");
    };
    assert!(matches!(&parts[1], Part::Media(media) if media.source.as_deref() == Some("ms://f1")));
    assert_eq!(
        request.chat.tool_choice,
        ToolChoice::Function("w".to_owned())
    );
    assert_eq!(request.chat.max_tokens, Some(9));
    let tool = request.chat.conversation.tools[0].to_json();
    assert!(tool.contains("\"function\": {\"name\": \"w\""), "{tool}");
    assert_eq!(request.repeated["instructions"], "Be brief.".into());
}

#[test]
fn forms_switches_and_texts() {
    let plain = read(json!({"model": "m", "input": "hi"})).expect("a request");
    assert!(plain.chat.thinking && !plain.stream && plain.parallel_tool_calls);
    let instant = json!({"model": "m", "input": "hi", "reasoning": {"effort": "none"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": true}},
        "include": ["message.output_text.logprobs"], "top_logprobs": 3, "stream": true,
        "parallel_tool_calls": false});
    let instant = read(instant).expect("a request");
    assert!(!instant.chat.thinking && instant.stream && !instant.parallel_tool_calls);
    assert!(matches!(
        instant.chat.response_format,
        ResponseFormat::JsonSchema { strict: true, .. }
    ));
    assert_eq!(instant.chat.logprobs, Some(3));
}

#[test]
fn faults_are_named() {
    for (body, place) in [
        (json!({"model": "m"}), "input"),
        (json!({"model": "m", "input": []}), "input"),
        (
            json!({"model": "m", "input": [{"type": "web_search_call"}]}),
            "input[0].type",
        ),
        (
            json!({"model": "m", "input": [{"role": "wizard", "content": "x"}]}),
            "input[0].role",
        ),
        (
            json!({"model": "m", "input": [{"role": "user", "content": [{"type": "x"}]}]}),
            "input[0].content[0].type",
        ),
        (
            json!({"model": "m", "input": [{"type": "function_call", "name": "f"}]}),
            "input[0].call_id",
        ),
        (
            json!({"model": "m", "input": "x", "previous_response_id": "r"}),
            "previous_response_id",
        ),
        (
            json!({"model": "m", "input": "x", "background": true}),
            "background",
        ),
        (
            json!({"model": "m", "input": "x", "tools": [{"type": "web_search"}]}),
            "tools[0].type",
        ),
        (
            json!({"model": "m", "input": "x", "tool_choice": "required"}),
            "tool_choice",
        ),
        (
            json!({"model": "m", "input": "x", "temperature": 9}),
            "temperature",
        ),
        (
            json!({"model": "m", "input": "x", "text": {"format": {"type": "y"}}}),
            "text.format.type",
        ),
    ] {
        let error = read(body).expect_err(place);
        assert!(error.starts_with(&format!("{place}:")), "{place}: {error}");
    }
}

fn writer() -> ResponseWriter {
    ResponseWriter::new(ResponseHead {
        id: "resp_1".to_owned(),
        created: 5,
        model: "m".to_owned(),
        repeated: [("temperature".to_owned(), JsonValue::from(0.5))].into(),
    })
}

const USAGE: ChatUsage = ChatUsage {
    prompt_tokens: 10,
    cached_tokens: 4,
    completion_tokens: 6,
    reasoning_tokens: 2,
};

/// The events that the model's output makes, cut into pieces of this many characters.
fn events(output: &str, piece: usize, reason: ReplyEnd) -> Vec<ChatEvent> {
    let mut parser = StreamParser::new(true);
    let characters: Vec<char> = output.chars().collect();
    let mut events = Vec::new();
    for piece in characters.chunks(piece) {
        events.extend(parser.feed(&piece.iter().collect::<String>()));
    }
    events.extend(parser.finish());
    let usage = USAGE;
    let outputs = events.into_iter().map(ChatEvent::Output);
    outputs
        .chain([ChatEvent::Finished { reason, usage }])
        .collect()
}

const OUTPUT: &str = "why</think>Look:<|tool_calls_section_begin|><|tool_call_begin|>functions.a:0\
    <|tool_call_argument_begin|>{\"x\": 1}<|tool_call_end|><|tool_call_begin|>functions.b:1\
    <|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>";

#[test]
fn streams_end_with_the_whole() {
    for piece in [1, 3, 1000] {
        let events = events(OUTPUT, piece, ReplyEnd::ToolCalls);
        let mut whole = writer();
        let mut streamed = writer();
        let mut out = String::new();
        for event in &events {
            whole.write(event, &mut String::new());
            streamed.write(event, &mut out);
        }
        streamed.finish(USAGE, &mut out);
        let whole: Value = serde_json::from_str(&whole.whole(USAGE)).expect("JSON");
        let sent: Vec<Value> = out
            .split("\n\n")
            .filter_map(|event| event.split_once("data: "))
            .map(|(_, data)| serde_json::from_str(data).expect("JSON"))
            .collect();
        assert_eq!(sent.last().expect("events")["response"], whole);
        assert_eq!(sent.last().expect("events")["type"], "response.completed");
        for (number, event) in sent.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{event}");
        }
        // The deltas of each item add up to what its end says.
        for (index, item) in whole["output"]
            .as_array()
            .expect("items")
            .iter()
            .enumerate()
        {
            let deltas: String = sent
                .iter()
                .filter(|event| event["output_index"] == index)
                .filter_map(|event| event["delta"].as_str())
                .collect();
            let text = item["arguments"]
                .as_str()
                .or(item["content"][0]["text"].as_str());
            assert_eq!(Some(deltas.as_str()), text);
            let ended = sent.iter().find(|event| {
                event["type"] == "response.output_item.done" && event["output_index"] == index
            });
            assert_eq!(&ended.expect("an end")["item"], item);
        }
        let kinds: Vec<_> = whole["output"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["type"].as_str().expect("a type"))
            .collect();
        assert_eq!(
            kinds,
            ["reasoning", "message", "function_call", "function_call"]
        );
        assert_eq!(whole["output"][2]["call_id"], "functions.a:0");
        assert_eq!(
            whole["usage"]["output_tokens_details"]["reasoning_tokens"],
            2
        );
        assert_eq!(whole["temperature"], 0.5);
    }
}

#[test]
fn what_is_cut_or_breaks_is_told() {
    let mut cut = writer();
    for event in events("a</think>b", 1, ReplyEnd::Length) {
        cut.write(&event, &mut String::new());
    }
    let cut: Value = serde_json::from_str(&cut.whole(USAGE)).expect("JSON");
    assert_eq!(cut["status"], "incomplete");
    assert_eq!(cut["incomplete_details"]["reason"], "max_output_tokens");

    let mut broken = writer();
    let mut out = String::new();
    broken.write(&events("a</think>b", 1, ReplyEnd::Stop)[0], &mut out);
    broken.fail("it fails", &mut out);
    let last = out.rsplit("data: ").next().expect("an event");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["message"], "it fails");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "a");
}
