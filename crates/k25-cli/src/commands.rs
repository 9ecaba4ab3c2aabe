//! The subcommands, each in its file: flags to library calls, results to text.

mod agent;
mod bench;
mod chat;
pub mod documents;
mod generate;
mod inspect;
mod keys;
mod mcp;
mod render;
mod reproduce;
mod serve;
mod swarm;
mod synth;
mod tokenize;
mod tokenizer;
mod train;
mod verify;

use anyhow::Result;

use crate::args::Command;

pub use tokenizer::TokenizerArgs;
pub use train::TrainArgs;

/// How a command that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Done,
    /// The work is done, and what was looked at is not as it should be.
    FallsShort,
    /// Ctrl-C ended it early.
    Interrupted,
}

/// Runs a subcommand.
pub fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Generate(args) => generate::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Agent(args) => agent::run(*args),
        Command::Swarm(args) => swarm::run(*args),
        Command::Mcp(args) => mcp::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Train(args) => train::run(&args),
        Command::Tokenizer(args) => tokenizer::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::ReadPdf => Err(anyhow::anyhow!("reading a PDF has a process of its own")),
    }
}
