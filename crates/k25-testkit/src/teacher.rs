//! A script that does the work: it reads conversations as a model would and answers as a good one.
//!
//! It knows no truth. All that it says it has read in the conversation, so it stands or falls with
//! what tools return.

use k25_chat::{Arguments, ChatRequest, Content, Message, Role};
use serde_json::{Map, Value, json};

use crate::scripted::ScriptedReply;

/// What a good model says to this request. `width` is how many tasks, or documents, it takes on in
/// one turn.
pub fn teach(request: &ChatRequest, width: usize) -> ScriptedReply {
    let has = |name: &str| tool_names(request).any(|tool| tool == name);
    if has("define_table") {
        return define_table(request);
    }
    if has("assign_task") {
        return orchestrate(request, width);
    }
    let user = request
        .conversation
        .messages
        .get(1)
        .map(text)
        .unwrap_or_default();
    let is_fill = ["Fill the row of ", "Row ", "Trial"];
    if is_fill.iter().any(|begin| user.starts_with(begin)) {
        return fill(request);
    }
    alone(request, width)
}

fn tool_names(request: &ChatRequest) -> impl Iterator<Item = &str> {
    let tools = request.conversation.tools.iter();
    tools.filter_map(|tool| {
        tool.as_object()?
            .get("function")?
            .as_object()?
            .get("name")?
            .as_str()
    })
}

fn text(message: &Message) -> &str {
    match &message.content {
        Some(Content::Text(text)) => text,
        _ => "",
    }
}

/// A call in the history with its result, if that is no error.
struct Done<'a> {
    name: &'a str,
    arguments: Value,
    result: &'a str,
}

impl Done<'_> {
    fn failed(&self) -> bool {
        self.result.starts_with("error")
    }

    fn argument(&self, key: &str) -> &str {
        self.arguments[key].as_str().unwrap_or_default()
    }
}

fn history(request: &ChatRequest) -> Vec<Done<'_>> {
    let messages = &request.conversation.messages;
    let result_of = |id: &str| {
        let is_it = |message: &&Message| message.tool_call_id.as_deref() == Some(id);
        messages
            .iter()
            .filter(|message| message.role == Role::Tool)
            .find(is_it)
            .map(text)
    };
    let calls = messages.iter().flat_map(|message| &message.tool_calls);
    let done = calls.map(|call| {
        let arguments = match &call.arguments {
            Arguments::Text(text) => serde_json::from_str(text).unwrap_or_default(),
            Arguments::Json(_) => Value::Null,
        };
        Done {
            name: &call.name,
            arguments,
            result: result_of(&call.id).unwrap_or_default(),
        }
    });
    done.collect()
}

/// The columns as the instructions name them.
fn columns(request: &ChatRequest) -> Vec<String> {
    let system = request
        .conversation
        .messages
        .first()
        .map(text)
        .unwrap_or_default();
    let lines = system.lines().filter_map(|line| line.strip_prefix("- "));
    lines
        .filter_map(|line| Some(line.split_once(" (")?.0.to_owned()))
        .collect()
}

fn define_table(request: &ChatRequest) -> ScriptedReply {
    let user = request
        .conversation
        .messages
        .get(1)
        .map(text)
        .unwrap_or_default();
    let asked = user.lines().next().unwrap_or_default();
    let asked = asked.split_once(':').map_or("", |(_, columns)| columns);
    let names = asked
        .split(',')
        .map(|name| name.trim().trim_end_matches('.').to_owned());
    let mut columns = vec![json!({"name": "name", "key": true})];
    columns.extend(
        names
            .filter(|name| !name.is_empty())
            .map(|name| json!({"name": name})),
    );
    ScriptedReply::call("define_table", &json!({"columns": columns}))
}

/// The entries of the documents' top folder, in full.
fn entries(history: &[Done<'_>]) -> Option<Vec<String>> {
    let mut entries = Vec::new();
    for list in history
        .iter()
        .filter(|done| done.name == "open" && done.argument("path") == ".")
    {
        if list.failed() {
            continue;
        }
        let lines = list
            .result
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with("more from"));
        entries.extend(lines.map(|line| line.split(" (").next().unwrap_or(line).to_owned()));
    }
    (!entries.is_empty()).then_some(entries)
}

