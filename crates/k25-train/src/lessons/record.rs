//! Lessons in using tools and in leading others: a teacher works in the real runtime, and its conversations are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k25_agent::agent::{ContextPolicy, ModelChoice};
use k25_agent::budget::{Budget, Prices};
use k25_agent::contract::{Column, Contract};
use k25_agent::documents::Documents;
use k25_agent::journal::MemoryJournal;
use k25_agent::run::{Clock, Run, RunParts};
use k25_agent::swarm::{Mode, Settings, Swarm, SwarmParts};
use k25_chat::{Arguments, ChatClient, Content, Conversation};
use serde_json::{Value, json};

use super::teacher::Recorded;
pub(crate) use super::teacher::Teacher;
use crate::error::TrainError;
use crate::random::Random;
use crate::world::{Folder, Size, Split};

/// What a recorded run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// An orchestrator and its sub-agents, over several documents.
    Swarm,
    /// Sub-agents over longer documents, with fewer of them.
    Reading,
    /// A long list of documents for an orchestrator; its sub-agents' lessons are not kept.
    Leading,
    /// One agent that fills a table.
    Single,
    /// One agent that answers in words.
    Answer,
    /// A question that documents do not answer, in words or with a table.
    Beyond,
}

/// The kinds and how often each comes, in hundredths. A question for one value leaves one conversation, a table one for each of its
/// documents.
const PARTS: [(RunKind, usize); 6] = [
    (RunKind::Swarm, 16),
    (RunKind::Reading, 18),
    (RunKind::Leading, 4),
    (RunKind::Single, 3),
    (RunKind::Answer, 57),
    (RunKind::Beyond, 2),
];
/// The same where the context is twice as long.
const LONG_PARTS: [(RunKind, usize); 6] = [
    (RunKind::Swarm, 11),
    (RunKind::Reading, 28),
    (RunKind::Leading, 11),
    (RunKind::Single, 3),
    (RunKind::Answer, 45),
    (RunKind::Beyond, 2),
];

/// How much the documents hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// What fits into a context of 2,048 tokens, mostly.
    Short,
    /// Documents and lists that take up one of 4,096.
    Long,
}

/// Part of the tasks in which the teacher errs once.
const MISTAKES: f64 = 0.1;
/// Part of the folders whose documents have one record each. Documents of several are given out in parts, which have to be met
/// often: with 0.7 here one lesson of twenty had a part, and of parts of three lines nothing was handed in.
const ONE_RECORD: f64 = 0.35;
/// Tokens of the context that lessons are made for.
const CONTEXT: u64 = 4096;

/// Writes the documents of a folder below `root`.
///
/// # Errors
/// Where a file cannot be written.
pub fn write_folder(folder: &Folder, root: &Path) -> Result<(), TrainError> {
    for (path, paper) in &folder.papers {
        let file = root.join(path);
        let parent = file.parent().unwrap_or(root);
        fs::create_dir_all(parent).map_err(TrainError::io("create", parent))?;
        fs::write(&file, &paper.text).map_err(TrainError::io("write", &file))?;
    }
    Ok(())
}

/// The folder of run `index`, its kind, and its stream of random numbers.
fn drawn(seed: u64, split: Split, index: u64, length: Length) -> (RunKind, Folder, Random) {
    let mut random = split.random(seed ^ 0x5eed_0f70_0750_a11e, index);
    let (parts, least_noise, most_noise, least_entries) = match length {
        Length::Short => (PARTS, 8, 38, 6),
        Length::Long => (LONG_PARTS, 20, 120, 20),
    };
    let kind = random.part(&parts);
    let most_records = |random: &mut Random, most| match random.chance(ONE_RECORD) {
        true => 1,
        false => most,
    };
    let size = match kind {
        RunKind::Swarm => Size {
            entries: 1 + random.below(5),
            records: most_records(&mut random, 5),
            columns: 5,
            noise: random.below(least_noise * 3),
        },
        RunKind::Reading => Size {
            entries: 1,
            records: most_records(&mut random, 9),
            columns: 9,
            noise: least_noise + random.below(most_noise - least_noise),
        },
        RunKind::Leading => Size {
            entries: least_entries + random.below(40),
            records: 1,
            columns: 3,
            noise: 1,
        },
        RunKind::Single => Size {
            entries: 1 + random.below(4),
            records: 2,
            columns: 4,
            noise: random.below(5),
        },
        RunKind::Answer | RunKind::Beyond => Size {
            entries: 1 + random.below(8),
            records: 4,
            columns: 5,
            noise: random.below(least_noise * 3),
        },
    };
    let mut folder = Folder::new(&mut random, split, size);
    match kind {
        RunKind::Answer => ask_one(&mut folder, &mut random, split),
        RunKind::Beyond => folder.question = super::beyond::question(&mut random, split),
        _ => {}
    }
    (kind, folder, random)
}

