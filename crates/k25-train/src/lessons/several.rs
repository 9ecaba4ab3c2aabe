//! Many values of one document at once, each found by its subject and its key.
//!
//! A question about a single value is answered well enough by a model that finds the key and takes any subject's value of it: of
//! four subjects one is right. It stays there for millions of tokens. Here nearly every answer's token depends on both, and after
//! half a million tokens the model looks for both.
//!
//! In a table the key stands in the head alone, and a value is found by counting: that the model does not learn from tables of any
//! size, of which it reads a row rightly and takes any of its values. [`columns`] begins with the smallest tables.

use super::{Lesson, LessonKind, NOT_FOUND};
use crate::random::Random;
use crate::world::{Form, Split, Table, ValueKind, Words};

/// Most values of one answer.
const MOST_VALUES: usize = 12;
/// The same of a table, whose places take few tokens.
const MOST_TABLE_VALUES: usize = 20;
/// Most columns and rows of the tables in [`columns`].
const MOST_COLUMNS: usize = 7;
const MOST_ROWS: usize = 4;
/// One of so many places that are asked for is nowhere in the document.
const MISSING: usize = 12;
/// Between a subject and a key that is asked for.
const JOINTS: [&str; 4] = [": ", " ", ".", " / "];
/// Kinds of values that take few tokens, so that most of what there is to learn is where they stand.
pub(super) const BRIEF: [ValueKind; 7] = [
    ValueKind::Word,
    ValueKind::Version,
    ValueKind::Number,
    ValueKind::Licence,
    ValueKind::Code,
    ValueKind::Amount,
    ValueKind::Year,
];

/// A document and a list of places in it; the answer says the list again with the values.
pub(super) fn several(random: &mut Random, split: Split) -> Lesson {
    let form = Form::draw(random, split);
    let subjects = 1 + random.below(5);
    let is_wide = subjects == 1 || is_table(form);
    let keys = 1 + usize::from(is_wide) + random.below(4);
    let kinds = kinds(random);
    let table = Table::of_kinds(random, split, subjects, keys, kinds);
    let places = places(random, split, &table, MOST_VALUES);
    lesson(LessonKind::Several, random, form, &table, &places)
}

/// A table and a list of its places. A third of them have two columns of values alone, and ever fewer have more: in the smallest,
/// which column it is has few answers, and larger ones build on it.
pub(super) fn columns(random: &mut Random, split: Split) -> Lesson {
    let form = *random.pick(&[Form::MarkdownTable, Form::Csv]);
    let rows = 1 + random.below(MOST_ROWS);
    let further = random.below(MOST_COLUMNS - 1);
    let keys = 2 + further.min(random.below(MOST_COLUMNS - 1));
    let kinds = kinds(random);
    let table = Table::of_kinds(random, split, rows, keys, kinds);
    let places = places(random, split, &table, MOST_TABLE_VALUES);
    lesson(LessonKind::Columns, random, form, &table, &places)
}

/// Brief values, mostly.
fn kinds(random: &mut Random) -> &'static [ValueKind] {
    match random.chance(0.8) {
        true => &BRIEF,
        false => &ValueKind::ALL,
    }
}

fn lesson(
    kind: LessonKind,
    random: &mut Random,
    form: Form,
    table: &Table,
    places: &[Place],
) -> Lesson {
    let document = form.write(random, table);
    let joint = *random.pick(&JOINTS);
    let is_spoken = random.chance(0.3);
    let shown = |place: &Place| match is_spoken {
        true => format!("{}{joint}{}", place.subject, place.key.replace('_', " ")),
        false => format!("{}{joint}{}", place.subject, place.key),
    };
    let asked: Vec<String> = places.iter().map(shown).collect();
    let answered = places
        .iter()
        .map(|place| format!("{} = {}", shown(place), place.value));
    let head = *random.pick(&["Find these:", "Fill in:", "Give me each of these:"]);
    Lesson {
        kind,
        question: format!("{document}\n{head}\n{}", asked.join("\n")),
        reasoning: None,
        answer: answered.collect::<Vec<_>>().join("\n"),
        more: Vec::new(),
    }
}

fn is_table(form: Form) -> bool {
    matches!(form, Form::MarkdownTable | Form::Csv)
}

/// A value, and what leads to it.
struct Place {
    subject: String,
    key: String,
    value: String,
}

/// Places of a table in any order, at most so many, some of which it does not have.
fn places(random: &mut Random, split: Split, table: &Table, most: usize) -> Vec<Place> {
    let mut all: Vec<(usize, usize)> = (0..table.subjects.len())
        .flat_map(|subject| (0..table.keys.len()).map(move |key| (subject, key)))
        .collect();
    random.shuffle(&mut all);
    all.truncate(most);
    let place = |(subject, key): (usize, usize)| {
        let mut place = Place {
            subject: table.subjects[subject].clone(),
            key: table.keys[key].0.clone(),
            value: table.values[subject][key].to_string(),
        };
        if random.below(MISSING) == 0 {
            place.value = NOT_FOUND.to_owned();
            match random.chance(0.5) {
                true => place.key = table.missing_key(random, split),
                false => place.subject = missing_subject(random, split, table),
            }
        }
        place
    };
    all.into_iter().map(place).collect()
}

/// A name that no subject of the table has.
fn missing_subject(random: &mut Random, split: Split, table: &Table) -> String {
    loop {
        let name = Words::new(split).different(random);
        if !table.subjects.contains(&name) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered is what was asked, in that order, and each value stands in the document unless it is not found.
    #[test]
    fn every_place_is_answered() {
        let mut missing = 0;
        for index in 0..1000 {
            let mut random = Split::Train.random(4, index);
            let lesson = match index.is_multiple_of(2) {
                true => several(&mut random, Split::Train),
                false => columns(&mut random, Split::Train),
            };
            let answers: Vec<&str> = lesson.answer.lines().collect();
            let lines: Vec<&str> = lesson.question.lines().collect();
            let (document, asked) = lines.split_at(lines.len() - answers.len());
            let document = document.join("\n").to_lowercase();
            for (answer, asked) in answers.iter().zip(asked) {
                let value = answer
                    .strip_prefix(asked)
                    .and_then(|rest| rest.strip_prefix(" = "));
                let value = value.expect("a value").to_lowercase();
                let is_missing = value == NOT_FOUND;
                assert!(
                    is_missing || document.contains(&value),
                    "{value} in\n{document}"
                );
                missing += usize::from(is_missing);
            }
        }
        assert!(missing > 100, "{missing}");
    }
}
