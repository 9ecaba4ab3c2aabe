//! `k25 doctor`: what works on this machine, and how to get what does not.

use std::io::{self, Write};

use anyhow::Result;

use super::Outcome;
use crate::args::DoctorArgs;
use crate::capabilities::{self, Capability, State};
use crate::output::{Screen, Status, print_json};

pub fn run(args: &DoctorArgs) -> Result<Outcome> {
    let status = Status::show("looking at this machine …");
    let all = capabilities::all();
    drop(status);
    let is_lacking =
        |capability: &&Capability| capability.core && capability.state == State::Missing;
    let lacking: Vec<&str> = all
        .iter()
        .filter(is_lacking)
        .map(|lacking| lacking.name)
        .collect();
    if args.json {
        print_json(&serde_json::json!({"works": lacking.is_empty(), "capabilities": all}))?;
    } else {
        print(&all, &lacking)?;
    }
    Ok(match lacking.is_empty() {
        true => Outcome::Done,
        false => Outcome::FallsShort,
    })
}

fn print(all: &[Capability], lacking: &[&str]) -> io::Result<()> {
    let screen = Screen::stdout();
    let (dim, plain) = (screen.dim(), screen.plain());
    let mut stdout = io::stdout().lock();
    for capability in all {
        let state = match capability.state {
            State::Ok => "ok",
            State::Limited => "in part",
            State::Missing => "missing",
        };
        let found = screen.foreign(&capability.found);
        writeln!(stdout, "{state:<8} {:<10} {found}", capability.name)?;
        writeln!(stdout, "{:<19} {dim}for {}{plain}", "", capability.gives)?;
        if let Some(get) = &capability.get {
            writeln!(stdout, "{:<19} to get it: {}", "", screen.foreign(get))?;
        }
    }
    match lacking {
        [] => writeln!(
            stdout,
            "\nAll that the core needs is here. Begin with   k25 swarm --example crates"
        ),
        lacking => writeln!(stdout, "\nNot without: {}", lacking.join(", ")),
    }
}