/// Makes the question one about a single value; of six one asks for what no document states, by its name or by its column.
fn ask_one(folder: &mut Folder, random: &mut Random, split: Split) {
    let stated = folder.stated_values();
    let of_stated = |random: &mut Random| match stated.is_empty() {
        true => None,
        false => Some(*random.pick(&stated)),
    };
    let other_name = |random: &mut Random| crate::world::Words::new(split).name(random);
    let any_column = |random: &mut Random| random.pick(&folder.columns[1..]).clone();
    let (name, column) = match (random.below(6), of_stated(random)) {
        (0, Some([name, ..])) if random.chance(0.5) => (name.to_owned(), any_column(random)),
        (0, _) | (_, None) => (other_name(random), any_column(random)),
        (_, Some([name, column, _])) => (name.to_owned(), column.to_owned()),
    };
    folder.question = one_value_of(random, &name, &column);
}

/// What stands before a column, between it and a name, and behind, in questions for one value.
const WORDINGS: [[&str; 3]; 4] = [
    ["What is the ", " of ", "?"],
    ["Which ", " does ", " have?"],
    ["Tell me the ", " of ", "."],
    ["Look up the ", " of ", "."],
];

/// A question for a single value.
pub(crate) fn one_value_of(random: &mut Random, name: &str, column: &str) -> String {
    let [before, between, behind] = random.pick(&WORDINGS);
    format!("{before}{column}{between}{name}{behind}")
}

/// The name and the column of such a question.
pub(super) fn asked(question: &str) -> Option<(&str, &str)> {
    WORDINGS.iter().find_map(|[before, between, behind]| {
        let rest = question.strip_prefix(before)?.strip_suffix(behind)?;
        let (column, name) = rest.split_once(between)?;
        Some((name, column))
    })
}

/// The conversations of run `index` of a seed and split, as lines for `k25 train sft`.
///
/// # Errors
/// Where the folder cannot be written, or the runtime refuses it.
pub fn lessons(
    seed: u64,
    split: Split,
    index: u64,
    length: Length,
) -> Result<Vec<Value>, TrainError> {
    let (kind, folder, mut random) = drawn(seed, split, index, length);
    let root =
        tempfile::tempdir().map_err(TrainError::io("create", Path::new("a temporary folder")))?;
    write_folder(&folder, root.path())?;
    let folder = Arc::new(folder);
    let stage = Stage {
        kind,
        folder: Arc::clone(&folder),
        root: root.path().to_owned(),
        asks_columns: index.is_multiple_of(4) || kind == RunKind::Beyond,
        in_words: kind == RunKind::Answer || (kind == RunKind::Beyond && random.chance(0.5)),
    };
    let teacher = Arc::new(Teacher::new(folder, random, MISTAKES));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(TrainError::io("start", Path::new("the runtime")))?;
    let fault = |problem: String| TrainError::Recording { index, problem };
    let model = choice(Arc::clone(&teacher) as Arc<dyn ChatClient>, CONTEXT, None);
    let played = async {
        let run = stage.open()?;
        stage.play(&run, model.clone(), model).await
    };
    let played = runtime.block_on(played);
    // Without columns there is no table, and the run ends with that.
    if kind != RunKind::Beyond {
        played.map_err(fault)?;
    }
    let is_kept = |recorded: &Recorded| kind != RunKind::Leading || is_leading(recorded);
    let recorded = teacher.recorded();
    Ok(recorded
        .iter()
        .filter(|recorded| is_kept(recorded))
        .map(|recorded| line(kind, recorded))
        .collect())
}

