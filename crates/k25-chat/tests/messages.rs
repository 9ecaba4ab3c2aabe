//! Reading conversations: what is taken, what is refused, and with which words.

use k25_chat::{
    Arguments, Content, Conversation, JsonValue, Media, MediaKind, MessageError, Part, Reading,
    Role, TemplateVersion,
};

const REFERENCE: Reading = Reading::Reference(TemplateVersion::K25);

fn read(text: &str) -> Conversation {
    Conversation::parse(text, Reading::Service).expect(text)
}

#[test]
fn a_conversation_with_everything_is_read() {
    let conversation = read(
        r#"{"model": "ignored", "tools": [{"type": "function", "function": {"name": "f"}}], "messages": [
            {"role": "developer", "content": "s", "name": "planner"},
            {"role": "user", "content": [{"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "video_url", "video_url": "ms://file-1"}, {"type": "image", "path": "a.png"},
                {"type": "note", "text": "unknown, but text"}]},
            {"role": "assistant", "content": null, "reasoning": "why", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "f", "arguments": {"a": 1.0}}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "r", "reasoning_content": 5},
            {"role": "assistant", "content": "The answer", "name": "", "partial": true}]}"#,
    );
    let [planner, user, caller, tool, partial] = conversation.messages.as_slice() else {
        panic!("five messages");
    };
    assert_eq!(conversation.tools.len(), 1);
    assert_eq!(planner.role, Role::Other("developer".to_owned()));
    assert_eq!(planner.name.as_deref(), Some("planner"));
    let media = |kind, source: &str| Media {
        kind,
        source: Some(source.to_owned()),
    };
    let expected = [
        media(MediaKind::Image, "data:image/png;base64,AA=="),
        media(MediaKind::Video, "ms://file-1"),
        media(MediaKind::Image, "a.png"),
    ];
    assert!(conversation.media().eq(&expected));
    let Some(Content::Parts(parts)) = &user.content else {
        panic!("parts")
    };
    assert_eq!(parts[4], Part::Text("unknown, but text".to_owned()));
    assert_eq!(
        (&caller.content, caller.reasoning.as_deref()),
        (&None, Some("why"))
    );
    assert_eq!(
        caller.tool_calls[0].arguments,
        Arguments::Text("{}".to_owned())
    );
    assert!(
        matches!(&caller.tool_calls[1].arguments, Arguments::Json(json) if json.to_json() == r#"{"a": 1.0}"#)
    );
    assert_eq!(
        (tool.tool_call_id.as_deref(), &tool.reasoning),
        (Some("c1"), &None)
    );
    assert_eq!((partial.partial, &partial.name), (true, &None));
}

/// What is sent, and the beginning of the answer.
const REFUSED: &[(&str, &str)] = &[
    (
        "[{]",
        "conversation: not JSON at line 1, column 3: expected a key in double quotes; hint: ",
    ),
    (
        "5",
        "conversation: expected an array or an object, found a number; hint: ",
    ),
    (r#"{"message": []}"#, "messages: missing; hint: "),
    (
        r#"{"messages": {}}"#,
        "messages: expected an array, found an object; hint: ",
    ),
    (
        r#"["hello"]"#,
        "messages[0]: expected an object, found a string; hint: ",
    ),
    (r#"[{"content": "x"}]"#, "messages[0].role: missing; hint: "),
    (
        r#"[{"role": "user"}, {"role": 5}]"#,
        "messages[1].role: expected a string, found a number; hint: ",
    ),
    (
        r#"[{"role": "user", "content": 5}]"#,
        "messages[0].content: expected a string, an array of parts or null, found a number; hint: ",
    ),
    (
        r#"[{"role": "user", "content": {"text": "x"}}]"#,
        "messages[0].content: expected a string, an array",
    ),
    (
        r#"[{"role": "user", "content": ["x"]}]"#,
        "messages[0].content[0]: expected an object, found a string; hint: ",
    ),
    (
        r#"[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "data": ""}]}]"#,
        "messages[0].content[1].type: expected text, image_url or video_url, found \"input_audio\"; hint: ",
    ),
    (
        r#"[{"role": "user", "content": [{"type": "text"}]}]"#,
        "messages[0].content[0].text: missing; hint: ",
    ),
    (
        r#"[{"role": "user", "content": [{"type": "image_url"}]}]"#,
        "messages[0].content[0].image_url: missing; hint: ",
    ),
    (
        r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"uri": 1}}]}]"#,
        "messages[0].content[0].image_url: expected a string, or an object with `url`, found an object; hint: ",
    ),
    (
        r#"[{"role": "user", "name": ["x"]}]"#,
        "messages[0].name: expected a string, found an array; hint: ",
    ),
    (
        r#"[{"role": "assistant", "tool_calls": {}}]"#,
        "messages[0].tool_calls: expected an array, found an object; hint: ",
    ),
    (
        r#"[{"role": "assistant", "tool_calls": [{"id": "x"}]}]"#,
        "messages[0].tool_calls[0].function: missing; hint: ",
    ),
    (
        r#"[{"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": null}}]}]"#,
        "messages[0].tool_calls[0].function.arguments: missing; hint: ",
    ),
    (
        r#"[{"role": "assistant", "reasoning_content": 1}]"#,
        "messages[0].reasoning_content: expected a string, found a number; hint: ",
    ),
    (
        r#"[{"role": "assistant", "partial": "yes"}]"#,
        "messages[0].partial: expected a boolean, found a string; hint: ",
    ),
    (
        r#"[{"role": "assistant", "partial": true}, {"role": "user"}]"#,
        "messages[0].partial: expected false, found true; hint: ",
    ),
    (
        r#"[{"role": "user", "partial": true}]"#,
        "messages[0].partial: expected false, found true; hint: ",
    ),
    (
        r#"{"messages": [], "tools": {}}"#,
        "tools: expected an array, found an object; hint: ",
    ),
    (
        r#"{"messages": [], "tools": ["f"]}"#,
        "tools[0]: expected an object, found a string; hint: ",
    ),
];

