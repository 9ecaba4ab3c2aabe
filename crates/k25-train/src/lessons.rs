//! Conversations over made-up worlds: reading a value out of a document, saying that it is not there, and arithmetic that is
//! easier with reasoning than without.

mod beyond;
mod copies;
mod questions;
pub mod record;
mod rows;
mod several;
mod sight;
mod teacher;

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::random::Random;
use crate::world::{Form, Split, Table, Value, Words};

pub use beyond::BEYOND;
pub use copies::{Pieces, copy};
pub use sight::sight;

/// What a lesson is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LessonKind {
    /// The value of a key.
    Lookup,
    /// A key that is not there.
    NotFound,
    /// A document in another form: every value copied, which is how copying is learned fastest.
    Rewrite,
    /// The subject that has a value.
    Reverse,
    /// The subject with the largest or smallest number, with reasoning.
    Compare,
    /// Several sums and products in a row, with reasoning.
    Arithmetic,
    /// The same without.
    ArithmeticInstant,
    /// What the model cannot do, which it says.
    Beyond,
    /// Rows of a table with the line of each value.
    Rows,
    /// Many values of a document at once.
    Several,
    /// Many values of a table at once, which begins with the smallest.
    Columns,
    /// Many questions in words about brief values, ahead of their documents or behind one.
    Questions,
}

/// One lesson.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// What it is about.
    pub kind: LessonKind,
    /// What the person says.
    pub question: String,
    /// What the model thinks first; `None` where it answers at once.
    pub reasoning: Option<String>,
    /// What it answers.
    pub answer: String,
    /// What the person asks about the same document afterwards, each with its answer.
    pub more: Vec<(String, String)>,
}

/// What a model says where a document does not answer.
pub const NOT_FOUND: &str = "not found";

/// Most questions about a document after the first. Which value of which subject is learned from many of them for each document.
const MOST_FURTHER: usize = 20;

/// How often each kind comes, in hundredths.
const PARTS: [(LessonKind, usize); 12] = [
    (LessonKind::Several, 12),
    (LessonKind::Columns, 6),
    (LessonKind::Questions, 10),
    (LessonKind::Rows, 11),
    (LessonKind::Lookup, 22),
    (LessonKind::NotFound, 3),
    (LessonKind::Rewrite, 4),
    (LessonKind::Reverse, 8),
    (LessonKind::Compare, 7),
    (LessonKind::Arithmetic, 12),
    (LessonKind::ArithmeticInstant, 3),
    (LessonKind::Beyond, 2),
];

/// The same of lessons in thinking alone. They are short, so that among others they are few tokens and fewer sums: some two thousand
/// sums have to be known, each of which is met a few times only.
const THINKING_PARTS: [(LessonKind, usize); 3] = [
    (LessonKind::Arithmetic, 62),
    (LessonKind::Compare, 27),
    (LessonKind::ArithmeticInstant, 11),
];

/// The same of lessons in which whose key it is decides.
const SEVERAL_PARTS: [(LessonKind, usize); 3] = [
    (LessonKind::Several, 25),
    (LessonKind::Questions, 35),
    (LessonKind::Columns, 40),
];

impl Lesson {
    /// Lesson `index` of a seed and split.
    pub fn new(seed: u64, split: Split, index: u64) -> Self {
        Self::drawn(&PARTS, seed, split, index)
    }

    /// Lesson `index` of those that reasoning makes easier.
    pub fn thinking(seed: u64, split: Split, index: u64) -> Self {
        Self::drawn(&THINKING_PARTS, seed, split, index)
    }

    /// Lesson `index` of those that ask for many values, each by its subject and its key.
    pub fn several(seed: u64, split: Split, index: u64) -> Self {
        Self::drawn(&SEVERAL_PARTS, seed, split, index)
    }

    fn drawn(parts: &[(LessonKind, usize)], seed: u64, split: Split, index: u64) -> Self {
        let mut random = split.random(seed, index);
        let kind = random.part(parts);
        Self::of_kind(kind, &mut random, split)
    }

