//! Chat Completions: requests read with the place of every fault, answers that come back unchanged
//! through writer and reader.

#[path = "support/chunks.rs"]
#[allow(dead_code, reason = "shared with the tests of the parser")]
mod chunks;

use chunks::{events_of, random_chunks};
use k25_chat::dialect::openai::{
    Choice, ChunkError, ChunkReader, ChunkWriter, CompletionRequest, CompletionWriter, ReplyHead,
    Rules, UsageWish, write_request,
};
use k25_chat::{
    ChatEvent, ChatRequest, ChatUsage, JsonValue, Media, MediaKind, Message, ParsedMessage,
    ParserEvent, Part, ReplyEnd, ResponseFormat, SamplingOptions, TokenLogprob, TokenLogprobs,
    ToolChoice,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(body: Value, rules: Rules) -> Result<CompletionRequest, k25_chat::dialect::RequestError> {
    let text = body.to_string();
    CompletionRequest::read(JsonValue::parse(&text).expect("JSON"), rules)
}

/// A small valid request with these keys added or replaced.
fn with(extra: Value) -> Value {
    let mut body = json!({
        "model": "kimi-k2.5",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "look-up.x", "parameters": {}}}],
    });
    for (key, value) in extra.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

fn free(extra: Value) -> CompletionRequest {
    read(with(extra), Rules::Free).expect("a valid request")
}

#[test]
fn every_key_reaches_the_request() {
    let request = free(json!({
        "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.01, "presence_penalty": -1,
        "frequency_penalty": 0.5, "repetition_penalty": 1.1, "seed": -3, "logit_bias": {"42": -100},
        "max_tokens": 9, "max_completion_tokens": 7, "stop": ["a", "b"], "n": 2, "stream": true,
        "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 3,
        "tool_choice": {"type": "function", "function": {"name": "look-up.x"}},
        "parallel_tool_calls": false, "thinking": {"type": "disabled"}, "unknown": [1],
        "response_format": {"type": "json_schema", "json_schema":
            {"name": "s", "strict": true, "schema": {"type": "object"}}},
    }));
    let chat = &request.chat;
    assert_eq!(
        chat.sampling,
        SamplingOptions {
            temperature: Some(0.7),
            top_p: Some(0.9),
            top_k: Some(40),
            min_p: Some(0.01),
            presence_penalty: Some(-1.0),
            frequency_penalty: Some(0.5),
            repetition_penalty: Some(1.1),
            logit_bias: vec![(42, -100.0)],
            seed: Some((-3_i64).cast_unsigned()),
        }
    );
    assert_eq!(chat.max_tokens, Some(7), "the newer name counts");
    assert_eq!(chat.stop, ["a", "b"]);
    assert_eq!(chat.logprobs, Some(3));
    assert_eq!(chat.tool_choice, ToolChoice::Function("look-up.x".into()));
    assert!(!chat.thinking && !request.parallel_tool_calls);
    assert!(request.stream && request.include_usage);
    assert_eq!(request.choices, 2);
    assert!(matches!(&chat.response_format,
        ResponseFormat::JsonSchema { name, strict: true, .. } if name == "s"));
}

#[test]
fn thinking_is_switched_in_every_dialect_of_it() {
    let thinking = |extra| free(extra).chat.thinking;
    assert!(thinking(json!({})));
    assert!(!thinking(json!({"thinking": {"type": "disabled"}})));
    assert!(!thinking(
        json!({"chat_template_kwargs": {"thinking": false}})
    ));
    assert!(!thinking(json!({"reasoning_effort": "none"})));
    assert!(thinking(json!({"reasoning_effort": "high"})));
    assert!(thinking(json!({"thinking": {"type": "enabled"},
        "chat_template_kwargs": {"thinking": false}})));
    assert!(
        free(json!({"thinking": {"type": "enabled", "keep": "all"}}))
            .chat
            .preserve_thinking
    );
}

#[test]
fn a_developer_is_a_system() {
    let request = free(json!({"messages": [{"role": "developer", "content": "x"}]}));
    assert_eq!(request.chat.conversation.messages, [Message::system("x")]);
}

