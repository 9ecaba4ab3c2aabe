//! `k25` alone: what can run here now, and what to type next.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use k25_kernels::Isa;
use k25_sandbox::Python;
use k25_web::find_browser;

use super::{Outcome, registry_crates};
use crate::machine;
use crate::model_name::{ModelName, nano_title};
use crate::output::{Screen, bytes};

/// Folders in which a checkpoint is looked for, and how many of those found are shown.
const MAX_FOLDERS: usize = 500;
const MAX_SHOWN: usize = 3;

pub fn run() -> Result<Outcome> {
    let screen = Screen::stdout();
    let (bold, plain) = (screen.bold(), screen.plain());
    let checkpoints = checkpoints(Path::new("."));
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "{bold}k25 {}{plain} · Kimi K2.5 in Rust: the model, the agent swarm, the training\n",
        env!("CARGO_PKG_VERSION")
    )?;
    writeln!(stdout, "this machine  {}", this_machine())?;
    for (number, model) in models(&checkpoints).iter().enumerate() {
        let name = if number == 0 { "models" } else { "" };
        writeln!(stdout, "{name:<13} {}", screen.foreign(model))?;
    }
    writeln!(stdout, "tools         {}", tools())?;
    writeln!(stdout, "\n{bold}next{plain}")?;
    for (command, what) in next(&checkpoints) {
        writeln!(stdout, "  {:<46} {what}", screen.foreign(&command))?;
    }
    writeln!(
        stdout,
        "\nk25 --help lists all commands; each has --help with examples."
    )?;
    Ok(Outcome::Done)
}

fn this_machine() -> String {
    let isa = Isa::from_environment().unwrap_or_else(|_| Isa::best());
    let mut text = format!("{} cores ({})", machine::cores(), isa.name());
    if let Some(all) = machine::memory_bytes() {
        text.push_str(&format!(" · {} of memory", bytes(all)));
    }
    if let Some(free) = machine::free_memory_bytes() {
        text.push_str(&format!(", {} free", bytes(free)));
    }
    text.push_str(" · GPU: ");
    text.push_str(machine::gpu().unwrap_or("none, and none is needed"));
    text
}

/// What can answer, nano first.
fn models(checkpoints: &[PathBuf]) -> Vec<String> {
    let nano = k25_nano::unpack().map_err(anyhow::Error::from);
    let mut models = match nano.and_then(|folder| nano_title(folder.path())) {
        Ok(title) => vec![format!("{title}: tables from documents, and little else")],
        Err(error) => vec![format!("nano cannot be opened: {error}")],
    };
    models.extend(match ModelName::of_environment() {
        Some(ModelName::Endpoint(_)) => Some("an endpoint, which K25_MODEL names".to_owned()),
        Some(ModelName::Folder(path)) => Some(format!("{} (K25_MODEL)", path.display())),
        _ => None,
    });
    let shown = checkpoints.iter().take(MAX_SHOWN);
    models.extend(shown.map(|path| format!("{} (a checkpoint here)", path.display())));
    if checkpoints.len() > MAX_SHOWN {
        models.push(format!(
            "and {} more checkpoints here",
            checkpoints.len() - MAX_SHOWN
        ));
    }
    models
}

/// Folders with a checkpoint: this one, and those directly in it.
fn checkpoints(here: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(here).into_iter().flatten().flatten();
    let mut below: Vec<PathBuf> = below
        .take(MAX_FOLDERS)
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    below.sort();
    let all = std::iter::once(here.to_owned()).chain(below);
    all.filter(|path| is_checkpoint(path)).collect()
}

fn is_checkpoint(folder: &Path) -> bool {
    if !folder.join("config.json").is_file() {
        return false;
    }
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.take(MAX_FOLDERS).any(|file| {
        file.path()
            .extension()
            .is_some_and(|end| end == "safetensors")
    })
}

fn tools() -> String {
    let named = std::env::var_os("K25_CHROMIUM").map(PathBuf::from);
    let all = [
        ("Python", Python::find().is_ok()),
        ("Chromium", find_browser(named).is_ok()),
        ("ffmpeg", machine::on_path("ffmpeg").is_some()),
    ];
    let names = |wanted: bool| {
        let names = all.iter().filter(|(_, is_there)| *is_there == wanted);
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let mut text = "PDF and JavaScript built in".to_owned();
    for (wanted, before) in [(true, " · found: "), (false, " · not found: ")] {
        if !names(wanted).is_empty() {
            text.push_str(&format!("{before}{}", names(wanted)));
        }
    }
    text
}

/// The three most useful commands here.
fn next(checkpoints: &[PathBuf]) -> Vec<(String, &'static str)> {
    let first = match registry_crates() {
        Ok(_) => (
            "k25 swarm --example crates",
            "a table from 34 crates on this machine",
        ),
        Err(_) => ("k25 chat", "talk to nano, without anything else"),
    };
    let mut next = vec![(first.0.to_owned(), first.1)];
    if let Some(path) = checkpoints.first() {
        let inspect = format!("k25 inspect {}", path.display());
        next.push((inspect, "what is in the checkpoint, and whether it fits"));
    }
    let own = "k25 swarm \"For each …: version, …\" --docs DIR".to_owned();
    next.push((
        own,
        "the same of your own documents; --model DIR|URL for a real model",
    ));
    next.push((
        "k25 doctor".to_owned(),
        "what else works here, and how to get the rest",
    ));
    next.truncate(3);
    next
}