    /// A lesson of one kind.
    pub fn of_kind(kind: LessonKind, random: &mut Random, split: Split) -> Self {
        match kind {
            LessonKind::Lookup => lookup(random, split, false),
            LessonKind::NotFound => lookup(random, split, true),
            LessonKind::Rewrite => rewrite(random, split),
            LessonKind::Reverse => reverse(random, split),
            LessonKind::Compare => compare(random, split),
            LessonKind::Arithmetic | LessonKind::ArithmeticInstant => arithmetic(random, kind),
            LessonKind::Rows => rows::rows(random, split),
            LessonKind::Several => several::several(random, split),
            LessonKind::Columns => several::columns(random, split),
            LessonKind::Questions => questions::questions(random, split),
            LessonKind::Beyond => Self {
                kind,
                question: beyond::question(random, split),
                reasoning: None,
                answer: BEYOND.to_owned(),
                more: Vec::new(),
            },
        }
    }

    /// The lesson as a line for `k25 train sft`: the OpenAI message form, with the kind beside it.
    pub fn to_json(&self) -> Json {
        let mut answer = json!({ "role": "assistant", "content": self.answer });
        if let Some(reasoning) = &self.reasoning {
            answer["reasoning_content"] = json!(reasoning);
        }
        let mut messages = vec![json!({ "role": "user", "content": self.question }), answer];
        for (question, answer) in &self.more {
            messages.push(json!({ "role": "user", "content": question }));
            messages.push(json!({ "role": "assistant", "content": answer }));
        }
        json!({ "lesson": self.kind, "messages": messages })
    }
}

/// A few words, said three times, as a line for `k25 train pretrain`. Learning to go on with what was said before comes first: models
/// that begin with this learn to copy values out of documents many times faster.
pub fn echo(seed: u64, split: Split, index: u64) -> Json {
    let mut random = split.random(seed, index);
    let words: Vec<String> = (0..random.between(3, 12))
        .map(|_| Words::word(&mut random, split))
        .collect();
    let line = words.join(" ");
    json!({ "text": format!("{line}\n{line}\n{line}") })
}

/// Keys with values, and then the same in another order, as a line for `k25 train pretrain`. Every value of the second part is
/// one to be found by its key, which a question about a document asks for only once: what comes after copying.
pub fn recall(seed: u64, split: Split, index: u64) -> Json {
    let mut random = split.random(seed, index);
    let text = match random.chance(0.5) {
        true => recalled_lines(&mut random, split),
        false => recalled_table(&mut random, split),
    };
    json!({ "text": text })
}

/// A line per key and value, three times in different orders.
fn recalled_lines(random: &mut Random, split: Split) -> String {
    let keys = 2 + random.below(9);
    let table = Table::new(random, split, 1, keys);
    let keys = table.keys.iter().map(|(key, _)| key);
    let mut pairs: Vec<_> = keys.zip(&table.values[0]).collect();
    let mut blocks = Vec::new();
    for _ in 0..3 {
        let between = *random.pick(&[": ", " = ", " -> ", ":", "=", " | "]);
        let lines = pairs
            .iter()
            .map(|(key, value)| format!("{key}{between}{value}"));
        blocks.push(lines.collect::<Vec<_>>().join("\n"));
        random.shuffle(&mut pairs);
    }
    blocks.join("\n\n")
}

/// A table in one form, and again in another with subjects and keys in another order.
fn recalled_table(random: &mut Random, split: Split) -> String {
    let table = some_table(random, split);
    let mut again = table.clone();
    let mut order: Vec<usize> = (0..table.keys.len()).collect();
    random.shuffle(&mut order);
    again.keys = order.iter().map(|key| table.keys[*key].clone()).collect();
    let mut subjects: Vec<usize> = (0..table.subjects.len()).collect();
    random.shuffle(&mut subjects);
    let of = |subject: &usize| table.subjects[*subject].clone();
    again.subjects = subjects.iter().map(of).collect();
    let row = |subject: &usize| {
        let values = &table.values[*subject];
        order.iter().map(|key| values[*key].clone()).collect()
    };
    again.values = subjects.iter().map(row).collect();
    let [first, second] = [(); 2].map(|()| Form::draw(random, split));
    let first = first.write(random, &table);
    format!("{first}\n{}", second.write(random, &again))
}

