//! Working on a run: the runtime around it, Ctrl-C, the live view, and what is printed at the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k25_agent::budget::Budget;
use k25_agent::contract::Contract;
use k25_agent::documents::Documents;
use k25_agent::event::{EventKind, MAIN};
use k25_agent::journal::SqliteJournal;
use k25_agent::run::{Clock, Run, RunError, RunParts, Stop};
use k25_agent::swarm::{
    Asked, Choice, Edit, Effort, Mode, Settings, Swarm, SwarmParts, choose_mode,
};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::approve::Approvals;
use super::folder::{RunFolder, RunNote};
use super::live::{Live, observer};
use super::model::Models;
use super::tools::{MoreTools, ToolNote};
use super::{ending, show};
use crate::answer::random_seed;
use crate::commands::Outcome;
use crate::output::{Screen, print_json};

/// How often the view is drawn and Ctrl-C looked for.
const GLANCE: Duration = Duration::from_millis(120);

/// A run to be worked on.
pub struct Work {
    /// Its folder.
    pub folder: RunFolder,
    /// What it was begun with.
    pub note: RunNote,
    /// Its models.
    pub models: Models,
    /// What it may cost.
    pub budget: Budget,
    /// What is printed.
    pub printing: Printing,
}

/// What is printed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printing {
    /// What happens and what came of it, for people.
    Text,
    /// One JSON object at the end.
    Json,
    /// Nothing: the caller does.
    Nothing,
}

impl Printing {
    /// As a `--json` flag asks for.
    pub fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// A new run.
pub struct Begin<'a> {
    /// What to find out.
    pub question: &'a str,
    /// The columns, where they are given.
    pub contract: Option<Contract>,
    /// How.
    pub settings: &'a Settings,
    /// In what.
    pub documents: Documents,
    /// The mode of the settings gives way to the cheapest that fits the question.
    pub chooses_mode: bool,
}

impl Work {
    /// Begins the run and works to its end.
    pub fn begin(&self, begin: Begin<'_>) -> Result<Outcome> {
        let runtime = runtime()?;
        runtime.block_on(async {
            let tools = MoreTools::open(&self.note.tools).await?;
            let run = self.open()?;
            let Begin {
                question,
                contract,
                settings,
                documents,
                chooses_mode,
            } = begin;
            let mut settings = settings.clone();
            let chosen = match chooses_mode {
                true => Some(self.choose(&run, question, &contract, &documents).await?),
                false => None,
            };
            if let Some(choice) = &chosen {
                settings.mode = mode_of(choice);
                settings.main_thinks &= choice.effort != Effort::Instant;
            }
            Swarm::begin(&run, question, contract, &settings, &documents).await?;
            if let Some(choice) = chosen {
                self.tell(&run, choice).await?;
            }
            self.work(&run, documents, tools).await
        })
    }

    /// The mode that fits the question.
    async fn choose(
        &self,
        run: &Arc<Run>,
        question: &str,
        contract: &Option<Contract>,
        documents: &Documents,
    ) -> Result<Choice> {
        let has_documents = !self.note.documents.as_os_str().is_empty();
        let count = documents.list("").map_or(0, |entries| entries.len());
        let asked = Asked {
            question,
            documents: has_documents.then_some(count),
            // Whatever was asked for may know what the documents do not.
            has_web: self.note.tools != ToolNote::default(),
            has_columns: contract.is_some(),
        };
        Ok(choose_mode(run, &self.models.main, &asked).await?)
    }

    /// Keeps and says which mode was chosen.
    async fn tell(&self, run: &Arc<Run>, choice: Choice) -> Result<()> {
        let mode = choice.effort.as_str().to_owned();
        if self.is_for_people() && Screen::stderr().is_terminal {
            let why = Screen::stderr().foreign(&choice.why).into_owned();
            eprintln!("mode      {mode} · {why}");
        }
        let why = choice.why;
        let chosen = EventKind::ModeChosen { mode, why };
        run.record(MAIN, vec![chosen]).await?;
        Ok(())
    }

    fn is_for_people(&self) -> bool {
        self.printing == Printing::Text
    }

    /// Goes on with the run, after these edits.
    pub fn go_on(&self, edits: Vec<Edit>) -> Result<Outcome> {
        let runtime = runtime()?;
        runtime.block_on(async {
            let tools = MoreTools::open(&self.note.tools).await?;
            let run = self.open()?;
            for edit in edits {
                edit.apply(&run).await?;
            }
            let documents = self.note.open_documents()?;
            self.work(&run, documents, tools).await
        })
    }

    fn open(&self) -> Result<Arc<Run>> {
        let journal = SqliteJournal::open(&self.folder.file("journal.db"))?;
        let plain = self.is_for_people() && !Screen::stderr().redraws;
        let parts = RunParts {
            journal: Arc::new(journal),
            clock: Clock::system(),
            seed: random_seed(),
            budget: self.budget.clone(),
            max_parallel: self.models.parallel,
            observer: plain.then(observer),
        };
        Ok(Run::open(parts)?)
    }

