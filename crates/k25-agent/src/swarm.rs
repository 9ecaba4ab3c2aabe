//! The swarm: a wide question, a frozen contract, sub-agents side by side, a table.
//!
//! The orchestrator is an [`Agent`] like any other; it sees exactly [`CREATE_SUBAGENT`] and
//! [`ASSIGN_TASK`] beside `open` and `search`, as the family was trained. A sub-agent is an agent with
//! a history of its own, the contract in its instructions, and `submit_rows`.

mod cancel;
mod choose;
mod digest;
mod edit;
mod fill;
mod judge;
mod outline;
mod prompts;
mod report;
mod spread;
mod subagents;
mod timeline;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::{Agent, ContextPolicy, LastTurn, ModelChoice};
use crate::contract::{Contract, SUBMIT_ROWS};
use crate::documents::{Documents, PartSize, without_hidden};
use crate::event::{EventKind, MAIN};
use crate::run::{LastWords, Run, RunError, RunStatus};
use crate::table::{ConflictRule, shortened};
use crate::tools::{DefineTable, Open, OpenLimits, Search, SubmitRows, Tool, Toolset};

use outline::{Outlined, Outlines};

pub use cancel::cancel;
pub use choose::{Asked, Choice, Effort, choose, choose_mode};
pub use edit::Edit;
pub use report::{AgentReport, Report};
pub use subagents::{ASSIGN_TASK, CREATE_SUBAGENT};
pub use timeline::timeline_svg;

/// How much of a model's words an error shows, in bytes.
const MOST_SAID: usize = 300;
/// Calls with the last words of an agent that fills a table alone.
const LAST_CALLS: u64 = 8;
/// The task in which the columns are found.
const CONTRACT: &str = "contract";

/// How a question is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An orchestrator with sub-agents fills a table.
    #[default]
    Swarm,
    /// One agent fills a table: what a swarm is compared with.
    Single,
    /// One agent answers in words.
    Answer,
    /// One model answers in words from what it knows, without tools.
    Direct,
}

impl Mode {
    /// Whether the result is words and no table.
    pub fn is_words(self) -> bool {
        matches!(self, Mode::Answer | Mode::Direct)
    }
}

/// How a run is worked on. Kept in its journal, so that a resume does the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// One agent or many.
    pub mode: Mode,
    /// Whether the orchestrator, or the single agent, reasons.
    pub main_thinks: bool,
    /// Whether sub-agents reason from the beginning.
    pub subagents_think: bool,
    /// Most steps of the main agent.
    pub main_steps: usize,
    /// Most steps of a sub-agent.
    pub subagent_steps: usize,
    /// What the main agent does with a long history.
    pub context: ContextPolicy,
    /// Tools show little, for models with a context of a few thousand tokens.
    pub small: bool,
    /// Rows that one task is to fill from a table or a list of records: more are given out in parts, and so is what `open` does not
    /// show at once. `None`: one where tools show little, else 25.
    pub rows_per_task: Option<usize>,
    /// How differing values are settled.
    pub conflicts: ConflictRule,
    /// Seconds that a stream may be silent.
    pub stall_seconds: u64,
    /// A few rows are filled before the columns are frozen, which may be amended then. Not where
    /// tools show little.
    pub trial: bool,
    /// Long documents are outlined once for all sub-agents. Not where tools show little.
    pub outlines: bool,
}

impl Settings {
    /// How much tools show of a document at once.
    fn window(&self) -> OpenLimits {
        match self.small {
            true => OpenLimits::SMALL,
            false => OpenLimits::LARGE,
        }
    }

    /// How much of a list of records one task gets: what `open` shows at once, and no more rows than are wanted.
    fn part(&self) -> PartSize {
        let window = self.window();
        let usual = if self.small { 1 } else { 25 };
        PartSize {
            records: self.rows_per_task.unwrap_or(usual),
            lines: window.lines,
            bytes: window.bytes,
        }
    }
}

