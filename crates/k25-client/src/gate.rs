//! How many answers are asked for at once: one more after as many successes, half after a refusal
//! (additive increase, multiplicative decrease).

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// Answers at once before anything is known of the endpoint.
const FIRST_LIMIT: f64 = 8.0;

/// The door to an endpoint.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    max: f64,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: f64,
    running: usize,
    /// Counts the decreases, so that the refusals of one burst count once.
    decreases: u64,
}

/// A place; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    decreases: u64,
}

impl Gate {
    pub fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Gate {
            state: Mutex::new(State {
                limit: FIRST_LIMIT.min(max),
                running: 0,
                decreases: 0,
            }),
            max,
            freed: Notify::new(),
        }
    }

    /// Waits for a place, first come first served.
    pub async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.try_enter() {
                return place;
            }
            freed.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        // At least one: the limit is never below 1.
        if state.running >= state.limit as usize {
            return None;
        }
        state.running += 1;
        let decreases = state.decreases;
        drop(state);
        Some(Place {
            gate: Arc::clone(self),
            decreases,
        })
    }

    /// Answers that are asked for at once now.
    pub fn limit(&self) -> usize {
        self.lock().limit as usize
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }
}

impl Place {
    /// The endpoint answered.
    pub fn succeeded(&self) {
        let mut state = self.gate.lock();
        state.limit = (state.limit + 1.0 / state.limit).min(self.gate.max);
    }

    /// The endpoint was too busy. Only the first of those that were let in together counts.
    pub fn refused(&self) {
        let mut state = self.gate.lock();
        if self.decreases == state.decreases {
            state.limit = (state.limit / 2.0).max(1.0);
            state.decreases += 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.running -= 1;
        let free = (state.limit as usize).saturating_sub(state.running);
        drop(state);
        for _ in 0..free.min(2) {
            self.gate.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_the_endpoint() {
        let gate = Arc::new(Gate::new(100));
        let burst: Vec<_> = std::iter::from_fn(|| gate.try_enter()).collect();
        assert_eq!(burst.len(), 8);
        burst.iter().for_each(Place::refused);
        assert_eq!(gate.limit(), 4, "one burst halves once");
        drop(burst);
        for _ in 0..1000 {
            let place = gate.try_enter().expect("free");
            place.succeeded();
        }
        assert!(gate.limit() > 40, "{}", gate.limit());
        for _ in 0..20 {
            gate.try_enter().expect("free").refused();
        }
        assert_eq!(gate.limit(), 1, "never none");
    }

    #[tokio::test]
    async fn whoever_waits_gets_in() {
        let gate = Arc::new(Gate::new(2));
        let first = gate.enter().await;
        let second = gate.enter().await;
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { drop(gate.enter().await) })
            })
            .collect();
        tokio::task::yield_now().await;
        drop((first, second));
        for task in waiting {
            task.await.expect("let in");
        }
    }
}