/// Where a list goes on, if it does and nobody has looked yet.
fn next_page(history: &[Done<'_>], path: &str) -> Option<u64> {
    let mut lists = history
        .iter()
        .filter(|done| done.name == "open" && done.argument("path") == path && !done.failed());
    let line = lists
        .next_back()?
        .result
        .lines()
        .last()?
        .strip_prefix("more from line ")?;
    line.parse().ok()
}

fn orchestrate(request: &ChatRequest, width: usize) -> ScriptedReply {
    let history = history(request);
    let Some(entries) = entries(&history) else {
        return ScriptedReply::call("open", &json!({"path": "."}));
    };
    if let Some(line) = next_page(&history, ".") {
        return ScriptedReply::call("open", &json!({"path": ".", "line": line}));
    }
    if !history
        .iter()
        .any(|done| done.name == "create_subagent" && !done.failed())
    {
        let arguments = json!({"name": "reader", "system_prompt": "You read one package."});
        return ScriptedReply::call("create_subagent", &arguments);
    }
    let is_done = |entry: &String| {
        let assigned = history.iter().filter(|done| done.name == "assign_task");
        let mut its =
            assigned.filter(|done| done.argument("prompt").ends_with(&format!(" {entry}")));
        its.any(|done| done.result.starts_with("done:"))
    };
    let left: Vec<&String> = entries
        .iter()
        .filter(|entry| !is_done(entry))
        .take(width)
        .collect();
    if left.is_empty() {
        return ScriptedReply::text("The table is complete.");
    }
    let calls = left.into_iter().map(|entry| {
        (
            "assign_task",
            json!({"agent": "reader", "prompt": format!("Fill the row of {entry}")}),
        )
    });
    ScriptedReply::calls(calls)
}

/// A sub-agent: open, read, hand in.
fn fill(request: &ChatRequest) -> ScriptedReply {
    let history = history(request);
    let user = request
        .conversation
        .messages
        .get(1)
        .map(text)
        .unwrap_or_default();
    let path = match user.split_once("Documents: ") {
        Some((_, documents)) => documents.split(", ").next().unwrap_or_default().to_owned(),
        None => format!("{}Cargo.toml", user.rsplit(' ').next().unwrap_or_default()),
    };
    let wanted = match user
        .strip_prefix("Row ")
        .and_then(|rest| rest.split_once(": fill "))
    {
        Some((_, rest)) => {
            let names = rest
                .lines()
                .next()
                .unwrap_or_default()
                .trim_end_matches('.');
            names.split(", ").map(str::to_owned).collect()
        }
        None => columns(request),
    };
    if history
        .iter()
        .any(|done| done.name == "submit_rows" && done.result.starts_with("ok"))
    {
        return ScriptedReply::text("done");
    }
    read_and_submit(&history, &path, &columns(request), &wanted)
}

fn read_and_submit(
    history: &[Done<'_>],
    path: &str,
    columns: &[String],
    wanted: &[String],
) -> ScriptedReply {
    let has_read = history
        .iter()
        .any(|done| done.name == "open" && done.argument("path") == path && !done.failed());
    if !has_read {
        return ScriptedReply::call("open", &json!({"path": path}));
    }
    if let Some(line) = next_page(history, path) {
        return ScriptedReply::call("open", &json!({"path": path, "line": line}));
    }
    let row = row_of(history, path, columns, wanted);
    ScriptedReply::call("submit_rows", &json!({"source": path, "rows": [row]}))
}

/// The row that the document's lines state.
fn row_of(history: &[Done<'_>], path: &str, columns: &[String], wanted: &[String]) -> Value {
    let pages = history
        .iter()
        .filter(|done| done.name == "open" && done.argument("path") == path && !done.failed());
    let lines: Vec<(u64, &str)> = pages
        .flat_map(|done| done.result.lines())
        .filter_map(|line| {
            let (number, text) = line.split_once(": ")?;
            Some((number.parse().ok()?, text))
        })
        .collect();
    let mut row = Map::new();
    let key = columns.first();
    for column in columns
        .iter()
        .filter(|column| wanted.contains(column) || Some(*column) == key)
    {
        let found = lines.iter().find_map(|(number, text)| {
            let (name, value) = text.split_once(['=', ':'])?;
            let is_it = name.trim().eq_ignore_ascii_case(column);
            is_it.then(|| (*number, value.trim().trim_matches('"').to_owned()))
        });
        let cell = match found {
            Some((line, value)) => json!({"value": value, "line": line}),
            None => json!({"value": null}),
        };
        row.insert(column.clone(), cell);
    }
    Value::Object(row)
}

/// One agent that does all of it, `width` documents at a time.
fn alone(request: &ChatRequest, width: usize) -> ScriptedReply {
    let history = history(request);
    let Some(entries) = entries(&history) else {
        return ScriptedReply::call("open", &json!({"path": "."}));
    };
    if let Some(line) = next_page(&history, ".") {
        return ScriptedReply::call("open", &json!({"path": ".", "line": line}));
    }
    let columns = columns(request);
    let is_done = |path: &str| {
        let mut submitted = history.iter().filter(|done| done.name == "submit_rows");
        submitted.any(|done| done.argument("source") == path && done.result.starts_with("ok"))
    };
    let paths = entries.iter().map(|entry| format!("{entry}Cargo.toml"));
    let left: Vec<String> = paths.filter(|path| !is_done(path)).take(width).collect();
    if left.is_empty() {
        return ScriptedReply::text("The table is complete.");
    }
    let mut calls = Vec::new();
    for path in &left {
        calls.extend(read_and_submit(&history, path, &columns, &columns).calls);
    }
    ScriptedReply {
        calls,
        ..ScriptedReply::default()
    }
}