impl Default for Settings {
    /// The family's limits for wide search: 100 steps each.
    fn default() -> Self {
        Settings {
            mode: Mode::Swarm,
            main_thinks: true,
            subagents_think: false,
            main_steps: 100,
            subagent_steps: 100,
            context: ContextPolicy::default(),
            small: false,
            rows_per_task: None,
            conflicts: ConflictRule::Keep,
            stall_seconds: 120,
            trial: false,
            outlines: true,
        }
    }
}

/// A run with its models and documents.
pub struct Swarm {
    run: Arc<Run>,
    documents: Arc<Documents>,
    main: ModelChoice,
    subagents: ModelChoice,
    settings: Settings,
    open: Arc<dyn Tool>,
    search: Arc<dyn Tool>,
    more_tools: Vec<Arc<dyn Tool>>,
    wrap: Option<Wrap>,
    groups: subagents::Groups,
    outlines: Option<Arc<Outlines>>,
}

/// Puts something around a tool: approvals, measurements, faults for tests.
pub type Wrap = Arc<dyn Fn(Arc<dyn Tool>) -> Arc<dyn Tool> + Send + Sync>;

/// What a swarm works with.
pub struct SwarmParts {
    /// The documents that `open` and `search` read.
    pub documents: Arc<Documents>,
    /// The model of the main agent.
    pub main: ModelChoice,
    /// The model of sub-agents.
    pub subagents: ModelChoice,
    /// Tools of every agent beyond `open` and `search`.
    pub more_tools: Vec<Arc<dyn Tool>>,
    /// Put around each tool but those of the orchestrator.
    pub wrap: Option<Wrap>,
}

impl Swarm {
    /// Opens a new run and records what is asked. A contract may be given; else the model proposes one.
    ///
    /// # Errors
    /// When the journal fails, or the run has been opened before.
    pub async fn begin(
        run: &Arc<Run>,
        question: &str,
        contract: Option<Contract>,
        settings: &Settings,
        documents: &Documents,
    ) -> Result<(), RunError> {
        if run.with_state(|state| state.parts > 0) {
            return Err(RunError::Invalid {
                what: "this run has begun already".to_owned(),
                hint: "resume it, or begin another".to_owned(),
            });
        }
        let top = documents.list("").unwrap_or_default();
        let opened = EventKind::RunOpened {
            question: question.to_owned(),
            settings: serde_json::to_value(settings).expect("plain data has a JSON form"),
            documents: top
                .into_iter()
                .map(|entry| entry.path)
                .take(MAX_NOTED)
                .collect(),
        };
        let contract = contract.map(|contract| EventKind::ContractFrozen { contract });
        run.record(MAIN, std::iter::once(opened).chain(contract).collect())
            .await
    }

    /// A run that has begun, with what it needs to go on.
    ///
    /// # Errors
    /// When the run has not begun.
    pub fn new(run: Arc<Run>, parts: SwarmParts) -> Result<Arc<Self>, RunError> {
        let SwarmParts {
            documents,
            main,
            subagents,
            more_tools,
            wrap,
        } = parts;
        let (status, settings) =
            run.with_state(|state| (state.status.clone(), state.settings.clone()));
        if status == RunStatus::Empty {
            return Err(RunError::Invalid {
                what: "there is no run in this journal".to_owned(),
                hint: "`k25 swarm runs` shows the runs that there are".to_owned(),
            });
        }
        let settings: Settings = serde_json::from_value(settings).unwrap_or_default();
        let (limits, hits) = (settings.window(), if settings.small { 8 } else { 20 });
        if !settings.small && settings.mode != Mode::Direct {
            run.keep_for_last_words(LastWords {
                prices: main.prices,
                tool_calls: match settings.mode {
                    Mode::Single => LAST_CALLS,
                    _ => 0,
                },
            });
        }
        let outlines = settings.outlines && !settings.small && settings.mode == Mode::Swarm;
        let stall = Duration::from_secs(settings.stall_seconds);
        let outlines = outlines.then(|| Outlines::new(&run, &subagents, stall));
        Ok(Arc::new(Swarm {
            outlines,
            open: Arc::new(Open::new(Arc::clone(&documents), limits)),
            search: Arc::new(Search::new(Arc::clone(&documents), hits)),
            run,
            documents,
            main,
            subagents,
            settings,
            more_tools,
            wrap,
            groups: subagents::Groups::default(),
        }))
    }

