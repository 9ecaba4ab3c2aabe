//! `k25 swarm cancel`: ends a run, here or in the process that works on it.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use k25_agent::budget::Budget;
use k25_agent::journal::{JournalError, SqliteJournal};
use k25_agent::run::{Clock, Run, RunParts, RunStatus};

use super::folder::RunFolder;
use super::{show, work};
use crate::args::CancelArgs;
use crate::commands::Outcome;

/// How long the other process may take to close its calls.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(100);

pub fn cancel(args: &CancelArgs) -> Result<Outcome> {
    let folder = RunFolder::find(&args.runs.dir, &args.run)?;
    match SqliteJournal::open(&folder.file("journal.db")) {
        Ok(journal) => cancel_resting(&folder, journal)?,
        Err(JournalError::Busy { .. }) => cancel_working(&folder)?,
        Err(error) => return Err(error.into()),
    }
    let rows = folder.state()?.table.row_count();
    println!(
        "run {} is cancelled; {rows} rows stay. Look with   k25 swarm show {}",
        folder.id, folder.id
    );
    Ok(Outcome::Done)
}

fn cancel_resting(folder: &RunFolder, journal: SqliteJournal) -> Result<()> {
    work::runtime()?.block_on(async {
        let run = Run::open(RunParts {
            journal: Arc::new(journal),
            clock: Clock::system(),
            seed: 0,
            budget: Budget::default(),
            max_parallel: 1,
            observer: None,
        })?;
        k25_agent::swarm::cancel(&run).await?;
        run.with_state(|state| show::write_results(folder, state))
    })
}

/// Leaves the wish where the working process looks for it, and waits until the run is over.
fn cancel_working(folder: &RunFolder) -> Result<()> {
    let wish = folder.cancel_wish();
    fs::write(&wish, "").with_context(|| format!("cannot write {}", wish.display()))?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if folder.state()?.status == RunStatus::Ended {
            return Ok(());
        }
        std::thread::sleep(GLANCE);
    }
    Err(anyhow!(
        "the process that works on run {} was told, but has not ended the run\n  \
         hint: wait and look with `k25 swarm show {}`, or end that process; nothing that is done is lost",
        folder.id,
        folder.id
    ))
}
