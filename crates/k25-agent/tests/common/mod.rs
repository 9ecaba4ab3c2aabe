//! What the tests of the swarm share: a world on disk, a scripted model, a run over it.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k25_agent::agent::ModelChoice;
use k25_agent::budget::{Budget, Prices};
use k25_agent::contract::{Contract, parse_columns};
use k25_agent::documents::Documents;
use k25_agent::journal::{Journal, MemoryJournal};
use k25_agent::run::{Clock, Random, Run, RunParts};
use k25_agent::swarm::{Settings, Swarm, SwarmParts, Wrap};
use k25_agent::table::{CellStatus, display};
use k25_agent::tools::{CallContext, Calling, Effect, FailureKind, Tool, ToolError};
use k25_chat::ChatClient;
use k25_testkit::scripted::{Script, ScriptedClient, Wait};
use k25_testkit::teacher::teach;
use k25_testkit::world::{Truth, write_packages};
use serde_json::Value;

pub const COLUMNS: &str = "name*, version, license, edition";
pub const PRICES: Prices = Prices {
    input: 1.0,
    cached: 0.5,
    output: 2.0,
};
pub const QUESTION: &str = "For each package: version, license, edition.";

/// Documents and what is true of them.
pub struct World {
    _dir: Option<tempfile::TempDir>,
    pub root: PathBuf,
    pub truth: Truth,
}

impl World {
    pub fn new(count: usize, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let truth = write_packages(dir.path(), count, seed).unwrap();
        World {
            root: dir.path().to_owned(),
            _dir: Some(dir),
            truth,
        }
    }

    pub fn at(root: &Path, count: usize, seed: u64) -> Self {
        let truth = write_packages(root, count, seed).unwrap();
        World {
            _dir: None,
            root: root.to_owned(),
            truth,
        }
    }

    pub fn documents(&self) -> Arc<Documents> {
        Arc::new(Documents::open(&self.root).unwrap())
    }

    /// Every place of the table that is not as it should be.
    pub fn wrong_places(&self, run: &Run) -> Vec<String> {
        run.with_state(|state| {
            let mut wrong = Vec::new();
            for (name, values) in &self.truth {
                for (column, truth) in values {
                    let settled = state.table.get(name, column);
                    let shown = settled
                        .cell
                        .map(|cell| display(&cell.value))
                        .unwrap_or_default();
                    let expected = truth.clone().unwrap_or_default();
                    let is_right = shown == expected
                        && match truth {
                            Some(_) => settled.status == CellStatus::Ok,
                            None => settled.status == CellStatus::NotStated,
                        };
                    if !is_right {
                        wrong.push(format!("{name}.{column}: {shown:?} {:?}", settled.status));
                    }
                }
            }
            if state.table.row_count() != self.truth.len() {
                wrong.push(format!(
                    "{} rows of {}",
                    state.table.row_count(),
                    self.truth.len()
                ));
            }
            wrong
        })
    }
}

/// A model that works well, `width` tasks at a time.
pub fn good_model(width: usize) -> Arc<ScriptedClient> {
    Arc::new(ScriptedClient::new(move |request, _| {
        Script::Reply(teach(request, width))
    }))
}

/// Waits by tokio's clock, which tests may pause.
pub fn wait() -> Wait {
    Arc::new(|time| Box::pin(tokio::time::sleep(time)))
}

pub fn choice(client: Arc<dyn ChatClient>) -> ModelChoice {
    ModelChoice {
        client,
        name: "scripted".to_owned(),
        context_tokens: 1_000_000,
        max_tokens: None,
        temperature: None,
        prices: PRICES,
        fallback: None,
    }
}

pub fn budget() -> Budget {
    Budget {
        tool_calls: None,
        tasks: None,
        ..Budget::default()
    }
}

pub fn parts(journal: Arc<dyn Journal>, budget: Budget) -> RunParts {
    RunParts {
        journal,
        clock: Clock::starting_at(1_000),
        seed: 1,
        budget,
        max_parallel: 200,
        observer: None,
    }
}

/// A run in memory that has begun.
pub async fn begun(world: &World, settings: &Settings) -> Arc<Run> {
    let run = Run::open(parts(Arc::new(MemoryJournal::default()), budget())).unwrap();
    begin(&run, world, settings).await;
    run
}

pub async fn begin(run: &Arc<Run>, world: &World, settings: &Settings) {
    let contract = Contract::new(parse_columns(COLUMNS).unwrap()).unwrap();
    let documents = world.documents();
    Swarm::begin(run, QUESTION, Some(contract), settings, &documents)
        .await
        .unwrap();
}

pub fn swarm(
    run: &Arc<Run>,
    world: &World,
    client: Arc<dyn ChatClient>,
    wrap: Option<Wrap>,
) -> Arc<Swarm> {
    swarm_of(run, world.documents(), choice(client), wrap)
}

/// A swarm whose agents have all the same model.
pub fn swarm_of(
    run: &Arc<Run>,
    documents: Arc<Documents>,
    model: ModelChoice,
    wrap: Option<Wrap>,
) -> Arc<Swarm> {
    let parts = SwarmParts {
        documents,
        main: model.clone(),
        subagents: model,
        more_tools: Vec::new(),
        wrap,
    };
    Swarm::new(Arc::clone(run), parts).unwrap()
}

/// A tool that fails now and then, or takes its time.
struct Flaky {
    inner: Arc<dyn Tool>,
    random: Arc<Mutex<Random>>,
    rate: f64,
    latency: Duration,
}

impl Tool for Flaky {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn description(&self) -> &str {
        self.inner.description()
    }
    fn schema(&self) -> Value {
        self.inner.schema()
    }
    fn effect(&self) -> Effect {
        self.inner.effect()
    }
    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_> {
        Box::pin(async move {
            if !self.latency.is_zero() {
                tokio::time::sleep(self.latency).await;
            }
            let (fails, visibly) = {
                let mut random = self.random.lock().unwrap();
                (random.unit() < self.rate, random.unit() < 0.5)
            };
            match (fails, visibly) {
                (true, true) => Err(ToolError::new(FailureKind::Internal, "the tool broke")),
                (true, false) => Err(ToolError::new(FailureKind::Transient, "try again")),
                (false, _) => self.inner.call(arguments, context).await,
            }
        })
    }
}

/// Makes tools fail with this probability: half of the failures pass when they are tried again, the
/// other half reach the model.
pub fn flaky(rate: f64, latency: Duration) -> Wrap {
    let random = Arc::new(Mutex::new(Random::new(42)));
    Arc::new(move |inner| {
        Arc::new(Flaky {
            inner,
            random: Arc::clone(&random),
            rate,
            latency,
        })
    })
}
