//! What lies in the private folder when nothing runs any more.
//!
//! The tree is a stranger's, but it stands still. Plain files are taken and folders are entered;
//! links, devices, pipes and sockets are named and left, and nothing is ever followed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::files::{File, FileName, sha256_hex};
use crate::output::LeftOut;
use crate::spec::Limits;

/// Most things that are named as left out.
pub(super) const MAX_LEFT_OUT: usize = 100;
/// Most entries that are looked at.
const MAX_ENTRIES: usize = 20_000;

/// What went in, by name: the hash of the content.
pub(super) type Known = HashMap<FileName, String>;

/// Hashes of what went in.
pub(super) fn known(files: &[File]) -> Known {
    let entry = |file: &File| (file.name.clone(), file.sha256());
    files.iter().map(entry).collect()
}

/// What was found, beside the files themselves.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) kept: Vec<FileName>,
    pub(super) left_out: Vec<LeftOut>,
}

struct Walk<'a, F> {
    limits: &'a Limits,
    known: &'a Known,
    give: F,
    found: Collected,
    entries: usize,
    files: usize,
    bytes: u64,
}

/// Gives each new or changed file to `give`, in the order of their names.
pub(super) fn files<F>(
    folder: &Path,
    limits: &Limits,
    known: &Known,
    give: F,
) -> io::Result<Collected>
where
    F: FnMut(File) -> io::Result<()>,
{
    let mut walk = Walk {
        limits,
        known,
        give,
        found: Collected::default(),
        entries: 0,
        files: 0,
        bytes: 0,
    };
    walk.folder(folder, "")?;
    Ok(walk.found)
}

impl<F: FnMut(File) -> io::Result<()>> Walk<'_, F> {
    fn folder(&mut self, path: &Path, prefix: &str) -> io::Result<()> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.leave(prefix, error.to_string());
                return Ok(());
            }
        };
        let left = MAX_ENTRIES.saturating_sub(self.entries);
        let entries = entries.filter_map(Result::ok).take(left);
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        self.entries += names.len();
        names.sort();
        names
            .into_iter()
            .try_for_each(|name| self.entry(path, prefix, &name))
    }

    fn entry(&mut self, path: &Path, prefix: &str, name: &OsStr) -> io::Result<()> {
        let shown = name.to_string_lossy();
        let shown = if prefix.is_empty() {
            shown.into_owned()
        } else {
            format!("{prefix}/{shown}")
        };
        let name = match name.to_str().map(|_| FileName::new(shown.as_str())) {
            Some(Ok(name)) => name,
            Some(Err(error)) => return self.leaving(&shown, error.why),
            None => return self.leaving(&shown, "its name is no text"),
        };
        let path = path.join(Path::new(name.as_str()).file_name().unwrap_or_default());
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => return self.leaving(&shown, &error.to_string()),
        };
        if metadata.is_dir() {
            return self.folder(&path, &shown);
        }
        if !metadata.is_file() {
            return self.leaving(&shown, "neither a file nor a folder");
        }
        if metadata.nlink() > 1 {
            return self.leaving(&shown, "it has another name");
        }
        self.file(&path, name)
    }

    fn file(&mut self, path: &Path, name: FileName) -> io::Result<()> {
        let left = self.limits.files_bytes.saturating_sub(self.bytes);
        let bytes = match read_plain(path, left) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.leaving(name.as_str(), "more bytes than may come out"),
            Err(error) => return self.leaving(name.as_str(), &error.to_string()),
        };
        if self.files >= self.limits.files {
            return self.leaving(name.as_str(), "more files than may come out");
        }
        self.files += 1;
        self.bytes += bytes.len() as u64;
        if self.known.get(&name) == Some(&sha256_hex(&bytes)) {
            self.found.kept.push(name);
            return Ok(());
        }
        (self.give)(File { name, bytes })
    }

    fn leaving(&mut self, name: &str, why: &str) -> io::Result<()> {
        self.leave(name, why.to_owned());
        Ok(())
    }

    fn leave(&mut self, name: &str, why: String) {
        if self.found.left_out.len() < MAX_LEFT_OUT {
            let name = name.chars().take(200).collect();
            self.found.left_out.push(LeftOut { name, why });
        }
    }
}

/// Reads a plain file and nothing else, whatever its name has become; `None` if it is too large.
fn read_plain(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("neither a file nor a folder"));
    }
    if metadata.len() > most {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= most))
}

/// Gives folders back the rights that the parent needs to remove them.
pub(super) fn open_up(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        // Folders only: nothing here follows a link.
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o777));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            seen += 1;
            if seen < MAX_ENTRIES && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
}

/// Bytes of all files below a folder, and their number, as far as they can be seen.
pub(super) fn size(folder: &Path) -> (u64, usize) {
    let (mut bytes, mut count) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            count += 1;
            if count > MAX_ENTRIES {
                return (bytes, count);
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes += metadata.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    (bytes, count)
}