    /// The run.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Works until the run ends or rests; what was done before is not done again.
    ///
    /// # Errors
    /// When the run rests ([`RunError::Paused`], recorded in the journal), is cancelled, or its
    /// journal fails. What agents handed in stays in every case.
    pub async fn go(self: &Arc<Self>) -> Result<(), RunError> {
        let has_worked = self
            .run
            .with_state(|state| !state.tasks.is_empty() || state.status != RunStatus::Running);
        if has_worked {
            self.run.record(MAIN, vec![EventKind::RunResumed]).await?;
        }
        let result = self.stages().await;
        if let Some(outlines) = &self.outlines {
            outlines.finish().await;
        }
        match &result {
            Ok(text) => self.end(text.clone()).await?,
            Err(RunError::Cancelled) => self.end(cancel::CANCELLED.to_owned()).await?,
            Err(RunError::Paused(reason)) => self.rest(reason).await?,
            Err(RunError::Invalid { what, .. }) => self.rest(what).await?,
            Err(RunError::Journal(_)) => {}
        }
        result.map(|_| ())
    }

    async fn end(&self, text: String) -> Result<(), RunError> {
        self.run
            .record(MAIN, vec![EventKind::RunEnded { text }])
            .await
    }

    async fn rest(&self, reason: &str) -> Result<(), RunError> {
        let reason = reason.to_owned();
        self.run
            .record(MAIN, vec![EventKind::RunPaused { reason }])
            .await
    }

    /// The columns, the main agent, then what is left open. The result is the main agent's last words.
    async fn stages(self: &Arc<Self>) -> Result<String, RunError> {
        if self.settings.mode.is_words() {
            self.answering_agent().work(&self.run, MAIN).await?;
            return Ok(self.last_words(MAIN));
        }
        let proposed = self.contract().await?;
        let contract = self.try_out(proposed).await?;
        self.main_agent(&contract).work(&self.run, MAIN).await?;
        self.fill_open_places().await?;
        self.judge_conflicts().await?;
        Ok(self.last_words(MAIN))
    }

    /// What the agent of a task said at its end.
    fn last_words(&self, task: &str) -> String {
        self.run.with_state(|state| {
            let task = state.tasks.get(task);
            task.map(|task| task.text.clone()).unwrap_or_default()
        })
    }

    /// The frozen contract; where there is none yet, the model proposes one.
    async fn contract(self: &Arc<Self>) -> Result<Contract, RunError> {
        let known = || self.run.with_state(|state| state.contract.clone());
        if let Some(contract) = known() {
            return Ok(contract);
        }
        let user = self.run.with_state(|state| {
            let shown: Vec<&str> = state
                .documents
                .iter()
                .take(12)
                .map(String::as_str)
                .collect();
            format!(
                "{}\nDocuments ({}): {}",
                state.question,
                state.documents.len(),
                shown.join(", ")
            )
        });
        let agent = Agent {
            max_steps: 4,
            tools: Toolset::new(vec![Arc::new(DefineTable)]),
            ..self.agent(&self.main, prompts::CONTRACT.to_owned(), user)
        };
        agent.work(&self.run, CONTRACT).await?;
        known().ok_or_else(|| {
            let words = without_hidden(&self.last_words(CONTRACT));
            let what = "the model proposed no columns that can be used";
            RunError::Invalid {
                what: match words.trim() {
                    "" => what.to_owned(),
                    words => format!("{what}; it says: {}", shortened(words, MOST_SAID)),
                },
                hint: "name them: --columns \"name*, version, license\"".to_owned(),
            }
        })
    }

