//! The repository's own chores. `cargo xtask check` is what CI and the README call.

mod check;
mod contract;
mod edges;
mod files;
mod fuzz;
mod memory;
mod picture;
mod process;
mod rooms;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The repository's own chores.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must hold before a change lands: what CI runs.
    Check(check::Selection),
    /// Prove that no crate holds what it must not (the table is xtask/src/rooms.rs).
    Edges,
    /// Run the official SDKs against real servers (see contract/README.md).
    Contract,
    /// Feed generated inputs to the parsers of untrusted input (see fuzz/README.md).
    Fuzz(fuzz::Campaign),
    /// Draw what a terminal showed, for the documentation (paths are seen from the repository's root).
    Picture(picture::Picture),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> anyhow::Result<()> {
    std::env::set_current_dir(process::repository_root()?)?;
    match chore {
        Chore::Check(selection) => check::run(selection),
        Chore::Edges => edges::run(),
        Chore::Contract => contract::run(),
        Chore::Fuzz(campaign) => fuzz::run(campaign),
        Chore::Picture(picture) => picture::run(picture),
    }
}
