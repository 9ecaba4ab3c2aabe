//! The subcommands, each in its file: flags to library calls, results to text.

mod agent;
mod bench;
mod chat;
mod completions;
mod doctor;
pub mod documents;
mod generate;
mod inspect;
mod keys;
mod man;
mod mcp;
mod render;
mod reproduce;
mod serve;
mod start;
mod swarm;
mod synth;
mod tokenize;
mod tokenizer;
mod train;
mod verify;

use anyhow::Result;

use crate::args::Command;

pub use swarm::example::registry_crates;
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

/// Runs a subcommand; without one, says what there is.
pub fn run(command: Option<Command>) -> Result<Outcome> {
    let Some(command) = command else {
        return start::run();
    };
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
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
