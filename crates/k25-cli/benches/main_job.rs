//! The main job's figures: tables over real and hand-made documents, scored against what is true.
//!
//! `cargo bench -p k25 --bench main_job -- [SET…] [--model M] [--compare]` asks nano, or the model of
//! `--model`, and prints item-F1 (the metric of WideSearch), how many values stand in their quotes,
//! and what it took. The sets:
//! - `crates-1`, `crates-2`, `crates-3`: 34 crates each out of cargo's registry; `cargo metadata` knows the truth
//! - `packages`: 30 records of `/var/lib/dpkg/status`, a file each
//! - `json`, `yaml`, `markdown`, `csv-files`, `csv`: made by hand, with distractors and missing values
//!
//! With `--compare` the same is asked of a single agent.
#![allow(clippy::unwrap_used)]

#[path = "main_job/score.rs"]
mod score;
#[path = "main_job/sets.rs"]
mod sets;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use score::Scored;
use sets::Set;

/// What the command line asks for.
struct Options {
    sets: Vec<String>,
    model: Option<String>,
    compares: bool,
}

impl Options {
    fn of(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Options {
            sets: Vec::new(),
            model: None,
            compares: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--compare" => options.compares = true,
                "--model" => options.model = arguments.next(),
                set => options.sets.push(set.to_owned()),
            }
        }
        if options.sets.is_empty() {
            options.sets = sets::NAMES.map(str::to_owned).to_vec();
        }
        options
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` only asks whether it can be built.
        println!("run me with `cargo bench -p k25 --bench main_job`");
        return;
    }
    let options = Options::of(arguments.into_iter());
    println!(
        "{:<12}{:>7}{:>7}{:>7}{:>10}{:>10}{:>16}{:>8}{:>8}",
        "", "F1", "prec.", "recall", "rows", "quoted", "critical/total", "time", "memory"
    );
    for name in &options.sets {
        match sets::set(name) {
            Ok(set) => ask(name, &set, &options),
            Err(reason) => println!("{name:<12}not here: {reason}"),
        }
    }
}

/// Asks for one table and prints its score, and that of a single agent where that is wanted.
fn ask(name: &str, set: &Set, options: &Options) {
    let began = Instant::now();
    let (result, peak_mb) = run(set, options);
    let seconds = began.elapsed().as_secs_f64();
    match &result["single"] {
        Value::Null => show(name, set, &result, Some(seconds), peak_mb),
        single => {
            show(name, set, &result, None, peak_mb);
            show("  one agent", set, single, None, peak_mb);
        }
    }
}

fn show(name: &str, set: &Set, result: &Value, seconds: Option<f64>, peak_mb: u64) {
    let Scored {
        item,
        rows,
        values,
        quoted,
        wrong,
    } = score::score(set, result);
    let report = &result["report"];
    let steps = format!("{}/{}", report["critical_steps"], report["total_steps"]);
    let seconds = seconds.unwrap_or(report["spent"]["ms"].as_f64().unwrap_or(0.0) / 1000.0);
    println!(
        "{name:<12}{:>7.3}{:>7.3}{:>7.3}{:>10}{:>10}{steps:>16}{:>8}{:>8}",
        item.f1,
        item.precision,
        item.recall,
        format!("{rows}/{}", set.rows.len()),
        format!("{quoted}/{values}"),
        format!("{seconds:.0} s"),
        format!("{peak_mb} MB"),
    );
    for wrong in wrong {
        println!("    {wrong}");
    }
}

/// Runs the command; its JSON, and the most memory it had.
fn run(set: &Set, options: &Options) -> (Value, u64) {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_k25"));
    command
        .args(["swarm", &set.question, "--json", "--docs"])
        .arg(set.documents.path())
        .arg("--runs")
        .arg(place.path())
        .stdout(Stdio::from(
            fs::File::create(place.path().join("out")).unwrap(),
        ))
        .stderr(Stdio::from(
            fs::File::create(place.path().join("err")).unwrap(),
        ));
    if let Some(model) = &options.model {
        command.arg("--model").arg(model);
    }
    if options.compares {
        command.args(["--compare", "single"]);
    }
    let mut child = command.spawn().unwrap();
    let peak_mb = watch(&mut child);
    let text = fs::read_to_string(place.path().join("out")).unwrap();
    let result = serde_json::from_str(&text).unwrap_or_else(|_| {
        print!("{}", last_words(&place.path().join("err")));
        Value::Null
    });
    (result, peak_mb)
}

/// Waits for the end; the peak of resident memory in megabytes, as Linux counts it.
fn watch(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak_kb = kb.unwrap_or(peak_kb);
        std::thread::sleep(Duration::from_millis(50));
    }
    peak_kb / 1024
}

fn last_words(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines
        .iter()
        .rev()
        .map(|line| format!("    {line}\n"))
        .collect()
}
