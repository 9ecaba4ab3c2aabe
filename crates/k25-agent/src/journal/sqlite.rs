//! The journal in an SQLite file: one writer thread, many appends to a commit.
//!
//! One connection per agent would meet locks and repeat work after a crash; one writer that commits
//! whatever has gathered keeps 100 agents below a millisecond each. Every event carries the SHA-256 of
//! itself and its predecessor's, so that a change by hand is found.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags, params};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::{Appending, Journal, JournalError, NewEvent};
use crate::event::Event;

/// Most appends of one commit.
const GROUP: usize = 256;
const DISK_HINT: &str = "is the disk full or the folder read-only?";

struct Append {
    events: Vec<NewEvent>,
    done: oneshot::Sender<Result<Vec<Event>, JournalError>>,
}

/// Events in a file.
#[derive(Debug)]
pub struct SqliteJournal {
    path: String,
    /// Taken away when the journal is dropped, which ends the writer.
    sender: Option<mpsc::Sender<Append>>,
    reader: Mutex<Connection>,
    writer: Option<JoinHandle<()>>,
    /// Held as long as this process may write.
    _lock: File,
}

impl SqliteJournal {
    /// Opens or makes the journal `path`, checks its chain, and locks it for this process.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let name = path.display().to_string();
        let lock = lock(path, &name)?;
        let connection = Connection::open(path).map_err(|error| storage(&name, &error))?;
        prepare(&connection).map_err(|error| storage(&name, &error))?;
        let writer = Writer::new(connection, name.clone())?;
        let reader = open_reader(path, &name)?;
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| JournalError::Storage {
                path: name.clone(),
                problem: error.to_string(),
                hint: "are there too many threads?",
            })?;
        Ok(SqliteJournal {
            path: name,
            sender: Some(sender),
            reader: Mutex::new(reader),
            writer: Some(thread),
            _lock: lock,
        })
    }

    /// The events of a journal that another process may be writing, for a look from outside.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn look(path: &Path) -> Result<Vec<Event>, JournalError> {
        let name = path.display().to_string();
        read_checked(&open_reader(path, &name)?, &name).map(|(events, _)| events)
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            // It has nothing left to say.
            let _ = writer.join();
        }
    }
}

impl Journal for SqliteJournal {
    fn append(&self, events: Vec<NewEvent>) -> Appending<'_> {
        let (done, result) = oneshot::channel();
        let sent = self
            .sender
            .as_ref()
            .map(|sender| sender.send(Append { events, done }));
        let is_sent = matches!(sent, Some(Ok(())));
        Box::pin(async move {
            let ended = || JournalError::Storage {
                path: self.path.clone(),
                problem: "the writer has ended".to_owned(),
                hint: "see the first error of this run",
            };
            if !is_sent {
                return Err(ended());
            }
            result.await.unwrap_or_else(|_| Err(ended()))
        })
    }

    fn read(&self) -> Result<Vec<Event>, JournalError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        read_checked(&reader, &self.path).map(|(events, _)| events)
    }
}

fn storage(path: &str, error: &rusqlite::Error) -> JournalError {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => JournalError::Busy {
            path: path.to_owned(),
        },
        _ => JournalError::Storage {
            path: path.to_owned(),
            problem: error.to_string(),
            hint: DISK_HINT,
        },
    }
}

/// Takes the lock file beside the journal. The system gives it back however the process ends.
fn lock(path: &Path, name: &str) -> Result<File, JournalError> {
    let fault = |error: std::io::Error| JournalError::Storage {
        path: name.to_owned(),
        problem: error.to_string(),
        hint: DISK_HINT,
    };
    let file = File::create(path.with_extension("lock")).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy {
            path: name.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(fault(error)),
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_millis(200))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS event (
             seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, task TEXT NOT NULL,
             body TEXT NOT NULL, hash BLOB NOT NULL);",
    )
}

fn open_reader(path: &Path, name: &str) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags).map_err(|error| storage(name, &error))?;
    let timeout = std::time::Duration::from_secs(5);
    reader
        .busy_timeout(timeout)
        .map_err(|error| storage(name, &error))?;
    Ok(reader)
}

/// All events and the last hash, if the chain holds.
fn read_checked(
    connection: &Connection,
    path: &str,
) -> Result<(Vec<Event>, Vec<u8>), JournalError> {
    let read = || -> rusqlite::Result<Vec<(u64, String, Vec<u8>)>> {
        let mut select = connection.prepare("SELECT seq, body, hash FROM event ORDER BY seq")?;
        let rows = select.query_map([], |row| {
            Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get(2)?))
        })?;
        rows.collect()
    };
    let rows = read().map_err(|error| storage(path, &error))?;
    let mut events = Vec::with_capacity(rows.len());
    let mut last = Vec::new();
    for (number, (seq, body, hash)) in (1..).zip(rows) {
        let broken = || JournalError::Broken {
            path: path.to_owned(),
            seq,
        };
        let event: Event = serde_json::from_str(&body).map_err(|_| broken())?;
        if seq != number || event.seq != seq || chained(&last, &body) != hash {
            return Err(broken());
        }
        last = hash;
        events.push(event);
    }
    Ok((events, last))
}

fn chained(last: &[u8], body: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(last);
    hash.update(body.as_bytes());
    hash.finalize().to_vec()
}

struct Writer {
    connection: Connection,
    path: String,
    next_seq: u64,
    last_hash: Vec<u8>,
}

impl Writer {
    fn new(connection: Connection, path: String) -> Result<Self, JournalError> {
        let (events, last_hash) = read_checked(&connection, &path)?;
        let next_seq = events.len() as u64 + 1;
        Ok(Writer {
            connection,
            path,
            next_seq,
            last_hash,
        })
    }

    /// Commits what comes until nobody is left to send.
    fn run(mut self, receiver: &mpsc::Receiver<Append>) {
        while let Ok(first) = receiver.recv() {
            let mut group = vec![first];
            group.extend(receiver.try_iter().take(GROUP - 1));
            let (batches, done): (Vec<_>, Vec<_>) = group
                .into_iter()
                .map(|append| (append.events, append.done))
                .unzip();
            match self.commit(batches) {
                Ok(results) => {
                    for (result, done) in results.into_iter().zip(done) {
                        // Whoever asked may be cancelled by now.
                        let _ = done.send(Ok(result));
                    }
                }
                Err(error) => {
                    let error = storage(&self.path, &error);
                    for done in done {
                        let _ = done.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    fn commit(&mut self, batches: Vec<Vec<NewEvent>>) -> rusqlite::Result<Vec<Vec<Event>>> {
        let (mut seq, mut hash) = (self.next_seq, self.last_hash.clone());
        let transaction = self.connection.transaction()?;
        let mut results = Vec::with_capacity(batches.len());
        {
            let mut insert = transaction.prepare(
                "INSERT INTO event (seq, at_ms, task, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for batch in batches {
                let mut numbered = Vec::with_capacity(batch.len());
                for event in batch {
                    let event = event.with(seq);
                    let body = serde_json::to_string(&event).map_err(|error| {
                        rusqlite::Error::ToSqlConversionFailure(Box::new(error))
                    })?;
                    hash = chained(&hash, &body);
                    insert.execute(params![
                        seq as i64,
                        event.at_ms as i64,
                        event.task,
                        body,
                        hash
                    ])?;
                    seq += 1;
                    numbered.push(event);
                }
                results.push(numbered);
            }
        }
        transaction.commit()?;
        (self.next_seq, self.last_hash) = (seq, hash);
        Ok(results)
    }
}