#[test]
fn faults_are_told_with_their_place() {
    let cases = [
        (json!({"model": null}), "model"),
        (json!({"model": 3}), "model"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (
            json!({"messages": [{"role": "wizard", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "messages[0].content",
        ),
        (
            json!({"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]}),
            "tools[0].type",
        ),
        (
            json!({"tools": [{"type": "function", "function": {}}]}),
            "tools[0].function.name",
        ),
        (json!({"tool_choice": "sometimes"}), "tool_choice"),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "nope"}}}),
            "tool_choice",
        ),
        (
            json!({"tools": [], "tool_choice": "required"}),
            "tool_choice",
        ),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"top_p": -0.1}), "top_p"),
        (json!({"n": 0}), "n"),
        (json!({"n": 1.5}), "n"),
        (json!({"n": 17}), "n"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (
            json!({"max_completion_tokens": 4294967296u64}),
            "max_completion_tokens",
        ),
        (json!({"stop": ""}), "stop"),
        (json!({"stop": [1]}), "stop"),
        (json!({"logit_bias": {"x": 1}}), "logit_bias"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"stream_options": true}), "stream_options"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
        ),
        (json!({"thinking": {"type": "perhaps"}}), "thinking.type"),
        (
            json!({"chat_template_kwargs": {"thinking": "no"}}),
            "chat_template_kwargs.thinking",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format.json_schema",
        ),
        (json!({"functions": []}), "functions"),
    ];
    for (extra, place) in cases {
        let error = read(with(extra.clone()), Rules::Free).expect_err(&extra.to_string());
        assert_eq!(error.param, place, "{extra}: {error}");
        assert!(!error.hint.is_empty(), "{extra}");
    }
    assert_eq!(
        read(json!([]), Rules::Free).expect_err("no object").param,
        ""
    );
}

