//! How much a key may ask for: answers at once, requests and tokens per minute.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// Limits of a key; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLimits {
    /// Answers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute, prompt and answer. A request is charged its prompt, estimated from its size,
    /// and the most tokens that it allows; what it did not use is given back when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
}

/// A bucket that holds a minute's worth and refills evenly.
#[derive(Debug)]
struct Bucket {
    per_minute: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(per_minute: u32, now: Instant) -> Self {
        let per_minute = f64::from(per_minute);
        Bucket {
            per_minute,
            level: per_minute,
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + seconds * self.per_minute / 60.0).min(self.per_minute);
        self.at = now;
    }

    /// Takes `amount`, or says how long until it is there. More than a whole bucket is taken from a
    /// full one and leaves a debt: otherwise it could never be had.
    fn take(&mut self, amount: f64, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let needed = amount.min(self.per_minute);
        if self.level >= needed {
            self.level -= amount;
            return Ok(());
        }
        let seconds = (needed - self.level) * 60.0 / self.per_minute.max(1e-9);
        Err(Duration::from_secs_f64(seconds.min(3600.0)))
    }

    fn give_back(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.per_minute);
    }

    fn until_full(&self) -> Duration {
        let seconds = (self.per_minute - self.level) * 60.0 / self.per_minute.max(1e-9);
        Duration::from_secs_f64(seconds.clamp(0.0, 3600.0))
    }
}

/// The limits of one key and what is used of them.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: KeyLimits,
    running: AtomicUsize,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// A request within the limits of its key. Dropping it ends the request and gives back what it was
/// charged and did not use.
#[derive(Debug)]
pub(crate) struct Grant {
    meter: Arc<Meter>,
    charged_tokens: u64,
    used_tokens: u64,
}

impl Meter {
    pub fn new(limits: KeyLimits, now: Instant) -> Self {
        let bucket = |limit: Option<u32>| limit.map(|limit| Bucket::full(limit, now));
        let buckets = Buckets {
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
        };
        Meter {
            limits,
            running: AtomicUsize::new(0),
            buckets: Mutex::new(buckets),
        }
    }

    /// Admits a request that may cost `tokens`.
    pub fn admit(self: &Arc<Self>, tokens: u64, now: Instant) -> Result<Grant, ApiError> {
        let mut grant = self.count_running()?;
        let mut buckets = self.buckets.lock().expect("no panic while locked");
        if let Some(requests) = &mut buckets.requests {
            requests.take(1.0, now).map_err(|wait| {
                reached("requests per minute", self.limits.requests_per_minute, wait)
            })?;
        }
        if let Some(bucket) = &mut buckets.tokens
            && let Err(wait) = bucket.take(tokens as f64, now)
        {
            if let Some(requests) = &mut buckets.requests {
                requests.give_back(1.0);
            }
            return Err(reached(
                "tokens per minute",
                self.limits.tokens_per_minute,
                wait,
            ));
        }
        drop(buckets);
        grant.charged_tokens = tokens;
        Ok(grant)
    }

    fn count_running(self: &Arc<Self>) -> Result<Grant, ApiError> {
        let running = self.running.fetch_add(1, Ordering::AcqRel) + 1;
        let grant = Grant {
            meter: Arc::clone(self),
            charged_tokens: 0,
            used_tokens: 0,
        };
        match self.limits.concurrency {
            Some(limit) if running > limit as usize => Err(reached(
                "answers at once",
                Some(limit),
                Duration::from_secs(1),
            )),
            _ => Ok(grant),
        }
    }

    /// Adds the headers that tell what is left: Kimi's names for the requests, OpenAI's for both.
    pub fn headers(&self, now: Instant, headers: &mut HeaderMap) {
        let mut buckets = self.buckets.lock().expect("no panic while locked");
        let Buckets { requests, tokens } = &mut *buckets;
        if let Some(bucket) = requests {
            bucket.refill(now);
            let names = [
                "x-ratelimit-limit",
                "x-ratelimit-remaining",
                "x-ratelimit-reset",
            ];
            put(headers, names.map(HeaderName::from_static), bucket, "");
            let names = [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ];
            put(headers, names.map(HeaderName::from_static), bucket, "s");
        }
        if let Some(bucket) = tokens {
            bucket.refill(now);
            let names = [
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ];
            put(headers, names.map(HeaderName::from_static), bucket, "s");
        }
    }
}

