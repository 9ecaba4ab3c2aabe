//! The flags of `k25 serve` and `k25 keys`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{OpenArgs, positive};

/// `k25 serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the address on standard output when it is ready, and a line per request and answer on standard
error. Ctrl-C or SIGTERM stops it when its answers have ended. Beside /v1/chat/completions there are
/v1/models, /v1/tokenizers/estimate-token-count, /healthz, /readyz and /metrics (Prometheus).

With --upstream or --routes it answers through other endpoints: a vLLM or SGLang cluster, the hosted
service, another k25. Failures that pass are tried again, and as many answers are asked for at once as
an endpoint bears. A routes file names the endpoints of each model, with weights:
  {\"models\": {\"kimi-k2.5\": {\"aliases\": [\"kimi\"], \"endpoints\": [
    {\"url\": \"http://gpu-1:8000/v1\", \"model\": \"moonshotai/Kimi-K2.5\", \"weight\": 3},
    {\"url\": \"https://api.moonshot.ai/v1\", \"key_from\": \"MOONSHOT_API_KEY\", \"weight\": 0}]}}}

Examples:
  k25 serve                                     nano, the small model that is built in
  k25 serve ./Kimi-K2.5
  k25 serve --upstream http://gpu-1:8000/v1 --upstream http://gpu-2:8000/v1 --name kimi-k2.5
  k25 serve --routes routes.json --keys keys.json --prices prices.json --usage usage.json
  k25 serve ./Kimi-K2.5 --name kimi-k2.5 --host 0.0.0.0 --keys keys.json
  OPENAI_BASE_URL=http://127.0.0.1:8025/v1 OPENAI_API_KEY=any your-program")]
pub struct ServeArgs {
    /// Folder of the checkpoint to serve [default: K25_MODEL from the environment, or nano, which is
    /// built in; neither beside --upstream or --routes]
    pub dir: Option<PathBuf>,
    /// How to open it
    #[command(flatten)]
    pub how: OpenArgs,
    /// Models of other endpoints
    #[command(flatten)]
    pub upstream: UpstreamArgs,
    /// Address to listen on; 0.0.0.0 is every address of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any that is free
    #[arg(long, default_value_t = 8025)]
    pub port: u16,
    /// Name of the model [default: the folder's name in small letters, or those an endpoint lists]
    #[arg(long)]
    pub name: Option<String>,
    /// Another name by which clients may ask for it (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// Keep uploaded files (/v1/files) in this folder; without it none are taken
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Add a line of JSON to this file for every answer: prompt, tools, reply, tokens. Never keys
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// What the audit log leaves out: {"fields": ["reasoning_content"], "patterns": [{"pattern": "…",
    /// "with": "(name)"}]}
    #[arg(long, value_name = "FILE", requires = "audit")]
    pub audit_rules: Option<PathBuf>,
    /// Send a span of every answer to this OpenTelemetry collector (OTLP over HTTP, port 4318 as a rule)
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// With the words of the conversations in the spans
    #[arg(long, requires = "otlp")]
    pub otlp_content: bool,
    /// What tokens cost: {"currency": "USD", "models": {"NAME": {"input": 0.6, "cached_input": 0.1,
    /// "output": 3.0}}}, per million
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Keep here what each key used and what it cost (see `k25 keys usage`)
    #[arg(long, value_name = "FILE")]
    pub usage: Option<PathBuf>,
    /// Only whoever has a key of this file may ask (see `k25 keys`)
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Keep the hosted service's rules: fixed sampling, complete tool loops
    #[arg(long)]
    pub kimi_strict: bool,
    /// Answers that are computed at once [default: 64]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_running: Option<usize>,
    /// Requests that may wait for their turn; more get 429 [default: 256]
    #[arg(long, value_name = "N")]
    pub max_waiting: Option<usize>,
    /// Largest request in MiB [default: 100]
    #[arg(long, value_name = "MIB", value_parser = positive)]
    pub max_body: Option<usize>,
    /// Do not fetch pictures and films by their addresses (private addresses are never fetched)
    #[arg(long)]
    pub no_fetch: bool,
    /// Seconds that answers may go on after the server was asked to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain: u64,
    /// Form of the log lines
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub log: LogForm,
}

/// Models that answer elsewhere.
#[derive(Debug, Args)]
pub struct UpstreamArgs {
    /// Answer through this endpoint; several share the requests and answer for each other
    #[arg(long, value_name = "URL")]
    pub upstream: Vec<String>,
    /// The model's name there [default: --name]
    #[arg(long, value_name = "NAME", requires = "upstream")]
    pub upstream_model: Option<String>,
    /// Environment variable with the key of --upstream [default: MOONSHOT_API_KEY, if it is set]
    #[arg(long, value_name = "VARIABLE", requires = "upstream")]
    pub upstream_key_from: Option<String>,
    /// Models and where they answer
    #[arg(long, value_name = "FILE")]
    pub routes: Option<PathBuf>,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// Words for people
    Text,
    /// One JSON object per line
    Json,
    /// None
    Off,
}

/// `k25 keys`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k25 keys add alice --file keys.json --concurrency 4 --requests-per-minute 200
  k25 keys list --file keys.json
  k25 keys usage --file usage.json --by day
  k25 keys remove alice --file keys.json")]
pub struct KeysArgs {
    /// What to do
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// The subcommands of `k25 keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it; the file keeps only its hash
    Add {
        /// Whose key it is
        name: String,
        /// The key file; made if there is none
        #[arg(long)]
        file: PathBuf,
        /// Answers at once
        #[arg(long, value_name = "N")]
        concurrency: Option<u32>,
        /// Requests per minute
        #[arg(long, value_name = "N")]
        requests_per_minute: Option<u32>,
        /// Tokens per minute, prompt and answer
        #[arg(long, value_name = "N")]
        tokens_per_minute: Option<u32>,
    },
    /// Show whose keys there are, and their limits
    List {
        /// The key file
        #[arg(long)]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what keys used and what it cost (written by `k25 serve --usage FILE`)
    Usage {
        /// The usage file
        #[arg(long)]
        file: PathBuf,
        /// Only of this key
        #[arg(long)]
        name: Option<String>,
        /// What to add up by
        #[arg(long, value_name = "WHAT", default_value = "key")]
        by: UsageBy,
        /// Print the entries as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a key
    Remove {
        /// Whose key it is
        name: String,
        /// The key file
        #[arg(long)]
        file: PathBuf,
    },
}

/// What usage is added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsageBy {
    /// Whose key
    Key,
    /// The model
    Model,
    /// The day, in UTC
    Day,
}