fn is_leading(recorded: &Recorded) -> bool {
    let messages = &recorded.conversation.messages;
    messages
        .iter()
        .flat_map(|message| &message.tool_calls)
        .any(|call| call.name == "assign_task")
}

/// A model of no price and no second choice, which answers what is likeliest.
pub(crate) fn choice(
    client: Arc<dyn ChatClient>,
    context_tokens: u64,
    max_tokens: Option<u32>,
) -> ModelChoice {
    ModelChoice {
        client,
        name: String::new(),
        context_tokens,
        max_tokens,
        temperature: Some(0.0),
        prices: Prices::default(),
        fallback: None,
    }
}

/// Documents on disk and what is to be done with them.
pub(crate) struct Stage {
    /// What the run is about.
    pub kind: RunKind,
    /// What is true.
    pub folder: Arc<Folder>,
    /// Where it is written down.
    pub root: PathBuf,
    /// Whether the model is asked for the columns.
    pub asks_columns: bool,
    /// Whether the answer is one in words.
    pub in_words: bool,
}

impl Stage {
    /// A teacher who makes no mistakes.
    pub fn teacher(&self, random: Random) -> ModelChoice {
        let teacher = Teacher::new(Arc::clone(&self.folder), random, 0.0);
        choice(Arc::new(teacher), CONTEXT, None)
    }

    /// A run that nothing has happened in. Called within a runtime.
    pub fn open(&self) -> Result<Arc<Run>, String> {
        Run::open(RunParts {
            journal: Arc::new(MemoryJournal::default()),
            clock: Clock::starting_at(0),
            seed: 0,
            budget: Budget::default(),
            max_parallel: 8,
            observer: None,
        })
        .map_err(|error| error.to_string())
    }

    /// Plays it to its end with these models.
    pub async fn play(
        &self,
        run: &Arc<Run>,
        main: ModelChoice,
        subagents: ModelChoice,
    ) -> Result<(), String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let documents = Documents::open(&self.root).map_err(|error| words(&error))?;
        let contract = match self.asks_columns || self.in_words {
            true => None,
            false => Some(contract(&self.folder).map_err(|error| words(&error))?),
        };
        let settings = settings(self.kind, self.in_words);
        Swarm::begin(run, &self.folder.question, contract, &settings, &documents)
            .await
            .map_err(|error| words(&error))?;
        let parts = SwarmParts {
            documents: Arc::new(documents),
            main,
            subagents,
            more_tools: Vec::new(),
            wrap: None,
        };
        let swarm = Swarm::new(Arc::clone(run), parts).map_err(|error| words(&error))?;
        swarm.go().await.map_err(|error| words(&error))
    }
}

fn settings(kind: RunKind, in_words: bool) -> Settings {
    Settings {
        mode: match kind {
            _ if in_words => Mode::Answer,
            RunKind::Single => Mode::Single,
            _ => Mode::Swarm,
        },
        context: ContextPolicy::DiscardAll,
        main_thinks: false,
        small: true,
        ..Settings::default()
    }
}

fn contract(folder: &Folder) -> Result<Contract, k25_agent::contract::ContractError> {
    let columns = folder
        .columns
        .iter()
        .enumerate()
        .map(|(index, name)| Column {
            is_key: index == 0,
            ..Column::text(name.clone())
        });
    Contract::new(columns.collect())
}

