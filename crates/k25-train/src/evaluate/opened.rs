//! Single values of documents that the model finds and opens itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Candidate, Score, runtime};
use crate::error::TrainError;
use crate::lessons::record::{RunKind, Stage, one_value_of, write_folder};
use crate::random::Random;
use crate::world::{Folder, Form, Size, Split};

/// How a model did with single values.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct OpenedScore {
    /// Answers whose value is right, by the form of the document that has it.
    pub by_form: BTreeMap<Form, Score>,
    /// What went wrong: the question, the value there should be, what was said.
    pub faults: Vec<String>,
}

impl OpenedScore {
    /// Of all forms.
    pub fn all(&self) -> Score {
        self.by_form.values().copied().sum()
    }
}

/// Asks for one value in each of `count` held-out folders. The candidate has to find the document by a search, open it and say what it
/// states, in the real runtime.
///
/// # Errors
/// Where a folder cannot be written or a run cannot begin.
pub fn opened(
    candidate: &Candidate,
    seed: u64,
    count: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<OpenedScore, TrainError> {
    let runtime = runtime()?;
    let mut score = OpenedScore::default();
    for index in 0..count {
        progress(&format!("single value {} of {count}", index + 1));
        let mut random = Split::HeldOut.random(seed ^ 0x0be9_ed00, index);
        let (folder, value) = asked(&mut random);
        let fault = |problem| TrainError::Recording { index, problem };
        let said = runtime.block_on(answer(candidate, &folder));
        let said = said.map_err(fault)?;
        let is_right = value_of(&said) == value;
        score.by_form.entry(folder.form).or_default().add(is_right);
        if !is_right {
            let fault = format!("{index} {}: {value:?}, not {said:?}", folder.question);
            score.faults.push(fault);
        }
    }
    Ok(score)
}

/// A folder with a question about one value that a document states, and that value.
fn asked(random: &mut Random) -> (Folder, String) {
    loop {
        let size = Size {
            entries: 1 + random.below(5),
            records: 4,
            columns: 5,
            noise: random.below(20),
        };
        let mut folder = Folder::new(random, Split::HeldOut, size);
        let values = folder.stated_values();
        if !values.is_empty() {
            let [name, column, value] = *random.pick(&values);
            let value = value.to_owned();
            folder.question = one_value_of(random, name, column);
            return (folder, value);
        }
    }
}

/// What the candidate says in the end; nothing where it comes to no end.
async fn answer(candidate: &Candidate, folder: &Folder) -> Result<String, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let root = tempfile::tempdir().map_err(|error| words(&error))?;
    let root: &Path = root.path();
    write_folder(folder, root).map_err(|error| words(&error))?;
    let stage = Stage {
        kind: RunKind::Answer,
        folder: Arc::new(folder.clone()),
        root: root.to_owned(),
        asks_columns: false,
        in_words: true,
    };
    let run = stage.open()?;
    let ended = stage
        .play(&run, candidate.choice(), candidate.choice())
        .await;
    match ended {
        Ok(()) => Ok(run.with_state(|state| state.answer.clone())),
        Err(_) => Ok(String::new()),
    }
}

/// The value of an answer, `name: column = value (path:line)`, or of one in fewer words.
fn value_of(said: &str) -> &str {
    let said = said.trim();
    let said = said.split_once(" = ").map_or(said, |(_, value)| value);
    match said.rsplit_once(" (") {
        Some((value, place)) if place.ends_with(')') => value,
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::record::Teacher;

    /// The teacher of the lessons finds nearly every value: what the measure calls right is what lessons teach.
    #[test]
    fn the_teacher_is_right() {
        let runtime = runtime().expect("a runtime");
        let mut score = Score::default();
        for index in 0..40 {
            let mut random = Split::HeldOut.random(5, index);
            let (folder, value) = asked(&mut random);
            // The text of a page is not its source, whose lines the teacher knows.
            if folder.form == Form::Html {
                continue;
            }
            let teacher = Teacher::new(Arc::new(folder.clone()), random, 0.0);
            let candidate = Candidate {
                client: Arc::new(teacher),
                context_tokens: 4096,
            };
            let said = runtime
                .block_on(answer(&candidate, &folder))
                .expect("an answer");
            score.add(value_of(&said) == value);
        }
        assert!(score.all > 20 && score.rate() > 0.9, "{score:?}");
    }

    #[test]
    fn a_place_is_no_part_of_a_value() {
        assert_eq!(value_of("lamp: size = 4.2 (a.toml:3)"), "4.2");
        assert_eq!(value_of("lamp: by = Ann (Lee) (a.toml:3)\n"), "Ann (Lee)");
        assert_eq!(value_of("4.2 (a.toml:3)"), "4.2");
        assert_eq!(value_of("4.2"), "4.2");
    }
}
