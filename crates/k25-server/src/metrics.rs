//! Figures for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use k25_chat::ChatUsage;

/// Upper bounds of the histograms' buckets, in seconds.
const TOKEN_BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
const FIRST_TOKEN_BOUNDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// What the server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    answers: Mutex<BTreeMap<&'static str, u64>>,
    tokens: Mutex<BTreeMap<(String, String), ChatUsage>>,
    costs: Mutex<BTreeMap<(String, String, String), f64>>,
    first_token: Histogram,
    next_token: Histogram,
    pub connections: AtomicUsize,
}

#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64; 12],
    /// One more than bounds: what is above the last.
    counts: [AtomicU64; 13],
    sum_microseconds: AtomicU64,
}

/// An endpoint that a model answers at.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamGauge {
    pub model: String,
    pub url: String,
    /// Answers that it is asked for at once now.
    pub concurrency: usize,
    /// Requests that it was sent, repeated ones included.
    pub attempts: u64,
}

/// What is so now, beside what was counted.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    pub running: usize,
    pub waiting: usize,
    pub held_bytes: usize,
    pub upstreams: Vec<UpstreamGauge>,
}

impl Metrics {
    pub fn new() -> Self {
        Metrics {
            requests: Mutex::default(),
            answers: Mutex::default(),
            tokens: Mutex::default(),
            costs: Mutex::default(),
            first_token: Histogram::new(&FIRST_TOKEN_BOUNDS),
            next_token: Histogram::new(&TOKEN_BOUNDS),
            connections: AtomicUsize::new(0),
        }
    }

    pub fn count_request(&self, route: &'static str, status: u16) {
        *lock(&self.requests).entry((route, status)).or_default() += 1;
    }

    /// An answer ended: `stop`, `length`, …, `error` or `cancelled`.
    pub fn count_answer(&self, end: &'static str) {
        *lock(&self.answers).entry(end).or_default() += 1;
    }

    pub fn count_tokens(&self, model: &str, key: &str, usage: ChatUsage) {
        let labels = (model.to_owned(), key.to_owned());
        *lock(&self.tokens).entry(labels).or_default() += usage;
    }

    /// What an answer cost, where its price is known.
    pub fn count_cost(&self, model: &str, key: &str, currency: &str, cost: f64) {
        let labels = (model.to_owned(), key.to_owned(), currency.to_owned());
        *lock(&self.costs).entry(labels).or_default() += cost;
    }

    pub fn first_token(&self, time: Duration) {
        self.first_token.add(time);
    }

    pub fn next_token(&self, time: Duration) {
        self.next_token.add(time);
    }

    /// The text format 0.0.4.
    pub fn write(&self, gauges: Gauges) -> String {
        let mut out = String::new();
        head(
            &mut out,
            "k25_requests_total",
            "counter",
            "Requests by route and status.",
        );
        for ((route, status), count) in &*lock(&self.requests) {
            let _ = writeln!(
                out,
                "k25_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"
            );
        }
        head(
            &mut out,
            "k25_answers_total",
            "counter",
            "Answers by how they ended.",
        );
        for (end, count) in &*lock(&self.answers) {
            let _ = writeln!(out, "k25_answers_total{{end=\"{end}\"}} {count}");
        }
        self.write_tokens(&mut out);
        self.write_costs(&mut out);
        self.first_token.write(
            &mut out,
            "k25_time_to_first_token_seconds",
            "From a request to the first piece of its answer, waiting for a place included.",
        );
        self.next_token.write(
            &mut out,
            "k25_token_seconds",
            "Between the pieces of an answer.",
        );
        let connections = self.connections.load(Ordering::Relaxed);
        for (name, help, value) in [
            (
                "k25_answers_running",
                "Answers that are computed now.",
                gauges.running,
            ),
            (
                "k25_requests_waiting",
                "Requests that wait for a place.",
                gauges.waiting,
            ),
            (
                "k25_request_bytes_held",
                "Bytes of requests in memory.",
                gauges.held_bytes,
            ),
            ("k25_connections", "Open connections.", connections),
        ] {
            head(&mut out, name, "gauge", help);
            let _ = writeln!(out, "{name} {value}");
        }
        write_upstreams(&gauges.upstreams, &mut out);
        out
    }

