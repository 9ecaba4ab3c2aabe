//! `k25 swarm` and `k25 agent`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ToolArgs, positive};

/// `k25 swarm`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
An orchestrator reads the question, creates sub-agents and gives out the work; every value of the
table has the line it stands on. Ctrl-C rests the run; nothing that is done is lost.

Exit code 0 if the table is complete, 1 if places are open or in conflict or the run rests.

Examples:
  k25 swarm --example crates
  k25 swarm \"For each crate: version, license, edition\" --docs ./crates --sample 20
  k25 swarm \"Compare the phones\" --docs ./pages --columns \"phone*, price:number[EUR], date:date\" \\
      --model https://api.moonshot.ai/v1 --model-name kimi-k2.5 --max-cost 2
  k25 swarm \"Which of these crates are unmaintained?\" --docs ./crates --mode auto --model ./Kimi-K2.5
  k25 swarm runs
  k25 swarm show 7f3a --cell anyhow.license
  k25 swarm edit 7f3a --add-column homepage:url
  k25 swarm resume 7f3a")]
pub struct SwarmArgs {
    /// What to do with an earlier run
    #[command(subcommand)]
    pub command: Option<SwarmCommand>,
    /// A new run
    #[command(flatten)]
    pub start: StartArgs,
}

/// What can be done with an earlier run.
#[derive(Debug, Subcommand)]
pub enum SwarmCommand {
    /// List the runs
    #[command(alias = "list")]
    Runs(RunListArgs),
    /// Show a run's table, one cell with its evidence, or its figures
    Show(ShowArgs),
    /// Go on with a run that rests or whose process ended
    Resume(GoOnArgs),
    /// End a run, also one that works in another terminal; what it found stays
    Cancel(CancelArgs),
    /// Change a table; only what the change touches is looked up again
    Edit(EditArgs),
    /// Write a run's table to a file
    Export(ExportArgs),
    /// Show again how a run went, from its journal; no model is asked
    Replay(ReplayArgs),
}

/// A new run.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// What to find out
    pub question: Option<String>,
    /// The documents
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// The columns, as in `name*, size:number[MB]=on disk, state:enum(open|closed)`; `*` marks a key
    /// [default: the model proposes them]
    #[arg(long, value_name = "COLUMNS")]
    pub columns: Option<String>,
    /// Write the table here too; the ending says how: csv, md, json or xlsx
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Who works
    #[arg(long, value_enum, default_value_t = SwarmMode::Swarm)]
    pub mode: SwarmMode,
    /// Run this too and compare
    #[arg(long, value_enum, value_name = "MODE")]
    pub compare: Option<Compared>,
    /// What becomes of different values for one cell
    #[arg(long, value_enum, default_value_t = Conflicts::Keep)]
    pub conflicts: Conflicts,
    /// Rows of a table (CSV, JSON lines, Markdown) or list of records (JSON, YAML, TOML, `Key: value`) that one sub-agent fills: more
    /// are given out in parts [default: 25, with small contexts 1]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub rows_per_task: Option<usize>,
    /// How the main agent works
    #[command(flatten)]
    pub main: MainAgentArgs,
    /// Fill a few rows before the columns are frozen; their designer sees what came out and may amend
    /// them once [default: where the model proposes the columns; never with small contexts]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub trial: Option<Trial>,
    /// Let every agent page through long documents by itself, without the outline that a model makes
    /// for all of them when a second agent opens one
    #[arg(long)]
    pub no_outlines: bool,
    /// Let sub-agents reason from the beginning, and not only when they struggle
    #[arg(long)]
    pub subagents_think: bool,
    /// Tools beyond the documents
    #[command(flatten)]
    pub tools: ToolArgs,
    /// The models
    #[command(flatten)]
    pub model: AgentModelArgs,
    /// What the run may cost
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// Which documents are read.
#[derive(Debug, Clone, Default, Args)]
pub struct DocumentArgs {
    /// Folder of documents, or one of them: text, Markdown, HTML, PDF, CSV, source code
    #[arg(long, value_name = "PATH")]
    pub docs: Option<PathBuf>,
    /// Documents that lie on this machine anyway, with a question to them; without a name: which there
    /// are
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with = "docs")]
    pub example: Option<String>,
    /// Take only so many of the files and folders at the top of the folder, chosen at random [default:
    /// all; 34 of an example]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub sample: Option<usize>,
    /// Which sample; the same seed takes the same ones [default: 0]
    #[arg(long, value_name = "S")]
    pub sample_seed: Option<u64>,
}

impl DocumentArgs {
    /// Whether `--example` stands without a name.
    pub fn lists_examples(&self) -> bool {
        self.example.as_deref() == Some("")
    }
}

