//! Lists that are walked from end to end: entries that an orchestrator gives out one by one, columns that are copied out of a
//! question, words that are said again. Almost every token of such a conversation says what comes next in a list, which a
//! whole run asks for a few times only; and the words are made of all pieces that the vocabulary has, so that any of them
//! can be copied.

use std::collections::BTreeSet;

use k25_chat::{SpecialToken, Tokenizer};
use serde_json::{Value as Json, json};

use crate::random::Random;
use crate::world::{Split, Words};

/// Most entries of a list.
const MOST_ENTRIES: usize = 40;

/// Calls of one turn, as many as the runtime takes at once.
const CALLS_PER_TURN: usize = 20;

/// What words are made of beside random syllables.
#[derive(Debug, Clone, Default)]
pub struct Pieces(Vec<String>);

impl Pieces {
    /// The pieces of a vocabulary that words can have: letters, digits and what joins them.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let first_special = tokenizer.special_id(SpecialToken::Bos);
        let text = |id| tokenizer.decode(&[id]).ok();
        let pieces = (0..first_special).filter_map(text);
        let pieces = pieces.map(|text| text.trim().to_owned());
        let is_word = |text: &String| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        Self(
            pieces
                .filter(is_word)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        )
    }

    /// A word of one to three pieces, or of random syllables.
    fn word(&self, random: &mut Random, split: Split) -> String {
        match self.0.is_empty() || random.chance(0.3) {
            true => Words::word(random, split),
            false => (0..random.between(1, 3))
                .map(|_| random.pick(&self.0).as_str())
                .collect(),
        }
    }

    fn words(&self, random: &mut Random, split: Split, joint: &str, most: i64) -> String {
        let words = (0..random.between(1, most)).map(|_| self.word(random, split));
        words.collect::<Vec<_>>().join(joint)
    }
}

/// Lesson `index` of a seed and split.
pub fn list(seed: u64, split: Split, index: u64, pieces: &Pieces) -> Json {
    let mut random = split.random(seed, index);
    match random.below(10) {
        0..5 => given_out(&mut random, split, pieces),
        5..8 => columns(&mut random, split, pieces),
        _ => said_again(&mut random, split, pieces),
    }
}

/// A folder's entries, given out to one agent: the first turn from the listing, the second from what is not opened yet.
fn given_out(random: &mut Random, split: Split, pieces: &Pieces) -> Json {
    let noun = pieces.word(random, split);
    let agent = format!("{noun}-reader");
    let entries = entries(random, split, pieces);
    let shown: Vec<&str> = entries.iter().map(|entry| entry.shown.as_str()).collect();
    let mut messages =
        vec![json!({"role": "user", "content": question(random, &noun, &["name".to_owned()])})];
    let mut calls = 0;
    let mut call = |name: &str, arguments: String| {
        calls += 1;
        json!({"id": format!("functions.{name}:{}", calls - 1), "type": "function", "function": {"name": name, "arguments": arguments}})
    };
    let listing = format!("{} entries\n{}", shown.len(), shown.join("\n"));
    exchange(
        &mut messages,
        call("open", json!({"path": "."}).to_string()),
        &listing,
    );
    let created = json!({
        "name": agent,
        "system_prompt": format!("You read documents about one {noun} at a time."),
    });
    exchange(
        &mut messages,
        call("create_subagent", created.to_string()),
        &format!("created {agent}"),
    );
    for (turn, entries) in entries.chunks(CALLS_PER_TURN).enumerate() {
        if turn > 0 {
            let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
            let text = format!("Not opened yet ({}): {}", paths.len(), paths.join(", "));
            messages.push(json!({"role": "user", "content": text}));
        }
        let task = |entry: &Entry| {
            json!({"agent": agent, "prompt": format!("Fill the rows of {}", entry.path)})
                .to_string()
        };
        let tasks: Vec<Json> = entries
            .iter()
            .map(|entry| call("assign_task", task(entry)))
            .collect();
        let results: Vec<Json> = tasks
            .iter()
            .map(|task| json!({"role": "tool", "tool_call_id": task["id"], "content": "done"}))
            .collect();
        messages.push(json!({"role": "assistant", "content": "", "tool_calls": tasks}));
        messages.extend(results);
    }
    json!({"lesson": "list", "messages": messages})
}

fn exchange(messages: &mut Vec<Json>, call: Json, result: &str) {
    let id = call["id"].clone();
    messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]}));
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
}

/// An entry as a listing shows it, and as a task names it.
struct Entry {
    shown: String,
    path: String,
}

/// Sorted entries of one kind, many of which begin like others.
fn entries(random: &mut Random, split: Split, pieces: &Pieces) -> Vec<Entry> {
    let count = 2 + random.below(MOST_ENTRIES - 1);
    let joint = *random.pick(&["-", "_", ""]);
    let ending = *random.pick(&["/", "/", "/", ".txt", ".toml", ".yaml", ".json", ".md"]);
    let is_versioned = ending == "/" && random.chance(0.7);
    let mut stems: Vec<String> = Vec::new();
    let mut paths = BTreeSet::new();
    for _ in 0..count {
        let mut name = pieces.words(random, split, joint, 2);
        if !stems.is_empty() && random.chance(0.3) {
            name = format!("{}{joint}{name}", random.pick(&stems));
        }
        stems.push(name.clone());
        if is_versioned {
            let version = [(); 3].map(|()| random.below(30).to_string());
            name = format!("{name}-{}", version.join("."));
        }
        paths.insert(format!("{name}{ending}"));
    }
    let shown = |path: &String, random: &mut Random| match ending {
        "/" => format!("{path} ({} files)", 1 + random.below(9)),
        _ => path.clone(),
    };
    let entry = |path| Entry {
        shown: shown(&path, random),
        path,
    };
    paths.into_iter().map(entry).collect()
}

