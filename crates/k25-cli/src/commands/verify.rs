//! `k25 verify`: the reference's values beside ours.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, anyhow};
use k25_model::fast::FastOptions;
use k25_verify::{
    Check, FastChoice, FastError, Outcome as CheckOutcome, Report, fast_errors, verify,
};
use serde::Serialize;

use super::Outcome;
use crate::args::{Cache, Execution, VerifyArgs};
use crate::output::{Screen, Status, grouped, print_json};

/// Columns of part and item together; longer ones push the others to the right.
const NAME_WIDTH: usize = 56;

/// What `--json` prints, one per folder.
#[derive(Debug, Serialize)]
struct FolderReport<'a> {
    folder: &'a Path,
    passed: bool,
    #[serde(flatten)]
    report: Report,
}

pub fn run(args: &VerifyArgs) -> Result<Outcome> {
    let options = args.compute.fast(Execution::Fast)?;
    if args.fast {
        return fast(args, options);
    }
    if options != FastOptions::default() || args.compute.cache != Cache::F32 {
        return Err(anyhow!(
            "verify computes exactly\n  hint: add --fast to measure the error of these choices"
        ));
    }
    let table = Table::new(args.short);
    if !args.json {
        table.header()?;
    }
    let mut reports = Vec::new();
    for folder in &args.dirs {
        let mut sink = |check: &Check| {
            if table.row(check, args.json).is_err() {
                // Nobody reads the table any more, and nobody knows how it would have ended.
                std::process::exit(1);
            }
        };
        let report = verify(folder, &mut sink)?;
        reports.push(FolderReport {
            folder,
            passed: report.passed(),
            report,
        });
    }
    let passed = reports.iter().all(|report| report.passed);
    if args.json {
        print_json(&reports)?;
    } else {
        table.summary(&reports)?;
    }
    Ok(if passed {
        Outcome::Done
    } else {
        Outcome::FallsShort
    })
}

/// Prints how far the fast execution is from the exact one.
fn fast(args: &VerifyArgs, options: FastOptions) -> Result<Outcome> {
    let choice = FastChoice {
        options,
        cache: args.compute.cache.format(),
        threads: None,
    };
    let status = Status::show("computing both ways …");
    if !args.json {
        status.update("");
        let columns =
            "positions  largest logit  worst error  mean error  same top 1   mean KL  worst KL";
        writeln!(io::stdout(), "{:<24} {columns}", "model")?;
    }
    let mut all = Vec::new();
    for folder in &args.dirs {
        let mut sink = |error: &FastError| {
            status.update("");
            if !args.json && print_fast(error).is_err() {
                // Nobody reads the table any more.
                std::process::exit(1);
            }
            status.update("computing both ways …");
        };
        all.extend(fast_errors(folder, &choice, &mut sink)?);
    }
    drop(status);
    if args.json {
        let errors: Vec<_> = all.iter().map(FastRow::of).collect();
        print_json(&errors)?;
    }
    Ok(Outcome::Done)
}

fn print_fast(error: &FastError) -> io::Result<()> {
    let name = error.folder.file_name().unwrap_or(error.folder.as_os_str());
    writeln!(
        io::stdout(),
        "{:<24} {:>9}  {:>13.3}  {:>11.1e}  {:>10.1e}  {:>8.2} %  {:>8.1e}  {:>8.1e}",
        name.to_string_lossy(),
        grouped(error.positions as u64),
        error.largest_logit,
        error.worst_error,
        error.mean_error,
        100.0 * error.top1_agreement,
        error.mean_kl,
        error.worst_kl,
    )
}

/// What `--fast --json` prints, one per model.
#[derive(Debug, Serialize)]
struct FastRow<'a> {
    folder: &'a Path,
    baseline: &'static str,
    positions: usize,
    largest_logit: f64,
    worst_error: f64,
    mean_error: f64,
    top1_agreement: f64,
    mean_kl: f64,
    worst_kl: f64,
}

impl<'a> FastRow<'a> {
    fn of(error: &'a FastError) -> Self {
        Self {
            folder: &error.folder,
            baseline: error.baseline,
            positions: error.positions,
            largest_logit: error.largest_logit,
            worst_error: error.worst_error,
            mean_error: error.mean_error,
            top1_agreement: error.top1_agreement,
            mean_kl: error.mean_kl,
            worst_kl: error.worst_kl,
        }
    }
}

/// The table, printed while checks come in.
struct Table {
    status: Status,
    screen: Screen,
    is_short: bool,
}

impl Table {
    fn new(is_short: bool) -> Self {
        Self {
            status: Status::show("verifying …"),
            screen: Screen::stdout(),
            is_short,
        }
    }

    fn header(&self) -> io::Result<()> {
        self.status.update("");
        line("item", "values", "max error", "tolerance", "")
    }

    /// Prints a check, and on a terminal what is done next.
    fn row(&self, check: &Check, is_silent: bool) -> io::Result<()> {
        let name = format!("{}  {}", check.part, check.item);
        let is_news = matches!(
            check.outcome,
            CheckOutcome::Short(_) | CheckOutcome::NotChecked(_)
        );
        if is_silent || (self.is_short && !is_news) {
            self.status.update(&format!("verifying …  {name}"));
            return Ok(());
        }
        self.status.update("");
        let error = check.max_abs_error.map_or_else(|| "—".to_owned(), number);
        let (tolerance, verdict) = match &check.outcome {
            CheckOutcome::Ok => (number(check.tolerance), "ok".to_owned()),
            CheckOutcome::Short(reason) => {
                (number(check.tolerance), format!("FALLS SHORT: {reason}"))
            }
            CheckOutcome::Information => ("—".to_owned(), "information".to_owned()),
            CheckOutcome::NotChecked(reason) => ("—".to_owned(), format!("not checked: {reason}")),
        };
        let verdict = self.screen.foreign(&verdict);
        line(
            &self.screen.foreign(&name),
            &grouped(check.compared as u64),
            &error,
            &tolerance,
            &verdict,
        )
    }

    fn summary(self, reports: &[FolderReport<'_>]) -> io::Result<()> {
        drop(self.status);
        let count = |wanted: fn(&CheckOutcome) -> bool| -> usize {
            reports
                .iter()
                .map(|report| report.report.count(wanted))
                .sum()
        };
        let ok = count(|outcome| *outcome == CheckOutcome::Ok);
        let short = count(|outcome| matches!(outcome, CheckOutcome::Short(_)));
        let not_checked = count(|outcome| matches!(outcome, CheckOutcome::NotChecked(_)));
        let values: usize = reports
            .iter()
            .flat_map(|report| &report.report.checks)
            .map(|check| check.compared)
            .sum();
        let mut text = format!("{ok} items ok, {short} fall short");
        if not_checked > 0 {
            text.push_str(&format!(", {not_checked} not checked"));
        }
        writeln!(
            io::stdout(),
            "{text}; {} values compared",
            grouped(values as u64)
        )
    }
}

fn line(name: &str, values: &str, error: &str, tolerance: &str, verdict: &str) -> io::Result<()> {
    let text = format!("{name:<NAME_WIDTH$} {values:>10} {error:>10} {tolerance:>10}  {verdict}");
    writeln!(io::stdout(), "{}", text.trim_end())
}

/// An error or tolerance: short, and exact where it is nothing at all.
fn number(value: f64) -> String {
    match value {
        0.0 => "exact".to_owned(),
        value if value.is_infinite() => "—".to_owned(),
        value => format!("{value:.1e}"),
    }
}
