//! Who computes now, who waits, and who is told to come back later.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Shortest and longest time after which a refused client is asked to come back.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The door before the model.
#[derive(Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    max_running: usize,
    max_waiting: usize,
    waiting: AtomicUsize,
    running: AtomicUsize,
    /// Running average of how long an answer takes, in seconds.
    answer_seconds: Mutex<f64>,
}

/// A place at the model. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    began: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Someone waits; dropped when the wait is over, whichever way.
struct Waiting<'a>(&'a Admission);

impl Admission {
    pub fn new(max_running: usize, max_waiting: usize) -> Self {
        let max_running = max_running.clamp(1, Semaphore::MAX_PERMITS);
        Admission {
            places: Arc::new(Semaphore::new(max_running)),
            max_running,
            max_waiting,
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            answer_seconds: Mutex::new(1.0),
        }
    }

    /// Waits for a place, first come first served.
    pub async fn enter(self: &Arc<Self>) -> Result<Place, ApiError> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.wait()?;
                let places = Arc::clone(&self.places);
                places.acquire_owned().await.expect("never closed")
            }
        };
        self.running.fetch_add(1, Ordering::AcqRel);
        Ok(Place {
            admission: Arc::clone(self),
            began: Instant::now(),
            _permit: permit,
        })
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Answers that are computed.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    fn wait(&self) -> Result<Waiting<'_>, ApiError> {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Waiting(self);
        if waiting > self.max_waiting {
            return Err(ApiError::overloaded(
                "the server is busy; hint: try again later",
                self.retry_after(),
            ));
        }
        Ok(place)
    }

    /// About how long until everyone who waits now had their turn.
    fn retry_after(&self) -> Duration {
        let seconds = *self.answer_seconds.lock().expect("no panic while locked");
        let rounds = (self.max_waiting + 1) as f64 / self.max_running as f64;
        let (shortest, longest) = RETRY_AFTER;
        Duration::from_secs_f64((seconds * rounds).min(longest.as_secs_f64())).max(shortest)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        const WEIGHT: f64 = 0.1;
        let seconds = self.began.elapsed().as_secs_f64();
        let mut average = self
            .admission
            .answer_seconds
            .lock()
            .expect("no panic while locked");
        *average += WEIGHT * (seconds - *average);
        self.admission.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_queue_and_refusals() {
        let admission = Arc::new(Admission::new(1, 1));
        let first = admission.enter().await.expect("a free place");
        assert_eq!((admission.running(), admission.waiting()), (1, 0));
        let second = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(drop) }
        });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = admission.enter().await.expect_err("the queue is full");
        assert_eq!(refused.kind, "engine_overloaded_error");
        assert!(refused.retry_after >= Some(Duration::from_secs(1)));
        drop(first);
        second.await.expect("no panic").expect("its turn");
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
    }
}