    fn write_costs(&self, out: &mut String) {
        let costs = lock(&self.costs);
        if !costs.is_empty() {
            let help = "What answers cost, by the price table.";
            head(out, "k25_cost_total", "counter", help);
        }
        for ((model, key, currency), cost) in &*costs {
            let (model, key, currency) = (label(model), label(key), label(currency));
            let _ = writeln!(
                out,
                "k25_cost_total{{model=\"{model}\",key=\"{key}\",currency=\"{currency}\"}} {cost}"
            );
        }
    }

    fn write_tokens(&self, out: &mut String) {
        head(
            out,
            "k25_tokens_total",
            "counter",
            "Tokens by kind; cached / prompt is the hit rate of the prefix cache.",
        );
        for ((model, key), usage) in &*lock(&self.tokens) {
            for (kind, count) in [
                ("prompt", usage.prompt_tokens),
                ("cached", usage.cached_tokens),
                ("completion", usage.completion_tokens),
                ("reasoning", usage.reasoning_tokens),
            ] {
                let (model, key) = (label(model), label(key));
                let _ = writeln!(
                    out,
                    "k25_tokens_total{{model=\"{model}\",key=\"{key}\",kind=\"{kind}\"}} {count}"
                );
            }
        }
    }
}

impl Histogram {
    fn new(bounds: &'static [f64; 12]) -> Self {
        Histogram {
            bounds,
            counts: Default::default(),
            sum_microseconds: AtomicU64::new(0),
        }
    }

    fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = self.bounds.partition_point(|&bound| bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_microseconds.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        head(out, name, "histogram", help);
        let mut total = 0;
        for (count, bound) in self.counts.iter().zip(self.bounds) {
            total += count.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {total}");
        }
        total += self.counts[self.bounds.len()].load(Ordering::Relaxed);
        let sum = self.sum_microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {total}");
    }
}

fn write_upstreams(upstreams: &[UpstreamGauge], out: &mut String) {
    if upstreams.is_empty() {
        return;
    }
    let name = "k25_upstream_concurrency";
    let help = "Answers that an endpoint is asked for at once; falls while it refuses.";
    head(out, name, "gauge", help);
    for one in upstreams {
        let (model, url, value) = (label(&one.model), label(&one.url), one.concurrency);
        let _ = writeln!(out, "{name}{{model=\"{model}\",url=\"{url}\"}} {value}");
    }
    let name = "k25_upstream_requests_total";
    head(
        out,
        name,
        "counter",
        "Requests sent to an endpoint, repeated ones included.",
    );
    for one in upstreams {
        let (model, url, value) = (label(&one.model), label(&one.url), one.attempts);
        let _ = writeln!(out, "{name}{{model=\"{model}\",url=\"{url}\"}} {value}");
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no panic while locked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_add_up() {
        let metrics = Metrics::new();
        for milliseconds in [1, 30, 700, 90_000] {
            metrics.first_token(Duration::from_millis(milliseconds));
        }
        let gauges = Gauges {
            running: 1,
            waiting: 2,
            held_bytes: 3,
            upstreams: Vec::new(),
        };
        let text = metrics.write(gauges);
        for line in [
            "k25_time_to_first_token_seconds_bucket{le=\"0.005\"} 1",
            "k25_time_to_first_token_seconds_bucket{le=\"0.05\"} 2",
            "k25_time_to_first_token_seconds_bucket{le=\"60\"} 3",
            "k25_time_to_first_token_seconds_bucket{le=\"+Inf\"} 4",
            "k25_time_to_first_token_seconds_sum 90.731",
            "k25_requests_waiting 2",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no {line} in\n{text}"
            );
        }
    }

    #[test]
    fn labels_cannot_break_out() {
        let metrics = Metrics::new();
        metrics.count_tokens("a\"b", "c\nd", ChatUsage::default());
        let gauges = Gauges {
            running: 0,
            waiting: 0,
            held_bytes: 0,
            upstreams: Vec::new(),
        };
        assert!(
            metrics
                .write(gauges)
                .contains("model=\"a\\\"b\",key=\"c\\nd\"")
        );
    }
}