/// Questions whose columns are fixed as they are asked for.
fn columns(random: &mut Random, split: Split, pieces: &Pieces) -> Json {
    let mut messages = Vec::new();
    for turn in 0..3 {
        let noun = pieces.word(random, split);
        let joint = *random.pick(&["-", "_", " "]);
        let columns: Vec<String> = (0..1 + random.below(7))
            .map(|_| pieces.words(random, split, joint, 2))
            .collect();
        messages.push(json!({"role": "user", "content": question(random, &noun, &columns)}));
        let named = columns.iter().map(|name| json!({"name": name}));
        let all: Vec<Json> = std::iter::once(json!({"name": "name", "key": true}))
            .chain(named)
            .collect();
        let arguments = json!({"columns": all}).to_string();
        let id = format!("functions.define_table:{turn}");
        let call = json!({"id": id, "type": "function", "function": {"name": "define_table", "arguments": arguments}});
        exchange(&mut messages, call, "ok");
    }
    json!({"lesson": "columns", "messages": messages})
}

/// A wide question, in one of the ways people ask it.
fn question(random: &mut Random, noun: &str, columns: &[String]) -> String {
    let listed = columns.join(", ");
    let spoken = match columns.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    };
    match random.below(5) {
        0 => format!("For each {noun}: {listed}."),
        1 => format!("What are the {spoken} of each {noun}?"),
        2 => format!("Make a table of all {noun}s: {listed}"),
        3 => format!("List every {noun} with its {spoken}."),
        _ => format!("For each {noun} in the folder: {listed}."),
    }
}

/// Values by their keys, then asked for in another order: the words of a value may be any.
fn said_again(random: &mut Random, split: Split, pieces: &Pieces) -> Json {
    let mut keys = BTreeSet::new();
    let mut stated: Vec<(usize, String, String)> = Vec::new();
    for _ in 0..3 + random.below(10) {
        let key = pieces.words(random, split, "-", 2);
        let value = pieces.words(random, split, " ", 4);
        if keys.insert(key.clone()) {
            stated.push((stated.len() + 1, key, value));
        }
    }
    let lines = stated
        .iter()
        .map(|(line, key, value)| format!("{line}: {key}: {value}\n"));
    let lines: String = lines.collect();
    random.shuffle(&mut stated);
    let asked: Vec<&str> = stated.iter().map(|(_, key, _)| key.as_str()).collect();
    let asked = asked.join(", ");
    let cells = stated
        .iter()
        .map(|(line, key, value)| (key.clone(), json!({"value": value, "line": line})));
    let cells: serde_json::Map<String, Json> = cells.collect();
    json!({"lesson": "said-again", "messages": [
        {"role": "user", "content": format!("{lines}Rows: {asked}")},
        {"role": "assistant", "content": Json::Array(vec![Json::Object(cells)]).to_string()},
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use k25_chat::{Conversation, Reading};

    fn lessons(pieces: &Pieces) -> Vec<Json> {
        (0..300)
            .map(|index| list(3, Split::Train, index, pieces))
            .collect()
    }

    /// The calls of every assistant message of a lesson, with their arguments.
    fn calls(lesson: &Json, name: &str) -> Vec<Json> {
        let messages = lesson["messages"].as_array().expect("messages").iter();
        let calls = messages
            .filter_map(|message| message["tool_calls"].as_array())
            .flatten();
        let functions = calls
            .map(|call| &call["function"])
            .filter(|function| function["name"] == name);
        functions
            .map(|function| {
                serde_json::from_str(function["arguments"].as_str().expect("text")).expect("JSON")
            })
            .collect()
    }

    #[test]
    fn every_entry_of_a_listing_is_given_out_once_and_in_order() {
        let mut most = 0;
        for lesson in lessons(&Pieces::default())
            .iter()
            .filter(|lesson| lesson["lesson"] == "list")
        {
            let listing = lesson["messages"][2]["content"]
                .as_str()
                .expect("a listing");
            let shown = listing
                .lines()
                .skip(1)
                .map(|line| line.split(" (").next().unwrap_or(line));
            let expected: Vec<String> = shown
                .map(|path| format!("Fill the rows of {path}"))
                .collect();
            let tasks = calls(lesson, "assign_task");
            let found: Vec<&str> = tasks
                .iter()
                .filter_map(|task| task["prompt"].as_str())
                .collect();
            assert_eq!(found, expected);
            most = most.max(found.len());
        }
        assert!(most > CALLS_PER_TURN, "{most}: no listing takes two turns");
    }

    #[test]
    fn every_column_that_is_asked_for_is_in_the_question() {
        for lesson in lessons(&Pieces::default())
            .iter()
            .filter(|lesson| lesson["lesson"] == "columns")
        {
            let questions = lesson["messages"]
                .as_array()
                .expect("messages")
                .iter()
                .filter(|message| message["role"] == "user");
            for (question, call) in questions.zip(calls(lesson, "define_table")) {
                for column in call["columns"].as_array().expect("columns").iter().skip(1) {
                    let (question, name) = (question["content"].as_str(), column["name"].as_str());
                    assert!(question.expect("text").contains(name.expect("a name")));
                }
            }
        }
    }

    #[test]
    fn words_are_made_of_the_pieces_of_a_vocabulary() {
        let tokenizer = Tokenizer::synthetic(300).expect("a tokenizer");
        let pieces = Pieces::of(&tokenizer);
        assert!(!pieces.0.is_empty());
        for lesson in lessons(&pieces) {
            Conversation::parse(&lesson["messages"].to_string(), Reading::Service)
                .expect("a conversation");
        }
    }
}