#[test]
fn kimi_rules_fix_what_the_hosted_service_fixes() {
    let refused = [
        (json!({"temperature": 0.7}), "temperature"),
        (
            json!({"temperature": 1.0, "thinking": {"type": "disabled"}}),
            "temperature",
        ),
        (json!({"top_p": 1.0}), "top_p"),
        (json!({"n": 2}), "n"),
        (json!({"presence_penalty": 0.1}), "presence_penalty"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"stop": ["x".repeat(33)]}), "stop"),
        (
            json!({"messages": [{"role": "assistant", "content": null, "reasoning_content": "r",
            "tool_calls": [{"id": "a", "type": "function",
                "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "user", "content": "?"}]}),
            "messages[0].tool_calls",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": null,
            "tool_calls": [{"id": "a", "type": "function",
                "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"}]}),
            "messages[0].reasoning_content",
        ),
    ];
    for (extra, place) in refused {
        let error = read(with(extra.clone()), Rules::Kimi).expect_err(&extra.to_string());
        assert_eq!(error.param, place, "{extra}: {error}");
        read(with(extra), Rules::Free).expect("free otherwise");
    }
    let fixed = json!({"temperature": 0.6, "top_p": 0.95, "n": 1, "presence_penalty": 0,
        "tool_choice": "required", "thinking": {"type": "disabled"}});
    let request = read(with(fixed), Rules::Kimi).expect("what the service allows");
    assert_eq!(request.chat.max_tokens, Some(32_768));
}

/// What a client writes is what the server reads.
#[test]
fn requests_come_through_unchanged() {
    let mut request = ChatRequest::new("m", vec![Message::system("s"), Message::user("u")]);
    request.priority = k25_chat::Priority::Interactive;
    request.conversation.messages.push(Message {
        content: Some(k25_chat::Content::Parts(vec![
            Part::Text("look".into()),
            Part::Media(Media {
                kind: MediaKind::Image,
                source: Some("data:image/png;base64,AA==".into()),
            }),
        ])),
        ..Message::user("")
    });
    request.conversation.messages.push(Message {
        content: None,
        reasoning: Some("why".into()),
        tool_calls: vec![k25_chat::ToolCall {
            id: "functions.f:0".into(),
            name: "f".into(),
            arguments: k25_chat::Arguments::Text("{\"a\": 1.50}".into()),
        }],
        ..Message::assistant("")
    });
    request
        .conversation
        .messages
        .push(Message::tool_result("functions.f:0", "4"));
    request.conversation.tools = vec![
        JsonValue::parse("{\"type\": \"function\", \"function\": {\"name\": \"f\"}}")
            .expect("JSON"),
    ];
    request.tool_choice = ToolChoice::Function("f".into());
    request.thinking = false;
    request.sampling = SamplingOptions {
        temperature: Some(0.6),
        top_p: Some(0.95),
        top_k: Some(5),
        min_p: Some(0.05),
        presence_penalty: Some(0.1),
        frequency_penalty: Some(-0.2),
        repetition_penalty: Some(1.05),
        logit_bias: vec![(7, 1.5)],
        seed: Some(u64::MAX),
    };
    request.max_tokens = Some(5);
    request.stop = vec!["\n\n".into()];
    request.logprobs = Some(2);
    request.response_format = ResponseFormat::JsonSchema {
        name: "s".into(),
        schema: JsonValue::parse("{\"type\": \"object\"}").expect("JSON"),
        strict: true,
    };
    let written = write_request(&request, UsageWish::AtTheEnd);
    let read = CompletionRequest::read(JsonValue::parse(&written).expect("JSON"), Rules::Free);
    let read = read.expect("what was written");
    assert_eq!(read.chat, request);
    assert!(read.stream && read.include_usage);
}

fn head() -> ReplyHead {
    ReplyHead {
        id: "chatcmpl-1".into(),
        created: 1,
        model: "m".into(),
        stops: vec!["END".into()],
    }
}

const USAGE: ChatUsage = ChatUsage {
    prompt_tokens: 9,
    cached_tokens: 4,
    completion_tokens: 7,
    reasoning_tokens: 2,
};

fn finished(message: &ParsedMessage) -> ChatEvent {
    let reason = match message.has_tool_calls() {
        true => ReplyEnd::ToolCalls,
        false => ReplyEnd::Stop,
    };
    ChatEvent::Finished {
        reason,
        usage: USAGE,
    }
}

/// A model's output as events, having come in pieces of at most `longest` bytes.
fn events(output: &str, thinking: bool, longest: usize, seed: u64) -> Vec<ChatEvent> {
    let parsed = events_of(random_chunks(output, longest, seed), thinking);
    let mut message = ParsedMessage::default();
    message.extend(&parsed);
    let mut events: Vec<_> = parsed.into_iter().map(ChatEvent::Output).collect();
    events.push(finished(&message));
    events
}

/// The chunks of an answer, read again.
fn through_chunks(events: &[ChatEvent]) -> Choice {
    let mut writer = ChunkWriter::new(head(), 0);
    let mut reader = ChunkReader::new();
    let mut choice = Choice::default();
    for chunk in events.iter().filter_map(|event| writer.write(event)) {
        reader.read(&chunk).expect("a chunk");
        while let Some(event) = reader.next_event() {
            choice.add(&event);
        }
    }
    choice.add(&reader.finish().expect("an end"));
    choice
}

/// The message of a `chat.completion`, as the OpenAI form has it.
fn whole(choice: &Choice) -> Value {
    let text = CompletionWriter::new(head()).write(std::slice::from_ref(choice), USAGE);
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn answers_have_the_form_that_clients_know() {
    let output = "why</think>Look:<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0\
                  <|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>";
    let mut choice = Choice::default();
    for event in events(output, true, 99, 1) {
        choice.add(&event);
    }
    choice.add(&ChatEvent::Tokens(vec![TokenLogprobs {
        chosen: TokenLogprob {
            id: Some(5),
            bytes: vec![0xE4],
            logprob: f32::NEG_INFINITY,
        },
        top: Vec::new(),
    }]));
    assert_eq!(
        whole(&choice),
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant", "reasoning_content": "why", "content": "Look:",
                    "tool_calls": [{"id": "functions.f:0", "type": "function",
                        "function": {"name": "f", "arguments": "{}"}}],
                },
                "logprobs": {"content": [
                    {"token": "\u{fffd}", "logprob": -9999.0, "bytes": [228], "top_logprobs": []}]},
                "finish_reason": "tool_calls",
            }],
            "usage": {
                "prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16, "cached_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        })
    );
}

