//! `k25 swarm replay`: a run as it went, from its journal alone.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;
use k25_agent::journal::SqliteJournal;
use k25_agent::run::RunState;

use super::folder::RunFolder;
use super::live::{Live, line};
use super::{show, usage};
use crate::args::ReplayArgs;
use crate::commands::Outcome;
use crate::output::Screen;

/// Nobody waits longer for the next event: a run may have rested for days.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Pictures follow each other no faster than eyes.
const PICTURE: Duration = Duration::from_millis(60);

pub fn replay(args: &ReplayArgs) -> Result<Outcome> {
    if !args.speed.is_finite() || args.speed < 0.0 {
        return Err(usage(
            "--speed is a number from 0\n  hint: 10 is ten times as fast as it was",
        ));
    }
    let folder = RunFolder::find(&args.runs.dir, &args.run)?;
    let events = SqliteJournal::look(&folder.file("journal.db"))?;
    let mut live = Live::new(Screen::stderr().redraws);
    let mut state = RunState::default();
    let (mut last_ms, mut drawn) = (None, Instant::now());
    for event in &events {
        std::thread::sleep(wait(last_ms.replace(event.at_ms), event.at_ms, args.speed));
        state.apply(event);
        if !live.is_shown() {
            print_line(line(event, &state))?;
        } else if drawn.elapsed() >= PICTURE {
            live.draw(&state, "");
            drawn = Instant::now();
        }
    }
    live.clear();
    show::print_state(&state);
    Ok(Outcome::Done)
}

/// How long to wait between two events.
fn wait(before_ms: Option<u64>, at_ms: u64, speed: f64) -> Duration {
    let Some(before_ms) = before_ms.filter(|_| speed > 0.0) else {
        return Duration::ZERO;
    };
    let gap = at_ms.saturating_sub(before_ms) as f64 / 1e3 / speed;
    Duration::from_secs_f64(gap.min(LONGEST_WAIT.as_secs_f64()))
}

fn print_line(line: Option<String>) -> Result<()> {
    if let Some(line) = line {
        writeln!(
            io::stdout(),
            "{}",
            line.replace(|c: char| c.is_control(), " ")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_the_run_but_bounded() {
        let ms = |before, at, speed| wait(before, at, speed).as_millis();
        assert_eq!(ms(None, 5_000, 1.0), 0);
        assert_eq!(ms(Some(1_000), 1_500, 1.0), 500);
        assert_eq!(ms(Some(1_000), 6_000, 10.0), 500);
        assert_eq!(ms(Some(1_000), 9_000_000, 10.0), 2_000);
        assert_eq!(ms(Some(1_000), 1_500, 0.0), 0);
        assert_eq!(ms(Some(2_000), 1_500, 1.0), 0, "clocks may be set back");
    }
}