fn put(headers: &mut HeaderMap, names: [HeaderName; 3], bucket: &Bucket, unit: &str) {
    let values = [
        format!("{:.0}", bucket.per_minute),
        format!("{:.0}", bucket.level.max(0.0).floor()),
        format!("{}{unit}", bucket.until_full().as_secs_f64().ceil()),
    ];
    for (name, value) in names.into_iter().zip(values) {
        headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
}

fn reached(what: &str, limit: Option<u32>, wait: Duration) -> ApiError {
    let limit = limit.unwrap_or_default();
    let message =
        format!("this key is limited to {limit} {what}; hint: wait, or ask for a higher limit");
    ApiError {
        retry_after: Some(wait),
        ..ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_reached_error",
            message,
        )
    }
}

impl Grant {
    /// Says what the request cost indeed.
    pub fn settle(&mut self, tokens: u64) {
        self.used_tokens = tokens;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.meter.running.fetch_sub(1, Ordering::AcqRel);
        let mut buckets = self.meter.buckets.lock().expect("no panic while locked");
        if let Some(bucket) = &mut buckets.tokens {
            bucket.give_back(self.charged_tokens as f64 - self.used_tokens as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limits: KeyLimits, now: Instant) -> Arc<Meter> {
        Arc::new(Meter::new(limits, now))
    }

    #[test]
    fn answers_at_once_are_counted_and_given_back() {
        let now = Instant::now();
        let limits = KeyLimits {
            concurrency: Some(2),
            ..KeyLimits::default()
        };
        let meter = meter(limits, now);
        let first = meter.admit(1, now).expect("the first");
        let _second = meter.admit(1, now).expect("the second");
        let error = meter.admit(1, now).expect_err("a third");
        assert_eq!(error.kind, "rate_limit_reached_error");
        drop(first);
        meter.admit(1, now).expect("a place is free");
    }

    #[test]
    fn requests_come_back_evenly() {
        let now = Instant::now();
        let limits = KeyLimits {
            requests_per_minute: Some(6),
            ..KeyLimits::default()
        };
        let meter = meter(limits, now);
        for _ in 0..6 {
            meter.admit(1, now).expect("within the minute's worth");
        }
        let error = meter.admit(1, now).expect_err("one more");
        assert_eq!(error.retry_after, Some(Duration::from_secs(10)));
        meter
            .admit(1, now + Duration::from_secs(10))
            .expect("one came back");
        let mut headers = HeaderMap::new();
        meter.headers(now + Duration::from_secs(20), &mut headers);
        assert_eq!(headers["x-ratelimit-limit"], "6");
        assert_eq!(headers["x-ratelimit-remaining"], "1");
        assert_eq!(headers["x-ratelimit-reset"], "50");
        assert_eq!(headers["x-ratelimit-remaining-requests"], "1");
    }

    #[test]
    fn unused_tokens_are_given_back() {
        let now = Instant::now();
        let limits = KeyLimits {
            tokens_per_minute: Some(1000),
            requests_per_minute: Some(2),
            ..KeyLimits::default()
        };
        let meter = meter(limits, now);
        let mut grant = meter.admit(900, now).expect("fits");
        assert!(meter.admit(200, now).is_err(), "100 are left");
        grant.settle(300);
        drop(grant);
        // The refused request was not counted as one, so a second fits.
        let mut second = meter.admit(700, now).expect("600 came back");
        second.settle(700);
        let error = meter.admit(1, now).expect_err("no request is left");
        assert!(
            error.message.contains("2 requests per minute"),
            "{}",
            error.message
        );
    }

    #[test]
    fn more_than_a_minute_allows_waits_for_a_full_bucket() {
        let now = Instant::now();
        let limits = KeyLimits {
            tokens_per_minute: Some(100),
            ..KeyLimits::default()
        };
        let meter = meter(limits, now);
        meter
            .admit(250, now)
            .expect("from a full bucket")
            .settle(250);
        let error = meter.admit(1, now).expect_err("in debt");
        assert_eq!(error.retry_after, Some(Duration::from_secs_f64(90.6)));
    }
}
