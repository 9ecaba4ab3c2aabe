//! Foreign tool-call ids become native ones, and results follow their calls.

use k25_chat::{Arguments, Message, Role, ToolCall, ToolIdError, rewrite_tool_call_ids};

fn calls(ids: &[(&str, &str)]) -> Message {
    let call = |&(id, name): &(&str, &str)| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: Arguments::Text("{}".to_owned()),
    };
    Message {
        tool_calls: ids.iter().map(call).collect(),
        ..Message::assistant("")
    }
}

fn result(id: &str) -> Message {
    Message::tool_result(id, "r")
}

fn result_without_id() -> Message {
    Message::new(Role::Tool, "r")
}

/// The ids after rewriting: of calls and of results, in order of appearance.
fn rewritten(mut messages: Vec<Message>) -> Result<Vec<String>, ToolIdError> {
    rewrite_tool_call_ids(&mut messages)?;
    let ids = |message: Message| {
        message
            .tool_calls
            .into_iter()
            .map(|call| call.id)
            .chain(message.tool_call_id)
    };
    Ok(messages.into_iter().flat_map(ids).collect())
}

#[track_caller]
fn check(messages: Vec<Message>, expected: &[&str]) {
    let ids: Vec<String> = expected
        .iter()
        .map(|id| format!("functions.{id}"))
        .collect();
    assert_eq!(rewritten(messages), Ok(ids));
}

#[test]
fn calls_are_numbered_over_the_conversation() {
    check(
        vec![
            Message::user("q"),
            calls(&[("call_x", "a"), ("call_y", "b")]),
            result("call_y"),
            result("call_x"),
            Message::assistant("done"),
            calls(&[("toolu_01", "a")]),
            result("toolu_01"),
        ],
        &["a:0", "b:1", "b:1", "a:0", "a:2", "a:2"],
    );
}

#[test]
fn native_ids_stay_and_the_count_goes_on_behind_them() {
    check(
        vec![
            calls(&[("functions.a:7", "a"), ("call_x", "b")]),
            result("functions.a:7"),
            result("call_x"),
            // The hosted API shows ids without the prefix.
            calls(&[("a.b-c:9", "a.b-c")]),
            result("a.b-c:9"),
        ],
        &["a:7", "b:8", "a:7", "b:8", "a.b-c:9", "a.b-c:9"],
    );
}

#[test]
fn a_new_id_never_equals_a_native_one_that_comes_later() {
    check(
        vec![
            calls(&[("x", "a")]),
            result("x"),
            calls(&[("functions.a:0", "a")]),
            result("functions.a:0"),
        ],
        &["a:1", "a:1", "a:0", "a:0"],
    );
}

#[test]
fn the_same_foreign_id_in_two_turns_means_the_latest_call() {
    check(
        vec![
            calls(&[("call_0", "a")]),
            result("call_0"),
            calls(&[("call_0", "b")]),
            result("call_0"),
            result("call_0"),
        ],
        &["a:0", "a:0", "b:1", "b:1", "b:1"],
    );
}

#[test]
fn calls_that_share_an_id_are_answered_in_order() {
    check(
        vec![calls(&[("", "a"), ("", "a")]), result(""), result("")],
        &["a:0", "a:1", "a:0", "a:1"],
    );
    check(
        vec![
            calls(&[("x", "a"), ("y", "b")]),
            result_without_id(),
            result("y"),
        ],
        &["a:0", "b:1", "a:0", "b:1"],
    );
    check(
        vec![
            calls(&[("x", "a"), ("y", "b")]),
            result("x"),
            result_without_id(),
        ],
        &["a:0", "b:1", "a:0", "b:1"],
    );
}

#[test]
fn absurd_numbers_are_foreign() {
    check(
        vec![calls(&[
            ("functions.a:99999999999999999999", "a"),
            ("functions.:1", "b"),
        ])],
        &["a:0", "b:1"],
    );
}

#[test]
fn what_cannot_be_matched_is_an_error_with_its_place() {
    let unknown = rewritten(vec![calls(&[("x", "a")]), result("y")]);
    assert_eq!(
        unknown,
        Err(ToolIdError::UnknownCall {
            message: 1,
            id: "y".to_owned()
        })
    );
    let early = rewritten(vec![result("x"), calls(&[("x", "a")])]);
    assert_eq!(
        early,
        Err(ToolIdError::UnknownCall {
            message: 0,
            id: "x".to_owned()
        })
    );
    let surplus = rewritten(vec![calls(&[("x", "a")]), result("x"), result_without_id()]);
    assert_eq!(surplus, Err(ToolIdError::NoOpenCall { message: 2 }));
    let nameless = rewritten(vec![calls(&[("functions.a:0", ""), ("x", "")])]);
    assert_eq!(
        nameless,
        Err(ToolIdError::NoName {
            message: 0,
            call: 1
        })
    );
}

/// A hostile history: many calls, answered backwards. Quadratic work would take minutes.
#[test]
fn many_calls_take_linear_time() {
    let ids: Vec<String> = (0..200_000).map(|index| format!("call_{index}")).collect();
    let many: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "f")).collect();
    let mut messages = vec![calls(&many)];
    messages.extend(ids.iter().rev().map(|id| result(id)));
    rewrite_tool_call_ids(&mut messages).unwrap();
    assert_eq!(
        messages[1].tool_call_id.as_deref(),
        Some("functions.f:199999")
    );
}
