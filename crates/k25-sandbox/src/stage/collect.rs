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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Something that a program may leave in its folder.
    #[derive(Debug, Clone)]
    enum Thing {
        File(Vec<u8>, usize),
        Folder(Vec<u8>),
        Link(Vec<u8>),
        HardLink(Vec<u8>),
        Pipe(Vec<u8>),
        Socket(Vec<u8>),
    }

    fn thing() -> impl Strategy<Value = Thing> {
        // Two folders deep, with names that are no text, too.
        let part = prop_oneof![
            4 => "[a-c]{1,2}".prop_map(String::into_bytes),
            1 => vec(1..=255_u8, 1..4).prop_filter("one name", |name| !name.contains(&b'/')),
            1 => Just(b"a b".to_vec()),
            1 => Just(b" a".to_vec()),
            1 => Just(b"a\n".to_vec()),
        ];
        let path = vec(part, 1..3).prop_map(|parts| parts.join(&b"/"[..]));
        (path, 0..6_usize, 0..600_usize).prop_map(|(path, kind, size)| match kind {
            0 => Thing::Folder(path),
            1 => Thing::Link(path),
            2 => Thing::HardLink(path),
            3 => Thing::Pipe(path),
            4 => Thing::Socket(path),
            _ => Thing::File(path, size),
        })
    }

    fn make(folder: &Path, secret: &Path, thing: &Thing) {
        let at = |path: &Vec<u8>| {
            let path = folder.join(OsStr::from_bytes(path));
            let _ = fs::create_dir_all(path.parent().expect("below the folder"));
            path
        };
        // What cannot be made, for something else is there, is not.
        let _ = match thing {
            // A new one: the test must not write through a link of its own.
            Thing::File(path, size) => fs::File::create_new(at(path))
                .and_then(|mut file| io::Write::write_all(&mut file, &vec![b'x'; *size])),
            Thing::Folder(path) => fs::create_dir_all(at(path)),
            Thing::Link(path) => std::os::unix::fs::symlink(secret, at(path)),
            Thing::HardLink(path) => fs::hard_link(secret, at(path)),
            Thing::Pipe(path) => {
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(CWD, at(path), kind, Mode::RWXU, 0).map_err(Into::into)
            }
            Thing::Socket(path) => std::os::unix::net::UnixListener::bind(at(path)).map(|_| ()),
        };
    }

    proptest! {
        #[test]
        fn only_plain_files_within_limits_come_out(things in vec(thing(), 0..20)) {
            let dir = tempfile::tempdir().unwrap();
            let (folder, secret) = (dir.path().join("folder"), dir.path().join("secret"));
            fs::create_dir(&folder).unwrap();
            fs::write(&secret, "the secret").unwrap();
            things.iter().for_each(|thing| make(&folder, &secret, thing));
            let limits = Limits { files: 5, files_bytes: 1_000, ..Limits::default() };
            let known = known(&[File::new(FileName::new("a").unwrap(), "xx")]);
            let mut given = Vec::new();
            let found = files(&folder, &limits, &known, |file| { given.push(file); Ok(()) }).unwrap();
            let bytes: usize = given.iter().map(|file| file.bytes.len()).sum();
            prop_assert!(given.len() + found.kept.len() <= 5 && bytes <= 1_000);
            for file in &given {
                prop_assert!(file.bytes.iter().all(|byte| *byte == b'x'), "{file:?}");
                let path = folder.join(file.name.as_str());
                prop_assert!(fs::symlink_metadata(&path).unwrap().is_file());
            }
            let is_sorted = given.windows(2).all(|pair| pair[0].name != pair[1].name);
            prop_assert!(is_sorted);
            open_up(&folder);
            prop_assert_eq!(fs::read_to_string(&secret).unwrap(), "the secret");
        }
    }

    #[test]
    fn what_is_left_out_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("big"), vec![0; 11]).unwrap();
        fs::write(dir.path().join("own"), "12345").unwrap();
        let limits = Limits {
            files_bytes: 10,
            ..Limits::default()
        };
        let mut names = Vec::new();
        let found = files(dir.path(), &limits, &Known::new(), |file| {
            names.push(file.name.to_string());
            Ok(())
        });
        let left: Vec<String> = found
            .unwrap()
            .left_out
            .into_iter()
            .map(|left| format!("{}: {}", left.name, left.why))
            .collect();
        assert_eq!(names, ["own"]);
        assert_eq!(
            left,
            [
                "big: more bytes than may come out",
                "link: neither a file nor a folder"
            ]
        );
    }
}
