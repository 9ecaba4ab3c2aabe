//! nano: a small model of the family's architecture, trained to fill tables from documents, within the
//! program itself.
//!
//! It is a checkpoint like any other, five files in the published layout, and is opened like any other:
//! from a folder. So it is unpacked once, into the user's cache. Reading it from the program's own
//! memory instead would ask every reader of a checkpoint (configuration, tokenizer, shards, and all
//! commands that take a folder) to know a second kind of place, to save one copy of a few megabytes.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};
use thiserror::Error;

/// What people call it.
pub const NAME: &str = "nano";

macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../model/", $name)))
    };
}

/// The checkpoint's files, by name.
const FILES: [(&str, &[u8]); 5] = [
    file!("config.json"),
    file!("model-00001-of-000001.safetensors"),
    file!("model.safetensors.index.json"),
    file!("tiktoken.model"),
    file!("tokenizer_config.json"),
];

/// Why the model cannot be opened.
#[derive(Debug, Error)]
#[error(
    "the built-in model cannot be unpacked into {path}: {source}\n  hint: make some {mib} MiB of room there, or name another folder with XDG_CACHE_HOME or TMPDIR",
    path = path.display(),
    mib = (size() >> 20) + 1
)]
pub struct NanoError {
    path: PathBuf,
    source: io::Error,
}

/// A folder with the model's files.
///
/// It may be a temporary one, which goes away with this value: keep it until the model is open. What
/// is mapped then stays readable.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Folder {
    /// Where the files lie.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The model in the user's cache: below `$XDG_CACHE_HOME/k25`, or `~/.cache/k25`. Where that cannot be
/// written, in a private temporary folder.
///
/// # Errors
/// If there is no room in either.
pub fn unpack() -> Result<Folder, NanoError> {
    unpack_into(cache().as_deref())
}

/// Bytes of all files.
pub fn size() -> u64 {
    FILES.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Where programs of this user keep what they can make again.
fn cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    // The specification of XDG: relative paths do not count.
    let is_whole = |path: &PathBuf| path.is_absolute();
    folder("XDG_CACHE_HOME")
        .filter(is_whole)
        .or_else(|| Some(folder("HOME").filter(is_whole)?.join(".cache")))
}

fn unpack_into(cache: Option<&Path>) -> Result<Folder, NanoError> {
    let cached = cache.map(|cache| cache.join("k25").join(folder_name()));
    if let Some(path) = cached.filter(|path| make_whole(path).is_ok()) {
        return Ok(Folder {
            path,
            _temporary: None,
        });
    }
    let fault = |path: &Path, source| NanoError {
        path: path.to_owned(),
        source,
    };
    let temporary = private_folder().map_err(|error| fault(&std::env::temp_dir(), error))?;
    let path = temporary.path().to_owned();
    make_whole(&path).map_err(|error| fault(&path, error))?;
    Ok(Folder {
        path,
        _temporary: Some(temporary),
    })
}

/// A temporary folder that nobody else may look into or write to.
fn private_folder() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("k25-nano-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder.tempdir()
}

/// Named after its contents: two versions of the program never write over each other's model.
fn folder_name() -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in FILES {
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let hash: String = hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{NAME}-{hash}")
}

/// Brings a folder to hold exactly these files. Those that are there are compared byte for byte:
/// it is the user's folder, and anything may have happened to it.
fn make_whole(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in FILES {
        let path = folder.join(name);
        if !is_whole(&path, bytes) {
            write_at_once(folder, &path, bytes)?;
        }
    }
    Ok(())
}

fn is_whole(path: &Path, bytes: &[u8]) -> bool {
    let has_length = |data: fs::Metadata| data.is_file() && data.len() == bytes.len() as u64;
    fs::metadata(path).is_ok_and(has_length) && fs::read(path).is_ok_and(|found| found == bytes)
}

/// Others see the old file or the whole new one: processes that unpack at the same time write the same,
/// and one that has the old file mapped keeps it.
fn write_at_once(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_model(folder: &Path) -> bool {
        FILES
            .iter()
            .all(|(name, bytes)| is_whole(&folder.join(name), bytes))
    }

    #[test]
    fn it_is_unpacked_once_and_mended_when_damaged() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = unpack_into(Some(cache.path())).expect("there is room");
        assert!(is_model(folder.path()) && folder.path().starts_with(cache.path()));
        let weights = folder.path().join(FILES[1].0);
        let written = || fs::metadata(&weights).and_then(|data| data.modified());
        let before = written().expect("a file");

        unpack_into(Some(cache.path())).expect("it is there");
        assert_eq!(written().expect("a file"), before, "what is whole stays");

        let mut bytes = fs::read(&weights).expect("a file");
        bytes[1_000] ^= 1;
        fs::write(&weights, bytes).expect("damage");
        fs::write(folder.path().join(FILES[0].0), "{").expect("damage");
        fs::remove_file(folder.path().join(FILES[3].0)).expect("damage");
        unpack_into(Some(cache.path())).expect("it is mended");
        assert!(is_model(folder.path()));
        let count = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(count, FILES.len(), "nothing is left lying about");
    }

    #[test]
    fn processes_at_the_same_time_do_not_meet() {
        let cache = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let folder = unpack_into(Some(cache.path())).expect("there is room");
                    assert!(is_model(folder.path()));
                });
            }
        });
    }

    #[test]
    fn without_a_cache_it_lies_in_a_private_folder_that_goes_away() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        fs::write(&file, "no folder").expect("a file");
        for cache in [None, Some(file.as_path())] {
            let folder = unpack_into(cache).expect("there is room");
            let path = folder.path().to_owned();
            assert!(is_model(&path));
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = fs::metadata(&path).expect("a folder").permissions().mode();
                assert_eq!(mode & 0o077, 0, "nobody else writes there");
            }
            drop(folder);
            assert!(!path.exists());
        }
    }
}
