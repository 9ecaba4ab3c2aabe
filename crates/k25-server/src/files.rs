//! Uploaded files: on disk, each with its owner. Nobody sees or uses another's.

mod kind;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::app::unix_seconds;
use crate::error::{ApiError, ServerError};
use crate::options::FileOptions;
use crate::whole_file;

pub(crate) use kind::media_type;
pub use text::{ExtractText, plain_text};

const META: &str = "meta.json";
const TEXT: &str = "text";
const CONTENT: &str = "content";
const UPLOADS_AT_ONCE: usize = 8;
const RANDOM_BYTES: usize = 16;
/// Longest name of a file that is kept, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// A picture in a conversation.
    Image,
    /// A film in a conversation.
    Video,
    /// A document whose text is wanted.
    FileExtract,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub id: String,
    /// Whose key; not told.
    pub owner: String,
    pub filename: String,
    pub purpose: Purpose,
    pub bytes: u64,
    pub created_at: u64,
    /// As in `image/png`.
    pub media_type: String,
}

/// The files in a folder.
pub(crate) struct FileStore {
    folder: PathBuf,
    options: FileOptions,
    records: Mutex<BTreeMap<String, FileRecord>>,
    /// Uploads at once: each may fill the disk up to its limit before it is refused.
    pub uploads: Semaphore,
}

/// A file on its way in. Dropped before it is kept, it is gone.
pub(crate) struct Incoming {
    store: Arc<FileStore>,
    id: String,
    folder: PathBuf,
    is_kept: bool,
}

impl Purpose {
    pub fn of(name: &str) -> Result<Self, ApiError> {
        match name {
            "image" | "vision" => Ok(Purpose::Image),
            "video" => Ok(Purpose::Video),
            "file-extract" => Ok(Purpose::FileExtract),
            _ => Err(ApiError {
                param: Some("purpose".to_owned()),
                ..ApiError::invalid(
                    "purpose: missing or unknown; hint: one of image, video, file-extract",
                )
            }),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Purpose::Image => "image",
            Purpose::Video => "video",
            Purpose::FileExtract => "file-extract",
        }
    }
}

impl FileStore {
    /// Opens a folder, and makes it if there is none. What was half uploaded is cleared away.
    pub fn open(options: FileOptions) -> Result<Self, ServerError> {
        let folder = options.folder.join("files");
        let records = open_folder(&folder).map_err(|source| ServerError::Files {
            path: folder.clone(),
            source,
        })?;
        Ok(FileStore {
            folder,
            options,
            records: Mutex::new(records),
            uploads: Semaphore::new(UPLOADS_AT_ONCE),
        })
    }

    pub fn max_bytes(&self) -> u64 {
        self.options.max_bytes
    }

    /// Makes room for a file.
    pub fn begin(self: &Arc<Self>) -> Result<Incoming, ApiError> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|_| broken("the system gives no random numbers"))?;
        let id = random.iter().fold("file-".to_owned(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        });
        let folder = self.folder.join(&id);
        fs::create_dir(&folder).map_err(|error| broken(&error.to_string()))?;
        Ok(Incoming {
            store: Arc::clone(self),
            id,
            folder,
            is_kept: false,
        })
    }

    /// A file of this owner.
    pub fn find(&self, owner: &str, id: &str) -> Result<FileRecord, ApiError> {
        let records = self.lock();
        let record = records.get(id).filter(|record| record.owner == owner);
        record.cloned().ok_or_else(|| {
            let shown: String = id.chars().take(80).collect();
            ApiError::not_found(format!(
                "no file {shown:?}; hint: GET /v1/files lists those of this key"
            ))
        })
    }

    /// The files of this owner, the newest first.
    pub fn list(&self, owner: &str) -> Vec<FileRecord> {
        let records = self.lock();
        let mut own: Vec<_> = records
            .values()
            .filter(|record| record.owner == owner)
            .cloned()
            .collect();
        own.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        own
    }

    pub fn delete(&self, owner: &str, id: &str) -> Result<(), ApiError> {
        self.find(owner, id)?;
        self.lock().remove(id);
        fs::remove_dir_all(self.folder.join(id)).map_err(|error| broken(&error.to_string()))
    }

    /// The file as it was uploaded.
    pub fn content(&self, record: &FileRecord) -> Result<Vec<u8>, ApiError> {
        let path = content_path(&self.folder.join(&record.id), &record.filename);
        fs::read(path).map_err(|error| broken(&error.to_string()))
    }

    /// The text of a document.
    pub fn text(&self, record: &FileRecord) -> Result<String, ApiError> {
        let path = self.folder.join(&record.id).join(TEXT);
        fs::read_to_string(path).map_err(|error| broken(&error.to_string()))
    }

    /// Takes a file in, if its owner may have one more of this size.
    fn insert(&self, record: FileRecord) -> Result<(), ApiError> {
        let FileOptions {
            max_files,
            max_total_bytes,
            ..
        } = self.options;
        let mut records = self.lock();
        let own = || records.values().filter(|other| other.owner == record.owner);
        let held: u64 = own().map(|other| other.bytes).sum();
        if own().count() >= max_files || held + record.bytes > max_total_bytes {
            return Err(ApiError::invalid(format!(
                "a key may have {max_files} files of {max_total_bytes} bytes together; hint: delete some \
                 with DELETE /v1/files/ID"
            )));
        }
        records.insert(record.id.clone(), record);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, FileRecord>> {
        self.records.lock().expect("no panic while locked")
    }
}

