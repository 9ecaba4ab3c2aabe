//! Running the program, and the files that tests give it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a run said and how it ended.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program, without settings of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k25"));
    command
        .env_remove("NO_COLOR")
        .env_remove("K25_MODEL")
        .env("TERM", "dumb")
        .stdin(Stdio::null());
    command
}

/// Runs `k25` with these arguments.
pub fn k25<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    Run::of(
        program()
            .args(arguments)
            .output()
            .expect("the program starts"),
    )
}

/// Runs `k25` with text on its standard input.
pub fn k25_with_input<A: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Run {
    let mut command = program();
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that ends early does not read all of it.
    let _ = stdin.write_all(input);
    drop(stdin);
    Run::of(child.wait_with_output().expect("the program ends"))
}

impl Run {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Standard output of a run that went well.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (Some(0), ""),
            "standard output:\n{}",
            self.stdout
        );
        self.stdout
    }

    /// Standard output of a run that went well, as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.success()).expect("JSON")
    }

    /// Asserts that the run failed as it should: exit code 1, no output, an error that says all of
    /// `parts` and what to do next.
    #[track_caller]
    pub fn fails(self, parts: &[&str]) {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (Some(1), ""),
            "{}",
            self.stderr
        );
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in parts.iter().chain(&["  hint  "]) {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in:\n{}",
                self.stderr
            );
        }
    }

    /// Asserts that the flags were refused, with an error that says all of `parts`.
    #[track_caller]
    pub fn refuses_flags(self, parts: &[&str]) {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (Some(2), ""),
            "{}",
            self.stderr
        );
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in:\n{}",
                self.stderr
            );
        }
    }
}

/// A path below `fixtures/`.
pub fn fixture(name: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name);
    path.into_os_string()
        .into_string()
        .expect("a path in UTF-8")
}

/// The JSON of a file below `fixtures/`.
pub fn fixture_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).expect("a fixture")).expect("JSON")
}

/// A temporary folder with files in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn empty() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder"))
    }

    /// The files of a model folder below `fixtures/`, to be damaged.
    pub fn copy_of(name: &str) -> Self {
        let folder = Self::empty();
        for entry in fs::read_dir(fixture(name)).expect("a fixture") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, folder.path(path.file_name().expect("a name"))).expect("a copy");
        }
        folder
    }

    /// A place within the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// The folder, or a place within it, as an argument.
    pub fn arg(&self, name: &str) -> String {
        let path = if name.is_empty() {
            self.0.path().to_owned()
        } else {
            self.path(name)
        };
        path.into_os_string()
            .into_string()
            .expect("a path in UTF-8")
    }

    /// Writes a file and returns its path as an argument.
    pub fn with(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).expect("a file");
        self.arg(name)
    }
}
