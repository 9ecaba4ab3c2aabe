//! The renderer against prompts that the reference's chat template printed.

use std::fs;

use k25_chat::{
    Content, Conversation, JsonObject, JsonValue, MediaKind, Message, Prompt, Reading,
    RenderOptions, Segment, SpecialToken, TemplateVersion, Tokenizer, fill_media, image_prompt,
    render, rewrite_tool_call_ids, segments_to_text, video_chunk_prompt,
};
use proptest::prelude::*;

fn cases() -> Vec<JsonValue> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/chat_renderings.json"
    );
    let text = fs::read_to_string(path).expect("the renderings are part of the repository");
    let JsonValue::Array(cases) = JsonValue::parse(&text).expect("the renderings are JSON") else {
        panic!("the renderings are an array");
    };
    assert!(cases.len() >= 32, "only {} renderings", cases.len());
    cases
}

fn prompt(case: &JsonValue, reading: Reading) -> Prompt {
    let object = case.as_object().expect("a case is an object");
    let no_options = JsonObject::new();
    let kwargs = object["kwargs"].as_object().unwrap_or(&no_options);
    let options = RenderOptions::from_kwargs(kwargs).expect("the options are booleans");
    let conversation = Conversation::read(case.clone(), reading).expect("a conversation");
    render(&conversation, &options)
}

fn rendered(case: &JsonValue, reading: Reading) -> String {
    segments_to_text(&prompt(case, reading).segments)
}

fn tokenizer() -> Tokenizer {
    Tokenizer::open(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/tokenizer"
    ))
    .expect("the tokenizer is part of the repository")
}

fn string<'a>(case: &'a JsonValue, key: &str) -> &'a str {
    case.as_object()
        .and_then(|case| case.get(key)?.as_str())
        .expect("a string")
}

#[test]
fn every_reference_rendering_is_reproduced() {
    for version in [TemplateVersion::K25, TemplateVersion::K26] {
        for case in cases() {
            let text = rendered(&case, Reading::Reference(version));
            assert_eq!(
                text,
                string(&case, "rendered"),
                "{}, {version:?}",
                string(&case, "name")
            );
        }
    }
}

#[test]
fn a_service_renders_the_same_but_for_a_null_reasoning() {
    for case in cases() {
        let expected = string(&case, "rendered").replace("<think>None</think>", "<think></think>");
        assert_eq!(
            rendered(&case, Reading::Service),
            expected,
            "{}",
            string(&case, "name")
        );
    }
}

fn ids(case: &JsonValue) -> Vec<u32> {
    let JsonValue::Array(ids) = &case.as_object().expect("a case is an object")["ids"] else {
        panic!("ids are an array");
    };
    let id = |id: &JsonValue| id.to_json().parse().expect("an id is an integer");
    ids.iter().map(id).collect()
}

/// The reference encodes the printed prompt and takes every marker in it for a special token; we
/// encode the segments. The two differ exactly where a text looks like a marker.
#[test]
fn segments_have_the_ids_of_the_reference() {
    let tokenizer = tokenizer();
    let mut forged = Vec::new();
    for case in cases() {
        let prompt = prompt(&case, Reading::Reference(TemplateVersion::K25));
        let (expected, name) = (ids(&case), string(&case, "name"));
        let text = segments_to_text(&prompt.segments);
        assert_eq!(tokenizer.encode_with_specials(&text), expected, "{name}");
        if texts(&prompt.segments)
            .any(|text| SpecialToken::ALL.iter().any(|s| text.contains(s.text())))
        {
            forged.push(name.to_owned());
            assert_ne!(
                tokenizer.encode_segments(&prompt.segments),
                expected,
                "{name}"
            );
        } else {
            assert_eq!(
                tokenizer.encode_segments(&prompt.segments),
                expected,
                "{name}"
            );
        }
    }
    assert!(
        forged.iter().any(|name| name == "special_text_in_user"),
        "{forged:?}"
    );
}

