//! The files of tasks, between their calls.
//!
//! A call's files are what the task's folder held when the call was made, so a call that is made again
//! after a crash finds what it found the first time: each call's result is a list of names and hashes
//! of its own, and contents lie beside, by hash. For people, the latest state lies in a plain folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use k25_sandbox::{File, FileName, Output};
use serde::{Deserialize, Serialize};

/// Why files of a task cannot be kept or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The disk.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// What is kept does not say what it should.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, WorkspaceError> {
    result.map_err(|error| WorkspaceError::Io {
        path: path.to_owned(),
        error,
    })
}

/// The files of all tasks of a run.
#[derive(Debug)]
pub struct Workspaces {
    folder: PathBuf,
    /// Tasks at work; a task's calls go one after the other.
    tasks: Mutex<Vec<(String, Arc<tokio::sync::Mutex<()>>)>>,
}

/// What a task's folder held after each of its calls, in their order.
#[derive(Debug, Default, Serialize, Deserialize)]
struct History {
    calls: Vec<Kept>,
}

/// What it held after one call.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    call: String,
    files: Vec<Entry>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: FileName,
    sha256: String,
    bytes: u64,
}

/// Where histories and contents lie.
const STATE: &str = ".state";

impl Workspaces {
    /// In this folder, which is made when something is to be kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Workspaces {
            folder: folder.into(),
            tasks: Mutex::default(),
        }
    }

    /// To be held by a task's call from its beginning to its end.
    pub(crate) async fn turn(&self, task: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let mutex = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            match tasks.iter().find(|(name, _)| name == task) {
                Some((_, mutex)) => Arc::clone(mutex),
                None => {
                    let mutex = Arc::default();
                    tasks.push((task.to_owned(), Arc::clone(&mutex)));
                    mutex
                }
            }
        };
        mutex.lock_owned().await
    }

    /// The files that this call begins with.
    pub(crate) fn before(&self, task: &str, call: &str) -> Result<Vec<File>, WorkspaceError> {
        let history = self.history(task)?;
        let entries = history.before(call).map_or(&[][..], |kept| &kept.files);
        entries.iter().map(|entry| self.content(entry)).collect()
    }

    /// A file of the task as it is now.
    pub(crate) fn find(&self, task: &str, name: &str) -> Result<Option<File>, WorkspaceError> {
        let history = self.history(task)?;
        let files = history.calls.last().map_or(&[][..], |kept| &kept.files);
        let entry = files.iter().find(|entry| entry.name.as_str() == name);
        entry.map(|entry| self.content(entry)).transpose()
    }

    /// Keeps what a call left. What came later, before a crash, is forgotten.
    pub(crate) fn keep(
        &self,
        task: &str,
        call: &str,
        before: &[File],
        output: &Output,
    ) -> Result<(), WorkspaceError> {
        let kept = before
            .iter()
            .filter(|file| output.kept.contains(&file.name));
        let mut files: Vec<&File> = kept.chain(&output.files).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut history = self.history(task)?;
        history.forget_from(call);
        // Those that are as they were may be new here, too: copies of documents.
        files.iter().try_for_each(|file| self.put(file))?;
        let entries = files.iter().map(|file| Entry {
            name: file.name.clone(),
            sha256: file.sha256(),
            bytes: file.bytes.len() as u64,
        });
        history.calls.push(Kept {
            call: call.to_owned(),
            files: entries.collect(),
        });
        let text = serde_json::to_vec(&history).expect("plain data has a JSON form");
        write_whole(&self.history_path(task), &text)?;
        self.show(task, &files)
    }

    fn history_path(&self, task: &str) -> PathBuf {
        self.folder
            .join(STATE)
            .join(format!("{}.json", plain(task)))
    }

    fn history(&self, task: &str) -> Result<History, WorkspaceError> {
        let path = self.history_path(task);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
            text => at(&path, text)?,
        };
        serde_json::from_slice(&text).map_err(|error| WorkspaceError::Damaged {
            path,
            what: error.to_string(),
        })
    }

    fn content_path(&self, sha256: &str) -> PathBuf {
        self.folder.join(STATE).join("contents").join(plain(sha256))
    }

    fn content(&self, entry: &Entry) -> Result<File, WorkspaceError> {
        let path = self.content_path(&entry.sha256);
        let file = File::new(entry.name.clone(), at(&path, fs::read(&path))?);
        if file.sha256() == entry.sha256 {
            Ok(file)
        } else {
            let what = "its hash is another".to_owned();
            Err(WorkspaceError::Damaged { path, what })
        }
    }

    fn put(&self, file: &File) -> Result<(), WorkspaceError> {
        let path = self.content_path(&file.sha256());
        if path.exists() {
            return Ok(());
        }
        write_whole(&path, &file.bytes)
    }

    /// The latest state as plain files, for people. Nothing is read from there.
    fn show(&self, task: &str, files: &[&File]) -> Result<(), WorkspaceError> {
        let folder = self.folder.join(plain(task));
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => at(&folder, Err(error))?,
            _ => {}
        }
        for file in files {
            write_whole(&folder.join(file.name.as_str()), &file.bytes)?;
        }
        Ok(())
    }
}

