//! Building and running the fuzz targets of `fuzz/` (how and why: fuzz/README.md).

mod seeds;
mod targets;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, output, run as shell};
use targets::{TARGETS, Target};

/// How long to look.
#[derive(clap::Args)]
pub struct Campaign {
    /// Targets to run; all of them if none is named.
    targets: Vec<String>,
    /// Executions of each target.
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Stop a target after this many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// List the targets and what they feed.
    #[arg(long)]
    list: bool,
}

/// Memory that one input may lead to, counted over the whole process.
const MEMORY_LIMIT_MB: u32 = 1024;
/// Time that one input may take.
const TIME_LIMIT_SECONDS: u32 = 10;

/// Runs the targets that were asked for and prints what was executed.
pub fn run(campaign: &Campaign) -> Result<()> {
    if campaign.list {
        TARGETS
            .iter()
            .for_each(|target| println!("{:<18}{}", target.name, target.feeds));
        return Ok(());
    }
    let chosen = choose(&campaign.targets)?;
    run_targets(&chosen, campaign.runs, campaign.seconds)
}

/// A moment of every target, for CI: the seeds and a few thousand mutations of them.
pub fn smoke() -> Result<()> {
    const RUNS: u64 = 20_000;
    const SECONDS: u64 = 20;
    let all: Vec<&'static Target> = TARGETS.iter().collect();
    run_targets(&all, RUNS, Some(SECONDS))
}

fn choose(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        TARGETS
            .iter()
            .find(|target| target.name == name)
            .with_context(|| {
                format!("no fuzz target is called {name}\n  hint: cargo xtask fuzz --list")
            })
    };
    names.iter().map(find).collect()
}

fn run_targets(chosen: &[&'static Target], runs: u64, seconds: Option<u64>) -> Result<()> {
    let programs = build()?;
    let mut reports = Vec::new();
    for target in chosen {
        let report = run_one(target, &programs, runs, seconds)?;
        println!("{}", report.line());
        reports.push(report);
    }
    let ended = |outcome| {
        let names = reports
            .iter()
            .filter(|report| report.outcome == outcome)
            .map(|report| report.target);
        names.collect::<Vec<_>>().join(", ")
    };
    let (findings, interrupted) = (ended(Outcome::Finding), ended(Outcome::Interrupted));
    if !findings.is_empty() {
        bail!(
            "findings in: {findings}\n  hint: the inputs lie in fuzz/artifacts; fuzz/README.md says how to run one again"
        );
    }
    if !interrupted.is_empty() {
        bail!("interrupted: {interrupted}\n  hint: run them again; the corpus is kept");
    }
    Ok(())
}

/// Builds every target with coverage counters, which stable rustc can insert by itself, and
/// returns the folder of the programs.
fn build() -> Result<PathBuf> {
    let counters = [
        "--cfg=fuzzing",
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
    ];
    // With an explicit target the flags do not reach build scripts, which would not link.
    let host = host_triple()?;
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from("target"), PathBuf::from)
        .join("fuzz");
    let manifest = [
        "build",
        "--release",
        "--bins",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
    ];
    shell(
        cargo(&manifest)
            .arg(&host)
            .env("CARGO_TARGET_DIR", &folder)
            .env("RUSTFLAGS", counters.join(" "))
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )?;
    Ok(folder.join(host).join("release"))
}

fn host_triple() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("`rustc -vV` names no host")
}

/// How a run of a target ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    NoFinding,
    Finding,
    Interrupted,
}

impl Outcome {
    fn of(status: ExitStatus) -> Self {
        /// What the engine ends with when a signal asks it to.
        const INTERRUPTED: i32 = 72;
        match status.code() {
            Some(0) => Self::NoFinding,
            Some(INTERRUPTED) => Self::Interrupted,
            _ => Self::Finding,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::NoFinding => "no finding",
            Self::Finding => "FINDING",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What one run of a target did.
struct Report {
    target: &'static str,
    outcome: Outcome,
    executions: u64,
    seconds: f64,
    corpus: usize,
    peak_mb: u64,
}

impl Report {
    fn line(&self) -> String {
        let Self {
            target,
            executions,
            seconds,
            corpus,
            peak_mb,
            ..
        } = self;
        let rate = *executions as f64 / seconds.max(1e-3);
        let outcome = self.outcome.name();
        format!(
            "{target:<18}{executions:>9} executions {seconds:>8.1} s {rate:>8.0}/s  corpus {corpus:>6}  peak {peak_mb:>5} MB  {outcome}"
        )
    }
}

fn run_one(
    target: &'static Target,
    programs: &Path,
    runs: u64,
    seconds: Option<u64>,
) -> Result<Report> {
    let corpus = Path::new("fuzz/corpus").join(target.name);
    let artifacts = Path::new("fuzz/artifacts").join(target.name);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    seeds::write(target, &corpus).with_context(|| format!("the seeds of {}", target.name))?;

    let log = artifacts.join("log");
    let mut program = Command::new(programs.join(target.name));
    program
        .arg(format!("-runs={runs}"))
        .arg(format!("-timeout={TIME_LIMIT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MB}"))
        .arg(format!("-max_len={}", target.longest_input))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-reload=0"])
        .args(seconds.map(|seconds| format!("-max_total_time={seconds}")))
        .args(dictionary(target.name))
        .arg(&corpus)
        .stdout(Stdio::null())
        .stderr(File::create(&log)?);
    let start = Instant::now();
    let status = program
        .status()
        .with_context(|| format!("cannot start the fuzz target {}", target.name))?;
    let seconds = start.elapsed().as_secs_f64();

    let log = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let outcome = Outcome::of(status);
    if outcome == Outcome::Finding {
        print!("{}", finding(&log));
    }
    Ok(Report {
        target: target.name,
        outcome,
        executions: figure(&log, "stat::number_of_executed_units:"),
        seconds,
        corpus: fs::read_dir(&corpus)?.count(),
        peak_mb: figure(&log, "stat::peak_rss_mb:"),
    })
}

fn dictionary(name: &str) -> Option<String> {
    let path = format!("fuzz/dictionaries/{name}.dict");
    Path::new(&path).is_file().then(|| format!("-dict={path}"))
}

fn figure(log: &str, label: &str) -> u64 {
    let value = log.lines().find_map(|line| line.strip_prefix(label));
    value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// The lines of a log that say what was found and where the input lies.
fn finding(log: &str) -> String {
    const TELLING: [&str; 5] = [
        "panicked at",
        "ERROR:",
        "SUMMARY:",
        "Test unit written",
        "allocated",
    ];
    let lines: Vec<&str> = log.lines().collect();
    let telling = |line: &&str| TELLING.iter().any(|word| line.contains(word));
    // A panic's message stands on the line behind its place.
    let after_panic = |index: usize| index > 0 && lines[index - 1].contains("panicked at");
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(index, line)| telling(line) || after_panic(*index));
    kept.map(|(_, line)| format!("  {line}\n")).collect()
}
