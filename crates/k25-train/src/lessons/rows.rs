//! Rows out of a document, as sub-agents hand them in, but without an agent around them: many values by their keys in few tokens.

use serde_json::{Map, Value as Json, json};

use super::{Lesson, LessonKind};
use crate::random::Random;
use crate::world::{Folder, Paper, Size, Split, Stated};

/// Most rows of an answer, as in one call of a sub-agent.
const MOST_ROWS: usize = 6;

/// A document with numbered lines, columns, and the rows as JSON; then single rows with fewer columns.
pub(super) fn rows(random: &mut Random, split: Split) -> Lesson {
    let size = Size {
        entries: 1,
        records: MOST_ROWS,
        columns: 7,
        noise: random.below(30),
    };
    let folder = Folder::new(random, split, size);
    let papers: Vec<&Paper> = folder.papers.values().collect();
    let paper = papers.iter().find(|paper| !paper.rows.is_empty());
    let (text, rows) = paper.map_or(("", [].as_slice()), |paper| {
        (paper.text.as_str(), paper.rows.as_slice())
    });
    let numbered = text.lines().enumerate();
    let numbered = numbered.map(|(index, line)| format!("{}: {line}\n", index + 1));
    let all: Vec<usize> = (0..folder.columns.len()).collect();
    let question = format!(
        "{}\nRows: {}",
        numbered.collect::<String>(),
        folder.columns.join(", ")
    );
    let answer = rows
        .iter()
        .map(|row| cells(&folder.columns, &all, row, usize::MAX));
    let more = (0..random.below(4)).map(|_| one_row(random, &folder.columns, rows));
    Lesson {
        kind: LessonKind::Rows,
        question,
        reasoning: None,
        answer: Json::Array(answer.collect()).to_string(),
        more: more.collect(),
    }
}

/// A question about some columns of one row, in any order, and its answer.
fn one_row(
    random: &mut Random,
    columns: &[String],
    rows: &[Vec<Option<Stated>>],
) -> (String, String) {
    let row = random.pick(rows);
    let mut asked: Vec<usize> = (1..columns.len()).collect();
    random.shuffle(&mut asked);
    asked.truncate(1 + random.below(asked.len()));
    let names: Vec<&str> = asked
        .iter()
        .map(|column| columns[*column].as_str())
        .collect();
    let name = row[0].as_ref().map_or("", |stated| stated.value.as_str());
    let question = format!("Row {name}: {}", names.join(", "));
    (
        question,
        cells(columns, &asked, row, usize::MAX).to_string(),
    )
}

/// Some cells of a row, each with its line; `null` where the document does not say up to its line `end`.
pub(super) fn cells(
    columns: &[String],
    asked: &[usize],
    row: &[Option<Stated>],
    end: usize,
) -> Json {
    let cells = asked.iter().map(|column| {
        let cell = match &row[*column] {
            Some(stated) if stated.line <= end => {
                json!({"value": stated.value, "line": stated.line})
            }
            _ => json!({"value": null}),
        };
        (columns[*column].clone(), cell)
    });
    Json::Object(cells.collect::<Map<_, _>>())
}