impl History {
    fn place(&self, call: &str) -> usize {
        let place = self.calls.iter().position(|kept| kept.call == call);
        place.unwrap_or(self.calls.len())
    }

    fn before(&self, call: &str) -> Option<&Kept> {
        self.calls[..self.place(call)].last()
    }

    fn forget_from(&mut self, call: &str) {
        self.calls.truncate(self.place(call));
    }
}

/// The name of a task as one of a file: letters, digits, `-`, `_`, and the rest by number.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for c in name.chars().take(100) {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => plain.push(c),
            other => plain.push_str(&format!("%{:x}", other as u32)),
        }
    }
    plain
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WorkspaceError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    at(folder, fs::create_dir_all(folder))?;
    let mut file = at(folder, tempfile::NamedTempFile::new_in(folder))?;
    at(path, io::Write::write_all(&mut file, bytes))?;
    let persisted = file.persist(path).map_err(|error| error.error);
    at(path, persisted).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k25_sandbox::{Captured, Ended, Isolation, Usage};

    fn output(files: &[(&str, &str)], kept: &[&str]) -> Output {
        let name = |name: &str| FileName::new(name).unwrap();
        Output {
            stdout: Captured::default(),
            stderr: Captured::default(),
            files: files
                .iter()
                .map(|(at, text)| File::new(name(at), *text))
                .collect(),
            kept: kept.iter().map(|at| name(at)).collect(),
            left_out: Vec::new(),
            ended: Ended::Exited(0),
            killed_by: None,
            usage: Usage::default(),
            isolation: Isolation::Namespaces,
        }
    }

    fn names(files: &[File]) -> Vec<&str> {
        files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn a_call_finds_what_the_calls_before_it_left() {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::new(dir.path().join("files"));
        assert_eq!(workspaces.before("main", "a").unwrap(), []);
        workspaces
            .keep(
                "main",
                "a",
                &[],
                &output(&[("x.txt", "1"), ("d/y", "2")], &[]),
            )
            .unwrap();
        let before = workspaces.before("main", "b").unwrap();
        assert_eq!(names(&before), ["d/y", "x.txt"]);
        workspaces
            .keep("main", "b", &before, &output(&[("x.txt", "3")], &[]))
            .unwrap();
        assert_eq!(
            workspaces.find("main", "x.txt").unwrap().unwrap().bytes,
            b"3"
        );
        assert_eq!(workspaces.find("main", "d/y").unwrap(), None);
        let shown = dir.path().join("files/main");
        assert_eq!(fs::read_to_string(shown.join("x.txt")).unwrap(), "3");
        assert!(!shown.join("d").exists());
        // The same call once more: what it found the first time.
        assert_eq!(workspaces.before("main", "b").unwrap(), before);
        workspaces
            .keep("main", "b", &before, &output(&[], &["d/y", "x.txt"]))
            .unwrap();
        assert_eq!(
            names(&workspaces.before("main", "c").unwrap()),
            ["d/y", "x.txt"]
        );
        // Other tasks have folders of their own, whatever they are called.
        for task in ["../main", "main/..", "/", ""] {
            assert_eq!(workspaces.before(task, "c").unwrap(), []);
            workspaces
                .keep(task, "a", &[], &output(&[("z", "")], &[]))
                .unwrap();
        }
        let outside: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(outside.len(), 1);
    }

    #[test]
    fn what_is_damaged_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::new(dir.path());
        workspaces
            .keep("main", "a", &[], &output(&[("x", "1")], &[]))
            .unwrap();
        let content = File::new(FileName::new("x").unwrap(), "1").sha256();
        let path = dir.path().join(".state/contents").join(content);
        fs::write(path, "2").unwrap();
        let error = workspaces.before("main", "b").unwrap_err();
        assert!(error.to_string().contains("its hash is another"), "{error}");
        fs::write(dir.path().join(".state/main.json"), "{").unwrap();
        assert!(matches!(
            workspaces.before("main", "b"),
            Err(WorkspaceError::Damaged { .. })
        ));
    }
}
