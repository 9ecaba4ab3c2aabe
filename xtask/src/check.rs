//! `cargo xtask check`: the steps that CI runs, each with its wall time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::process::{cargo, run as shell};
use crate::{contract, edges, fuzz, memory, tools};

/// Which steps to run; all of them unless told otherwise.
#[derive(clap::Args)]
pub struct Selection {
    /// Run only these steps.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Step>,
    /// Run all but these steps.
    #[arg(long, value_delimiter = ',', conflicts_with = "only")]
    skip: Vec<Step>,
}

/// The steps, in the order in which they run: what fails fast comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Step {
    /// Programs that the tests need are installed.
    Tools,
    /// The code is formatted.
    Format,
    /// No crate imports what it must not.
    Edges,
    /// Clippy finds nothing, warnings denied.
    Clippy,
    /// Unit, integration and property tests.
    Test,
    /// Kernels and block pool under Valgrind.
    Memory,
    /// The examples in the documentation run.
    Doctest,
    /// The documentation builds, warnings denied.
    Doc,
    /// The official SDKs run against real servers.
    Contract,
    /// Every fuzz target runs for a moment.
    Fuzz,
}

/// Runs the selected steps up to the first that fails, and prints what each took.
pub fn run(selection: &Selection) -> Result<()> {
    let chosen = Step::value_variants()
        .iter()
        .copied()
        .filter(|step| selection.includes(*step));
    let mut times = Vec::new();
    let mut failure = None;
    for step in chosen {
        println!("\n== {step:?}");
        let start = Instant::now();
        let outcome = step.run();
        times.push((step, start.elapsed(), outcome.is_ok()));
        if let Err(error) = outcome {
            failure = Some((step, error));
            break;
        }
    }
    print_summary(&times);
    match failure {
        Some((step, error)) => bail!("{step:?}: {error:#}"),
        None => Ok(()),
    }
}

impl Selection {
    fn includes(&self, step: Step) -> bool {
        !self.skip.contains(&step) && (self.only.is_empty() || self.only.contains(&step))
    }
}

impl Step {
    fn run(self) -> Result<()> {
        match self {
            Self::Tools => tools::run(),
            Self::Format => shell(&mut cargo(&["fmt", "--all", "--check"])),
            Self::Edges => edges::run(),
            Self::Clippy => shell(&mut cargo(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ])),
            // Not --all-targets: that would run the benchmarks too, which clippy has built.
            Self::Test => shell(&mut cargo(&[
                "test",
                "--locked",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
            ])),
            Self::Memory => memory::run(),
            Self::Doctest => shell(&mut cargo(&["test", "--locked", "--workspace", "--doc"])),
            Self::Doc => shell(
                cargo(&["doc", "--locked", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "--deny warnings"),
            ),
            Self::Contract => contract::run(),
            Self::Fuzz => fuzz::smoke(),
        }
    }
}

fn print_summary(times: &[(Step, Duration, bool)]) {
    println!("\n{:<10}{:>8}", "step", "seconds");
    for (step, time, passed) in times {
        let mark = if *passed { "" } else { "  failed" };
        println!(
            "{:<10}{:>8.1}{mark}",
            format!("{step:?}"),
            time.as_secs_f64()
        );
    }
    let total: Duration = times.iter().map(|(_, time, _)| *time).sum();
    println!("{:<10}{:>8.1}", "total", total.as_secs_f64());
}
