//! `k25 mcp`: other agents start swarms, look at them, and read their tables.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use k25_agent::budget::Budget;
use k25_agent::contract::{Contract, parse_columns};
use k25_agent::journal::SqliteJournal;
use k25_agent::run::{Clock, Run, RunParts, RunState, Stop};
use k25_agent::swarm::{Mode, Report, Settings, Swarm, SwarmParts};
use k25_agent::table::to_json;
use k25_mcp::{Desk, DeskError, StartRequest};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::swarm::folder::{RunFolder, RunNote};
use super::swarm::model::Models;
use super::swarm::settings::settings;
use super::swarm::show;
use super::swarm::sources::Sources;
use super::{Outcome, documents};
use crate::answer::random_seed;
use crate::args::McpArgs;

/// Runs that go at the same time.
const MAX_RUNNING: usize = 4;
/// How long runs may take to rest when the client is gone.
const REST: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(50);

pub fn run(args: McpArgs) -> Result<Outcome> {
    let models = Models::open(&args.model, None)?;
    let sources = Sources {
        folder: args.docs,
        only: None,
    };
    let note = RunNote::new(&sources, &args.model)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the threads of the server")?;
    let desk = Arc::new(RunsDesk {
        settings: settings(Mode::Swarm, None, &args.main, &args.budget, &models),
        models,
        note,
        runs: args.runs.dir,
        budget: args.budget.budget(),
        runtime: runtime.handle().clone(),
        running: Arc::default(),
    });
    let served = Arc::clone(&desk) as Arc<dyn Desk>;
    let result = runtime.block_on(async {
        let served = k25_mcp::serve(served, tokio::io::stdin(), tokio::io::stdout()).await;
        desk.rest().await;
        served
    });
    // A thread may still wait for input that never comes.
    runtime.shutdown_background();
    result?;
    Ok(Outcome::Done)
}

/// The runs of one folder of documents.
struct RunsDesk {
    models: Models,
    note: RunNote,
    runs: PathBuf,
    budget: Budget,
    settings: Settings,
    runtime: Handle,
    running: Arc<Mutex<HashMap<String, Arc<Run>>>>,
}

impl Desk for RunsDesk {
    fn start(&self, request: StartRequest) -> Result<String, DeskError> {
        self.begin(&request).map_err(|error| said(&error))
    }

    fn state(&self, run: &str) -> Result<Value, DeskError> {
        self.look(run, |state, is_running| {
            let report = Report::of(state);
            // A run whose process ended without a word still says that it goes.
            let status = match report.status {
                "running" if !is_running => "interrupted",
                status => status,
            };
            Ok(json!({
                "run": run, "status": status, "paused": report.paused, "question": report.question,
                "rows": report.rows, "cells": report.cells, "steps": report.total_steps,
                "critical_steps": report.critical_steps, "spent": report.spent,
                "failures": report.failures, "answer": report.answer,
            }))
        })
    }

    fn table(&self, run: &str) -> Result<Value, DeskError> {
        self.look(run, |state, _| match &state.contract {
            Some(contract) => Ok(to_json(contract, &state.table)),
            None => Err(DeskError(
                "there are no columns yet; hint: wait with swarm_state".to_owned(),
            )),
        })
    }

    fn stop(&self, run: &str) -> Result<(), DeskError> {
        match self.going(run) {
            Some(run) => run.ask_to_stop(Stop::Pause("its client asked it to rest".to_owned())),
            None => {
                self.look(run, |_, _| Ok(()))?;
            }
        }
        Ok(())
    }
}

impl RunsDesk {
    fn going(&self, run: &str) -> Option<Arc<Run>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(run).cloned()
    }

    /// Looks at a run's state, and whether it goes.
    fn look<T>(
        &self,
        run: &str,
        look: impl FnOnce(&RunState, bool) -> Result<T, DeskError>,
    ) -> Result<T, DeskError> {
        if let Some(run) = self.going(run) {
            return run.with_state(|state| look(state, true));
        }
        let state = RunFolder::find(&self.runs, run).and_then(|folder| folder.state());
        look(&state.map_err(|error| said(&error))?, false)
    }

    fn begin(&self, request: &StartRequest) -> Result<String> {
        let contract = request
            .columns
            .as_deref()
            .filter(|text| !text.trim().is_empty());
        let contract = contract.map(|text| parse_columns(text).and_then(Contract::new));
        let contract = contract.transpose()?;
        let note = RunNote {
            documents: below(&self.note.documents, &request.folder)?,
            ..self.note.clone()
        };
        let documents = Arc::new(documents::open(&note.documents)?);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.len() == MAX_RUNNING {
            return Err(anyhow!(
                "{MAX_RUNNING} runs go already; hint: wait for one with swarm_state"
            ));
        }
        let folder = RunFolder::create(&self.runs, &note)?;
        let run = Run::open(RunParts {
            journal: Arc::new(SqliteJournal::open(&folder.file("journal.db"))?),
            clock: Clock::system(),
            seed: random_seed(),
            budget: self.budget.clone(),
            max_parallel: self.models.parallel,
            observer: None,
        })?;
        let settings = Settings {
            trial: contract.is_none(),
            ..self.settings.clone()
        };
        let begun = Swarm::begin(&run, &request.question, contract, &settings, &documents);
        self.runtime.block_on(begun)?;
        let swarm = Swarm::new(
            Arc::clone(&run),
            SwarmParts {
                documents,
                main: self.models.main.clone(),
                subagents: self.models.subagents.clone(),
                more_tools: Vec::new(),
                wrap: None,
            },
        )?;
        let id = folder.id.clone();
        running.insert(id.clone(), Arc::clone(&run));
        let (all, name) = (Arc::clone(&self.running), id.clone());
        self.runtime.spawn(async move {
            // How it ended is in its journal, and so is what it found.
            let _ = swarm.go().await;
            let _ = run.with_state(|state| show::write_results(&folder, state));
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
        });
        Ok(id)
    }

    /// Lets every run rest, and waits for it.
    async fn rest(&self) {
        let all = || {
            self.running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        for run in all().values() {
            run.ask_to_stop(Stop::Pause("its client went away".to_owned()));
        }
        let end = Instant::now() + REST;
        while !all().is_empty() && Instant::now() < end {
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// A folder below the documents; nothing outside of them.
fn below(documents: &Path, folder: &str) -> Result<PathBuf> {
    let folder = Path::new(folder);
    let is_below = folder
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let path = documents.join(folder);
    let whole = path
        .canonicalize()
        .ok()
        .filter(|path| path.starts_with(documents));
    match (is_below, whole) {
        (true, Some(path)) if path.is_dir() => Ok(path),
        _ => Err(anyhow!(
            "{:?} is no folder of the documents; hint: leave it out for all of them",
            folder.display().to_string()
        )),
    }
}

fn said(error: &anyhow::Error) -> DeskError {
    DeskError(format!("{error:#}"))
}
