//! What is copied word by word: paths out of tasks, columns out of questions, values out of records. Almost every token of such a
//! conversation is a copy, of which a whole run asks for few; and the words are made of all pieces that the vocabulary has, so
//! that any of them can be copied.

use std::collections::BTreeSet;

use k25_chat::{SpecialToken, Tokenizer};
use serde_json::{Value as Json, json};

use crate::random::Random;
use crate::world::{Split, Stated, Words, capitalized};

/// Most paths of a lesson.
const MOST_PATHS: usize = 12;

/// What stands between the words of a value.
const JOINTS: [&str; 18] = [
    " ", " ", " ", " ", "-", "-", ".", ".", ".", "_", "/", "/", "@", ":", "+", "~", " OR ", ", ",
];

/// Letters of names, several tokens each to most vocabularies.
const ACCENTED: [char; 16] = [
    'é', 'è', 'ü', 'ö', 'ß', 'ř', 'ý', 'ł', 'ń', 'ç', 'ñ', 'å', 'ø', 'ž', 'š', 'á',
];

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

    /// A word of one to three pieces, or of random syllables; some with a capital, some with a letter beyond ASCII.
    fn word(&self, random: &mut Random, split: Split) -> String {
        let word = match self.0.is_empty() || random.chance(0.3) {
            true => Words::word(random, split),
            false => (0..random.between(1, 3))
                .map(|_| random.pick(&self.0).as_str())
                .collect(),
        };
        match random.below(20) {
            0 => format!("{word}{}", random.pick(&ACCENTED)),
            1..7 => capitalized(&word),
            _ => word,
        }
    }

    /// Words and what stands between them in names, addresses and versions.
    fn value(&self, random: &mut Random, split: Split) -> String {
        let mut value = self.word(random, split);
        for _ in 0..random.below(7) {
            value.push_str(random.pick::<&str>(&JOINTS));
            match random.chance(0.25) {
                true => value.push_str(&random.below(130).to_string()),
                false => value.push_str(&self.word(random, split)),
            }
        }
        match random.below(12) {
            0 => format!("{value} <{}>", self.words(random, split, ".", 4)),
            1 => format!("({value})"),
            2 => format!("https://{value}"),
            _ => value,
        }
    }

    /// A key that is not among the others, and may look like one of them: `rust-version` beside `version`.
    fn key(&self, random: &mut Random, split: Split, joint: &str, others: &[String]) -> String {
        loop {
            let key = match others.is_empty() || random.chance(0.7) {
                true => self.words(random, split, joint, 2),
                false => format!("{}{joint}{}", self.word(random, split), random.pick(others)),
            };
            if !others.contains(&key) {
                return key;
            }
        }
    }

    fn words(&self, random: &mut Random, split: Split, joint: &str, most: i64) -> String {
        let words = (0..random.between(1, most)).map(|_| self.word(random, split));
        words.collect::<Vec<_>>().join(joint)
    }
}

/// Lesson `index` of a seed and split.
pub fn copy(seed: u64, split: Split, index: u64, pieces: &Pieces) -> Json {
    let mut random = split.random(seed, index);
    match random.below(10) {
        0..3 => opened(&mut random, split, pieces),
        3..5 => columns(&mut random, split, pieces),
        _ => said_again(&mut random, split, pieces),
    }
}

/// Documents that are named in tasks, and opened.
fn opened(random: &mut Random, split: Split, pieces: &Pieces) -> Json {
    let mut messages = Vec::new();
    for (turn, path) in paths(random, split, pieces).iter().enumerate() {
        messages.push(json!({"role": "user", "content": format!("Fill the rows of {path}")}));
        let arguments = json!({"path": path}).to_string();
        let id = format!("functions.open:{turn}");
        let call = json!({"id": id, "type": "function", "function": {"name": "open", "arguments": arguments}});
        let name = pieces.value(random, split);
        exchange(
            &mut messages,
            call,
            &format!("{path} · 1 lines\n1: name: {name}"),
        );
    }
    json!({"lesson": "opened", "messages": messages})
}

fn exchange(messages: &mut Vec<Json>, call: Json, result: &str) {
    let id = call["id"].clone();
    messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]}));
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
}