#[test]
fn the_last_chunk_tells_the_usage() {
    let mut writer = ChunkWriter::new(head(), 3);
    let event = ChatEvent::Finished {
        reason: ReplyEnd::Length,
        usage: USAGE,
    };
    let chunk: Value = serde_json::from_str(&writer.write(&event).expect("a chunk")).expect("JSON");
    let choice = &chunk["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["index"], 3);
    assert_eq!(choice["usage"]["cached_tokens"], 4);
    assert_eq!(
        choice["delta"],
        json!({"role": "assistant"}),
        "even an empty answer has a role"
    );
    let last: Value = serde_json::from_str(&ChunkWriter::usage(&head(), USAGE)).expect("JSON");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["total_tokens"], 16);
}

#[test]
fn usage_before_the_first_word_is_its_beginning() {
    let chunk = |text: &str, prompt: u64| {
        json!({"choices": [{"index": 0, "delta": {"content": text}}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": 1}})
        .to_string()
    };
    let events = |chunks: &[String]| {
        let mut reader = ChunkReader::new();
        let mut events = Vec::new();
        for chunk in chunks {
            reader.read(chunk).expect("a chunk");
            events.extend(std::iter::from_fn(|| reader.next_event()));
        }
        events
    };
    let begun = ChatEvent::Begun { prompt_tokens: 7 };
    let told = events(&[chunk("", 7), chunk("a", 7), chunk("b", 7)]);
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], begun);
    // Too late for a beginning: usage at the end alone, or after a word.
    let told = events(&[chunk("a", 0), chunk("b", 7)]);
    assert!(!told.contains(&begun), "{told:?}");
}

#[test]
fn other_servers_chunks_are_read() {
    let mut reader = ChunkReader::new();
    let mut message = ParsedMessage::default();
    for chunk in [
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
        json!({"choices": [{"delta": {"reasoning": "r", "reasoning_content": "r"}}]}),
        json!({"choices": [{"index": 1, "delta": {"content": "another choice"}}]}),
        json!({"choices": [{"delta": {"tool_calls": [
            {"id": "call_1", "function": {"name": "f", "arguments": "{"}}]}}]}),
        json!({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "}"}}]}}]}),
        json!({"choices": [{"delta": {"tool_calls": [
            {"id": "call_2", "function": {"name": "g", "arguments": null}}]}}]}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
    ] {
        reader.read(&chunk.to_string()).expect("a chunk");
        while let Some(ChatEvent::Output(event)) = reader.next_event() {
            message.add(&event);
        }
    }
    assert_eq!(message.reasoning.as_deref(), Some("r"));
    assert_eq!(message.content, None);
    let calls: Vec<_> = message
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
    assert_eq!(calls, [("call_1", "f", "{}"), ("call_2", "g", "")]);
    let usage = ChatUsage {
        prompt_tokens: 3,
        completion_tokens: 2,
        ..ChatUsage::default()
    };
    let reason = ReplyEnd::ToolCalls;
    assert_eq!(reader.finish(), Ok(ChatEvent::Finished { reason, usage }));
}

