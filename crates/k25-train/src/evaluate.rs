//! What a model can do, measured on lessons that it was never trained on: answers word by word, and tables cell by cell in the real
//! runtime.
//!
//! Held-out lessons have words that training never shows, and half of their documents a form that it never shows.

mod opened;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;

use k25_agent::agent::ModelChoice;
use k25_agent::event::EventKind;
use k25_agent::run::{Run, RunState};
use k25_agent::table::{CellStatus, display};
use k25_chat::{
    ChatClient, ChatReply, ChatRequest, Conversation, Message, Reading, SamplingOptions,
};

use crate::error::TrainError;
use crate::lessons::record::{RunKind, Stage, choice, write_folder};
use crate::lessons::{Lesson, LessonKind, sight};
use crate::world::{Folder, Form, Size, Split};

pub use opened::{OpenedScore, opened};

/// Right ones of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Score {
    /// Right ones.
    pub right: u64,
    /// All.
    pub all: u64,
}

impl Score {
    fn add(&mut self, is_right: bool) {
        self.right += u64::from(is_right);
        self.all += 1;
    }

    /// The part that is right.
    pub fn rate(self) -> f64 {
        self.right as f64 / self.all.max(1) as f64
    }
}

impl std::iter::Sum for Score {
    fn sum<I: Iterator<Item = Self>>(scores: I) -> Self {
        scores.fold(Self::default(), |sum, score| Self {
            right: sum.right + score.right,
            all: sum.all + score.all,
        })
    }
}

/// How a model did in tables.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct TableScore {
    /// Cells of all rows that there are: the value, or that it is not stated.
    pub cells: Score,
    /// The same, by the form of their document.
    pub by_form: BTreeMap<Form, Score>,
    /// Rows found of those that there are.
    pub rows: Score,
    /// Rows that no document has.
    pub invented_rows: u64,
    /// Tool calls that are JSON and match the tool's schema.
    pub calls: Score,
    /// Runs that ended of themselves.
    pub ended: Score,
    /// What went wrong, for a look: place, what there should be, what there is.
    pub faults: Vec<String>,
    /// Tool calls that are not valid: tool, arguments as the model wrote them, what it was told.
    pub call_faults: Vec<String>,
}

/// Failures of calls that are no JSON, do not match the tool's schema, or name no tool.
const INVALID: [&str; 2] = ["arguments", "unknown_tool"];

/// Most faults of a sort that are kept.
const SHOWN_FAULTS: usize = 60;

/// Longest answer of a candidate in a run.
const MOST_TOKENS: u32 = 1500;

/// A model and what it may do at most.
#[derive(Clone)]
pub struct Candidate {
    /// Who answers.
    pub client: Arc<dyn ChatClient>,
    /// Tokens of its context.
    pub context_tokens: u64,
}

impl Candidate {
    fn choice(&self) -> ModelChoice {
        choice(
            Arc::clone(&self.client),
            self.context_tokens,
            Some(MOST_TOKENS),
        )
    }
}

/// Asks `count` held-out lessons of every kind; arithmetic both with reasoning and without.
///
/// # Errors
/// Where the model fails to answer.
pub fn answers(
    candidate: &Candidate,
    seed: u64,
    count: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<BTreeMap<&'static str, Score>, TrainError> {
    let runtime = runtime()?;
    let mut scores: BTreeMap<&'static str, Score> = BTreeMap::new();
    let kinds = [
        (LessonKind::Lookup, "lookup", false),
        (LessonKind::NotFound, "not found", false),
        (LessonKind::Reverse, "reverse lookup", false),
        (LessonKind::Compare, "comparison, thinking", true),
        (LessonKind::Arithmetic, "arithmetic, thinking", true),
        (LessonKind::Arithmetic, "arithmetic, instant", false),
    ];
    for (kind, name, thinking) in kinds {
        progress(name);
        for index in 0..count {
            let mut random = Split::HeldOut.random(seed, index);
            let lesson = Lesson::of_kind(kind, &mut random, Split::HeldOut);
            let question = Message::user(&lesson.question);
            let said = runtime.block_on(say(candidate, question, thinking));
            let said = said.map_err(|problem| TrainError::Recording { index, problem })?;
            scores
                .entry(name)
                .or_default()
                .add(said.trim() == lesson.answer);
        }
    }
    Ok(scores)
}

