//! The parent's side: starts launchers, hands them their work, waits for what they say.

use std::future::Future;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use crate::error::SandboxError;
use crate::output::Output;
use crate::place::Place;
use crate::protocol::{self, Fault, FrameError, Plan, Report};
use crate::python::{Python, PythonError};
use crate::spec::{Isolation, Limits, Program, Spec, Walls};

/// How long a launcher may take beyond the time that the code has. Taking a run apart on a machine that is busy with many others took
/// more than ten seconds; this bounds only what a broken launcher costs.
const GRACE: Duration = Duration::from_secs(40);
/// Longest code and sources, in bytes.
const MAX_CODE: usize = 1 << 20;

/// A way to run code that nobody trusts. Cheap to clone; runs do not know of each other.
#[derive(Debug, Clone)]
pub struct Sandbox {
    launcher: PathBuf,
    walls: Walls,
    landlock_at_most: Option<i32>,
    /// What the first run found out: see [`Known`].
    known: Arc<AtomicU8>,
    python: Arc<Mutex<Option<Result<Python, PythonError>>>>,
}

/// What is known about user namespaces here.
mod known {
    pub const NOTHING: u8 = 0;
    pub const NAMESPACES: u8 = 1;
    pub const FORBIDDEN: u8 = 2;
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::new()
    }
}

impl Sandbox {
    /// With this program as its own launcher: its `main` must begin with
    /// [`is_stage`](crate::is_stage) and [`stage_main`](crate::stage_main).
    pub fn new() -> Self {
        Sandbox::with_launcher("/proc/self/exe")
    }

    /// With another program as launcher.
    pub fn with_launcher(path: impl Into<PathBuf>) -> Self {
        Sandbox {
            launcher: path.into(),
            walls: Walls::Best,
            landlock_at_most: None,
            known: Arc::new(AtomicU8::new(known::NOTHING)),
            python: Arc::default(),
        }
    }

    /// With these walls and no others.
    #[must_use]
    pub fn with_walls(mut self, walls: Walls) -> Self {
        self.walls = walls;
        self
    }

    /// As on a kernel whose Landlock is of this version, at most.
    #[must_use]
    pub fn with_landlock_at_most(mut self, version: i32) -> Self {
        self.landlock_at_most = Some(version);
        self
    }

    /// With this Python instead of the first that is found.
    #[must_use]
    pub fn with_python(self, python: Python) -> Self {
        *self.python.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ok(python));
        self
    }

    /// The Python that scripts run in; looked for once.
    ///
    /// # Errors
    /// When there is none.
    pub fn python(&self) -> Result<Python, PythonError> {
        let mut python = self.python.lock().unwrap_or_else(PoisonError::into_inner);
        python.get_or_insert_with(Python::find).clone()
    }

    /// Whether code can be run here at all, and behind which walls: runs a program that does nothing.
    ///
    /// # Errors
    /// As [`run`](Sandbox::run).
    pub async fn check(&self) -> Result<Isolation, SandboxError> {
        let program = Program::JavaScript {
            code: String::new(),
        };
        let spec = Spec {
            program,
            files: Vec::new(),
            limits: Limits::default(),
        };
        self.run(spec).await.map(|output| output.isolation)
    }

    /// Runs a program. It works with any executor. Dropping the future kills the program.
    ///
    /// # Errors
    /// When nothing could be run. What goes wrong in the program is in the [`Output`].
    pub fn run(&self, spec: Spec) -> Running {
        let (done, receiver) = oneshot::channel();
        let cancel = Arc::new(Cancel::default());
        let (sandbox, shared) = (self.clone(), Arc::clone(&cancel));
        let thread = std::thread::Builder::new().name("sandbox".to_owned());
        // Of no use to anyone when the receiver is gone.
        let started = thread.spawn(move || done.send(sandbox.run_here(&spec, &shared)).ok());
        let failed = started
            .err()
            .map(|error| SandboxError::launcher("a thread", &error));
        Running {
            receiver,
            cancel,
            failed,
        }
    }

    fn run_here(&self, spec: &Spec, cancel: &Cancel) -> Result<Output, SandboxError> {
        check_spec(spec)?;
        if self.walls == Walls::Confined {
            return self.attempt(spec, Isolation::Confined, cancel);
        }
        let mut why = None;
        if self.known.load(Ordering::Relaxed) != known::FORBIDDEN || self.walls != Walls::Best {
            match self.attempt(spec, Isolation::Namespaces, cancel) {
                Err(error @ SandboxError::Missing { .. }) if self.walls == Walls::Best => {
                    why = Some(error);
                }
                result => {
                    self.known.store(known::NAMESPACES, Ordering::Relaxed);
                    return result;
                }
            }
        }
        let result = self.attempt(spec, Isolation::Confined, cancel);
        match (why, result) {
            // Both ways are closed: the first would be the better one to open.
            (Some(first), Err(SandboxError::Missing { feature, what, .. })) => {
                Err(both_missing(first, &feature, &what))
            }
            (_, result) => {
                self.known.store(known::FORBIDDEN, Ordering::Relaxed);
                result
            }
        }
    }

    fn attempt(
        &self,
        spec: &Spec,
        isolation: Isolation,
        cancel: &Cancel,
    ) -> Result<Output, SandboxError> {
        let folder = Place::new().map_err(|error| SandboxError::launcher("a folder", &error))?;
        let plan = Plan {
            program: spec.program.clone(),
            limits: spec.limits,
            isolation,
            folder: folder.path(),
            landlock_at_most: self.landlock_at_most,
        };
        let result = self.talk(&plan, spec, cancel);
        cancel.finish();
        result
    }

    fn talk(&self, plan: &Plan, spec: &Spec, cancel: &Cancel) -> Result<Output, SandboxError> {
        let mut child = Command::new(&self.launcher)
            .arg(crate::STAGE)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| SandboxError::launcher(self.launcher.display().to_string(), &error))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked for");
        };
        cancel.watch(child)?;
        // As long as this end is open, the launcher knows that it is wanted.
        let lifeline = hand_over(stdin, plan, spec);
        let deadline = Instant::now() + spec.limits.wall + GRACE;
        let mut reader = BufReader::new(Patient {
            pipe: stdout,
            deadline,
        });
        let report = protocol::read_report(&mut reader, &spec.limits);
        drop(lifeline);
        if cancel.is_asked() {
            return Err(SandboxError::Cancelled);
        }
        match report {
            Ok(Report::Output(output)) => Ok(*output),
            Ok(Report::Fault(fault)) => Err(from_fault(fault)),
            Err(error) => Err(silent(&error)),
        }
    }
}