#[test]
fn a_refusal_names_the_place_and_the_next_step() {
    for (text, expected) in REFUSED {
        let error = Conversation::parse(text, Reading::Service)
            .expect_err(text)
            .to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
        assert!(error.contains("; hint: "), "{error}");
    }
}

#[test]
fn the_reference_reads_nulls_and_numbers_as_its_template_prints_them() {
    let text = r#"[{"role": "assistant", "reasoning_content": null, "reasoning": "r", "partial": true,
        "name": null, "content": [{"type": "text", "text": null}, {"type": "x"}, 5, {"text": 1.0},
        {"type": "image", "image": 5}]}, {"role": "tool", "tool_call_id": null, "content": {"a": 1}}]"#;
    let conversation = Conversation::parse(text, REFERENCE).expect("the template takes it");
    let [assistant, tool] = conversation.messages.as_slice() else {
        panic!("two messages")
    };
    assert_eq!(assistant.reasoning.as_deref(), Some("None"));
    assert!(!assistant.partial);
    let text = |text: &str| Part::Text(text.to_owned());
    let media = Part::Media(Media {
        kind: MediaKind::Image,
        source: None,
    });
    let parts = vec![text("None"), text(""), text(""), text("1.0"), media];
    assert_eq!(assistant.content, Some(Content::Parts(parts)));
    assert_eq!(
        (tool.tool_call_id.as_deref(), &tool.content),
        (Some("None"), &None)
    );
}

#[test]
fn the_key_of_the_reasoning_depends_on_the_reader() {
    let text = r#"[{"role": "assistant", "reasoning_content": "old", "reasoning": "new"}]"#;
    let reasoning = |text: &str, reading| {
        Conversation::parse(text, reading).expect(text).messages[0]
            .reasoning
            .clone()
            .unwrap_or_default()
    };
    assert_eq!(reasoning(text, Reading::Service), "old");
    assert_eq!(reasoning(text, REFERENCE), "old");
    assert_eq!(
        reasoning(text, Reading::Reference(TemplateVersion::K26)),
        "new"
    );
    let null = r#"[{"role": "assistant", "reasoning_content": null, "reasoning": "new"}]"#;
    assert_eq!(reasoning(null, Reading::Service), "new");
    assert_eq!(reasoning(null, REFERENCE), "None");
}

#[test]
fn hostile_documents_end_in_an_error() {
    let deep = format!(
        "[{{\"role\": \"user\", \"content\": {}",
        "[".repeat(1_000_000)
    );
    let error = Conversation::parse(&deep, Reading::Service).expect_err("too deep");
    assert!(matches!(error, MessageError::Json(_)), "{error}");
    let wide = JsonValue::Array(vec![JsonValue::Null; 1_000_000]);
    assert!(Conversation::read(wide, Reading::Service).is_err());
}