/// Shows `count` held-out pictures, each a shape of a colour that training does not show together, and asks about them.
///
/// # Errors
/// Where the model fails to answer, for instance because it has no vision tower.
pub fn pictures(
    candidate: &Candidate,
    seed: u64,
    count: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<Score, TrainError> {
    let runtime = runtime()?;
    progress("pictures");
    let mut score = Score::default();
    for index in 0..count {
        let fault = |problem: String| TrainError::Recording { index, problem };
        let lesson = sight(seed, Split::HeldOut, index);
        let answer = &lesson["messages"][1]["content"];
        let parsed = Conversation::parse(&lesson.to_string(), Reading::Service);
        let mut messages = parsed.map_err(|error| fault(error.to_string()))?.messages;
        let said = say(candidate, messages.swap_remove(0), false);
        let said = runtime.block_on(said).map_err(fault)?;
        score.add(answer.as_str() == Some(said.trim()));
    }
    Ok(score)
}

async fn say(candidate: &Candidate, question: Message, thinking: bool) -> Result<String, String> {
    let request = ChatRequest {
        thinking,
        sampling: SamplingOptions {
            temperature: Some(0.0),
            ..SamplingOptions::default()
        },
        max_tokens: Some(300),
        ..ChatRequest::new("candidate", vec![question])
    };
    let mut stream = candidate.client.chat(request);
    let mut reply = ChatReply::default();
    while let Some(event) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        reply.add(&event.map_err(|error| error.to_string())?);
    }
    Ok(reply.message.content.unwrap_or_default())
}

/// Who leads in [`tables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// The teacher of the lessons: only the candidate's sub-agents are measured.
    Teacher,
    /// The candidate itself.
    Candidate,
}

/// Fills the tables of `count` held-out folders.
///
/// # Errors
/// Where a folder cannot be written or a run cannot begin.
pub fn tables(
    candidate: &Candidate,
    leader: Leader,
    seed: u64,
    count: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<TableScore, TrainError> {
    let runtime = runtime()?;
    let mut score = TableScore::default();
    for index in 0..count {
        progress(&format!(
            "folder {} of {count}, {:.1} % of cells",
            index + 1,
            score.cells.rate() * 100.0
        ));
        let mut random = Split::HeldOut.random(seed ^ 0x007a_b1e5, index);
        let size = Size {
            entries: 2 + random.below(5),
            records: 4,
            columns: 5,
            noise: random.below(20),
        };
        let folder = Arc::new(Folder::new(&mut random, Split::HeldOut, size));
        let root = tempfile::tempdir()
            .map_err(TrainError::io("create", Path::new("a temporary folder")))?;
        write_folder(&folder, root.path())?;
        let stage = Stage {
            kind: RunKind::Swarm,
            folder: Arc::clone(&folder),
            root: root.path().to_owned(),
            asks_columns: leader == Leader::Candidate && index.is_multiple_of(2),
            in_words: false,
        };
        let main = match leader {
            Leader::Teacher => stage.teacher(random),
            Leader::Candidate => candidate.choice(),
        };
        let played = async {
            let run = stage.open()?;
            let ended = stage.play(&run, main, candidate.choice()).await;
            Ok((run, ended))
        };
        let played = runtime.block_on(played);
        let (run, ended) = played.map_err(|problem| TrainError::Recording { index, problem })?;
        score.ended.add(ended.is_ok());
        if let Err(problem) = ended {
            score.fault(format!("folder {index}: {problem}"));
        }
        score.judge(index, &folder, &run);
    }
    Ok(score)
}

fn runtime() -> Result<tokio::runtime::Runtime, TrainError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(TrainError::io("start", Path::new("the runtime")))
}

impl TableScore {
    /// Cells of documents in forms that training shows.
    pub fn known_forms(&self) -> Score {
        self.of_forms(|form| !Form::HELD_OUT.contains(form))
    }

    /// Cells of documents in the others.
    pub fn new_forms(&self) -> Score {
        self.of_forms(|form| Form::HELD_OUT.contains(form))
    }

    fn of_forms(&self, counts: impl Fn(&Form) -> bool) -> Score {
        let scores = self.by_form.iter().filter(|(form, _)| counts(form));
        scores.map(|(_, score)| *score).sum()
    }

    fn fault(&mut self, text: String) {
        if self.faults.len() < SHOWN_FAULTS {
            self.faults.push(text);
        }
    }

    fn judge(&mut self, index: u64, folder: &Folder, run: &Run) {
        self.note_invalid_calls(index, run);
        run.with_state(|state| {
            let mut expected = 0;
            for (path, paper) in &folder.papers {
                for row in &paper.rows {
                    self.judge_row(index, folder, path, row, state);
                    expected += 1;
                }
            }
            self.invented_rows += (state.table.row_count() as u64).saturating_sub(expected);
            let failed = |kind: &&str| state.failures.get(*kind).copied().unwrap_or(0);
            let wrong: u64 = INVALID.iter().map(failed).sum();
            let all = state.spent.tool_calls;
            self.calls.all += all;
            self.calls.right += all.saturating_sub(wrong);
        });
    }