fn texts(segments: &[Segment]) -> impl Iterator<Item = &str> {
    segments.iter().filter_map(|segment| match segment {
        Segment::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

fn markers(prompt: &Prompt) -> Vec<&Segment> {
    prompt
        .segments
        .iter()
        .filter(|segment| !matches!(segment, Segment::Text(_)))
        .collect()
}

/// Every text slot of a conversation, filled with `text`.
fn conversation_of(text: &str) -> Conversation {
    let template = r#"{"tools": [{"type": "function", "function": {"name": "T", "description": "T",
        "parameters": {"type": "object", "properties": {"T": {"enum": ["T"]}}}}}], "messages": [
        {"role": "system", "content": "T"},
        {"role": "T", "name": "T", "content": "T"},
        {"role": "user", "name": "T", "content": [{"type": "text", "text": "T"},
            {"type": "image_url", "image_url": "T"}, {"type": "video", "video": "T"}, {"type": "T", "text": "T"}]},
        {"role": "assistant", "content": "T", "reasoning_content": "T", "tool_calls": [
            {"id": "T", "function": {"name": "T", "arguments": "T"}},
            {"id": "T", "function": {"name": "T", "arguments": {"T": ["T"]}}}]},
        {"role": "tool", "tool_call_id": "T", "content": "T"},
        {"role": "tool", "name": "T", "tool_call_id": "T", "content": [{"type": "text", "text": "T"}]}]}"#;
    let quoted = JsonValue::from(text).to_json();
    Conversation::parse(&template.replace("\"T\"", &quoted), Reading::Service)
        .expect("a conversation")
}

/// Text with markers, or with nothing special at all.
fn any_text() -> impl Strategy<Value = String> {
    let marker =
        proptest::sample::select(SpecialToken::ALL).prop_map(|token| token.text().to_owned());
    let placeholder = Just(MediaKind::Video.placeholder().to_owned());
    let piece = prop_oneof![any::<String>(), marker, placeholder, Just("\n".to_owned())];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_changes_the_markers(text in any_text(), thinking: bool, preserve_thinking: bool) {
        // A role of one of the known names is a choice of the marker, and not a text; an empty name
        // and an unknown type of a part without text are shapes of their own.
        prop_assume!(!["", "user", "assistant", "tool", "image", "image_url", "video", "video_url"]
            .contains(&text.as_str()));
        let options = RenderOptions { thinking, preserve_thinking, ..RenderOptions::default() };
        let prompt = render(&conversation_of(&text), &options);
        let plain = render(&conversation_of("t"), &options);
        prop_assert_eq!(markers(&prompt), markers(&plain));

        let tokenizer = tokenizer();
        let specials = |prompt: &Prompt| {
            let ids = tokenizer.encode_segments(&prompt.segments);
            ids.into_iter().filter(|&id| id >= tokenizer.n_base()).collect::<Vec<_>>()
        };
        prop_assert_eq!(specials(&prompt), specials(&plain));
    }

    #[test]
    fn neighbouring_text_is_one_segment(text in any_text()) {
        let segments = render(&conversation_of(&text), &RenderOptions::default()).segments;
        let is_text = |segment: &Segment| matches!(segment, Segment::Text(_));
        prop_assert!(!segments.windows(2).any(|pair| pair.iter().all(is_text)));
        prop_assert!(texts(&segments).all(|text| !text.is_empty()));
    }

    #[test]
    fn any_document_is_rendered_or_refused(document in any_document(), options in any_options()) {
        for reading in [
            Reading::Service,
            Reading::Reference(TemplateVersion::K25),
            Reading::Reference(TemplateVersion::K26),
        ] {
            if let Ok(mut conversation) = Conversation::read(document.clone(), reading) {
                let prompt = render(&conversation, &options);
                let slots = prompt.segments.iter().filter(|s| matches!(s, Segment::Media { .. }));
                prop_assert_eq!(slots.count(), conversation.media().count());
                let _ = rewrite_tool_call_ids(&mut conversation.messages);
            }
        }
    }
}

fn any_options() -> impl Strategy<Value = RenderOptions> {
    any::<(bool, bool, bool)>().prop_map(|(thinking, preserve_thinking, add_generation_prompt)| {
        RenderOptions {
            thinking,
            preserve_thinking,
            add_generation_prompt,
        }
    })
}

