//! JSON as Python reads it, and tools declared to the model.
#![no_main]

use k25_chat::{JsonValue, declare_tools};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(value) = JsonValue::parse(text) else {
        return;
    };
    // Compared as text, since NaN is not equal to itself.
    for written in [value.to_json(), value.to_compact_json()] {
        let again = JsonValue::parse(&written).expect("what was written is read again");
        assert_eq!(again.to_json(), value.to_json());
    }
    std::hint::black_box(value.python_str());
    if let JsonValue::Array(tools) = value {
        let declaration = declare_tools(&tools);
        assert!(!declaration.text.is_empty());
        // The order of keys in what a client sends changes nothing.
        let sorted: Vec<JsonValue> = tools.iter().map(JsonValue::sorted_deep).collect();
        assert_eq!(declare_tools(&sorted).text, declaration.text);
    }
});