fn some_table(random: &mut Random, split: Split) -> Table {
    let (subjects, keys) = (1 + random.below(4), 2 + random.below(5));
    Table::new(random, split, subjects, keys)
}

/// A document and a question about it, in either order.
fn asked(random: &mut Random, split: Split, table: &Table, question: &str) -> String {
    let form = Form::draw(random, split);
    let document = form.write(random, table);
    match random.below(3) {
        0 => format!("{question}\n\n{document}"),
        1 => format!("{document}\n{question}"),
        _ => format!("```{}\n{document}```\n{question}", form.extension()),
    }
}

/// How many ways there are to ask for a value.
const WORDINGS: usize = 5;
/// The shortest of them.
const SHORT: usize = 2;

/// A question about one value of a table, and its answer; about a key that is not there if it is `missing`.
fn one_value(
    random: &mut Random,
    split: Split,
    table: &Table,
    missing: bool,
    wording: usize,
) -> (String, String) {
    let (subject, key) = (
        random.below(table.subjects.len()),
        random.below(table.keys.len()),
    );
    let name = &table.subjects[subject];
    let asked_key = match missing {
        true => table.missing_key(random, split),
        false => table.keys[key].0.clone(),
    };
    let spoken = asked_key.replace('_', " ");
    let question = match wording {
        0 => format!("What is the {spoken} of {name}?"),
        1 => format!("Give me the {spoken} of {name}."),
        2 => format!("{name}: {asked_key}?"),
        3 => format!("Which {spoken} does {name} have?"),
        _ => format!("Find `{asked_key}` for {name} and say only the value."),
    };
    let answer = match missing {
        true => NOT_FOUND.to_owned(),
        false => table.values[subject][key].to_string(),
    };
    (question, answer)
}

/// Questions about a document, the first of them with it.
fn lookup(random: &mut Random, split: Split, missing: bool) -> Lesson {
    let table = some_table(random, split);
    let wording = random.below(WORDINGS);
    let (question, answer) = one_value(random, split, &table, missing, wording);
    let question = asked(random, split, &table, &question);
    let all_short = random.chance(0.5);
    let more = (0..random.below(MOST_FURTHER + 1)).map(|_| {
        let missing = random.chance(0.15);
        let wording = match all_short {
            true => SHORT,
            false => random.below(WORDINGS),
        };
        one_value(random, split, &table, missing, wording)
    });
    Lesson {
        kind: if missing {
            LessonKind::NotFound
        } else {
            LessonKind::Lookup
        },
        question,
        reasoning: None,
        answer,
        more: more.collect(),
    }
}

/// The forms that documents are written anew in, as people call them.
const WRITTEN_FORMS: [(Form, &str); 6] = [
    (Form::Toml, "TOML"),
    (Form::Yaml, "YAML"),
    (Form::Json, "JSON"),
    (Form::JsonLines, "JSON lines"),
    (Form::Csv, "CSV"),
    (Form::MarkdownTable, "a Markdown table"),
];

fn rewrite(random: &mut Random, split: Split) -> Lesson {
    let table = some_table(random, split);
    let (form, name) = *random.pick(&WRITTEN_FORMS);
    let question = match random.below(3) {
        0 => format!("Write this as {name}."),
        1 => format!("The same as {name}, please."),
        _ => format!("Turn it into {name}."),
    };
    let question = asked(random, split, &table, &question);
    Lesson {
        kind: LessonKind::Rewrite,
        question,
        reasoning: None,
        answer: form.write(random, &table).trim_end().to_owned(),
        more: Vec::new(),
    }
}

fn reverse(random: &mut Random, split: Split) -> Lesson {
    // Values that two subjects share have no one answer; such tables are drawn again.
    loop {
        let subjects = 2 + random.below(3);
        let keys = 2 + random.below(3);
        let table = Table::new(random, split, subjects, keys);
        let (subject, key) = (random.below(subjects), random.below(keys));
        let value = &table.values[subject][key];
        if table.values.iter().filter(|row| row[key] == *value).count() > 1 {
            continue;
        }
        let spoken = table.keys[key].0.replace('_', " ");
        let question = match random.below(2) {
            0 => format!("Which {} has the {spoken} {value}?", table.noun),
            _ => format!("Whose {spoken} is {value}?"),
        };
        return Lesson {
            kind: LessonKind::Reverse,
            question: asked(random, split, &table, &question),
            reasoning: None,
            answer: table.subjects[subject].clone(),
            more: Vec::new(),
        };
    }
}