/// Documents made of the words of the message form and of JSON schema, in any order.
fn any_document() -> impl Strategy<Value = JsonValue> {
    const WORDS: &[&str] = &[
        "messages",
        "tools",
        "role",
        "user",
        "assistant",
        "tool",
        "content",
        "type",
        "text",
        "image",
        "image_url",
        "url",
        "name",
        "reasoning_content",
        "reasoning",
        "tool_calls",
        "tool_call_id",
        "id",
        "function",
        "arguments",
        "partial",
        "parameters",
        "properties",
        "required",
        "$ref",
        "#",
        "$defs",
        "#/$defs/a",
        "a",
        "anyOf",
        "enum",
        "object",
        "array",
        "items",
        "string",
        "integer",
        "description",
        "default",
        "additionalProperties",
        "functions.a:0",
        "",
    ];
    let word = || proptest::sample::select(WORDS);
    let leaf = prop_oneof![
        Just(JsonValue::Null),
        any::<bool>().prop_map(JsonValue::from),
        any::<i64>().prop_map(JsonValue::from),
        any::<f64>().prop_map(JsonValue::from),
        word().prop_map(JsonValue::from),
    ];
    let value = leaf.prop_recursive(8, 96, 6, move |inner| {
        let pair = (word().prop_map(str::to_owned), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(JsonValue::from),
            proptest::collection::vec(pair, 0..6)
                .prop_map(|pairs| { JsonValue::from(pairs.into_iter().collect::<JsonObject>()) }),
        ]
    });
    let message = (
        proptest::sample::select(&["user", "assistant", "tool"][..]),
        value.clone(),
    )
        .prop_map(|(role, value)| {
            let mut message = value.as_object().cloned().unwrap_or_default();
            message.insert("role".to_owned(), JsonValue::from(role));
            JsonValue::from(message)
        });
    let messages = proptest::collection::vec(prop_oneof![4 => message, 1 => value.clone()], 0..5);
    let function = value.clone().prop_map(|parameters| {
        let function = [("name", JsonValue::from("f")), ("parameters", parameters)];
        object([
            ("type", JsonValue::from("function")),
            ("function", object(function)),
        ])
    });
    let tools = proptest::collection::vec(prop_oneof![4 => function, 1 => value], 0..3);
    (messages, tools).prop_map(|(messages, tools)| {
        object([("messages", messages.into()), ("tools", tools.into())])
    })
}

fn object<const N: usize>(pairs: [(&str, JsonValue); N]) -> JsonValue {
    JsonValue::from(
        pairs
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect::<JsonObject>(),
    )
}

fn text_of(messages: Vec<Message>, options: &RenderOptions) -> (String, bool) {
    let prompt = render(&Conversation::new(messages), options);
    (segments_to_text(&prompt.segments), prompt.ends_in_reasoning)
}

fn partial(content: &str, reasoning: Option<&str>) -> Message {
    let reasoning = reasoning.map(str::to_owned);
    Message {
        reasoning,
        partial: true,
        ..Message::assistant(content)
    }
}

#[test]
fn a_partial_answer_is_left_open() {
    let thinking = RenderOptions::default();
    let instant = RenderOptions {
        thinking: false,
        ..thinking
    };
    let rendered = |last: Message, options: &RenderOptions| {
        let (text, in_reasoning) = text_of(vec![Message::user("q"), last], options);
        let tail = text
            .strip_prefix("<|im_user|>user<|im_middle|>q<|im_end|>")
            .expect("the question");
        (tail.to_owned(), in_reasoning)
    };
    let open = |body: &str| format!("<|im_assistant|>assistant<|im_middle|>{body}");
    let cases = [
        (partial("It is", None), "<think></think>It is", false),
        (
            partial("It is", Some("why")),
            "<think>why</think>It is",
            false,
        ),
        (partial("", Some("wh")), "<think>wh", true),
        (partial("", None), "<think>", true),
    ];
    for (message, body, in_reasoning) in cases {
        assert_eq!(rendered(message, &thinking), (open(body), in_reasoning));
    }
    assert_eq!(
        rendered(partial("It", Some("why")), &instant),
        (open("<think></think>It"), false)
    );
    assert_eq!(
        rendered(partial("", Some("why")), &instant),
        (open("<think></think>"), false)
    );

    let named = Message {
        name: Some("kimi".to_owned()),
        ..partial("It", None)
    };
    assert_eq!(
        rendered(named, &thinking).0,
        "<|im_assistant|>kimi<|im_middle|><think></think>It"
    );
    // Without a generation prompt the message is an answer like any other.
    let closed = RenderOptions {
        add_generation_prompt: false,
        ..thinking
    };
    assert_eq!(
        rendered(partial("It", None), &closed).0,
        open("<think></think>It<|im_end|>")
    );
}

/// The answer that is continued is no part of the history: the reasoning of the turn stays.
#[test]
fn a_partial_answer_does_not_end_the_turn() {
    let mut conversation = Conversation::parse(
        r#"[{"role": "user", "content": "q"}, {"role": "assistant", "reasoning_content": "why", "tool_calls":
            [{"id": "functions.f:0", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "functions.f:0", "content": "r"}]"#,
        Reading::Service,
    )
    .expect("a conversation");
    conversation.messages.push(partial("It", None));
    let text = segments_to_text(&render(&conversation, &RenderOptions::default()).segments);
    assert!(
        text.contains("<think>why</think><|tool_calls_section_begin|>"),
        "{text}"
    );
}

