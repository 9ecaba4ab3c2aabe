//! `k25 man`: manual pages, from the same table as the flags.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::Outcome;
use crate::args::{Cli, ManArgs};

pub fn run(args: &ManArgs) -> Result<Outcome> {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        io::stdout().write_all(&page)?;
        return Ok(Outcome::Done);
    };
    let shown = dir.display();
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {shown}"))?;
    clap_mangen::generate_to(command, dir).with_context(|| format!("cannot write into {shown}"))?;
    let pages = std::fs::read_dir(dir)?.flatten();
    let is_ours = |name: &str| name.starts_with("k25") && name.ends_with(".1");
    let count = pages
        .filter(|page| page.file_name().to_str().is_some_and(is_ours))
        .count();
    writeln!(io::stdout(), "{count} pages in {shown}")?;
    Ok(Outcome::Done)
}