    async fn work(
        &self,
        run: &Arc<Run>,
        documents: Documents,
        tools: MoreTools,
    ) -> Result<Outcome> {
        let documents = Arc::new(match self.note.tools.browse {
            true => documents.with_pages(&self.folder.file("pages"))?,
            false => documents,
        });
        let tools = tools.over(&self.note.tools, &documents)?;
        let code = &self.note.tools.code;
        let code = code.open(&self.folder.file("files"), &documents)?;
        let approvals = Approvals::new(self.is_for_people());
        if self.is_for_people() {
            ending::print_head(run, &self.models, &documents, &self.note);
        }
        let parts = SwarmParts {
            documents,
            main: self.models.main.clone(),
            subagents: self.models.subagents.clone(),
            more_tools: tools.tools().into_iter().chain(code).collect(),
            wrap: self.note.tools.rules.wrap(&approvals)?,
        };
        let swarm = Swarm::new(Arc::clone(run), parts)?;
        let mut going = tokio::spawn(async move { swarm.go().await });
        let mut live = Live::of_now(self.is_for_people() && Screen::stderr().redraws);
        let mut interrupts = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
        let mut is_interrupted = false;
        // A wish that an earlier process left behind is not for this one.
        let _ = std::fs::remove_file(self.folder.cancel_wish());
        let result = loop {
            tokio::select! {
                joined = &mut going => break joined.context("the run's task panicked")?,
                _ = interrupts.recv() => {
                    if is_interrupted {
                        std::process::exit(crate::INTERRUPTED.into());
                    }
                    is_interrupted = true;
                    run.ask_to_stop(Stop::Pause("interrupted".to_owned()));
                }
                () = tokio::time::sleep(GLANCE) => {
                    match approvals.is_asking() {
                        true => live.clear(),
                        false => run.with_state(|state| live.draw(state, &self.models.currency)),
                    }
                    if self.folder.cancel_wish().exists() {
                        run.ask_to_stop(Stop::Cancel);
                    }
                }
            }
        };
        live.clear();
        let _ = std::fs::remove_file(self.folder.cancel_wish());
        tools.close().await;
        self.finish(run, result, is_interrupted)
    }

    fn finish(
        &self,
        run: &Arc<Run>,
        result: Result<(), RunError>,
        is_interrupted: bool,
    ) -> Result<Outcome> {
        run.with_state(|state| show::write_results(&self.folder, state))?;
        if self.printing == Printing::Json {
            let result = run.with_state(|state| show::json_result(&self.folder, state));
            print_json(&result)?;
        }
        match result {
            Ok(()) => {}
            Err(RunError::Paused(reason)) => {
                if self.is_for_people() {
                    run.with_state(|state| ending::print_rest(&self.folder, state, &reason));
                }
                return Ok(if is_interrupted {
                    Outcome::Interrupted
                } else {
                    Outcome::FallsShort
                });
            }
            Err(RunError::Cancelled) => {
                let rows = run.with_state(|state| state.table.row_count());
                if self.is_for_people() {
                    eprintln!(
                        "cancelled: {rows} rows stay. Look with   k25 swarm show {}",
                        self.folder.id
                    );
                }
                return Ok(Outcome::FallsShort);
            }
            Err(error) => return Err(error.into()),
        }
        run.with_state(|state| {
            let is_answer = show::is_words(state);
            if self.is_for_people() && is_answer {
                ending::print_answer(state, &self.models)?;
            } else if self.is_for_people() {
                ending::print_result(&self.folder, state, &self.models, &self.note)?;
            }
            Ok(if is_answer || ending::is_complete(state) {
                Outcome::Done
            } else {
                Outcome::FallsShort
            })
        })
    }
}

/// Who works where a mode was chosen.
fn mode_of(choice: &Choice) -> Mode {
    match choice.effort {
        Effort::Instant | Effort::Thinking => Mode::Direct,
        Effort::Agent if choice.is_table => Mode::Single,
        Effort::Agent => Mode::Answer,
        Effort::Swarm => Mode::Swarm,
    }
}

/// Records edits that need no model.
pub fn record_edits(folder: &RunFolder, edits: Vec<Edit>) -> Result<Outcome> {
    runtime()?.block_on(async {
        let parts = RunParts {
            journal: Arc::new(SqliteJournal::open(&folder.file("journal.db"))?),
            clock: Clock::system(),
            seed: 0,
            budget: Budget::default(),
            max_parallel: 1,
            observer: None,
        };
        let run = Run::open(parts)?;
        let count = edits.len();
        for edit in edits {
            edit.apply(&run).await?;
        }
        run.with_state(|state| show::write_results(folder, state))?;
        println!("{count} changes recorded in run {}", folder.id);
        let open = run.with_state(|state| state.open_places().len());
        if open > 0 {
            println!(
                "{open} rows have places to look up. Continue with   k25 swarm resume {}",
                folder.id
            );
        }
        Ok(Outcome::Done)
    })
}

/// Threads for a run.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the threads of the run")
}
