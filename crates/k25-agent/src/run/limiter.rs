//! How many requests an endpoint bears: one more after each round without complaint, half as many
//! after a complaint.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Complaints within this time count as one: they came from the same crowd.
const ONE_COMPLAINT: Duration = Duration::from_secs(1);

/// Counts requests at work.
#[derive(Debug)]
pub struct Limiter {
    inner: Mutex<Inner>,
    freed: Notify,
}

#[derive(Debug)]
struct Inner {
    limit: f64,
    most: f64,
    at_work: usize,
    last_complaint: Option<Instant>,
}

/// The right to have one request at work.
#[derive(Debug)]
pub struct Permit<'a>(&'a Limiter);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().at_work -= 1;
        self.0.freed.notify_one();
    }
}

impl Limiter {
    /// Begins with `most` at once; whoever serves less will say so.
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Limiter {
            inner: Mutex::new(Inner {
                limit: most,
                most,
                at_work: 0,
                last_complaint: None,
            }),
            freed: Notify::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    pub async fn acquire(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut inner = self.lock();
                if (inner.at_work as f64) < inner.limit.floor().max(1.0) {
                    inner.at_work += 1;
                    return Permit(self);
                }
            }
            freed.await;
        }
    }

    /// A request was served.
    pub fn served(&self) {
        let mut inner = self.lock();
        inner.limit = (inner.limit + 1.0 / inner.limit).min(inner.most);
        drop(inner);
        self.freed.notify_one();
    }

    /// The endpoint complained of too many requests.
    pub fn complained(&self) {
        let mut inner = self.lock();
        let now = Instant::now();
        if inner
            .last_complaint
            .is_none_or(|last| now - last >= ONE_COMPLAINT)
        {
            inner.limit = (inner.limit / 2.0).max(1.0);
            inner.last_complaint = Some(now);
        }
    }

    /// How many may be at work now.
    pub fn limit(&self) -> usize {
        self.lock().limit as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn it_halves_on_complaints_and_recovers() {
        let limiter = Limiter::new(16);
        limiter.complained();
        limiter.complained();
        assert_eq!(limiter.limit(), 8, "a crowd's complaints are one");
        tokio::time::sleep(Duration::from_secs(2)).await;
        limiter.complained();
        assert_eq!(limiter.limit(), 4);
        for _ in 0..200 {
            limiter.served();
        }
        assert_eq!(limiter.limit(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_are_at_work() {
        let limiter = Arc::new(Limiter::new(3));
        let most = Arc::new(Mutex::new((0_usize, 0_usize)));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (limiter, most) = (Arc::clone(&limiter), Arc::clone(&most));
            tasks.spawn(async move {
                let _permit = limiter.acquire().await;
                {
                    let mut most = most.lock().unwrap();
                    most.0 += 1;
                    most.1 = most.1.max(most.0);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                most.lock().unwrap().0 -= 1;
            });
        }
        while tasks.join_next().await.is_some() {}
        assert_eq!(most.lock().unwrap().1, 3);
    }
}
