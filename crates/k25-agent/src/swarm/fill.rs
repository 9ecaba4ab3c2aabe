//! Filling what is left open: cells that no agent handed in, and cells that an edit made stale.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::subagents::NewTask;
use super::{CONTRACT, Swarm, prompts};
use crate::documents::{Document, Documents, Part};
use crate::event::{EventKind, MAIN};
use crate::run::{RunError, RunState};

/// The agent that fills.
const FILLER: &str = "filler";
/// How often the same places are tried in one part of a run.
const MAX_TRIES: usize = 2;

/// A task to be done.
struct Fill {
    row: String,
    columns: Vec<String>,
    prompt: String,
}

impl Swarm {
    /// Gives each row with open places to a sub-agent, all side by side, until nothing is open or has
    /// been tried enough.
    pub(super) async fn fill_open_places(self: &Arc<Self>) -> Result<(), RunError> {
        loop {
            let unfinished = self.run.with_state(unfinished);
            let ids = if unfinished.is_empty() {
                self.assign_fills().await?
            } else {
                unfinished
            };
            if ids.is_empty() || self.run.exhausted().is_some() {
                return Ok(());
            }
            let Some(contract) = self.run.with_state(|state| state.contract.clone()) else {
                return Ok(());
            };
            let mut work = JoinSet::new();
            for id in ids {
                let (swarm, contract) = (Arc::clone(self), contract.clone());
                work.spawn(async move { swarm.work_on(&contract, &id).await });
            }
            let mut stopped = None;
            while let Some(joined) = work.join_next().await {
                match joined {
                    Ok(Ok(_)) => {}
                    // The others see the same wish and leave in good order.
                    Ok(Err(error)) => stopped = stopped.or(Some(error)),
                    Err(error) => {
                        let what = format!("an agent panicked: {error}");
                        let hint = "this is a bug; the run can be resumed".to_owned();
                        stopped = stopped.or(Some(RunError::Invalid { what, hint }));
                    }
                }
            }
            if let Some(error) = stopped {
                return Err(error);
            }
        }
    }

    async fn assign_fills(&self) -> Result<Vec<String>, RunError> {
        let fills = self
            .run
            .with_state(|state| open_fills(state, &self.documents));
        let is_known = self
            .run
            .with_state(|state| state.agents.contains_key(FILLER));
        if !fills.is_empty() && !is_known {
            let kind = EventKind::AgentCreated {
                name: FILLER.to_owned(),
                system_prompt: String::new(),
            };
            self.run.record(MAIN, vec![kind]).await?;
        }
        let mut ids = Vec::with_capacity(fills.len());
        for fill in fills {
            let Ok(reservation) = self.run.reserve_task() else {
                break;
            };
            let number = self.run.with_state(|state| state.order.len() + 1);
            let id = format!("f{number}");
            let task = NewTask {
                id: &id,
                agent: FILLER,
                prompt: &fill.prompt,
                call: None,
                columns: &fill.columns,
            };
            self.record_task(task, reservation).await?;
            ids.push(id);
        }
        Ok(ids)
    }
}

/// The documents of several records that open rows came from. Each is taken apart once, however many of its rows are open.
struct Lists<'a> {
    documents: &'a Documents,
    columns: Vec<&'a str>,
    /// By path; `None` for what has no records.
    known: HashMap<String, Option<List>>,
}

struct List {
    document: Arc<Document>,
    /// The lines of each record, in order.
    records: Vec<RangeInclusive<usize>>,
}

impl List {
    /// The record that all of these lines are in.
    fn record(&self, lines: &BTreeSet<usize>) -> Option<Part> {
        let (first, last) = (lines.first()?, lines.last()?);
        let at = self.records.partition_point(|record| record.end() < first);
        let record = self.records.get(at)?;
        let is_within = record.contains(first) && record.contains(last);
        is_within.then(|| Part {
            document: Arc::clone(&self.document),
            lines: Some(record.clone()),
        })
    }
}

impl<'a> Lists<'a> {
    fn new(state: &'a RunState, documents: &'a Documents) -> Self {
        let columns = state.contract.iter().flat_map(|contract| contract.names());
        Lists {
            documents,
            columns: columns.collect(),
            known: HashMap::new(),
        }
    }

    /// Where a row's other values were found: documents, or the one record of a list.
    fn places(&mut self, state: &RunState, row: &str) -> Vec<String> {
        let lines = state.table.lines(row).into_iter();
        lines
            .map(|(source, lines)| self.place(source, &lines))
            .collect()
    }

    fn place(&mut self, source: &str, lines: &BTreeSet<usize>) -> String {
        if !self.known.contains_key(source) {
            let document = self.documents.with_records(source);
            let list = document.and_then(|document| {
                let records = document.records(&self.columns)?;
                Some(List { document, records })
            });
            self.known.insert(source.to_owned(), list);
        }
        let list = self.known[source].as_ref();
        let record = list.and_then(|list| list.record(lines));
        record.map_or(source.to_owned(), |part| part.path())
    }
}

/// Tasks of a fill that an interruption left behind.
fn unfinished(state: &RunState) -> Vec<String> {
    let is_left = |id: &&String| {
        let task = &state.tasks[*id];
        task.end.is_none() && task.call.is_none() && *id != MAIN && *id != CONTRACT
    };
    state.order.iter().filter(is_left).cloned().collect()
}

fn open_fills(state: &RunState, documents: &Documents) -> Vec<Fill> {
    let mut lists = Lists::new(state, documents);
    let fills = state.open_places().into_iter().map(|(row, columns)| {
        let prompt = prompts::fill(&row, &columns, &lists.places(state, &row));
        Fill {
            row,
            columns,
            prompt,
        }
    });
    let tried = |fill: &Fill| {
        let same = state.tasks.values().filter(|task| {
            task.part == state.parts && task.agent == FILLER && task.prompt == fill.prompt
        });
        same.count() >= MAX_TRIES
    };
    fills
        .filter(|fill| !fill.row.is_empty() && !tried(fill))
        .collect()
}
