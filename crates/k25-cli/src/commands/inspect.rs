//! `k25 inspect`: what is in a checkpoint.

use std::io::{self, Write};

use anyhow::Result;
use k25_model::inspect::Inspection;

use super::Outcome;
use crate::args::InspectArgs;
use crate::output::{Status, print_json};

pub fn run(args: &InspectArgs) -> Result<Outcome> {
    let status = Status::show(&format!("reading the headers in {} …", args.dir.display()));
    let inspection = Inspection::of(&args.dir)?;
    drop(status);
    if args.json {
        print_json(&inspection)?;
    } else {
        writeln!(io::stdout(), "{}", inspection.to_string().trim_end())?;
    }
    Ok(if inspection.is_sound() {
        Outcome::Done
    } else {
        Outcome::FallsShort
    })
}