#[test]
fn broken_streams_are_errors() {
    let mut reader = ChunkReader::new();
    assert!(matches!(reader.read("{"), Err(ChunkError::Form(_))));
    assert!(matches!(
        reader.read("{\"error\": {\"message\": \"busy\"}}"),
        Err(ChunkError::Reported { message, .. }) if message == "busy"
    ));
    assert_eq!(reader.finish(), Err(ChunkError::CutShort));
    let call = |index: usize, arguments: &str| {
        json!({"choices": [{"delta": {"tool_calls": [{"index": index,
            "function": {"name": "f", "arguments": arguments}}]}}]})
        .to_string()
    };
    reader.read(&call(0, "{")).expect("begins");
    reader.read(&call(1, "{}")).expect("begins");
    assert_eq!(reader.read(&call(0, "}")), Err(ChunkError::Interleaved(0)));
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("</think>".to_owned()),
        Just("<think>".to_owned()),
        Just("<|tool_calls_section_begin|>".to_owned()),
        Just("<|tool_calls_section_end|>".to_owned()),
        Just("<|tool_call_begin|>".to_owned()),
        Just("<|tool_call_argument_begin|>".to_owned()),
        Just("<|tool_call_end|>".to_owned()),
        Just("functions.look-up:0".to_owned()),
        Just("{\"q\": \"é\\n\"}".to_owned()),
        "[a-z<| ]{0,8}",
        Just("\u{1F600}".to_owned()),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Streams, cut anywhere, equal the whole answer, and both equal what the model said.
    #[test]
    fn streams_equal_whole_answers(
        output in pieces(),
        thinking: bool,
        longest in 1usize..40,
        seed: u64,
    ) {
        let events = events(&output, thinking, longest, seed);
        let streamed = through_chunks(&events);
        let mut direct = Choice::default();
        events.iter().for_each(|event| direct.add(event));
        prop_assert_eq!(&streamed.reply, &direct.reply);
        prop_assert_eq!(whole(&streamed), whole(&direct));
        let text = whole(&direct)["choices"][0]["message"].to_string();
        // What is left of a marker's name can only be text that the model spelt in an id or in arguments.
        let in_calls = direct.reply.message.tool_calls.iter()
            .map(|call| call.arguments.matches("<|tool").count() + call.id.matches("<|tool").count()
                + call.name.matches("<|tool").count()).sum::<usize>();
        prop_assert_eq!(text.matches("<|tool").count(), in_calls);
    }
}

#[test]
fn events_of_calls_keep_their_numbers() {
    let output = "<|tool_call_begin|>functions.a:0<|tool_call_argument_begin|>{}<|tool_call_end|>\
                  <|tool_call_begin|>functions.b:1<|tool_call_argument_begin|>{}<|tool_call_end|>";
    let choice = through_chunks(&events(output, false, 30, 2));
    let ids: Vec<_> = choice
        .reply
        .message
        .tool_calls
        .iter()
        .map(|c| c.id.as_str())
        .collect();
    assert_eq!(ids, ["functions.a:0", "functions.b:1"]);
    assert_eq!(choice.reply.end, Some(ReplyEnd::ToolCalls));
    assert!(matches!(
        events(output, false, 999, 3)[0],
        ChatEvent::Output(ParserEvent::ToolCallBegin { index: 0, .. })
    ));
}

#[test]
fn the_stop_text_is_told_and_read() {
    let met = ChatEvent::Finished {
        reason: ReplyEnd::StopText(0),
        usage: ChatUsage::default(),
    };
    let chunk = ChunkWriter::new(head(), 0).write(&met).expect("a chunk");
    assert!(
        chunk.contains(r#""finish_reason":"stop","stop_reason":"END""#),
        "{chunk}"
    );
    let read = |stops: Vec<String>, chunk: &str| {
        let mut reader = ChunkReader::with_stops(stops);
        reader.read(chunk).expect("a chunk");
        reader.finish().expect("an end")
    };
    let other = || "OTHER".to_owned();
    let reason = |end| match end {
        ChatEvent::Finished { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(read(vec![other(), "END".to_owned()], &chunk)),
        ReplyEnd::StopText(1)
    );
    assert_eq!(reason(read(vec![other()], &chunk)), ReplyEnd::Stop);
    // The id of a token, as vLLM tells it.
    let by_id = chunk.replace("\"END\"", "163586");
    assert_eq!(reason(read(vec![other()], &by_id)), ReplyEnd::Stop);
}
