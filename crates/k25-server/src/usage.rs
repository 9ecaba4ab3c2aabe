//! What each key used of each model on each day, and what it cost. Kept in a JSON file where one is named.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use k25_chat::ChatUsage;
use k25_client::PriceTable;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::app::unix_seconds;
use crate::whole_file;

/// What was used, as the file holds it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageFile {
    /// Of the costs; none without a price table.
    pub currency: Option<String>,
    /// One per day, key and model, in this order.
    pub entries: Vec<UsageEntry>,
}

/// What one key used of one model on one day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageEntry {
    /// As in `2026-01-31`, in UTC.
    pub day: String,
    /// Whose key.
    pub key: String,
    /// The model's name.
    pub model: String,
    /// What was used.
    #[serde(flatten)]
    pub sum: UsageSum,
}

/// Requests, tokens and money.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct UsageSum {
    /// Requests that were answered, in whole or in part.
    pub requests: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
    /// Tokens of answers, reasoning included.
    pub completion_tokens: u64,
    /// Those of them that were reasoning.
    pub reasoning_tokens: u64,
    /// What it cost, where the model has a price.
    pub cost: f64,
}

/// A usage file that cannot be used.
#[derive(Debug, Error)]
pub enum UsageError {
    /// It cannot be read or written.
    #[error("{}: {source}\n  hint: name a file in a folder that can be written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not of the form.
    #[error("{} is no usage file: {fault}\n  hint: name a new file, or one that `k25 serve --usage` wrote", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
}

impl std::ops::AddAssign for UsageSum {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cost += other.cost;
    }
}

impl UsageFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is not there, or not of the form.
    pub fn open(path: &Path) -> Result<Self, UsageError> {
        let text = std::fs::read_to_string(path).map_err(|source| UsageError::Io {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|error| UsageError::Form {
            path: path.to_owned(),
            fault: error.to_string(),
        })
    }
}

/// Day, key, model.
type Place = (String, String, String);

/// Counts while the server runs.
#[derive(Debug)]
pub(crate) struct UsageLedger {
    prices: Option<PriceTable>,
    path: Option<PathBuf>,
    state: Mutex<State>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Place, UsageSum>,
    is_saved: bool,
}

impl UsageLedger {
    /// Goes on where the file stopped, if there is one.
    pub fn open(prices: Option<PriceTable>, path: Option<PathBuf>) -> Result<Self, UsageError> {
        let mut state = State::default();
        if let Some(path) = &path {
            let file = match UsageFile::open(path) {
                Err(UsageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    UsageFile::default()
                }
                other => other?,
            };
            check_currency(&file, prices.as_ref(), path)?;
            let entries = file.entries.into_iter();
            state.entries = entries
                .map(|entry| ((entry.day, entry.key, entry.model), entry.sum))
                .collect();
        }
        let ledger = UsageLedger {
            prices,
            path,
            state: Mutex::new(state),
            writing: Mutex::default(),
        };
        // A file that cannot be written shows before anyone is served.
        ledger.save()?;
        Ok(ledger)
    }

    /// Counts an answered request; returns what it cost, where its price is known.
    pub fn count(&self, key: &str, model: &str, usage: &ChatUsage) -> Option<f64> {
        let cost = self
            .prices
            .as_ref()
            .and_then(|table| table.cost(model, usage));
        let sum = UsageSum {
            requests: 1,
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            completion_tokens: usage.completion_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            cost: cost.unwrap_or_default(),
        };
        let place = (day(unix_seconds()), key.to_owned(), model.to_owned());
        let mut state = self.lock();
        *state.entries.entry(place).or_default() += sum;
        state.is_saved = false;
        cost
    }

    pub fn currency(&self) -> Option<&str> {
        self.prices.as_ref().map(|table| table.currency.as_str())
    }

    /// What one key used, or all.
    pub fn report(&self, key: Option<&str>) -> UsageFile {
        let state = self.lock();
        let entries = state
            .entries
            .iter()
            .filter(|((_, of, _), _)| key.is_none_or(|key| key == of));
        UsageFile {
            currency: self.currency().map(str::to_owned),
            entries: entries
                .map(|((day, key, model), sum)| UsageEntry {
                    day: day.clone(),
                    key: key.clone(),
                    model: model.clone(),
                    sum: *sum,
                })
                .collect(),
        }
    }

    /// Writes what is not written yet.
    pub fn save(&self) -> Result<(), UsageError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let _writing = self.writing.lock().expect("no panic while locked");
        if std::mem::replace(&mut self.lock().is_saved, true) {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&self.report(None)).expect("plain data is JSON");
        text.push(b'\n');
        whole_file::write(path, &text).map_err(|source| {
            self.lock().is_saved = false;
            UsageError::Io {
                path: path.clone(),
                source,
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }
}

/// Sums of two currencies mean nothing.
fn check_currency(
    file: &UsageFile,
    prices: Option<&PriceTable>,
    path: &Path,
) -> Result<(), UsageError> {
    match (&file.currency, prices) {
        (Some(old), Some(table)) if *old != table.currency => Err(UsageError::Form {
            path: path.to_owned(),
            fault: format!("its costs are in {old}, the prices in {}", table.currency),
        }),
        _ => Ok(()),
    }
}

/// The day of a time, as in `2026-01-31`. (Hinnant's `civil_from_days`: years begin in March, so that the
/// leap day is the last.)
fn day(unix_seconds: u64) -> String {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = unix_seconds / 86_400 + DAYS_TO_1970;
    let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: ChatUsage = ChatUsage {
        prompt_tokens: 1_000_000,
        cached_tokens: 500_000,
        completion_tokens: 100_000,
        reasoning_tokens: 50_000,
    };

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
            (1_798_761_600, "2027-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn sums_outlive_the_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("usage.json");
        for round in 1..=2_u32 {
            let open = UsageLedger::open(Some(PriceTable::default()), Some(path.clone()));
            let ledger = open.expect("a ledger");
            let cost = ledger.count("alice", "kimi-k2.5", &USAGE).expect("a price");
            assert!((cost - 0.65).abs() < 1e-9, "{cost}");
            assert_eq!(ledger.count("bob", "other", &USAGE), None);
            ledger.save().expect("saved");
            let file = UsageFile::open(&path).expect("the file");
            assert_eq!(file, ledger.report(None));
            assert_eq!(file.currency.as_deref(), Some("USD"));
            let alice = ledger.report(Some("alice"));
            assert_eq!(alice.entries.len(), 1);
            assert_eq!(alice.entries[0].sum.requests, u64::from(round));
            assert!((alice.entries[0].sum.cost - 0.65 * f64::from(round)).abs() < 1e-9);
        }
        let euros = PriceTable {
            currency: "EUR".to_owned(),
            ..PriceTable::default()
        };
        let error = UsageLedger::open(Some(euros), Some(path)).expect_err("two currencies");
        assert!(error.to_string().contains("USD"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_written_shows_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("none").join("usage.json");
        assert!(UsageLedger::open(None, Some(path)).is_err());
        let path = folder.path().join("usage.json");
        std::fs::write(&path, "{}").expect("written");
        assert!(matches!(
            UsageLedger::open(None, Some(path)),
            Err(UsageError::Form { .. })
        ));
    }
}