    /// Notes what the calls of a run that are not valid look like.
    fn note_invalid_calls(&mut self, index: u64, run: &Run) {
        let events = run.journal().read().unwrap_or_default();
        // Ids are unique within a task.
        let mut written: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for event in &events {
            match &event.kind {
                EventKind::Replied { reply, .. } => {
                    let calls = reply.calls.iter();
                    written.extend(calls.map(|call| {
                        let key = (event.task.as_str(), call.id.as_str());
                        (key, call.arguments.as_str())
                    }));
                }
                EventKind::ToolReturned {
                    call,
                    tool,
                    text,
                    failure: Some(failure),
                    ..
                } if INVALID.contains(&failure.as_str()) => {
                    let key = (event.task.as_str(), call.as_str());
                    let arguments = written.get(&key).copied().unwrap_or_default();
                    self.call_faults
                        .push(format!("{index} {tool} {arguments}: {text}"));
                }
                _ => {}
            }
        }
        self.call_faults.truncate(SHOWN_FAULTS);
    }

    fn judge_row(
        &mut self,
        index: u64,
        folder: &Folder,
        path: &str,
        row: &[Option<crate::world::Stated>],
        state: &RunState,
    ) {
        let name = row[0]
            .as_ref()
            .map(|stated| stated.value.clone())
            .unwrap_or_default();
        // The table tells rows apart whatever the case of their names.
        let key = name.to_lowercase();
        let is_there = state.table.rows().any(|row| row == key);
        self.rows.add(is_there);
        let of_form = self.by_form.entry(folder.form).or_default();
        let mut faults = Vec::new();
        for (column, stated) in folder.columns.iter().zip(row) {
            let settled = state.table.get(&key, column);
            let shown = settled
                .cell
                .map(|cell| display(&cell.value))
                .unwrap_or_default();
            let expected = stated
                .as_ref()
                .map(|stated| stated.value.clone())
                .unwrap_or_default();
            let is_right = match stated {
                Some(_) => settled.status == CellStatus::Ok && shown == expected,
                None => is_there && settled.status == CellStatus::NotStated,
            };
            self.cells.add(is_right);
            of_form.add(is_right);
            if !is_right {
                faults.push(format!(
                    "{index} {path} {name}.{column}: {expected:?}, not {shown:?} ({:?})",
                    settled.status
                ));
            }
        }
        faults.into_iter().for_each(|fault| self.fault(fault));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn stage(index: u64) -> (Stage, tempfile::TempDir, Random) {
        let mut random = Split::HeldOut.random(3, index);
        let size = Size {
            entries: 3,
            records: 3,
            columns: 4,
            noise: 4,
        };
        let folder = Arc::new(Folder::new(&mut random, Split::HeldOut, size));
        let root = tempfile::tempdir().expect("a folder");
        write_folder(&folder, root.path()).expect("documents");
        let stage = Stage {
            kind: RunKind::Swarm,
            folder,
            root: root.path().to_owned(),
            asks_columns: false,
            in_words: false,
        };
        (stage, root, random)
    }

    /// What the teacher fills from documents that are read as they were written is right, cell by cell.
    #[test]
    fn a_right_table_has_every_cell_right() {
        let runtime = runtime().expect("a runtime");
        let mut score = TableScore::default();
        for index in 0..30 {
            let (stage, _root, random) = stage(index);
            // The text of a page is not its source, whose lines the teacher knows.
            if stage
                .folder
                .papers
                .keys()
                .any(|path| path.ends_with(".html"))
            {
                continue;
            }
            let teacher = stage.teacher(random);
            let played = async {
                let run = stage.open()?;
                stage
                    .play(&run, teacher.clone(), teacher)
                    .await
                    .map(|()| run)
            };
            let run = runtime.block_on(played).expect("a run");
            score.judge(index, &stage.folder, &run);
        }
        assert!(score.cells.all > 100 && score.known_forms().all > 0 && score.new_forms().all > 0);
        assert_eq!(score.cells.right, score.cells.all, "{:#?}", score.faults);
        assert_eq!((score.rows.right, score.invented_rows), (score.rows.all, 0));
        assert_eq!(score.calls.right, score.calls.all);
    }

    /// An empty table has no cell right, not even those that are not stated anywhere.
    #[test]
    fn an_empty_table_has_no_cell_right() {
        let runtime = runtime().expect("a runtime");
        let (stage, _root, _) = stage(0);
        let run = runtime.block_on(async { stage.open() }).expect("a run");
        let mut score = TableScore::default();
        score.judge(0, &stage.folder, &run);
        assert!(score.cells.all > 0 && !score.faults.is_empty());
        assert_eq!((score.cells.right, score.rows.right), (0, 0));
    }
}
