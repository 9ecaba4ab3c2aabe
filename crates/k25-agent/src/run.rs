//! A run: its journal, its state, its clock and its limits, shared by all its agents.

mod last_words;
mod limiter;
mod reservation;
mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::budget::{Budget, Ledger, Limit};
use crate::event::{Event, EventKind};
use crate::journal::{Journal, JournalError, NewEvent};

pub use last_words::{LastWords, Share};
pub use limiter::{Limiter, Permit};
pub use reservation::Reservation;
pub(crate) use state::guessed_tokens;
pub use state::{CutShort, RunState, RunStatus, TaskState, Turn};

/// Why a run stops before its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RunError {
    /// The journal cannot be read or written; nothing goes on without it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run rests and can be resumed.
    #[error("paused: {0}")]
    Paused(String),
    /// Someone cancelled it.
    #[error("cancelled")]
    Cancelled,
    /// There is no such run, or it cannot do what was asked.
    #[error("{what}; hint: {hint}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
}

/// A wish that all agents obey at their next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Rest; open calls stay open and are taken up again.
    Pause(String),
    /// End; open calls are closed.
    Cancel,
}

/// Time, as the runtime sees it: a paused test clock makes it virtual.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    unix_ms: u64,
    origin: Instant,
}

impl Clock {
    /// A clock that shows `unix_ms` now. Called within a runtime.
    pub fn starting_at(unix_ms: u64) -> Self {
        Clock {
            unix_ms,
            origin: Instant::now(),
        }
    }

    /// A clock that shows what the system's shows.
    pub fn system() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Clock::starting_at(now.map_or(0, |time| time.as_millis() as u64))
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.unix_ms + self.elapsed_ms()
    }

    /// Milliseconds since the clock was made.
    pub fn elapsed_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }
}

/// Numbers that look random and depend on a seed alone (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number in 0 … 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Looks on while a run goes.
pub type Observer = Arc<dyn Fn(&Event, &RunState) + Send + Sync>;

/// What a run is given.
pub struct RunParts {
    /// Keeps its events.
    pub journal: Arc<dyn Journal>,
    /// Its time.
    pub clock: Clock,
    /// Its randomness: waits before a request is sent again.
    pub seed: u64,
    /// What it may cost.
    pub budget: Budget,
    /// Most requests at the same time.
    pub max_parallel: usize,
    /// Who looks on.
    pub observer: Option<Observer>,
}

/// One run.
pub struct Run {
    journal: Arc<dyn Journal>,
    state: Mutex<RunState>,
    clock: Clock,
    random: Mutex<Random>,
    budget: Mutex<Budget>,
    ledger: Mutex<Ledger>,
    last_words: Mutex<Option<LastWords>>,
    released: Notify,
    limiter: Limiter,
    stop: watch::Sender<Option<Stop>>,
    observer: Option<Observer>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

impl Run {
    /// Reads the journal and folds what happened so far.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(parts: RunParts) -> Result<Arc<Self>, RunError> {
        let mut state = RunState::default();
        for event in parts.journal.read()? {
            state.apply(&event);
        }
        Ok(Arc::new(Run {
            journal: parts.journal,
            state: Mutex::new(state),
            clock: parts.clock,
            random: Mutex::new(Random::new(parts.seed)),
            budget: Mutex::new(parts.budget),
            ledger: Mutex::default(),
            last_words: Mutex::default(),
            released: Notify::new(),
            limiter: Limiter::new(parts.max_parallel),
            stop: watch::Sender::new(None),
            observer: parts.observer,
        }))
    }

    /// Keeps events of a task, then folds them. All or none are kept, and what is kept is folded even
    /// if whoever asked is dropped meanwhile.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn record(
        self: &Arc<Self>,
        task: &str,
        kinds: Vec<EventKind>,
    ) -> Result<(), RunError> {
        self.settle(task, kinds, None).await
    }

    /// As [`Run::record`]; the reservation is given back when what it stood for is in the state.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn settle(
        self: &Arc<Self>,
        task: &str,
        kinds: Vec<EventKind>,
        reservation: Option<Reservation>,
    ) -> Result<(), RunError> {
        let at_ms = self.clock.now_ms();
        let events = kinds.into_iter().map(|kind| NewEvent {
            task: task.to_owned(),
            at_ms,
            kind,
        });
        let events: Vec<NewEvent> = events.collect();
        let run = Arc::clone(self);
        let keeping = tokio::spawn(async move {
            let kept = run.journal.append(events).await?;
            let mut state = run.state.lock().unwrap_or_else(PoisonError::into_inner);
            for event in &kept {
                state.apply(event);
                if let Some(observer) = &run.observer {
                    observer(event, &state);
                }
            }
            drop(state);
            drop(reservation);
            Ok(())
        });
        // It can only fail to finish when the runtime ends.
        keeping.await.unwrap_or(Err(RunError::Cancelled))
    }

    /// Looks at the state.
    pub fn with_state<T>(&self, look: impl FnOnce(&RunState) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its journal.
    pub fn journal(&self) -> Arc<dyn Journal> {
        Arc::clone(&self.journal)
    }

    /// The time.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Who may send a request now.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Changes what the run may cost.
    pub fn set_budget(&self, budget: Budget) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
    }

    /// What the run may cost.
    pub fn budget(&self) -> Budget {
        self.budget
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Which limit of the budget is reached; what is kept for the main agent's last words is not there
    /// for anything else.
    pub fn exhausted(&self) -> Option<Limit> {
        self.with_state(|state| {
            let mut spent = state.spent;
            spent.ms += self.clock.elapsed_ms();
            self.open_budget(state)
                .exhausted(&spent, state.critical.total())
        })
    }

    /// What is left of the time; `None` where it is not limited.
    pub fn time_left(&self, whose: Share) -> Option<Duration> {
        let (limit, used) = self.with_state(|state| {
            let limit = self.budget_of(whose, state).seconds?;
            Some((limit.saturating_mul(1000), state.spent.ms))
        })?;
        let used = used + self.clock.elapsed_ms();
        Some(Duration::from_millis(limit.saturating_sub(used)))
    }

    /// Asks all agents to stop. The first wish counts, but a cancel overrules a pause.
    pub fn ask_to_stop(&self, stop: Stop) {
        self.stop.send_if_modified(|wish| {
            let changes = wish.is_none() || (stop == Stop::Cancel && *wish != Some(Stop::Cancel));
            if changes {
                *wish = Some(stop);
            }
            changes
        });
    }

    /// What was asked for.
    pub fn stop(&self) -> Option<Stop> {
        self.stop.borrow().clone()
    }

    /// Waits until someone asks to stop.
    pub async fn stopped(&self) -> Stop {
        let mut wishes = self.stop.subscribe();
        let wish = wishes.wait_for(Option::is_some).await;
        match wish.map(|wish| wish.clone()) {
            Ok(Some(stop)) => stop,
            // The sender lives as long as the run.
            _ => Stop::Cancel,
        }
    }

    /// The error of an agent that was asked to stop.
    pub fn stop_error(stop: Stop) -> RunError {
        match stop {
            Stop::Pause(reason) => RunError::Paused(reason),
            Stop::Cancel => RunError::Cancelled,
        }
    }

    /// How long to wait before try number `attempt` (from 1): twice as long each time up to half a
    /// minute, and a random part of it.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let longest = 500_u64.saturating_mul(1 << attempt.min(6)).min(30_000) as f64;
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis((longest * (0.5 + 0.5 * random.unit())) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_depend_on_the_seed_alone() {
        // The published first outputs of SplitMix64 for the seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.unit())));
    }
}
