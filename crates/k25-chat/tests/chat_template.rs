//! The renderer against prompts that the reference's chat template printed.

use std::fs;

use k25_chat::{
    Conversation, JsonObject, JsonValue, Reading, RenderOptions, TemplateVersion, render,
    segments_to_text,
};

fn cases() -> Vec<JsonValue> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/chat_renderings.json");
    let text = fs::read_to_string(path).expect("the renderings are part of the repository");
    let JsonValue::Array(cases) = JsonValue::parse(&text).expect("the renderings are JSON") else {
        panic!("the renderings are an array");
    };
    assert!(cases.len() >= 32, "only {} renderings", cases.len());
    cases
}

fn rendered(case: &JsonValue, reading: Reading) -> String {
    let object = case.as_object().expect("a case is an object");
    let no_options = JsonObject::new();
    let kwargs = object["kwargs"].as_object().unwrap_or(&no_options);
    let options = RenderOptions::from_kwargs(kwargs).expect("the options are booleans");
    let conversation = Conversation::read(case.clone(), reading).expect("a conversation");
    segments_to_text(&render(&conversation, &options).segments)
}

fn string<'a>(case: &'a JsonValue, key: &str) -> &'a str {
    case.as_object().and_then(|case| case.get(key)?.as_str()).expect("a string")
}

#[test]
fn every_reference_rendering_is_reproduced() {
    for version in [TemplateVersion::K25, TemplateVersion::K26] {
        for case in cases() {
            let text = rendered(&case, Reading::Reference(version));
            assert_eq!(text, string(&case, "rendered"), "{}, {version:?}", string(&case, "name"));
        }
    }
}

#[test]
fn a_service_renders_the_same_but_for_a_null_reasoning() {
    for case in cases() {
        let expected = string(&case, "rendered").replace("<think>None</think>", "<think></think>");
        assert_eq!(rendered(&case, Reading::Service), expected, "{}", string(&case, "name"));
    }
}
