//! The contract suite: official SDKs against real server processes (contract/README.md).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, run as shell};

const REQUIREMENTS: &str = "contract/requirements.txt";
const PACKAGE: &str = "contract/package.json";

/// Builds the servers, makes the environments and runs the suite.
pub fn run() -> Result<()> {
    // The whole workspace is named, though two programs are wanted: with the features of two packages alone, half of what
    // they depend on would be built a second time.
    shell(&mut cargo(&[
        "build",
        "--locked",
        "--workspace",
        "--bin",
        "k25",
        "--example",
        "scripted_server",
    ]))?;
    let target = std::path::absolute(target_folder()).context("the target folder")?;
    let folder = target.join("contract");
    fs::create_dir_all(&folder)?;
    let servers = Servers::below(&target);
    let python = python(&folder.join("venv"))?;
    // Bytecode and caches stay out of the sources.
    shell(servers.tell(Command::new(python).args([
        "-B",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "contract",
    ])))?;
    let node = node(&folder.join("node"))?;
    shell(servers.tell(Command::new("node").args(["--test"]).current_dir(node)))
}

/// The built programs, by the variables in which the suite looks for them.
struct Servers([(&'static str, PathBuf); 2]);

impl Servers {
    fn below(target: &Path) -> Self {
        let debug = target.join("debug");
        Servers([
            ("K25", debug.join("k25")),
            (
                "K25_SCRIPTED_SERVER",
                debug.join("examples").join("scripted_server"),
            ),
        ])
    }

    fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.envs(self.0.iter().map(|(name, path)| (name, path)))
    }
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// Python with the pinned packages, made when they change.
fn python(folder: &Path) -> Result<PathBuf> {
    let python = folder.join("bin").join("python");
    if is_made_from(folder, REQUIREMENTS)? {
        return Ok(python);
    }
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(folder)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        bail!(
            "python3 makes no environment\n  hint: sudo apt-get install --yes python3 python3-venv"
        );
    }
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--requirement",
        REQUIREMENTS,
    ];
    shell(Command::new(&python).args(install))
        .context("the suite needs the packages of contract/requirements.txt from PyPI")?;
    mark(folder, REQUIREMENTS)?;
    Ok(python)
}

/// A folder with the JavaScript part of the suite and its pinned packages.
fn node(folder: &Path) -> Result<PathBuf> {
    if !is_made_from(folder, PACKAGE)? {
        fs::create_dir_all(folder)?;
        fs::copy(PACKAGE, folder.join("package.json"))?;
        let install = ["install", "--no-audit", "--no-fund", "--no-package-lock"];
        shell(Command::new("npm").args(install).current_dir(folder)).context(
            "the suite needs Node.js 20 with npm, and the packages of contract/package.json from the \
             npm registry\n  hint: sudo apt-get install --yes nodejs npm",
        )?;
        mark(folder, PACKAGE)?;
    }
    for entry in fs::read_dir("contract")? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "mjs") {
            fs::copy(
                &path,
                folder.join(path.file_name().context("a file without a name")?),
            )?;
        }
    }
    Ok(folder.to_owned())
}

/// Whether the environment in `folder` was made from `source` as it is now.
fn is_made_from(folder: &Path, source: &str) -> Result<bool> {
    let wanted = fs::read(source).with_context(|| source.to_owned())?;
    Ok(fs::read(folder.join("made-from")).is_ok_and(|made| made == wanted))
}

fn mark(folder: &Path, source: &str) -> Result<()> {
    fs::copy(source, folder.join("made-from"))?;
    Ok(())
}
