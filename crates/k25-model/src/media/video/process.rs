//! A child process that decodes for us: bounded in time, in output and in life.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::media::MediaError;

/// Bytes of the child's complaints that are kept: the last ones say why it stopped.
const STDERR_TAIL: usize = 2_000;

/// How often a child that has closed its output is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// A running program, read through [`Read`]. It is killed when we have waited for it too long, and
/// when this value is dropped.
pub(super) struct Process {
    path: PathBuf,
    stdout: ChildStdout,
    shared: Arc<Shared>,
    complaints: Option<JoinHandle<String>>,
    watchdog: Option<JoinHandle<()>>,
    limit: Duration,
    /// What is left of the limit. Only waiting takes from it: whoever reads frames may compute on
    /// each of them as long as it likes.
    patience: Duration,
}

/// What the watchdog looks at.
struct Shared {
    child: Mutex<Child>,
    watch: Mutex<Watch>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Nobody waits for the child.
    Idle,
    /// Somebody waits, until then.
    Until(Instant),
    /// It was killed because the time was over.
    Overdue,
    /// The watchdog may go.
    Over,
}

impl Process {
    /// Starts `program` with these arguments, without a shell, to be waited for no longer than
    /// `limit` in all; `path` is the video that errors name.
    pub(super) fn start(
        program: &str,
        arguments: &[impl AsRef<OsStr>],
        path: &Path,
        limit: Duration,
    ) -> Result<Self, MediaError> {
        let spawned = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|source| MediaError::DecoderMissing {
            program: program.to_owned(),
            source,
        })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both streams were asked for");
        };
        let shared = Arc::new(Shared {
            child: Mutex::new(child),
            watch: Mutex::new(Watch::Idle),
            changed: Condvar::new(),
        });
        let watched = shared.clone();
        Ok(Self {
            path: path.to_owned(),
            stdout,
            shared,
            complaints: Some(thread::spawn(move || tail(stderr))),
            watchdog: Some(thread::spawn(move || watched.keep_watch())),
            limit,
            patience: limit,
        })
    }

    /// Does something that waits for the child, and counts the time.
    fn waiting<T>(&mut self, wait: impl FnOnce(&mut Self) -> T) -> T {
        let started = Instant::now();
        self.shared.set(Watch::Until(started + self.patience));
        let result = wait(self);
        self.shared.set(Watch::Idle);
        self.patience = self.patience.saturating_sub(started.elapsed());
        result
    }

    /// Waits for the program's end and tells whether it was a success.
    pub(super) fn finish(mut self) -> Result<(), MediaError> {
        let ended = self.waiting(|process| {
            loop {
                match lock(&process.shared.child).try_wait() {
                    Ok(None) => {}
                    ended => return ended,
                }
                thread::sleep(POLL);
            }
        });
        match ended {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(self.failure(&format!("the decoder ended with {status}"))),
            Ok(None) => Err(self.failure("the decoder did not end")),
            Err(error) => Err(self.failure(&format!("the decoder cannot be waited for: {error}"))),
        }
    }

    /// Stops the program and says why the video failed, with the program's last words.
    pub(super) fn failure(&mut self, reason: &str) -> MediaError {
        self.shared.kill();
        let path = self.path.clone();
        if *lock(&self.shared.watch) == Watch::Overdue {
            return MediaError::VideoTimeout {
                path,
                limit: self.limit,
            };
        }
        let stderr = self
            .complaints
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        MediaError::Video {
            path,
            reason: reason.to_owned(),
            stderr,
        }
    }
}

impl Read for Process {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.waiting(|process| process.stdout.read(into))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shared.set(Watch::Over);
        self.shared.kill();
        // Threads that panicked have nothing more to tell.
        self.watchdog.take().map(JoinHandle::join);
        self.complaints.take().map(JoinHandle::join);
        // Killed, so this returns at once and leaves no zombie.
        let _ = lock(&self.shared.child).wait();
    }
}

impl Shared {
    fn set(&self, watch: Watch) {
        let mut current = lock(&self.watch);
        // That the child was late stays known, until nobody asks any more.
        if *current != Watch::Overdue || watch == Watch::Over {
            *current = watch;
            self.changed.notify_one();
        }
    }

    fn kill(&self) {
        // It fails only where the child has ended already.
        let _ = lock(&self.child).kill();
    }

    fn keep_watch(&self) {
        let mut watch = lock(&self.watch);
        loop {
            let left = match *watch {
                Watch::Idle => None,
                Watch::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
                Watch::Overdue | Watch::Over => return,
            };
            watch = match left {
                None => self
                    .changed
                    .wait(watch)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    *watch = Watch::Overdue;
                    self.kill();
                    return;
                }
                Some(left) => {
                    self.changed
                        .wait_timeout(watch, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of what is written, as one line of printable text.
fn tail(mut stderr: ChildStderr) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1_024]);
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let excess = kept.len().saturating_sub(STDERR_TAIL);
        kept.drain(..excess);
    }
    let text = String::from_utf8_lossy(&kept);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .collect::<Vec<_>>()
        .join("; ")
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(program: &str, arguments: &[&str], limit: Duration) -> Result<Process, MediaError> {
        Process::start(program, arguments, Path::new("a.mp4"), limit)
    }

    #[test]
    fn a_missing_program_is_an_error_with_the_way_to_install_it() {
        let error = start("k25-no-such-program", &[], Duration::from_secs(1))
            .err()
            .expect("an error");
        assert!(error.to_string().contains("k25-no-such-program"), "{error}");
        assert!(
            error.to_string().contains("apt-get install ffmpeg"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_hangs_is_stopped_in_time() {
        let started = Instant::now();
        let mut process = start("sleep", &["600"], Duration::from_millis(50)).expect("sleep runs");
        let mut output = Vec::new();
        process.read_to_end(&mut output).expect("an end");
        assert!(matches!(
            process.finish(),
            Err(MediaError::VideoTimeout { .. })
        ));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn only_waiting_counts() {
        let mut process = start(
            "sh",
            &["-c", "echo one; exec sleep 600"],
            Duration::from_secs(2),
        )
        .expect("sh runs");
        let mut line = [0; 4];
        process.read_exact(&mut line).expect("a line");
        thread::sleep(Duration::from_secs(3));
        assert!(
            !process.patience.is_zero(),
            "computing took from the patience"
        );
        let started = Instant::now();
        assert_eq!(process.read(&mut line).expect("an end"), 0);
        assert!(
            started.elapsed() > Duration::from_millis(500),
            "stopped too early"
        );
        assert!(matches!(
            process.failure("late"),
            MediaError::VideoTimeout { .. }
        ));
    }

    #[test]
    fn dropping_a_program_ends_it() {
        let started = Instant::now();
        drop(start("sleep", &["600"], Duration::from_secs(600)).expect("sleep runs"));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_failure_carries_the_last_words() {
        let mut process =
            start("ls", &["/no/such/place"], Duration::from_secs(30)).expect("ls runs");
        let mut output = Vec::new();
        process.read_to_end(&mut output).expect("an end");
        let error = process.finish().expect_err("ls fails");
        assert!(
            matches!(&error, MediaError::Video { stderr, .. } if stderr.contains("/no/such/place")),
            "{error}"
        );
    }
}