/// Paths of one kind, many of which begin like others.
fn paths(random: &mut Random, split: Split, pieces: &Pieces) -> Vec<String> {
    let joint = *random.pick(&["-", "_", ""]);
    let ending = *random.pick(&["", ".txt", ".toml", ".yaml", ".json", ".md", ".csv"]);
    let file = match random.chance(0.6) {
        true => Some(format!(
            "{}{ending}",
            capitalized(&pieces.word(random, split))
        )),
        false => None,
    };
    let is_versioned = file.is_some() && random.chance(0.7);
    let mut paths: Vec<String> = Vec::new();
    for _ in 0..2 + random.below(MOST_PATHS - 1) {
        let mut path = pieces.words(random, split, joint, 3);
        if let Some(other) = paths.last()
            && random.chance(0.3)
        {
            let stem = other.split(['-', '/', '.']).next().unwrap_or_default();
            path = format!("{stem}{joint}{path}");
        }
        if is_versioned {
            let version = [(); 3].map(|()| random.below(30).to_string());
            path = format!("{path}-{}", version.join("."));
        }
        paths.push(match &file {
            Some(file) => format!("{path}/{file}"),
            None if ending.is_empty() => format!("{path}/"),
            None => format!("{path}{ending}"),
        });
    }
    paths
}

/// Questions whose columns are fixed as they are asked for.
fn columns(random: &mut Random, split: Split, pieces: &Pieces) -> Json {
    let mut messages = Vec::new();
    for turn in 0..3 {
        let noun = pieces.word(random, split);
        let joint = *random.pick(&["-", "_", " "]);
        let mut columns = Vec::new();
        for _ in 0..1 + random.below(8) {
            columns.push(pieces.key(random, split, joint, &columns));
        }
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

/// Values by their keys, and then some of them in another order: as a row of a table, whose columns are named before the lines or
/// behind them. Now and then a column asks for what no line says.
fn said_again(random: &mut Random, split: Split, pieces: &Pieces) -> Json {
    let joint = *random.pick(&["-", "_", " "]);
    let mut keys: Vec<String> = Vec::new();
    for _ in 0..3 + random.below(12) {
        keys.push(pieces.key(random, split, joint, &keys));
    }
    random.shuffle(&mut keys);
    let unsaid = random.below(keys.len().min(3));
    let mut stated: Vec<(String, Option<Stated>)> = Vec::new();
    let mut lines = String::new();
    for (index, key) in keys.into_iter().enumerate() {
        let said = (index >= unsaid).then(|| Stated {
            value: pieces.value(random, split),
            line: index - unsaid + 1,
        });
        if let Some(Stated { value, line }) = &said {
            lines.push_str(&format!("{line}: {key}: {value}\n"));
        }
        stated.push((key, said));
    }
    random.shuffle(&mut stated);
    stated.truncate(2 + random.below(stated.len() - 1));
    let (asked, row): (Vec<String>, Vec<Option<Stated>>) = stated.into_iter().unzip();
    let question = match random.chance(0.7) {
        true => {
            let columns = asked.iter().map(|key| format!("- {key} (text)\n"));
            format!("Columns:\n{}\n{lines}", columns.collect::<String>())
        }
        false => format!("{lines}Rows: {}", asked.join(", ")),
    };
    let all: Vec<usize> = (0..asked.len()).collect();
    let cells = super::rows::cells(&asked, &all, &row, usize::MAX);
    json!({"lesson": "said-again", "messages": [
        {"role": "user", "content": question},
        {"role": "assistant", "content": Json::Array(vec![cells]).to_string()},
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use k25_chat::{Conversation, Reading};

    fn lessons(pieces: &Pieces) -> Vec<Json> {
        (0..300)
            .map(|index| copy(3, Split::Train, index, pieces))
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
    fn every_document_that_a_task_names_is_opened() {
        let mut count = 0;
        for lesson in lessons(&Pieces::default())
            .iter()
            .filter(|lesson| lesson["lesson"] == "opened")
        {
            let messages = lesson["messages"].as_array().expect("messages").iter();
            let tasks = messages.filter(|message| message["role"] == "user");
            for (task, call) in tasks.zip(calls(lesson, "open")) {
                let path = call["path"].as_str().expect("a path");
                assert_eq!(task["content"], format!("Fill the rows of {path}"));
                count += 1;
            }
        }
        assert!(count > 100, "{count}");
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