fn compare(random: &mut Random, split: Split) -> Lesson {
    let subjects = 3 + random.below(3);
    let keys = 2 + random.below(2);
    let mut table = Table::new(random, split, subjects, keys);
    let key = random.below(keys);
    table.number_key(random, key);
    let number = |subject: usize| match &table.values[subject][key] {
        Value::Number(number) => *number,
        Value::Text(_) => 0,
    };
    let largest = random.chance(0.5);
    let best = (0..subjects)
        .max_by_key(|subject| {
            if largest {
                number(*subject)
            } else {
                -number(*subject)
            }
        })
        .unwrap_or(0);
    let spoken = table.keys[key].0.replace('_', " ");
    let word = if largest { "largest" } else { "smallest" };
    let mut reasoning = String::new();
    for (subject, name) in table.subjects.iter().enumerate() {
        let _ = write!(reasoning, "{name} {}, ", number(subject));
    }
    let _ = write!(
        reasoning,
        "{word} {}: {}",
        number(best),
        table.subjects[best]
    );
    let question = format!("Which {} has the {word} {spoken}?", table.noun);
    let answer = table.subjects[best].clone();
    Lesson {
        kind: LessonKind::Compare,
        question: asked(random, split, &table, &question),
        reasoning: Some(reasoning),
        answer,
        more: Vec::new(),
    }
}

/// Largest number of an arithmetic lesson: each single step is one that can be known, a whole chain is not.
const LARGEST: i64 = 99;

/// A chain of operations from left to right, each result written down.
fn arithmetic(random: &mut Random, kind: LessonKind) -> Lesson {
    let mut total = random.between(2, LARGEST);
    let mut expression = total.to_string();
    let mut steps = Vec::new();
    for _ in 0..random.between(3, 6) {
        let (sign, operand, result) = operation(random, total);
        steps.push(format!("{total} {sign} {operand} = {result}"));
        let _ = write!(expression, " {sign} {operand}");
        total = result;
    }
    let question = match random.below(3) {
        0 => format!("Compute from left to right: {expression}"),
        1 => format!("From left to right, what is {expression}?"),
        _ => format!("{expression} (left to right)"),
    };
    Lesson {
        kind,
        question,
        reasoning: (kind == LessonKind::Arithmetic).then(|| steps.join("; ")),
        answer: total.to_string(),
        more: Vec::new(),
    }
}