#[test]
fn preserve_thinking_keeps_the_reasoning_of_every_answer() {
    let answer = Message {
        reasoning: Some("why".to_owned()),
        ..Message::assistant("a")
    };
    let messages = vec![Message::user("q"), answer, Message::user("r")];
    let history = "<|im_user|>user<|im_middle|>q<|im_end|><|im_assistant|>assistant<|im_middle|>\
                   <think>why</think>a<|im_end|><|im_user|>user<|im_middle|>r<|im_end|>\
                   <|im_assistant|>assistant<|im_middle|>";
    let keep = RenderOptions {
        preserve_thinking: true,
        ..RenderOptions::default()
    };
    assert_eq!(
        text_of(messages.clone(), &keep),
        (format!("{history}<think>"), true)
    );
    let instant = RenderOptions {
        thinking: false,
        ..keep
    };
    assert_eq!(
        text_of(messages, &instant),
        (format!("{history}<think></think>"), false)
    );
}

#[test]
fn media_slots_are_filled_in_place() {
    let conversation = Conversation::parse(
        r#"[{"role": "user", "content": [{"type": "text", "text": "see "}, {"type": "video", "video": "v"},
            {"type": "image", "image": "i"}]}]"#,
        Reading::Service,
    )
    .expect("a conversation");
    let segments = render(&conversation, &RenderOptions::default()).segments;
    let mut slots = Vec::new();
    let filled = fill_media(segments.clone(), |kind, index| {
        slots.push((kind, index));
        Ok::<_, ()>(match kind {
            MediaKind::Image => image_prompt(2),
            MediaKind::Video => [
                video_chunk_prompt("00:00:00.000", 1),
                video_chunk_prompt("00:00:02.000", 3),
            ]
            .concat(),
        })
    })
    .expect("every slot is filled");
    assert_eq!(slots, [(MediaKind::Video, 0), (MediaKind::Image, 1)]);
    assert_eq!(
        segments_to_text(&filled),
        "<|im_user|>user<|im_middle|>see 00:00:00.000<|media_begin|>video<|media_content|><|media_pad|>\
         <|media_end|>00:00:02.000<|media_begin|>video<|media_content|><|media_pad|><|media_pad|>\
         <|media_pad|><|media_end|>\n<|media_begin|>image<|media_content|><|media_pad|><|media_pad|>\
         <|media_end|>\n<|im_end|><|im_assistant|>assistant<|im_middle|><think>"
    );
    assert_eq!(
        filled[3],
        Segment::Text("see 00:00:00.000".to_owned()),
        "one text, one encoding"
    );
    let pads = filled
        .iter()
        .filter(|&s| *s == Segment::Special(SpecialToken::MediaPad))
        .count();
    assert_eq!(pads, 6);
    assert_eq!(fill_media(segments, |_, index| Err(index)), Err(0));
    assert_eq!(
        segments_to_text(&image_prompt(1)),
        MediaKind::Image.placeholder()
    );
}

#[test]
fn options_are_read_from_keyword_arguments() {
    let read = |text: &str| {
        let kwargs = JsonValue::parse(text).expect(text);
        RenderOptions::from_kwargs(kwargs.as_object().expect("an object"))
    };
    let options = RenderOptions {
        thinking: false,
        preserve_thinking: true,
        add_generation_prompt: false,
    };
    let all =
        r#"{"thinking": false, "preserve_thinking": true, "add_generation_prompt": false, "x": 1}"#;
    assert_eq!(read(all), Ok(options));
    assert_eq!(read(r#"{"thinking": null}"#), Ok(RenderOptions::default()));
    let error = read(r#"{"thinking": "no"}"#)
        .expect_err("not a boolean")
        .to_string();
    assert!(
        error.starts_with("thinking: expected a boolean, found a string; hint: "),
        "{error}"
    );
}

#[test]
fn content_of_one_text_part_is_that_text() {
    let parts = r#"[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]"#;
    let parts = Conversation::parse(parts, Reading::Service).expect("parts");
    let text = Message {
        content: Some(Content::Text("ab".to_owned())),
        ..Message::user("")
    };
    let options = RenderOptions::default();
    assert_eq!(
        render(&parts, &options),
        render(&Conversation::new(vec![text]), &options)
    );
}
