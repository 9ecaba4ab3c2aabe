//! `k25 completions`: what a shell needs to complete commands and flags.

use std::io::{self, Write};

use anyhow::Result;
use clap::CommandFactory as _;

use super::Outcome;
use crate::args::{Cli, CompletionsArgs};

pub fn run(args: &CompletionsArgs) -> Result<Outcome> {
    // Written at once: the generator panics where its reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "k25", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Outcome::Done)
}
