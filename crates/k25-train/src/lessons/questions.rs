//! Many questions in words, whose answers are brief: nearly all that there is to learn from them is whose key is meant.
//!
//! Behind a document, what a question asks for can be looked for when the document is known. Ahead of it, every line has to be held
//! against the question while it is read, which is another skill: a model that found four of five values asked for behind a document
//! found one of five asked for ahead of it.

use super::several::BRIEF;
use super::{Lesson, LessonKind, WORDINGS, one_value};
use crate::random::Random;
use crate::world::{Form, Split, Table};

/// Most documents of a lesson whose questions come first.
const MOST_DOCUMENTS: usize = 10;
/// Fewest and most questions about one document.
const QUESTIONS: (usize, usize) = (6, 20);
/// One of so many questions asks for what its document does not have.
const MISSING: usize = 10;

/// Small documents with a question ahead of each, or one with many questions behind it.
pub(super) fn questions(random: &mut Random, split: Split) -> Lesson {
    let mut turns = match random.chance(0.5) {
        true => ahead(random, split),
        false => behind(random, split),
    }
    .into_iter();
    let (question, answer) = turns.next().expect("a question");
    Lesson {
        kind: LessonKind::Questions,
        question,
        reasoning: None,
        answer,
        more: turns.collect(),
    }
}

/// Each with a document of its own behind it, and its answer.
fn ahead(random: &mut Random, split: Split) -> Vec<(String, String)> {
    let turn = |random: &mut Random| {
        let (subjects, keys) = (1 + random.below(4), 1 + random.below(4));
        let table = Table::of_kinds(random, split, subjects, keys, &BRIEF);
        let (question, answer) = one(random, split, &table);
        let document = Form::draw(random, split).write(random, &table);
        (format!("{question}\n\n{document}"), answer)
    };
    let documents = 1 + random.below(MOST_DOCUMENTS);
    (0..documents).map(|_| turn(random)).collect()
}

/// All about one document, which the first one has before it.
fn behind(random: &mut Random, split: Split) -> Vec<(String, String)> {
    let (subjects, keys) = (2 + random.below(4), 1 + random.below(5));
    let table = Table::of_kinds(random, split, subjects, keys, &BRIEF);
    let questions = QUESTIONS.0 + random.below(QUESTIONS.1 - QUESTIONS.0 + 1);
    let mut turns: Vec<(String, String)> =
        (0..questions).map(|_| one(random, split, &table)).collect();
    let document = Form::draw(random, split).write(random, &table);
    turns[0].0 = format!("{document}\n{}", turns[0].0);
    turns
}

/// A question about a table, and its answer.
fn one(random: &mut Random, split: Split, table: &Table) -> (String, String) {
    let is_missing = random.below(MISSING) == 0;
    let wording = random.below(WORDINGS);
    one_value(random, split, table, is_missing, wording)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::NOT_FOUND;

    /// Every answer stands in its question's document, unless it is not found.
    #[test]
    fn every_question_is_answered_by_its_document() {
        let (mut missing, mut all) = (0, 0);
        for index in 0..200 {
            let mut random = Split::Train.random(6, index);
            let lesson = questions(&mut random, Split::Train);
            let is_one_document = lesson.more.iter().all(|(text, _)| !text.contains("\n\n"));
            let document = lesson.question.to_lowercase();
            for (text, answer) in [(lesson.question, lesson.answer)]
                .iter()
                .chain(&lesson.more)
            {
                let text = match is_one_document {
                    true => document.clone(),
                    false => text.to_lowercase(),
                };
                let is_missing = answer == NOT_FOUND;
                assert!(
                    is_missing || text.contains(&answer.to_lowercase()),
                    "{text}\n{answer}"
                );
                missing += usize::from(is_missing);
                all += 1;
            }
        }
        assert!(all > 1_500 && missing > all / 20, "{missing} of {all}");
    }
}
