//! The tool declaration against what the reference's encoder printed.

use std::fs;

use k25_chat::{
    Conversation, DeclarationError, JsonValue, MAX_JSON_DEPTH, Message, RenderOptions,
    declare_tools, render, segments_to_text, typescript_declaration,
};

#[test]
fn every_reference_declaration_is_reproduced() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/tool_declarations.json"
    );
    let text = fs::read_to_string(path).expect("the declarations are part of the repository");
    let JsonValue::Array(cases) = JsonValue::parse(&text).expect("the declarations are JSON")
    else {
        panic!("the declarations are an array");
    };
    assert!(cases.len() >= 23, "only {} declarations", cases.len());
    for case in &cases {
        let case = case.as_object().expect("a case is an object");
        let name = case["name"].as_str().expect("a case has a name");
        let JsonValue::Array(tools) = &case["tools"] else {
            panic!("{name}: tools")
        };

        let typescript = typescript_declaration(tools);
        assert_eq!(
            typescript.as_deref().ok(),
            case["expected_ts"].as_str(),
            "{name}"
        );
        assert_eq!(declare_tools(tools).fallback, typescript.err(), "{name}");

        let mut conversation = Conversation::new(vec![Message::user("q")]);
        conversation.tools = tools.clone();
        let prompt = render(&conversation, &RenderOptions::default());
        assert_eq!(
            segments_to_text(&prompt.segments),
            case["rendered"].as_str().unwrap(),
            "{name}"
        );
    }
}

/// Name, function, and what the reference's encoder prints for it inside of the namespace.
const PRINTED: &[(&str, &str, &str)] = &[
    (
        "nested arrays of described objects",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "array", "description": "row", "items": {"type": "object", "properties": {"k": {"type": "string", "description": "a\n\nb"}}, "description": "cell"}}}}}}"##,
        r##"type f = (_: {
  rows?: Array<
    // row
    Array<
      // cell
      {
        // a

        // b
        k?: string
      }
    >
  >
}) => any;"##,
    ),
    (
        "any of objects loses their descriptions",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"v": {"anyOf": [{"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "description": "lost", "required": ["a"]}, {"type": "null"}], "description": "kept", "default": null}}}}"##,
        r##"type f = (_: {
  // kept
  v?: {
    // minimum: 1
    a: number
  } | null
}) => any;"##,
    ),
    (
        "array item constraints",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"v": {"type": "array", "items": {"type": "number", "minimum": 0.5, "maximum": 1e+16}}}}}"##,
        r##"type f = (_: {
  v?: Array<
    // maximum: 1e+16, minimum: 0.5
    number
  >
}) => any;"##,
    ),
    (
        "additional properties of a described object",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {}, "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}, "description": "lost"}}}"##,
        r##"type f = (_: {
  [k: string]: {
    a?: string
  }
}) => any;"##,
    ),
    (
        "enum of numbers and lists",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"v": {"type": "number", "enum": [1, 2.0, true, 1e-05]}, "w": {"enum": [["a", null], {"k": "it's"}]}}}}"##,
        r##"type f = (_: {
  v?: 1 | 2.0 | True | 1e-05,
  w?: ['a', None] | {'k': "it's"}
}) => any;"##,
    ),
    (
        "default printed as json or as repr",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "object", "default": {"k": [1.0, null, "é"]}}, "b": {"type": "boolean", "default": false}, "c": {"type": "number", "default": 1e+22}}}}"##,
        r##"type f = (_: {
  // Default: {"k": [1.0, null, "é"]}
  a?: {},
  // Default: False
  b?: boolean,
  // Default: 1e+22
  c?: number
}) => any;"##,
    ),
    (
        "required that is no property",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["zz", "a"]}}"##,
        r##"type f = (_: {
  a: string
}) => any;"##,
    ),
    (
        "recursive through the root",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}}, "required": ["v"], "additionalProperties": false}}"##,
        r##"interface parameters {
  kids?: Array<parameters>,
  v: number
}
type f = (_: parameters) => any;"##,
    ),
    (
        "recursive definition",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"t": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/Node"}, "right": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}, "Kind": {"enum": ["a", "b"], "description": "kind of\nnode"}}}}"##,
        r##"// kind of
// node
interface Kind "a" | "b"
interface Node {
  left?: Node,
  right?: Node | null
}
type f = (_: {
  t?: Node
}) => any;"##,
    ),
    (
        "unknown words and constraints of other types",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "date", "pattern": "x"}, "b": {"type": "boolean", "minimum": 1}, "c": {"type": "null"}}}}"##,
        r##"type f = (_: {
  a?: date,
  b?: boolean,
  c?: null
}) => any;"##,
    ),
    (
        "false and items false",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"a": false, "b": {"type": "array", "items": false}, "c": {"type": "array", "items": true}}}}"##,
        r##"type f = (_: {
  a?: null,
  b?: Array<any>,
  c?: Array<any>
}) => any;"##,
    ),
    (
        "root that is a string",
        r##"{"name": "f", "parameters": {"type": "string", "enum": ["a"]}, "description": "  two  \n\nlines\n"}"##,
        r##"//   two  

// lines

type f = (_: {}) => any;"##,
    ),
    (
        "long integers",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer", "maximum": 10000000000000000000000000000000000000000, "default": -1000000000000000000000000000000}}}}"##,
        r##"type f = (_: {
  // maximum: 10000000000000000000000000000000000000000
  // Default: -1000000000000000000000000000000
  a?: number
}) => any;"##,
    ),
    (
        "empty union",
        r##"{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": []}, "b": {"anyOf": []}, "c": {"enum": []}}}}"##,
        r##"type f = (_: {
  a?: ,
  b?: ,
  c?: 
}) => any;"##,
    ),
];

