//! `k25 verify`: the reference's values beside ours.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;
use k25_verify::{Check, Outcome as CheckOutcome, Report, verify};
use serde::Serialize;

use super::Outcome;
use crate::args::VerifyArgs;
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
