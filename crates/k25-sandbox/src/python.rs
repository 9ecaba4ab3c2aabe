//! The Python of this machine: which one, and how a script runs in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::spec::Program;

/// Runs a script as a notebook cell.
const DRIVER: &str = include_str!("python/driver.py");
/// What an interpreter is asked: where it lies, and what it reads.
const QUESTION: &str = "import sys; print(sys.executable); print(sys.version.split()[0]); \
                        print(sys.prefix); print(sys.base_prefix); print(sys.base_exec_prefix)";
/// The oldest that the driver speaks.
const OLDEST: (u32, u32) = (3, 8);
/// Where interpreters are that every user can run.
const PLACES: [&str; 2] = ["/usr/bin/python3", "/usr/local/bin/python3"];

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// Its path.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
    /// Folders that it reads, beyond those of the system.
    readable: Vec<PathBuf>,
}

/// Why there is no Python to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PythonError {
    /// None was found.
    #[error("there is no Python 3 on this machine that the sandbox can run")]
    NotFound,
    /// The one that was named does not do.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// The one that was named.
        path: PathBuf,
        /// What is the matter.
        why: String,
    },
}

impl PythonError {
    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            PythonError::NotFound => {
                "install it (Debian, Ubuntu: apt install python3; Fedora: dnf install python3), or \
                 name one with --python PATH; JavaScript needs nothing installed"
            }
            PythonError::Unusable { .. } => "name a Python 3.8 or later, as in /usr/bin/python3",
        }
    }
}

impl Python {
    /// The first of the usual places, then of `PATH`, that works.
    ///
    /// # Errors
    /// When none does.
    pub fn find() -> Result<Self, PythonError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join("python3"));
        PLACES
            .iter()
            .map(PathBuf::from)
            .chain(on_path)
            .filter(|path| path.is_absolute() && path.exists())
            .find_map(|path| Python::at(&path).ok())
            .ok_or(PythonError::NotFound)
    }

    /// This interpreter.
    ///
    /// # Errors
    /// When it does not run, is too old, or, for root, is hidden from other users: the sandbox is one.
    pub fn at(path: &Path) -> Result<Self, PythonError> {
        let unusable = |why: String| PythonError::Unusable {
            path: path.to_owned(),
            why,
        };
        let answer = Command::new(path)
            .args(["-I", "-S", "-c", QUESTION])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(|error| unusable(error.to_string()))?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let mut lines = text.lines();
        let (Some(executable), Some(version)) = (lines.next(), lines.next()) else {
            return Err(unusable("it is no Python 3".to_owned()));
        };
        if number(version) < Some(OLDEST) {
            return Err(unusable(format!(
                "it is Python {version}, which is too old"
            )));
        }
        let mut readable: Vec<PathBuf> = Vec::new();
        for folder in lines.chain(Path::new(executable).parent().and_then(Path::to_str)) {
            let folder = PathBuf::from(folder);
            let is_system = folder.starts_with("/usr") || folder == Path::new("/bin");
            if !is_system && folder.is_absolute() && !readable.contains(&folder) {
                readable.push(folder);
            }
        }
        // The shorter ones first: the longer may lie in them.
        readable.sort();
        if let Some(hidden) = readable.iter().find(|folder| is_hidden(folder)) {
            let why = format!("other users cannot enter {}", hidden.display());
            return Err(unusable(why));
        }
        if readable.iter().any(|folder| folder.parent().is_none()) {
            return Err(unusable("its folder is the whole file system".to_owned()));
        }
        Ok(Python {
            path: executable.into(),
            version: version.to_owned(),
            readable,
        })
    }

    /// A program that runs this code as a notebook cell.
    pub fn program(&self, code: &str) -> Program {
        let path = self.path.to_string_lossy().into_owned();
        Program::Script {
            argv: vec![path, "-s".to_owned(), "-u".to_owned()],
            sources: vec![
                ("driver.py".to_owned(), DRIVER.to_owned()),
                ("main.py".to_owned(), code.to_owned()),
            ],
            readable: self.readable.clone(),
        }
    }
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let mut part = || parts.next()?.parse().ok();
    Some((part()?, part()?))
}

/// Whether root would see a folder and the ordinary user, whom it becomes, would not.
#[cfg(target_os = "linux")]
fn is_hidden(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let is_closed = |folder: &Path| {
        let mode = std::fs::metadata(folder).map(|metadata| metadata.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o001 == 0)
    };
    rustix::process::geteuid().is_root() && folder.ancestors().any(is_closed)
}

#[cfg(not(target_os = "linux"))]
fn is_hidden(_: &Path) -> bool {
    false
}
