//! API keys. A file holds their SHA-256 and limits, never the keys: they are 256 random bits, so that
//! a hash tells nothing of them and needs no salt.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::error::ApiError;
use crate::limits::{KeyLimits, Meter};
use crate::whole_file;

const PREFIX: &str = "sk-k25-";
const RANDOM_BYTES: usize = 32;

/// Keys with their limits, as a JSON file holds them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The keys.
    pub keys: Vec<KeyRecord>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Whose it is; shown in logs and metrics.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
    /// What it may ask for.
    #[serde(flatten)]
    pub limits: KeyLimits,
}

/// A key that was just made: the only time that it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key.
    pub secret: String,
    /// What the file keeps of it.
    pub record: KeyRecord,
}

/// A key file that cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It cannot be read or written.
    #[error("{}: {source}\n  hint: `k25 keys add NAME --file {}` makes a file", path.display(), path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not of the form.
    #[error("{} is no key file: {fault}\n  hint: make keys with `k25 keys add NAME --file FILE`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The name is taken.
    #[error(
        "there is a key of {name} already\n  hint: `k25 keys remove {name}` first, or choose another name"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// No such key.
    #[error("there is no key of {name}\n  hint: `k25 keys list` shows the names")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers\n  hint: try again")]
    Random,
}

impl NewKey {
    /// Makes a key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn make(name: &str, limits: KeyLimits) -> Result<Self, KeyError> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
        let secret = format!("{PREFIX}{}", hex(&bytes));
        let record = KeyRecord {
            name: name.to_owned(),
            sha256: hex(&hash(&secret)),
            limits,
        };
        Ok(NewKey { secret, record })
    }
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is not there, or not of the form.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| io_error(path, source))?;
        let form = |fault: String| KeyError::Form {
            path: path.to_owned(),
            fault,
        };
        let file: KeyFile = serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
        for record in &file.keys {
            if parse_hash(&record.sha256).is_none() {
                return Err(form(format!("the sha256 of {} is no SHA-256", record.name)));
            }
        }
        Ok(file)
    }

    /// Reads a file, or begins an empty one if there is none.
    ///
    /// # Errors
    /// If it is there and not of the form.
    pub fn open_or_new(path: &Path) -> Result<Self, KeyError> {
        match KeyFile::open(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(KeyFile::default())
            }
            other => other,
        }
    }

    /// Adds a key.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn add(&mut self, record: KeyRecord) -> Result<(), KeyError> {
        if self.keys.iter().any(|other| other.name == record.name) {
            return Err(KeyError::Taken { name: record.name });
        }
        self.keys.push(record);
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<(), KeyError> {
        let before = self.keys.len();
        self.keys.retain(|record| record.name != name);
        if self.keys.len() == before {
            let name = name.to_owned();
            return Err(KeyError::Unknown { name });
        }
        Ok(())
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain data is JSON");
        text.push(b'\n');
        whole_file::write(path, &text).map_err(|source| io_error(path, source))
    }
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
    let path = path.to_owned();
    KeyError::Io { path, source }
}

/// A key that asks, with its limits.
#[derive(Debug)]
pub(crate) struct Account {
    pub name: String,
    pub meter: Arc<Meter>,
}

/// Who may ask. Without keys, everyone.
#[derive(Debug)]
pub(crate) struct Keys {
    accounts: Option<HashMap<[u8; 32], Arc<Account>>>,
    anyone: Arc<Account>,
}

impl Keys {
    pub fn new(file: Option<&KeyFile>) -> Self {
        let now = Instant::now();
        let account = |name: &str, limits| {
            Arc::new(Account {
                name: name.to_owned(),
                meter: Arc::new(Meter::new(limits, now)),
            })
        };
        let accounts = file.map(|file| {
            let known = file.keys.iter().filter_map(|record| {
                let hash = parse_hash(&record.sha256)?;
                Some((hash, account(&record.name, record.limits)))
            });
            known.collect()
        });
        Keys {
            accounts,
            anyone: account("anyone", KeyLimits::default()),
        }
    }

    /// Finds out who asks: `Authorization: Bearer`, or `x-api-key` as Anthropic's clients send it.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Arc<Account>, ApiError> {
        let Some(accounts) = &self.accounts else {
            return Ok(Arc::clone(&self.anyone));
        };
        let refuse =
            |kind, message: &str| Err(ApiError::new(StatusCode::UNAUTHORIZED, kind, message));
        let Some(secret) = secret(headers) else {
            return refuse(
                "invalid_authentication_error",
                "no API key; hint: send the header Authorization: Bearer KEY",
            );
        };
        // The table is of hashes: how long the search takes tells nothing of a key.
        match accounts.get(&hash(secret)) {
            Some(account) => Ok(Arc::clone(account)),
            None => refuse(
                "incorrect_api_key_error",
                "the API key is not known here; hint: check it, or ask for one",
            ),
        }
    }
}

fn secret(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value: &str| {
        let (scheme, secret) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(secret.trim())
    });
    bearer
        .or_else(|| text("x-api-key"))
        .filter(|secret| !secret.is_empty())
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut hash = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn files_keep_hashes_and_never_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        let limits = KeyLimits {
            concurrency: Some(3),
            ..KeyLimits::default()
        };
        let key = NewKey::make("alice", limits).expect("a key");
        let mut file = KeyFile::open_or_new(&path).expect("a new file");
        file.add(key.record.clone()).expect("added");
        assert!(matches!(
            file.add(key.record.clone()),
            Err(KeyError::Taken { .. })
        ));
        file.save(&path).expect("saved");
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(!text.contains(&key.secret) && !text.contains(&key.secret[PREFIX.len()..]));
        let mut read = KeyFile::open(&path).expect("the same");
        assert_eq!(read, file);
        assert!(matches!(read.remove("bob"), Err(KeyError::Unknown { .. })));
        read.remove("alice").expect("removed");
        assert!(read.keys.is_empty());
    }

    #[test]
    fn only_known_keys_ask() {
        let key = NewKey::make("alice", KeyLimits::default()).expect("a key");
        let keys = Keys::new(Some(&KeyFile {
            keys: vec![key.record],
        }));
        let bearer = |secret: &str| headers("authorization", &format!("Bearer {secret}"));
        assert_eq!(
            keys.identify(&bearer(&key.secret)).expect("known").name,
            "alice"
        );
        let by_header = headers("x-api-key", &key.secret);
        assert_eq!(keys.identify(&by_header).expect("known").name, "alice");
        for (headers, kind) in [
            (HeaderMap::new(), "invalid_authentication_error"),
            (
                headers("authorization", "Basic eA=="),
                "invalid_authentication_error",
            ),
            (bearer("sk-k25-wrong"), "incorrect_api_key_error"),
        ] {
            let error = keys.identify(&headers).expect_err(kind);
            assert_eq!((error.status, error.kind), (StatusCode::UNAUTHORIZED, kind));
            assert!(!error.message.contains("sk-k25"));
        }
        Keys::new(None)
            .identify(&HeaderMap::new())
            .expect("everyone");
    }

    #[test]
    fn odd_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        for text in [
            "",
            "[]",
            "{\"keys\": [{\"name\": \"a\", \"sha256\": \"12\"}]}",
            "{\"kys\": []}",
        ] {
            std::fs::write(&path, text).expect("a file");
            assert!(
                matches!(KeyFile::open(&path), Err(KeyError::Form { .. })),
                "{text}"
            );
        }
    }
}