/// A sign, a number of one digit and the result, which is within the numbers of the lesson.
fn operation(random: &mut Random, total: i64) -> (&'static str, i64, i64) {
    loop {
        let operand = random.between(1, 9);
        let (sign, result) = match random.below(3) {
            0 => ("+", total + operand),
            1 => ("-", total - operand),
            _ => ("*", total * operand),
        };
        if (0..=LARGEST).contains(&result) && (sign, operand) != ("*", 1) {
            return (sign, operand, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Stated;

    fn lessons(split: Split) -> impl Iterator<Item = Lesson> {
        (0..2000).map(move |index| Lesson::new(9, split, index))
    }

    /// The numbers of a question, computed from left to right by another reading of its text.
    fn computed(question: &str) -> i64 {
        let words: Vec<&str> = question
            .split(|c: char| !(c.is_ascii_digit() || "+-*".contains(c)))
            .collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let number = |word: &str| word.parse::<i64>().expect("a number");
        words[1..]
            .chunks(2)
            .fold(number(words[0]), |total, pair| match pair[0] {
                "+" => total + number(pair[1]),
                "-" => total - number(pair[1]),
                _ => total * number(pair[1]),
            })
    }

    /// Every value of every row stands on its line.
    fn check_rows(document: &str, rows: &Json) {
        let lines: Vec<&str> = document.lines().collect();
        let rows = rows.as_array().expect("a list");
        assert!(!rows.is_empty(), "{document}");
        for cell in rows
            .iter()
            .flat_map(|row| row.as_object().expect("a row").values())
        {
            let Some(line) = cell["line"].as_u64() else {
                assert!(cell["value"].is_null(), "{cell}");
                continue;
            };
            let value = cell["value"].as_str().expect("a text");
            assert!(
                Stated::is_said(value, lines[line as usize - 1]),
                "{cell} in\n{document}"
            );
        }
    }

    #[test]
    fn answers_are_right() {
        let mut kinds = std::collections::HashMap::new();
        for split in [Split::Train, Split::HeldOut] {
            for lesson in lessons(split) {
                *kinds.entry(lesson.kind).or_insert(0) += 1;
                match lesson.kind {
                    LessonKind::Arithmetic | LessonKind::ArithmeticInstant => {
                        assert_eq!(
                            computed(&lesson.question).to_string(),
                            lesson.answer,
                            "{}",
                            lesson.question
                        );
                        assert_eq!(
                            lesson.reasoning.is_some(),
                            lesson.kind == LessonKind::Arithmetic
                        );
                    }
                    LessonKind::NotFound => assert_eq!(lesson.answer, NOT_FOUND),
                    LessonKind::Rows => {
                        let rows = serde_json::from_str(&lesson.answer).expect("rows");
                        check_rows(&lesson.question, &rows);
                    }
                    LessonKind::Beyond => assert_eq!(lesson.answer, BEYOND),
                    LessonKind::Rewrite
                    | LessonKind::Several
                    | LessonKind::Columns
                    | LessonKind::Questions => {
                        assert!(!lesson.answer.is_empty());
                    }
                    _ => {
                        let (text, answer) =
                            (lesson.question.to_lowercase(), lesson.answer.to_lowercase());
                        assert!(text.contains(&answer), "{answer} in\n{text}");
                    }
                }
            }
        }
        assert_eq!(kinds.len(), PARTS.len(), "{kinds:?}");
        assert_eq!(PARTS.iter().map(|(_, part)| part).sum::<usize>(), 100);
    }

    #[test]
    fn lessons_in_thinking_are_of_their_kinds() {
        let lessons = (0..300).map(|index| Lesson::thinking(9, Split::Train, index));
        for lesson in lessons {
            let thinks = THINKING_PARTS.iter().any(|(kind, _)| *kind == lesson.kind);
            assert!(thinks, "{:?}", lesson.kind);
            let is_instant = lesson.kind == LessonKind::ArithmeticInstant;
            assert_eq!(lesson.reasoning.is_none(), is_instant);
        }
    }

    #[test]
    fn an_echo_says_the_same_three_times() {
        let text = echo(1, Split::Train, 2)["text"]
            .as_str()
            .map(str::to_owned)
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1]), (3, lines[1], lines[2]));
        assert!(lines[0].split(' ').all(|word| Split::Train.owns(word)));
    }

    /// Each key stands in each of three blocks, behind it the same value.
    #[test]
    fn what_is_recalled_was_said() {
        for index in 0..200 {
            let mut random = Split::HeldOut.random(3, index);
            let text = recalled_lines(&mut random, Split::HeldOut);
            let pairs = |block: &str| {
                let mut words: Vec<String> = block
                    .lines()
                    .map(|line| line.replace([' ', ':', '=', '|', '>', '-'], ""))
                    .collect();
                words.sort();
                words
            };
            let blocks: Vec<_> = text.split("\n\n").map(pairs).collect();
            assert_eq!(blocks.len(), 3, "{text}");
            assert!(blocks.iter().all(|block| *block == blocks[0]), "{text}");
        }
        assert_eq!(recall(1, Split::Train, 5), recall(1, Split::Train, 5));
    }

    #[test]
    fn lessons_repeat_and_are_conversations() {
        for (lesson, again) in lessons(Split::HeldOut)
            .zip(lessons(Split::HeldOut))
            .take(200)
        {
            assert_eq!(lesson, again);
            let text = lesson.to_json().to_string();
            let parsed = k25_chat::Conversation::parse(&text, k25_chat::Reading::Service)
                .expect("a conversation");
            assert_eq!(parsed.messages.len(), 2 + 2 * lesson.more.len());
        }
        assert!(
            lessons(Split::Train)
                .zip(lessons(Split::HeldOut))
                .all(|(a, b)| a.question != b.question)
        );
    }
}
