//! Questions that come before their documents.
//!
//! Behind a document, what a question asks for can be looked for as it is read. Ahead of it, every line has to be held against the
//! question while it is read, which is another skill: a model that found four of five values asked for behind a document found one
//! of five asked for ahead of it.

use super::several::BRIEF;
use super::{Lesson, LessonKind, WORDINGS, one_value};
use crate::random::Random;
use crate::world::{Form, Split, Table};

/// Most documents of a lesson, each with its question.
const MOST_DOCUMENTS: usize = 10;
/// One of so many questions asks for what its document does not have.
const MISSING: usize = 10;

/// Small documents, each with a question ahead of it.
pub(super) fn asked_first(random: &mut Random, split: Split) -> Lesson {
    let (question, answer) = pair(random, split);
    let more = (0..random.below(MOST_DOCUMENTS)).map(|_| pair(random, split));
    Lesson {
        kind: LessonKind::AskedFirst,
        question,
        reasoning: None,
        answer,
        more: more.collect(),
    }
}

/// A question with its document, and the answer.
fn pair(random: &mut Random, split: Split) -> (String, String) {
    let (subjects, keys) = (1 + random.below(4), 1 + random.below(4));
    let table = Table::of_kinds(random, split, subjects, keys, &BRIEF);
    let is_missing = random.below(MISSING) == 0;
    let wording = random.below(WORDINGS);
    let (question, answer) = one_value(random, split, &table, is_missing, wording);
    let document = Form::draw(random, split).write(random, &table);
    (format!("{question}\n\n{document}"), answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::NOT_FOUND;

    /// Every answer stands in the document behind its own question, unless it is not found.
    #[test]
    fn every_question_is_answered_by_its_document() {
        let mut missing = 0;
        for index in 0..200 {
            let mut random = Split::Train.random(6, index);
            let lesson = asked_first(&mut random, Split::Train);
            for (text, answer) in [(lesson.question, lesson.answer)]
                .iter()
                .chain(&lesson.more)
            {
                let (_, document) = text.split_once("\n\n").expect("a document");
                let is_missing = answer == NOT_FOUND;
                let document = document.to_lowercase();
                assert!(
                    is_missing || document.contains(&answer.to_lowercase()),
                    "{text}\n{answer}"
                );
                missing += usize::from(is_missing);
            }
        }
        assert!(missing > 50, "{missing}");
    }
}