fn hand_over(stdin: ChildStdin, plan: &Plan, spec: &Spec) -> io::Result<ChildStdin> {
    let mut writer = BufWriter::with_capacity(1 << 16, stdin);
    // Where the launcher stops listening, it says why on the other pipe.
    protocol::write_request(&mut writer, plan, &spec.files)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)
}

fn check_spec(spec: &Spec) -> Result<(), SandboxError> {
    let limits = &spec.limits;
    let wrong = |what: String, hint: &str| SandboxError::Spec {
        what,
        hint: hint.to_owned(),
    };
    let code = match &spec.program {
        Program::JavaScript { code } => code.len(),
        Program::Script { sources, .. } => sources.iter().map(|(_, text)| text.len()).sum(),
        Program::Command { .. } => 0,
    };
    if code > MAX_CODE {
        let what = format!("the code is {code} bytes long");
        return Err(wrong(what, "put data into files; code may have 1 MiB"));
    }
    let bytes: u64 = spec.files.iter().map(|file| file.bytes.len() as u64).sum();
    if bytes > limits.files_bytes || spec.files.len() > limits.files {
        let what = format!("{} files of {bytes} bytes do not fit", spec.files.len());
        let hint = format!(
            "there is room for {} files of {} bytes together",
            limits.files, limits.files_bytes
        );
        return Err(wrong(what, &hint));
    }
    Ok(())
}

fn from_fault(fault: Fault) -> SandboxError {
    let Fault {
        feature,
        what,
        hint,
    } = fault;
    match feature {
        Some(feature) => SandboxError::Missing {
            feature,
            what,
            hint,
        },
        None => SandboxError::Setup { what, hint },
    }
}

fn silent(error: &FrameError) -> SandboxError {
    SandboxError::Launcher {
        what: format!("no report ({error})"),
        hint: "did something kill it? see the kernel's log for its memory".to_owned(),
    }
}

fn both_missing(first: SandboxError, feature: &str, what: &str) -> SandboxError {
    match first {
        SandboxError::Missing {
            feature: better,
            what: why,
            hint,
        } => SandboxError::Missing {
            feature: format!("{better}, and no {feature} instead"),
            what: format!("{why}; {what}"),
            hint,
        },
        other => other,
    }
}

/// A run at work; a future of its [`Output`].
#[derive(Debug)]
#[must_use = "the program is killed when this is dropped"]
pub struct Running {
    receiver: oneshot::Receiver<Result<Output, SandboxError>>,
    cancel: Arc<Cancel>,
    failed: Option<SandboxError>,
}

impl Future for Running {
    type Output = Result<Output, SandboxError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.receiver)
            .poll(context)
            .map(|result| result.unwrap_or(Err(SandboxError::Cancelled)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.ask();
    }
}

/// The launcher of a run, for whoever wants to end it.
#[derive(Debug, Default)]
struct Cancel {
    state: Mutex<CancelState>,
}

#[derive(Debug, Default)]
struct CancelState {
    child: Option<Child>,
    is_asked: bool,
}

impl Cancel {
    fn lock(&self) -> std::sync::MutexGuard<'_, CancelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        let mut state = self.lock();
        state.is_asked = true;
        if let Some(child) = &mut state.child {
            // Everything behind the walls dies with it.
            let _ = child.kill();
        }
    }

    fn is_asked(&self) -> bool {
        self.lock().is_asked
    }

    fn watch(&self, mut child: Child) -> Result<(), SandboxError> {
        let mut state = self.lock();
        if state.is_asked {
            let _ = child.kill();
            let _ = child.wait();
            return Err(SandboxError::Cancelled);
        }
        state.child = Some(child);
        Ok(())
    }

    /// Buries the launcher, which has said all or never will.
    fn finish(&self) {
        let child = self.lock().child.take();
        if let Some(mut child) = child {
            let began = Instant::now();
            while let Ok(None) = child.try_wait() {
                if began.elapsed() > Duration::from_secs(1) {
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

/// A pipe that is not waited on for ever.
struct Patient<P> {
    pipe: P,
    deadline: Instant,
}

#[cfg(target_os = "linux")]
impl<P: Read + std::os::fd::AsFd> Read for Patient<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let mut fds = [PollFd::new(&self.pipe, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => self.pipe.read(buffer),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl<P: Read> Read for Patient<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = self.deadline;
        self.pipe.read(buffer)
    }
}
