//! `k25 render`, against the reference's renderings.

use serde_json::{Value, json};

use crate::command::{Folder, fixture, fixture_json, k25, k25_with_input};

/// The flags that a rendering's keyword arguments stand for.
fn flags(kwargs: &Value) -> Vec<&'static str> {
    let is = |key: &str, value: bool| kwargs[key] == json!(value);
    let mut flags = Vec::new();
    flags.extend(is("thinking", false).then_some("--instant"));
    flags.extend(is("add_generation_prompt", false).then_some("--no-generation-prompt"));
    flags.extend(is("preserve_thinking", true).then_some("--preserve-thinking"));
    flags
}

#[test]
fn every_rendering_is_the_reference_s() {
    let cases = fixture_json("chat_renderings.json");
    let cases = cases.as_array().expect("cases");
    assert!(cases.len() >= 32);
    for case in cases {
        let conversation =
            json!({"messages": case["messages"], "tools": case["tools"]}).to_string();
        let tokenizer = fixture("tokenizer");
        let mut arguments = vec![
            "render",
            "-",
            "--verbatim",
            "--json",
            "--ids",
            "--tokenizer",
            &tokenizer,
        ];
        arguments.extend(flags(&case["kwargs"]));
        let json = k25_with_input(arguments, conversation.as_bytes()).json();
        assert_eq!(json["prompt"], case["rendered"], "{}", case["name"]);
        assert_eq!(json["ids"], case["ids"], "{}", case["name"]);
    }
}

#[test]
fn foreign_call_ids_are_mended_unless_verbatim() {
    let conversation = json!([
        {"role": "assistant", "content": null,
         "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]);
    let folder = Folder::empty();
    let path = folder.with("conversation.json", conversation.to_string());
    let mended = k25(["render", &path]).success();
    assert!(
        mended.contains("functions.f:0") && !mended.contains("call_1"),
        "{mended}"
    );
    assert!(
        k25(["render", &path, "--verbatim"])
            .success()
            .contains("call_1")
    );
}

#[test]
fn tools_come_from_a_file_too() {
    let folder = Folder::empty();
    let path = folder.with("c.json", r#"[{"role": "user", "content": "Hi"}]"#);
    let tool = json!({"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}});
    let tools = folder.with("tools.json", json!([tool]).to_string());
    let text = k25(["render", &path, "--tools", &tools]).success();
    assert!(text.contains("type now = (_: {}) => any;"), "{text}");
    let broken = folder.with("broken.json", "{}");
    k25(["render", &path, "--tools", &broken]).fails(&["broken.json: tools are"]);
}

#[test]
fn a_conversation_that_is_none_is_named() {
    let folder = Folder::empty();
    let cases = [
        ("{", "not JSON at line 1"),
        ("17", "conversation: expected an array or an object"),
        (r#"[{"content": "x"}]"#, "messages[0].role: missing"),
        (
            r#"[{"role": "user", "content": [{"type": "audio"}]}]"#,
            "messages[0].content[0].type",
        ),
    ];
    for (text, part) in cases {
        let path = folder.with("conversation.json", text);
        k25(["render", &path]).fails(&[&path, part]);
    }
    let deep = "[".repeat(1_000_000);
    k25_with_input(["render", "-"], deep.as_bytes()).fails(&["standard input", "deeper than"]);
    k25(["render", "/no/such/file.json"]).fails(&["cannot read /no/such/file.json"]);
    k25(["render", &folder.arg("")]).fails(&["it is a folder"]);
}