impl Incoming {
    /// Where the content goes while it comes.
    pub fn path(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    /// Looks at the file, takes its text if that is wanted, and keeps it.
    pub fn keep(
        mut self,
        owner: &str,
        filename: &str,
        purpose: Purpose,
    ) -> Result<FileRecord, ApiError> {
        let filename = clean_name(filename);
        let path = content_path(&self.folder, &filename);
        let io = |error: io::Error| broken(&error.to_string());
        fs::rename(self.path(), &path).map_err(io)?;
        let bytes = fs::metadata(&path).map_err(io)?.len();
        let media_type = kind::check(&path, purpose)?;
        if purpose == Purpose::FileExtract {
            let text = (self.store.options.extract_text)(&path).map_err(|fault| {
                ApiError::invalid(format!("{filename} has no text that can be read: {fault}"))
            })?;
            fs::write(self.folder.join(TEXT), text).map_err(io)?;
        }
        let record = FileRecord {
            id: self.id.clone(),
            owner: owner.to_owned(),
            filename,
            purpose,
            bytes,
            created_at: unix_seconds(),
            media_type: media_type.to_owned(),
        };
        let meta = serde_json::to_vec(&record).expect("plain data is JSON");
        whole_file::write(&self.folder.join(META), &meta).map_err(io)?;
        self.store.insert(record.clone())?;
        self.is_kept = true;
        Ok(record)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_kept {
            // What stays is cleared away at the next start.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn open_folder(folder: &Path) -> io::Result<BTreeMap<String, FileRecord>> {
    fs::create_dir_all(folder)?;
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let meta = fs::read(path.join(META)).ok();
        let record = meta.and_then(|meta| serde_json::from_slice::<FileRecord>(&meta).ok());
        match record {
            Some(record) => {
                records.insert(record.id.clone(), record);
            }
            None if path.is_dir() => fs::remove_dir_all(&path)?,
            None => {}
        }
    }
    Ok(records)
}

/// The content under a name of ours with the ending of the file's, which tells readers its form.
fn content_path(folder: &Path, filename: &str) -> PathBuf {
    let ending = Path::new(filename)
        .extension()
        .and_then(|ending| ending.to_str());
    let is_plain = |ending: &&str| {
        ending.len() <= 10 && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    match ending.filter(is_plain) {
        Some(ending) => folder.join(format!("{CONTENT}.{}", ending.to_ascii_lowercase())),
        None => folder.join(CONTENT),
    }
}

/// The last part of a name, without what a terminal or a log would act on.
fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean: String = last.chars().filter(|c| !c.is_control()).collect();
    while clean.len() > MAX_NAME_BYTES {
        clean.remove(0);
    }
    match clean.is_empty() {
        true => "file".to_owned(),
        false => clean,
    }
}

fn broken(fault: &str) -> ApiError {
    tracing::warn!(fault, "the folder of files");
    ApiError::new(
        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
        "server_error",
        "the file cannot be kept or read here; hint: try again later",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path, max_files: usize) -> Arc<FileStore> {
        let options = FileOptions {
            max_files,
            ..FileOptions::new(folder.to_owned())
        };
        Arc::new(FileStore::open(options).expect("a store"))
    }

    fn upload(
        store: &Arc<FileStore>,
        owner: &str,
        name: &str,
        bytes: &[u8],
    ) -> Result<FileRecord, ApiError> {
        let incoming = store.begin().expect("room");
        fs::write(incoming.path(), bytes).expect("written");
        incoming.keep(owner, name, Purpose::FileExtract)
    }

    #[test]
    fn files_stay_and_belong_to_their_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = upload(&store(folder.path(), 5), "alice", "../a b.TXT", b"hello").expect("kept");
        assert_eq!((kept.filename.as_str(), kept.bytes), ("a b.TXT", 5));
        // A half upload and a stranger's folder are gone after the next start.
        fs::create_dir(folder.path().join("files").join("file-half")).expect("made");
        let store = store(folder.path(), 5);
        assert!(!folder.path().join("files").join("file-half").exists());
        let found = store.find("alice", &kept.id).expect("hers");
        assert_eq!(found, kept);
        assert_eq!(store.text(&found).expect("text"), "hello");
        assert_eq!(store.content(&found).expect("bytes"), b"hello");
        assert!(store.find("bob", &kept.id).is_err());
        assert!(store.delete("bob", &kept.id).is_err());
        assert!(store.list("bob").is_empty());
        store.delete("alice", &kept.id).expect("deleted");
        assert!(store.list("alice").is_empty());
        let left = fs::read_dir(folder.path().join("files")).expect("a folder");
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn what_is_refused_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 1);
        upload(&store, "alice", "a.txt", b"\xff\xfe\xfd").expect_err("no text");
        upload(&store, "alice", "a.txt", b"one").expect("kept");
        let error = upload(&store, "alice", "b.txt", b"two").expect_err("one is all");
        assert!(error.message.contains("hint"), "{}", error.message);
        upload(&store, "bob", "b.txt", b"two").expect("another's room");
        let left = fs::read_dir(folder.path().join("files")).expect("a folder");
        assert_eq!(left.count(), 2);
    }

    #[test]
    fn names_are_names() {
        assert_eq!(clean_name("C:\\a\\b.txt"), "b.txt");
        assert_eq!(clean_name("/etc/passwd\n"), "passwd");
        assert_eq!(clean_name(".."), "..");
        assert_eq!(clean_name("\u{7}"), "file");
        assert!(clean_name(&"ä".repeat(300)).len() <= MAX_NAME_BYTES);
        let folder = Path::new("f");
        assert_eq!(content_path(folder, ".."), Path::new("f/content"));
        assert_eq!(content_path(folder, "a.P/df"), Path::new("f/content"));
        assert_eq!(content_path(folder, "a.PDF"), Path::new("f/content.pdf"));
    }
}