/// How the main agent works.
#[derive(Debug, Clone, Default, Args)]
pub struct MainAgentArgs {
    /// Let the main agent reason before it acts [default: unless the model's context is below 32768
    /// tokens]
    #[arg(long, conflicts_with = "instant")]
    pub thinking: bool,
    /// Let the main agent act at once
    #[arg(long)]
    pub instant: bool,
    /// How to go on when the main agent's history fills the context [default: hide-tool-result, or
    /// discard-all where the context is below 32768 tokens]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub context_policy: Option<Context>,
}

/// Who works on a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SwarmMode {
    /// The cheapest of the others that fits the question; says which, and why
    Auto,
    /// An orchestrator with sub-agents fills a table
    Swarm,
    /// One agent fills a table
    Single,
    /// One agent reads the documents and answers in words
    Agent,
    /// The model answers, with reasoning, from what it knows
    Thinking,
    /// The model answers at once
    Instant,
}

/// What becomes of different values for one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Conflicts {
    /// They are shown as a conflict
    Keep,
    /// The value that most agents gave stands
    Majority,
    /// The model sees the quotes and decides; its words are kept
    Judge,
}

/// Whether columns are tried out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Trial {
    /// Also columns that are given
    Always,
    /// The first columns are final
    Never,
}

/// What a swarm is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compared {
    /// One agent with the same model, documents and columns
    Single,
}

/// What becomes of a long history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Context {
    /// A full context ends the work
    None,
    /// Earlier results are hidden
    HideToolResult,
    /// The model sums up
    Summary,
    /// The history goes, the table stays
    DiscardAll,
}

impl Context {
    /// The name that the runtime knows.
    pub fn as_str(self) -> &'static str {
        match self {
            Context::None => "none",
            Context::HideToolResult => "hide-tool-result",
            Context::Summary => "summary",
            Context::DiscardAll => "discard-all",
        }
    }
}

/// The models of agents.
#[derive(Debug, Args)]
pub struct AgentModelArgs {
    /// Folder of a checkpoint, or address of an OpenAI-compatible endpoint [default: K25_MODEL from
    /// the environment, or nano, which is built in]
    #[arg(long, value_name = "DIR|URL|nano")]
    pub model: Option<String>,
    /// The model's name at the endpoint
    #[arg(long, value_name = "NAME", default_value = "kimi-k2.5")]
    pub model_name: String,
    /// A cheaper model at the same endpoint for sub-agents
    #[arg(long, value_name = "NAME")]
    pub subagent_model: Option<String>,
    /// Who is asked when the model fails again and again: another name at the same endpoint, URL#NAME,
    /// or the folder of a checkpoint (may be repeated; asked in this order)
    #[arg(long = "fallback-model", value_name = "NAME|URL#NAME|DIR")]
    pub fallback_models: Vec<String>,
    /// Environment variable with the key of fallback models at other endpoints
    #[arg(long, value_name = "VARIABLE", default_value = "K25_FALLBACK_KEY")]
    pub fallback_key_from: String,
    /// Environment variable with the endpoint's key
    #[arg(long, value_name = "VARIABLE", default_value = "MOONSHOT_API_KEY")]
    pub key_from: String,
    /// Prices per million tokens as JSON: {"currency": "USD", "models": {"kimi-k2.5": {"input": 0.6, "cached_input": 0.1, "output": 3}}}
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Tokens of the model's context [default: the checkpoint's; 262144 for an endpoint]
    #[arg(long, value_name = "N")]
    pub context: Option<u64>,
    /// Most tokens of one answer
    #[arg(long, value_name = "N")]
    pub max_answer: Option<u32>,
    /// 0 always takes the likeliest token [default: the model's own; 0 where the context is below 32768
    /// tokens]
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Most requests at the same time [default: 16 here, 100 at an endpoint]
    #[arg(long, value_name = "N")]
    pub parallel: Option<usize>,
}

/// What a run may cost.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// Most money, in the price table's currency
    #[arg(long, value_name = "AMOUNT")]
    pub max_cost: Option<f64>,
    /// Most tokens of all agents together
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    /// Most minutes
    #[arg(long, value_name = "N")]
    pub max_minutes: Option<u64>,
    /// Most critical steps
    #[arg(long, value_name = "N")]
    pub max_critical_steps: Option<u64>,
    /// Most tool calls of all agents together
    #[arg(long, value_name = "N", default_value_t = 1_500)]
    pub max_tool_calls: u64,
    /// Most tasks of sub-agents
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub max_tasks: u64,
    /// Most steps of one agent
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_steps: usize,
}

/// Where runs lie.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Folder of the runs
    #[arg(long = "runs", value_name = "DIR", default_value = "runs")]
    pub dir: PathBuf,
}

/// A run that is worked on again.
#[derive(Debug, Args)]
pub struct GoOnArgs {
    /// The run
    pub run: String,
    /// Another model than before
    #[command(flatten)]
    pub model: AgentModelArgs,
    /// What the run may cost in all
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// `k25 swarm cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run
    pub run: String,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
}

