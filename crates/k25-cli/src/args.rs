//! The command line as people type it. Each subcommand's file turns its flags into library calls.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use k25_model::synth::Preset;

use crate::commands::{TokenizerArgs, TrainArgs};

mod compute;
mod form;
mod serve;
mod swarm;
mod tools;

pub use compute::{Activations, Cache, ComputeArgs, Dense};
pub use form::FormArgs;
pub use serve::{KeysArgs, KeysCommand, LogForm, ServeArgs, UsageBy};
pub use swarm::{
    AgentArgs, AgentCommand, AgentModelArgs, AgentStartArgs, BudgetArgs, CancelArgs, Conflicts,
    Context, DocumentArgs, EditArgs, ExportArgs, GoOnArgs, MainAgentArgs, McpArgs, ReplayArgs,
    RunListArgs, ShowArgs, StartArgs, SwarmArgs, SwarmCommand, SwarmMode, Trial,
};
pub use tools::{SearchKind, ToolArgs, ToolKind};

/// Kimi K2.5 in Rust: the model, the agent swarm, the training.
#[derive(Debug, Parser)]
#[command(name = "k25", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Without a command: what can run here now, and what to type next.

Examples:
  k25 swarm --example crates                    a table from documents that lie here anyway
  k25 chat                                      with nano, the small model that is built in
  k25 inspect ./Kimi-K2.5                       what is in a checkpoint, and what is odd
  k25 generate ./Kimi-K2.5 \"Why is the sky blue?\"
  k25 doctor                                    what works on this machine")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a checkpoint's architecture, parameters and tensors, and what is missing or odd
    Inspect(InspectArgs),
    /// Compare the model, the preprocessing and the text handling with reference values
    Verify(VerifyArgs),
    /// Answer one prompt
    Generate(GenerateArgs),
    /// Talk to a model, turn by turn
    Chat(ChatArgs),
    /// Let one agent read documents and answer in words
    Agent(Box<AgentArgs>),
    /// Let sub-agents fill a table from documents, each value with the line it stands on
    Swarm(Box<SwarmArgs>),
    /// Offer the swarm to other agents, as an MCP server on standard input and output
    Mcp(McpArgs),
    /// Serve a model over HTTP, in the forms of OpenAI's, Kimi's and Anthropic's clients
    Serve(ServeArgs),
    /// Make, list and remove the API keys of a server
    Keys(KeysArgs),
    /// Show the prompt that a conversation becomes
    Render(RenderArgs),
    /// Turn text into token ids, or ids into text
    Tokenize(TokenizeArgs),
    /// Train a model of the family on text or conversations, and export it
    Train(TrainArgs),
    /// Make a tokenizer in the family's layout
    Tokenizer(TokenizerArgs),
    /// Write a random checkpoint in the real layout, for benchmarks and tests
    Synth(SynthArgs),
    /// Measure speed beside what this machine could do at most
    Bench(BenchArgs),
    /// Look at what works on this machine, and how to get what does not
    Doctor(DoctorArgs),
    /// Write a script that completes commands and flags in a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

/// `k25 doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 if all that the core needs is here, 1 otherwise. Keys are named, never shown.

Examples:
  k25 doctor
  k25 doctor --json | jq '.capabilities[] | select(.state != \"ok\") | .get'")]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k25 completions bash > ~/.local/share/bash-completion/completions/k25
  k25 completions zsh > ~/.zfunc/_k25            with fpath+=~/.zfunc before compinit
  k25 completions fish > ~/.config/fish/completions/k25.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `k25 man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k25 man | man -l -                             read the page of k25 itself
  k25 man ~/.local/share/man/man1                a page for every command; then: man k25-swarm")]
pub struct ManArgs {
    /// Folder for a page of every command [default: the page of k25 itself, to standard output]
    pub dir: Option<PathBuf>,
}

/// `k25 inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k25 inspect ./Kimi-K2.5
  k25 inspect nano
  k25 inspect ./Kimi-K2.5 --json | jq .parameters")]
