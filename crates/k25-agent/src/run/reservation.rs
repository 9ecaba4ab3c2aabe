//! Reservations of a run's budget, given back by themselves.

use std::sync::{Arc, PoisonError, Weak};

use super::{Run, RunState, Share};
use crate::budget::{AnswerWish, Budget, Ledger, Limit, Verdict};

/// A part of the budget that is set aside for something at work.
#[derive(Debug)]
pub struct Reservation {
    run: Weak<Run>,
    id: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(run) = self.run.upgrade() {
            let mut ledger = run.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.release(self.id);
            drop(ledger);
            run.released.notify_waiters();
        }
    }
}

impl Run {
    /// Sets an answer's price aside, waiting while what is at work may leave enough. The result is the
    /// reservation and the most tokens that the answer may have.
    ///
    /// # Errors
    /// The limit that leaves too little.
    pub async fn reserve_answer(
        self: &Arc<Self>,
        wish: &AnswerWish,
        share: Share,
    ) -> Result<(Reservation, u64), Limit> {
        loop {
            let released = self.released.notified();
            let ask = |ledger: &mut Ledger, budget: &Budget, state: &RunState| {
                ledger.ask_answer(budget, &state.spent, &state.critical, wish)
            };
            match self.with_ledger(share, ask) {
                Verdict::Granted { id, answer_tokens } => {
                    return Ok((self.reservation(id), answer_tokens));
                }
                Verdict::Exhausted(limit) => return Err(limit),
                Verdict::Wait => released.await,
            }
        }
    }

    /// Sets a tool call aside.
    ///
    /// # Errors
    /// The limit.
    pub fn reserve_call(self: &Arc<Self>, share: Share) -> Result<Reservation, Limit> {
        let ask = |ledger: &mut Ledger, budget: &Budget, state: &RunState| {
            ledger.ask_call(budget, &state.spent)
        };
        let id = self.with_ledger(share, ask)?;
        Ok(self.reservation(id))
    }

    /// Sets a sub-agent's task aside.
    ///
    /// # Errors
    /// The limit.
    pub fn reserve_task(self: &Arc<Self>) -> Result<Reservation, Limit> {
        let ask = |ledger: &mut Ledger, budget: &Budget, state: &RunState| {
            ledger.ask_task(budget, &state.spent)
        };
        let id = self.with_ledger(Share::Open, ask)?;
        Ok(self.reservation(id))
    }

    /// Whether nothing is set aside.
    pub fn has_no_reservations(&self) -> bool {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.is_empty()
    }

    /// State and ledger are looked at together: what leaves one is in the other.
    fn with_ledger<T>(
        &self,
        share: Share,
        ask: impl FnOnce(&mut Ledger, &Budget, &RunState) -> T,
    ) -> T {
        self.with_state(|state| {
            let budget = self.budget_of(share, state);
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ask(&mut ledger, &budget, state)
        })
    }

    fn reservation(self: &Arc<Self>, id: u64) -> Reservation {
        Reservation {
            run: Arc::downgrade(self),
            id,
        }
    }
}