/// `k25 swarm replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal it is the live view of then; elsewhere a line for each thing that mattered.

Examples:
  k25 swarm replay 7f3a
  k25 swarm replay 7f3a --speed 1
  k25 swarm replay 7f3a --speed 0 | grep request")]
pub struct ReplayArgs {
    /// The run
    pub run: String,
    /// So many times as fast as it was; 0 does not wait at all
    #[arg(long, value_name = "TIMES", default_value_t = 10.0)]
    pub speed: f64,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
}

/// `k25 swarm show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run
    pub run: String,
    /// One cell with its evidence, as ROW.COLUMN
    #[arg(long, value_name = "ROW.COLUMN")]
    pub cell: Option<String>,
    /// The figures: steps, tokens, failures, time by agent
    #[arg(long, conflicts_with = "cell")]
    pub report: bool,
    /// All events, a JSON object a line
    #[arg(long, conflicts_with_all = ["cell", "report"])]
    pub events: bool,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 swarm edit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Values set by hand stay, whatever agents find later.

Examples:
  k25 swarm edit 7f3a --add-column \"homepage:url\"
  k25 swarm edit 7f3a --set anyhow.license=\"MIT OR Apache-2.0\"
  k25 swarm edit 7f3a --redo anyhow.license --redo column:edition
  k25 swarm edit 7f3a --define \"size=unpacked size, without tests\"")]
pub struct EditArgs {
    /// Add a column, written as for --columns (may be repeated)
    #[arg(long = "add-column", value_name = "COLUMN")]
    pub add_columns: Vec<String>,
    /// Set a value by hand (may be repeated)
    #[arg(long = "set", value_name = "ROW.COLUMN=VALUE")]
    pub sets: Vec<String>,
    /// Look up again: a cell, a row, or column:NAME (may be repeated)
    #[arg(long = "redo", value_name = "ROW.COLUMN|ROW|column:NAME")]
    pub redos: Vec<String>,
    /// Say anew what a column means, and look its values up again (may be repeated)
    #[arg(long = "define", value_name = "COLUMN=MEANING")]
    pub defines: Vec<String>,
    /// Only record the change; `resume` looks values up later
    #[arg(long)]
    pub later: bool,
    /// The run, and with what to go on
    #[command(flatten)]
    pub on: GoOnArgs,
}

/// `k25 swarm export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run
    pub run: String,
    /// The file; its ending says how: csv, md, json, xlsx, or svg for the timeline
    pub out: PathBuf,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
}

/// `k25 swarm runs`.
#[derive(Debug, Args)]
pub struct RunListArgs {
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 agent`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
One agent reads documents and answers in words, with a path and line for each fact.

Examples:
  k25 agent \"Which crates use edition 2024?\" --docs ./crates --model ./Kimi-K2.5
  k25 agent \"Which crates have the license ISC?\" --example crates
  k25 agent \"What changed in March?\" --docs ./notes --model http://localhost:8000/v1 --model-name m
  k25 agent resume 7f3a")]
pub struct AgentArgs {
    /// What to do with an earlier run
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
    /// A new run
    #[command(flatten)]
    pub start: AgentStartArgs,
}

/// What can be done with an earlier answer.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Go on with a run that rests or whose process ended
    Resume(GoOnArgs),
}

/// A new run of one agent.
#[derive(Debug, Args)]
pub struct AgentStartArgs {
    /// What to find out
    pub question: Option<String>,
    /// The documents
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// How the agent works
    #[command(flatten)]
    pub main: MainAgentArgs,
    /// Tools beyond the documents
    #[command(flatten)]
    pub tools: ToolArgs,
    /// The model
    #[command(flatten)]
    pub model: AgentModelArgs,
    /// What the run may cost
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// `k25 mcp`.
#[derive(Debug, Args)]
#[command(after_help = "\
Tools: swarm_start (a question, below the folder of documents), swarm_state, swarm_table (values with
document, line and quote), swarm_stop. It ends when its client closes standard input; runs that still
go rest then, and `k25 swarm resume` goes on with them.

Examples:
  k25 mcp --docs ./papers --model ./Kimi-K2.5
  claude mcp add k25 -- k25 mcp --docs ./papers --model https://api.moonshot.ai/v1 --max-cost 2")]
pub struct McpArgs {
    /// Folder of documents; clients name folders below it
    #[arg(long, value_name = "DIR")]
    pub docs: PathBuf,
    /// How the orchestrator works
    #[command(flatten)]
    pub main: MainAgentArgs,
    /// The models
    #[command(flatten)]
    pub model: AgentModelArgs,
    /// What each run may cost
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Where runs lie
    #[command(flatten)]
    pub runs: RunsArgs,
}
