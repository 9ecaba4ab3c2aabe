//! The `k25` command: flags to library calls, results to text.

mod answer;
mod args;
mod capabilities;
mod commands;
mod input;
mod interrupt;
mod machine;
mod model_name;
mod output;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::commands::Outcome;

/// Exit code for flags that make no sense; the same as clap's own.
const USAGE: u8 = 2;
/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    if k25_sandbox::is_stage() {
        k25_sandbox::stage_main();
    }
    if commands::documents::reads_pdf() {
        return k25_pdf::serve();
    }
    match commands::run(Cli::parse().command) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::FallsShort) => ExitCode::FAILURE,
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(if error.is::<input::UsageError>() {
                USAGE
            } else {
                1
            })
        }
    }
}

/// Whether the reader of our output went away, who therefore needs no message.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(is_pipe)
}