#[test]
fn odd_schemas_are_printed_as_the_reference_does() {
    for (name, function, expected) in PRINTED {
        let tools = [tool(function)];
        let expected = format!("# Tools\n\n## functions\nnamespace functions {{\n{expected}\n}}\n");
        assert_eq!(typescript_declaration(&tools), Ok(expected), "{name}");
    }
}

fn tool(function: &str) -> JsonValue {
    let text = format!(r#"{{"type": "function", "function": {function}}}"#);
    JsonValue::parse(&text).expect("a tool")
}

/// Properties of a function that the reference's encoder refuses, and our reason.
const REFUSED: &[(&str, &str)] = &[
    (
        r##""properties": {"a": {"$ref": "#/$defs/P"}, "b": {"type": "object", "$defs": {"P": {}}}}"##,
        "parameters.a: `$ref` to \"#/$defs/P\", which is no definition seen so far",
    ),
    (
        r#""properties": {"a": {"type": ["string", "date"]}}"#,
        "parameters.a: `type` is a list with an unknown type",
    ),
    (
        r#""properties": ["a"]"#,
        "parameters: `properties` is an array",
    ),
    (
        r#""properties": {}, "required": null"#,
        "parameters: `required` is null",
    ),
    (
        r#""properties": {"a": {"type": "array", "items": {"description": "x"}}}"#,
        "parameters.a.items: a schema without `type`, `enum`, `anyOf` or `$ref`",
    ),
    (
        r#""properties": {"a": {"type": "string", "enum": ["a", 1]}}"#,
        "parameters.a: `enum` has values that do not fit its `type`",
    ),
    (
        r#""properties": {"a": {"type": "string", "description": 5}}"#,
        "parameters.a: `description` is a number",
    ),
    (
        r#""properties": {"a": {"type": "array", "items": [{"type": "string"}]}}"#,
        "parameters.a.items: `schema` is an array",
    ),
    (
        r#""properties": {}, "$defs": {"P": true}"#,
        "$defs.P: `$defs` is a boolean",
    ),
    (
        r#""additionalProperties": 1"#,
        "parameters: `additionalProperties` is a number",
    ),
];

#[test]
fn what_the_reference_refuses_is_declared_as_json_with_the_reason() {
    for (parameters, reason) in REFUSED {
        let bad = tool(&format!(
            r#"{{"name": "f", "parameters": {{{parameters}}}}}"#
        ));
        let tools = [tool(r#"{"name": "good"}"#), bad];
        let declaration = declare_tools(&tools);
        let sorted = JsonValue::from(tools.to_vec()).sorted_deep();
        assert_eq!(declaration.text, sorted.to_compact_json());
        let error = declaration.fallback.expect(parameters).to_string();
        assert!(
            error.starts_with(&format!("tools[1] `f`: {reason}; hint: ")),
            "{error}"
        );
    }
}

#[test]
fn tools_without_a_function_are_declared_as_json() {
    let plugin = JsonValue::parse(r#"{"type": "_plugin", "b": 1, "a": "ä"}"#).unwrap();
    let declaration = declare_tools(std::slice::from_ref(&plugin));
    assert_eq!(declaration.text, r#"[{"a":"ä","b":1,"type":"_plugin"}]"#);
    assert_eq!(declaration.fallback, Some(DeclarationError::NoFunction));
    assert_eq!(typescript_declaration(&[plugin]), Ok(String::new()));

    let declaration = declare_tools(&[JsonValue::from("search")]);
    assert_eq!(declaration.text, r#"["search"]"#);
    assert_eq!(
        declaration.fallback,
        Some(DeclarationError::NoTool { index: 0 })
    );
}

/// As deep as a document may be, on the 2 MiB stack of a test's thread.
#[test]
fn the_deepest_schemas_are_declared() {
    // Around the innermost schema: the tool, the function, `parameters`, `properties`.
    let levels = MAX_JSON_DEPTH - 5;
    let nested = "{\"type\":\"array\",\"items\":".repeat(levels);
    let schema = format!("{nested}{{\"type\":\"integer\"}}{}", "}".repeat(levels));
    let parameters = format!(r#"{{"properties":{{"deep":{schema}}}}}"#);
    let tools = [tool(&format!(
        r#"{{"name":"f","parameters":{parameters}}}"#
    ))];
    let text = typescript_declaration(&tools).expect("arrays of arrays");
    assert!(text.contains(&format!(
        "{}number{}",
        "Array<".repeat(levels),
        ">".repeat(levels)
    )));
}

/// Two bytes of a description become hundreds at the depth of the schema: such tools are declared as
/// JSON, which is no longer than what was sent.
#[test]
fn a_declaration_that_indentation_blows_up_ends_as_json() {
    let lines = "x\\n".repeat(300_000);
    let levels = 200;
    let nested = "{\"type\":\"object\",\"properties\":{\"a\":".repeat(levels);
    let schema = format!(
        "{nested}{{\"type\":\"string\",\"description\":\"{lines}\"}}{}",
        "}}".repeat(levels)
    );
    let tools = [tool(&format!(r#"{{"name":"f","parameters":{schema}}}"#))];
    let declaration = declare_tools(&tools);
    assert!(
        declaration.text.len() < 1_000_000,
        "{} bytes",
        declaration.text.len()
    );
    let reason = declaration.fallback.expect("a reason").to_string();
    assert!(
        reason.contains("is longer than 16777216 bytes; hint: "),
        "{}",
        &reason[reason.len() - 200..]
    );
}