/// A conversation in the OpenAI form, with the weights of its answers.
fn line(kind: RunKind, recorded: &Recorded) -> Value {
    let Conversation { messages, tools } = &recorded.conversation;
    let mut weights = recorded.weights.iter();
    let messages: Vec<Value> = messages
        .iter()
        .map(|message| {
            let content = match &message.content {
                Some(Content::Text(text)) => text.as_str(),
                _ => "",
            };
            let mut line = json!({"role": message.role.as_str(), "content": content});
            if let Some(id) = &message.tool_call_id {
                line["tool_call_id"] = json!(id);
            }
            let calls = message.tool_calls.iter().map(|call| {
                let arguments = match &call.arguments {
                    Arguments::Text(text) => text.clone(),
                    Arguments::Json(_) => String::new(),
                };
                json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
            });
            let calls: Vec<Value> = calls.collect();
            if !calls.is_empty() {
                line["tool_calls"] = json!(calls);
            }
            if message.role == k25_chat::Role::Assistant && weights.next().is_some_and(|weight| *weight == 0.0) {
                line["weight"] = json!(0.0);
            }
            line
        })
        .collect();
    let tools: Vec<Value> = tools
        .iter()
        .map(|tool| serde_json::from_str(&tool.to_json()).expect("a JSON value is written as JSON"))
        .collect();
    json!({"lesson": kind, "tools": tools, "messages": messages})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use k25_agent::table::{CellStatus, display};

    /// What is recorded can be trained on, and repeats.
    #[test]
    fn recorded_runs_are_conversations() {
        let mut kinds = BTreeMap::new();
        for split in [Split::Train, Split::HeldOut] {
            for index in 0..60_u64 {
                let length = match index.is_multiple_of(3) {
                    true => Length::Long,
                    false => Length::Short,
                };
                let lines = lessons(7, split, index, length).expect("a run");
                let again = lessons(7, split, index, length).expect("the same run");
                assert_eq!(lines, again);
                for line in lines {
                    let text = line.to_string();
                    let parsed = Conversation::parse(&text, k25_chat::Reading::Service)
                        .expect("a conversation");
                    let last = parsed.messages.last().map(|message| message.role.clone());
                    assert_eq!(last, Some(k25_chat::Role::Assistant), "{text}");
                    *kinds.entry(line["lesson"].to_string()).or_insert(0) += 1;
                }
            }
        }
        assert_eq!(kinds.len(), PARTS.len(), "{kinds:?}");
        for parts in [PARTS, LONG_PARTS] {
            assert_eq!(parts.iter().map(|(_, part)| part).sum::<usize>(), 100);
        }
    }

    /// Nobody learns from a teacher who is wrong: without mistakes on purpose every table is as the documents say.
    #[test]
    fn the_teacher_fills_tables_rightly() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        for index in 0..60 {
            let mut random = Split::Train.random(11, index);
            let size = Size {
                entries: 1 + random.below(5),
                records: 4,
                columns: 5,
                noise: random.below(8),
            };
            let folder = Arc::new(Folder::new(&mut random, Split::Train, size));
            let root = tempfile::tempdir().expect("a folder");
            write_folder(&folder, root.path()).expect("documents");
            let stage = Stage {
                kind: if index.is_multiple_of(4) {
                    RunKind::Single
                } else {
                    RunKind::Swarm
                },
                folder: Arc::clone(&folder),
                root: root.path().to_owned(),
                asks_columns: index.is_multiple_of(3),
                in_words: false,
            };
            let teacher = stage.teacher(random);
            let played = async {
                let run = stage.open()?;
                stage
                    .play(&run, teacher.clone(), teacher)
                    .await
                    .map(|()| run)
            };
            let run = runtime.block_on(played).expect("a run");
            run.with_state(|state| {
                for row in folder.papers.values().flat_map(|paper| &paper.rows) {
                    let name = row[0]
                        .as_ref()
                        .map(|stated| stated.value.clone())
                        .unwrap_or_default();
                    for (column, stated) in folder.columns.iter().zip(row) {
                        let settled = state.table.get(&name.to_lowercase(), column);
                        let shown = settled.cell.map(|cell| display(&cell.value));
                        let expected = match stated {
                            Some(_) => CellStatus::Ok,
                            None => CellStatus::NotStated,
                        };
                        assert_eq!(settled.status, expected, "run {index}: {name}.{column}");
                        if let Some(stated) = stated {
                            assert_eq!(
                                shown.as_ref(),
                                Some(&stated.value),
                                "run {index}: {name}.{column}"
                            );
                        }
                    }
                }
            });
        }
    }
}
