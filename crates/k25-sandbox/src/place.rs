//! The temporary folder of a run, and folders that killed processes left behind.
//!
//! A process that is killed cannot clean up. Each folder is locked as long as its process lives, and
//! the kernel takes the lock back with the process, whatever ends it; so a folder that nobody has
//! locked is nobody's, also where processes do not see each other.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime};

/// What the names of the folders begin with.
const PREFIX: &str = "k25-sandbox-";
/// A folder that is younger may be about to be locked.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder that is gone when this is dropped, or some time after this process is killed.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Place {
    /// A new folder. The first one of a process clears away what others left.
    pub(crate) fn new() -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&std::env::temp_dir()));
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let lock = File::open(folder.path())?;
        lock.lock()?;
        Ok(Place {
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// Removes the folders of processes that are gone.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if let Some(_lock) = stale(&entry) {
            // What cannot be removed now stays for another time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The lock of a folder that was a run's and is nobody's.
fn stale(entry: &DirEntry) -> Option<File> {
    let is_named = entry.file_name().to_str()?.starts_with(PREFIX);
    // Links are not followed.
    let metadata = entry.metadata().ok().filter(|_| is_named)?;
    let age = SystemTime::now().duration_since(metadata.modified().ok()?);
    if !metadata.is_dir() || !is_ours(&metadata) || age.ok()? < YOUNG {
        return None;
    }
    let folder = File::open(entry.path()).ok()?;
    folder.try_lock().ok()?;
    Some(folder)
}

/// Whether this process, or a run that it started as root, may have made it.
#[cfg(target_os = "linux")]
fn is_ours(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    const NOBODY: u32 = 65_534;
    let user = rustix::process::geteuid();
    metadata.uid() == user.as_raw() || user.is_root() && metadata.uid() == NOBODY
}

#[cfg(not(target_os = "linux"))]
fn is_ours(_: &fs::Metadata) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_folders_without_an_owner_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * YOUNG;
        let folder = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("code.py"), "1").unwrap();
            let handle = File::open(&path).unwrap();
            handle.set_modified(old).unwrap();
            handle
        };
        drop(folder("k25-sandbox-left"));
        drop(folder("other"));
        let held = folder("k25-sandbox-held");
        held.lock().unwrap();
        fs::create_dir(parent.path().join("k25-sandbox-young")).unwrap();
        fs::write(parent.path().join("k25-sandbox-file"), "").unwrap();
        let link = parent.path().join("k25-sandbox-link");
        std::os::unix::fs::symlink(parent.path().join("other"), link).unwrap();
        let names = || {
            let entries = fs::read_dir(parent.path()).unwrap().flatten();
            let names = entries.map(|entry| entry.file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        sweep(parent.path());
        let stay = ["file", "held", "link", "young"].map(|end| format!("{PREFIX}{end}"));
        assert_eq!(names()[..4], stay);
        assert_eq!(names()[4], "other");
        assert!(parent.path().join("other/code.py").exists());
        // Its process ends.
        drop(held);
        sweep(parent.path());
        assert_eq!(names()[1], "k25-sandbox-link");
    }
}