    fn agent(&self, model: &ModelChoice, system: String, user: String) -> Agent {
        Agent {
            model: model.clone(),
            system,
            user,
            tools: Toolset::default(),
            thinking: self.settings.main_thinks,
            max_steps: self.settings.main_steps,
            context: self.settings.context,
            stall: Duration::from_secs(self.settings.stall_seconds),
            reminds_after: None,
            small: self.settings.small,
            last_turn: LastTurn::No,
        }
    }

    fn question(&self) -> String {
        self.run.with_state(|state| state.question.clone())
    }

    fn reading_tools(&self) -> Toolset {
        let tools = [&self.search, &self.open]
            .into_iter()
            .chain(&self.more_tools);
        let tools = tools.map(|tool| self.wrapped(self.outlined(tool)));
        Toolset::new(tools.collect())
    }

    fn outlined(&self, tool: &Arc<dyn Tool>) -> Arc<dyn Tool> {
        match &self.outlines {
            Some(outlines) => Outlined::around(tool, &self.documents, outlines),
            None => Arc::clone(tool),
        }
    }

    /// What a main agent with these tools may still do when a limit ends it.
    fn last_turn(&self, told: &'static str, tools: &'static [&'static str]) -> LastTurn {
        match self.settings.small {
            true => LastTurn::No,
            false => LastTurn::Offered { told, tools },
        }
    }

    fn wrapped(&self, tool: Arc<dyn Tool>) -> Arc<dyn Tool> {
        match &self.wrap {
            Some(wrap) => wrap(tool),
            None => tool,
        }
    }

    fn submitting_tools(&self, contract: &Contract) -> Toolset {
        let documents = Arc::clone(&self.documents);
        let submit = SubmitRows::new(&self.run, documents, contract.clone());
        self.reading_tools().with(self.wrapped(Arc::new(submit)))
    }

    /// The agent that answers in words.
    fn answering_agent(&self) -> Agent {
        let (system, tools) = match self.settings.mode {
            Mode::Direct => (prompts::DIRECT, Toolset::default()),
            _ => (prompts::ANSWER, self.reading_tools()),
        };
        Agent {
            tools,
            last_turn: self.last_turn(prompts::LAST_WORDS, &[]),
            ..self.agent(&self.main, system.to_owned(), self.question())
        }
    }

    fn main_agent(self: &Arc<Self>, contract: &Contract) -> Agent {
        let is_swarm = self.settings.mode == Mode::Swarm;
        let (instructions, tools) = match is_swarm {
            true => (prompts::ORCHESTRATOR, self.orchestrator_tools(contract)),
            false => (prompts::SINGLE, self.submitting_tools(contract)),
        };
        let system = format!("{instructions}\n\n{}", contract.prompt_text());
        let user = self.question() + &self.trial_note();
        Agent {
            tools,
            reminds_after: is_swarm.then_some(ASSIGN_TASK),
            last_turn: match is_swarm {
                true => self.last_turn(prompts::LAST_WORDS, &[]),
                false => self.last_turn(prompts::LAST_ROWS, &[SUBMIT_ROWS]),
            },
            ..self.agent(&self.main, system, user)
        }
    }

    fn orchestrator_tools(self: &Arc<Self>, contract: &Contract) -> Toolset {
        let create = subagents::CreateSubagent::new(&self.run);
        let assign = subagents::AssignTask::new(self, contract);
        self.reading_tools()
            .with(Arc::new(create))
            .with(Arc::new(assign))
    }

    /// A sub-agent. Instructions and contract come first and are the same for all, so that a prefix
    /// cache serves them.
    fn subagent(&self, contract: &Contract, own: &str, prompt: &str) -> Agent {
        let mut system = format!("{}\n\n{}", prompts::SUBAGENT, contract.prompt_text());
        if !own.trim().is_empty() {
            system.push_str("\n\n");
            system.push_str(own.trim());
        }
        Agent {
            tools: self.submitting_tools(contract),
            thinking: self.settings.subagents_think,
            max_steps: self.settings.subagent_steps,
            ..self.agent(&self.subagents, system, prompt.to_owned())
        }
    }
}

/// Most entries at the top of the documents that are kept in mind.
const MAX_NOTED: usize = 2_000;
