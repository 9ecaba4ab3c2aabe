//! The tool declaration against what the reference's encoder printed.

use std::fs;

use k25_chat::{
    Conversation, JsonValue, Message, RenderOptions, declare_tools, render, segments_to_text,
    typescript_declaration,
};

#[test]
fn every_reference_declaration_is_reproduced() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tool_declarations.json");
    let text = fs::read_to_string(path).expect("the declarations are part of the repository");
    let JsonValue::Array(cases) = JsonValue::parse(&text).expect("the declarations are JSON") else {
        panic!("the declarations are an array");
    };
    assert!(cases.len() >= 23, "only {} declarations", cases.len());
    for case in &cases {
        let case = case.as_object().expect("a case is an object");
        let name = case["name"].as_str().expect("a case has a name");
        let JsonValue::Array(tools) = &case["tools"] else { panic!("{name}: tools") };

        let typescript = typescript_declaration(tools);
        assert_eq!(typescript.as_deref().ok(), case["expected_ts"].as_str(), "{name}");
        assert_eq!(declare_tools(tools).fallback, typescript.err(), "{name}");

        let mut conversation = Conversation::new(vec![Message::user("q")]);
        conversation.tools = tools.clone();
        let prompt = render(&conversation, &RenderOptions::default());
        assert_eq!(segments_to_text(&prompt.segments), case["rendered"].as_str().unwrap(), "{name}");
    }
}
