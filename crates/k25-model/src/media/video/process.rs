//! A child process that decodes for us: bounded in time, in output and in life.

use std::ffi::OsStr;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::media::MediaError;

/// Bytes of the child's complaints that are kept: the last ones say why it stopped.
const STDERR_TAIL: usize = 2_000;

/// How often a child that has closed its output is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// A running program. It is killed when its time is over and when this value is dropped.
pub(super) struct Process<'a> {
    path: &'a Path,
    child: Arc<Mutex<Child>>,
    stdout: BufReader<ChildStdout>,
    complaints: Option<JoinHandle<String>>,
    watchdog: Option<JoinHandle<()>>,
    /// Dropped to send the watchdog home.
    calm: Option<Sender<()>>,
    overdue: Arc<AtomicBool>,
    deadline: Instant,
    limit: Duration,
}

impl<'a> Process<'a> {
    /// Starts `program` with these arguments, without a shell, for at most `limit` of time; `path`
    /// is the video that errors name.
    pub(super) fn start(
        program: &str,
        arguments: &[impl AsRef<OsStr>],
        path: &'a Path,
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
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            unreachable!("both streams were asked for");
        };
        let child = Arc::new(Mutex::new(child));
        let overdue = Arc::new(AtomicBool::new(false));
        let (calm, disturbance) = channel::<()>();
        let watchdog = thread::spawn({
            let (child, overdue) = (child.clone(), overdue.clone());
            move || {
                if disturbance.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    overdue.store(true, Ordering::Release);
                    kill(&child);
                }
            }
        });
        Ok(Self {
            path,
            child,
            stdout: BufReader::new(stdout),
            complaints: Some(thread::spawn(move || tail(stderr))),
            watchdog: Some(watchdog),
            calm: Some(calm),
            overdue,
            deadline: Instant::now() + limit,
            limit,
        })
    }

    /// What the program writes; it ends when the program does, or its time.
    pub(super) fn stdout(&mut self) -> &mut BufReader<ChildStdout> {
        &mut self.stdout
    }

    /// Waits for the program's end and tells whether it was a success.
    pub(super) fn finish(mut self) -> Result<(), MediaError> {
        let status = loop {
            let status = lock(&self.child).try_wait();
            match status {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < self.deadline => thread::sleep(POLL),
                Ok(None) => return Err(self.failure("it did not end")),
                Err(error) => {
                    return Err(self.failure(&format!("it cannot be waited for: {error}")));
                }
            }
        };
        if status.success() {
            Ok(())
        } else {
            Err(self.failure(&format!("the decoder ended with {status}")))
        }
    }

    /// Stops the program and says why the video failed, with the program's last words.
    pub(super) fn failure(&mut self, reason: &str) -> MediaError {
        kill(&self.child);
        if self.overdue.load(Ordering::Acquire) || Instant::now() >= self.deadline {
            return MediaError::VideoTimeout {
                path: self.path.to_owned(),
                limit: self.limit,
            };
        }
        let stderr = self
            .complaints
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        MediaError::Video {
            path: self.path.to_owned(),
            reason: reason.to_owned(),
            stderr,
        }
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        self.calm = None;
        kill(&self.child);
        // A thread that panicked has nothing more to tell.
        self.watchdog.take().map(JoinHandle::join);
        self.complaints.take().map(JoinHandle::join);
        // Killed, so this returns at once and leaves no zombie.
        let _ = lock(&self.child).wait();
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(child: &Mutex<Child>) {
    // It fails only where the child has ended already.
    let _ = lock(child).kill();
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

    fn start(
        program: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Process<'static>, MediaError> {
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
        process.stdout().read_to_end(&mut output).expect("an end");
        assert!(matches!(
            process.finish(),
            Err(MediaError::VideoTimeout { .. })
        ));
        assert!(started.elapsed() < Duration::from_secs(30));
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
        process.stdout().read_to_end(&mut output).expect("an end");
        let error = process.finish().err().expect("ls fails");
        assert!(
            matches!(&error, MediaError::Video { stderr, .. } if stderr.contains("/no/such/place")),
            "{error}"
        );
    }
}