pub struct InspectArgs {
    /// Folder of the checkpoint, or `nano`, which is built in
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 if every expectation holds, 1 if any falls short.

Examples:
  k25 verify fixtures                  every part of a fixture folder
  k25 verify fixtures/t1 fixtures/t2   single model folders; pictures lie beside them
  k25 verify fixtures --short          only what falls short or was not checked
  k25 verify fixtures --fast --dense int8 --activations int8 --cache int8
                                       the error of the fast choices, beside exact values
  k25 verify ./Kimi-K2.5 --fast --activations int8
                                       the same on random tokens, for any checkpoint")]
pub struct VerifyArgs {
    /// Folders with expectations: a model folder, or a folder of several parts
    #[arg(required = true)]
    pub dirs: Vec<PathBuf>,
    /// Print only items that fall short or were not checked
    #[arg(long, conflicts_with = "fast")]
    pub short: bool,
    /// Measure the error of the fast execution instead: logits, likeliest token, divergence
    #[arg(long)]
    pub fast: bool,
    /// What --fast computes with
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 generate`.
#[derive(Debug, Args)]
#[command(after_help = "\
A terminal shows the reasoning faintly, then the answer; a pipe gets the answer alone (or
everything with --json). Ctrl-C ends the answer.

Examples:
  k25 generate ./Kimi-K2.5 \"Why is the sky blue?\"
  k25 generate nano \"Hello\"
  k25 generate ./Kimi-K2.5 --instant --image cat.png \"What is this?\"
  k25 generate ./Kimi-K2.5 --messages conversation.json --json
  k25 generate ./Kimi-K2.5 --instant --json-schema person.json \"Invent a person.\"
  echo \"Summarise: …\" | k25 generate ./Kimi-K2.5 -")]
pub struct GenerateArgs {
    /// Folder of the checkpoint, or `nano`, which is built in
    pub dir: PathBuf,
    /// How to open it
    #[command(flatten)]
    pub how: OpenArgs,
    /// The user's message; `-` reads it from standard input
    #[arg(required_unless_present = "messages", conflicts_with = "messages")]
    pub prompt: Option<String>,
    /// A conversation as JSON (the OpenAI form: a list of messages, or an object with `messages`
    /// and `tools`) instead of one message; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    /// Show a picture to the model, before the text (PNG, JPEG, WebP, GIF, BMP; may be repeated)
    #[arg(long = "image", value_name = "FILE", conflicts_with = "messages")]
    pub images: Vec<PathBuf>,
    /// Show a film to the model, before the text (needs ffmpeg; GIF does not; may be repeated)
    #[arg(long = "video", value_name = "FILE", conflicts_with = "messages")]
    pub videos: Vec<PathBuf>,
    /// The system message
    #[arg(long, conflicts_with = "messages")]
    pub system: Option<String>,
    /// Use the prompt as it is, without chat template; names of special tokens count as such
    #[arg(long, conflicts_with_all = ["messages", "images", "videos", "system", "thinking", "instant"])]
    pub raw: bool,
    /// How to draw tokens
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// The form of the answer
    #[command(flatten)]
    pub form: FormArgs,
    /// Answers to draw; they share the prompt's computation
    #[arg(short = 'n', long = "samples", value_name = "N", value_parser = positive, default_value_t = 1)]
    pub samples: usize,
    /// Print one JSON object at the end instead of streaming text (of several samples, a list)
    #[arg(long)]
    pub json: bool,
}

/// `k25 chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Within the chat: /image FILE, /video FILE, /thinking, /instant, /clear, /help, /quit.

Examples:
  k25 chat                                      with nano, the small model that is built in
  k25 chat ./Kimi-K2.5 --instant")]
pub struct ChatArgs {
    /// Folder of the checkpoint [default: K25_MODEL from the environment, or nano, which is built in]
    pub dir: Option<PathBuf>,
    /// How to open it
    #[command(flatten)]
    pub how: OpenArgs,
    /// The system message
    #[arg(long)]
    pub system: Option<String>,
    /// How to draw tokens
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// The form of every answer
    #[command(flatten)]
    pub form: FormArgs,
}

/// How a checkpoint is opened and computed.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Folder of the tokenizer, if it is not in the checkpoint's
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Folder of a LoRA adapter in PEFT's layout, as `k25 train export` writes it: computed beside the
    /// checkpoint's matrices, which stay as they are stored
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// How to compute
    #[arg(long, value_name = "HOW", default_value = "fast")]
    pub execution: Execution,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Tokens to keep room for, prompt and answer together [default: what the model was trained
    /// for, or 4 GiB hold]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub context: Option<usize>,
    /// Exact, or fast
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// How a model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Execution {
    /// SIMD kernels on the weights as they are stored; f32 activations
    Fast,
    /// Plain f32 in a fixed order of sums; what `verify` checks
    Reference,
}

/// How tokens are drawn. The defaults are what the model's makers recommend.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// Let the model reason before it answers (the default)
    #[arg(long, conflicts_with = "instant")]
    pub thinking: bool,
    /// Answer at once
    #[arg(long)]
    pub instant: bool,
    /// Most tokens to generate [default: 4096, or what there is room for]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_tokens: Option<usize>,
    /// 0 always takes the likeliest token [default: 1.0 thinking, 0.6 instant]
    #[arg(long, value_name = "T", value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Draw from the likeliest tokens that have this much probability together [default: 0.95]
    #[arg(long, value_name = "P", value_parser = above_zero_to_one, allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Draw from this many of the likeliest tokens [default: all]
    #[arg(long, value_name = "K", value_parser = positive)]
    pub top_k: Option<usize>,
    /// Leave out tokens less likely than this fraction of the likeliest [default: 0]
    #[arg(long, value_name = "P", value_parser = zero_to_one, allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// The same seed gives the same answer [default: a random one, printed with --json]
    #[arg(long)]
    pub seed: Option<u64>,
    /// End the answer before this text (may be repeated)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

/// `k25 render`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k25 render conversation.json
  k25 render conversation.json --instant --ids --tokenizer ./Kimi-K2.5
  echo '[{\"role\":\"user\",\"content\":\"Hi\"}]' | k25 render -")]
pub struct RenderArgs {
    /// A conversation as JSON (a list of messages, or an object with `messages` and `tools`);
    /// `-` reads it from standard input
    pub conversation: PathBuf,
    /// Tools as JSON, in the OpenAI form
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
    /// Render for an answer without reasoning
    #[arg(long)]
    pub instant: bool,
    /// Do not open the assistant's answer at the end
    #[arg(long)]
    pub no_generation_prompt: bool,
    /// Keep the reasoning of earlier turns (K2.6)
    #[arg(long)]
    pub preserve_thinking: bool,
    /// Do exactly as the model's own template and tokenizer do, where k25 would mend it: foreign
    /// tool call ids, a null reasoning, names of special tokens in text
    #[arg(long)]
    pub verbatim: bool,
    /// Print token ids too (needs --tokenizer)
    #[arg(long, requires = "tokenizer")]
    pub ids: bool,
    /// Folder with tiktoken.model and tokenizer_config.json
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 tokenize`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k25 tokenize ./Kimi-K2.5 \"Hello, world!\"
  k25 tokenize ./Kimi-K2.5 --decode 19180,11,2695
  k25 tokenize ./Kimi-K2.5 - < book.txt --json")]
pub struct TokenizeArgs {
    /// Folder with tiktoken.model and tokenizer_config.json, or `nano`
    pub tokenizer: PathBuf,
    /// The text; `-` reads it from standard input
    #[arg(required_unless_present = "decode")]
    pub text: Option<String>,
    /// Read special tokens such as <|im_end|> in the text as such (text from strangers: do not)
    #[arg(long)]
    pub specials: bool,
    /// Turn these ids into text instead, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with_all = ["text", "specials"])]
    pub decode: Option<Vec<u32>>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `k25 synth`.
#[derive(Debug, Args)]
#[command(after_help = "\
Presets: tiny (with vision, a few MB), small (240 MB, nearly all of it experts), mid (8.25 B
parameters, 5.2 GB, text only), layer (one MoE layer of the real shape), kimi-k2.5 (the real shape,
595 GB; with --sparse a few MB on disk).

Examples:
  k25 synth tiny /tmp/tiny
  k25 synth kimi-k2.5 /tmp/k25-holes --sparse")]
pub struct SynthArgs {
    /// Which shape
    #[arg(value_parser = preset())]
    pub preset: Preset,
    /// Folder to write; must be empty or absent
    pub dir: PathBuf,
    /// Decides every weight
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// True headers over file holes: every weight reads as zero
    #[arg(long)]
    pub sparse: bool,
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    let named =
        |name: String| Preset::from_name(&name).expect("only names of presets are possible");
    PossibleValuesParser::new(Preset::ALL.map(Preset::name)).map(named)
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("it must be a whole number of at least 1".to_owned()),
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, "it must be a number of at least 0", |number| {
        number >= 0.0
    })
}

fn above_zero_to_one(text: &str) -> Result<f32, String> {
    number(text, "it must be above 0 and at most 1", |number| {
        number > 0.0 && number <= 1.0
    })
}

fn zero_to_one(text: &str) -> Result<f32, String> {
    number(text, "it must be from 0 to 1", |number| {
        (0.0..=1.0).contains(&number)
    })
}

fn number(text: &str, expected: &str, holds: impl Fn(f32) -> bool) -> Result<f32, String> {
    let number = text
        .parse()
        .ok()
        .filter(|&number: &f32| number.is_finite() && holds(number));
    number.ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }
}

/// `k25 bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Measures this machine's roofs first, and prints every figure with its fraction of them. Close other
programs: a busy machine lowers both, but not evenly.

Examples:
  k25 bench                                            the machine and one attention layer
  k25 synth mid /tmp/mid && k25 bench /tmp/mid         the benchmark model
  k25 synth layer /tmp/layer && \\
    k25 bench /tmp/layer --depths --prompts --batches --sharing 0 --moe-rows 1,8,64,512")]
pub struct BenchArgs {
    /// Folder of a checkpoint, or `nano`, which is built in
    pub dir: Option<PathBuf>,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Dense matrices: as stored, or quantised at load
    #[arg(long, value_name = "FORMAT", default_value = "int8")]
    pub dense: Dense,
    /// What experts' weights are multiplied with
    #[arg(long, value_name = "FORMAT", default_value = "int8")]
    pub activations: Activations,
    /// Cached rows
    #[arg(long, value_name = "FORMAT", default_value = "f32")]
    pub cache: Cache,
    /// Decode after this many cached tokens
    #[arg(long, value_name = "N,…", value_delimiter = ',', num_args = 0.., default_value = "0,4096,16384")]
    pub depths: Vec<usize>,
    /// Prefill prompts of this length
    #[arg(long, value_name = "N,…", value_delimiter = ',', num_args = 0.., default_value = "512,2048")]
    pub prompts: Vec<usize>,
    /// Decode this many sequences together
    #[arg(long, value_name = "N,…", value_delimiter = ',', num_args = 0.., default_value = "8")]
    pub batches: Vec<usize>,
    /// Serve this many requests with one prefix of 1,024 tokens; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub sharing: usize,
    /// Run one MoE layer alone on this many rows
    #[arg(long, value_name = "N,…", value_delimiter = ',', num_args = 0..)]
    pub moe_rows: Vec<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
