//! The flags of `k25 serve` and `k25 keys`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ModelArgs, positive};

/// `k25 serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the address on standard output when it is ready, and a line per request and answer on standard
error. Ctrl-C or SIGTERM stops it when its answers have ended. Beside /v1/chat/completions there are
/v1/models, /v1/tokenizers/estimate-token-count, /healthz, /readyz and /metrics (Prometheus).

Examples:
  k25 serve ./Kimi-K2.5
  k25 serve ./Kimi-K2.5 --name kimi-k2.5 --host 0.0.0.0 --keys keys.json
  OPENAI_BASE_URL=http://127.0.0.1:8025/v1 OPENAI_API_KEY=any your-program")]
pub struct ServeArgs {
    /// The model to serve
    #[command(flatten)]
    pub model: ModelArgs,
    /// Address to listen on; 0.0.0.0 is every address of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any that is free
    #[arg(long, default_value_t = 8025)]
    pub port: u16,
    /// Name of the model [default: the folder's name in small letters]
    #[arg(long)]
    pub name: Option<String>,
    /// Another name by which clients may ask for it (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
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
    /// Remove a key
    Remove {
        /// Whose key it is
        name: String,
        /// The key file
        #[arg(long)]
        file: PathBuf,
    },
}
