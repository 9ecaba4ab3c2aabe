//! Reading a stranger's PDF in a child process: a panic, an endless loop or a bomb ends the child,
//! and the parent says so.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{Limits, PdfError, text};

/// How long a child may take, by the clock and by the processor.
const WALL: Duration = Duration::from_secs(60);
const CPU_SECONDS: u64 = 30;
/// Addresses that a child may hold.
const MEMORY_BYTES: u64 = 1 << 30;
/// Children at the same time: together they hold no more than a small machine has.
const CHILDREN: usize = 2;
/// How often the parent looks.
const GLANCE: Duration = Duration::from_millis(5);

/// What the child ends with, beside 0 for a text.
const INVALID: u8 = 10;
const LOCKED: u8 = 11;
const NO_TEXT: u8 = 12;
const TOO_MUCH: u8 = 13;

/// Starts a process for each file, a few at the same time. Clones share that limit.
#[derive(Debug, Clone)]
pub struct Reader {
    program: PathBuf,
    arguments: Vec<String>,
    wall: Duration,
    gate: Arc<Gate>,
}

/// Lets in [`CHILDREN`].
#[derive(Debug, Default)]
struct Gate {
    within: Mutex<usize>,
    left: Condvar,
}

/// A place within the gate; dropping it leaves.
struct Place<'g>(&'g Gate);

impl Gate {
    fn enter(&self) -> Place<'_> {
        let within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
        let mut within = self
            .left
            .wait_while(within, |within| *within >= CHILDREN)
            .unwrap_or_else(PoisonError::into_inner);
        *within += 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut within = self.0.within.lock().unwrap_or_else(PoisonError::into_inner);
        *within -= 1;
        self.0.left.notify_one();
    }
}

impl Reader {
    /// A reader whose child is `program` with these arguments; it has to call [`serve`].
    pub fn new(program: PathBuf, arguments: &[&str]) -> Self {
        Reader {
            program,
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            wall: WALL,
            gate: Arc::default(),
        }
    }

    /// The same with another limit on the time of one file.
    #[must_use]
    pub fn with_wall_time(mut self, wall: Duration) -> Self {
        self.wall = wall;
        self
    }

    /// The text of a file, as [`text`] gives it.
    ///
    /// # Errors
    /// See [`PdfError`].
    pub fn text(&self, bytes: &[u8]) -> Result<String, PdfError> {
        let _place = self.gate.enter();
        let start = |error: io::Error| PdfError::Start(error.to_string());
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(start)?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        thread::scope(|scope| {
            scope.spawn(move || {
                // A child that ends early has its reasons; its exit code tells them.
                input.map(|mut input| input.write_all(bytes))
            });
            let read = scope.spawn(move || {
                let mut text = Vec::new();
                let longest = Limits::default().text_bytes as u64 + 1_000;
                output.map(|output| output.take(longest).read_to_end(&mut text));
                text
            });
            let ended = wait(&mut child, self.wall);
            let text = read.join().unwrap_or_default();
            match ended.map_err(start)? {
                None => Err(PdfError::TooMuch("time".to_owned())),
                Some(code) => result(code, text),
            }
        })
    }
}

/// The exit code; `None` for a child that took too long, which is ended then. A signal counts as -1.
fn wait(child: &mut Child, wall: Duration) -> io::Result<Option<i32>> {
    let end = Instant::now() + wall;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

fn result(code: i32, text: Vec<u8>) -> Result<String, PdfError> {
    match u8::try_from(code) {
        Ok(0) => String::from_utf8(text).map_err(|_| PdfError::Invalid),
        Ok(INVALID) => Err(PdfError::Invalid),
        Ok(LOCKED) => Err(PdfError::Locked),
        Ok(NO_TEXT) => Err(PdfError::NoText),
        Ok(TOO_MUCH) => Err(PdfError::TooMuch("drawing operators".to_owned())),
        // It ran into one of its limits, or found a fault of the parser: nobody can tell from here.
        _ => Err(PdfError::TooMuch("memory or time".to_owned())),
    }
}

/// The child's part: takes its limits, reads a PDF from standard input, writes its text to standard
/// output. What it returns is the exit code of the process.
pub fn serve() -> ExitCode {
    let limit = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)
    };
    let limited = limit(Resource::As, MEMORY_BYTES)
        .and_then(|()| limit(Resource::Cpu, CPU_SECONDS))
        .and_then(|()| limit(Resource::Core, 0));
    let mut bytes = Vec::new();
    if limited.is_err() || io::stdin().lock().read_to_end(&mut bytes).is_err() {
        return ExitCode::FAILURE;
    }
    match text(bytes, &Limits::default()) {
        Ok(text) => match io::stdout().lock().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(PdfError::Locked) => LOCKED.into(),
        Err(PdfError::NoText) => NO_TEXT.into(),
        Err(PdfError::TooMuch(_)) => TOO_MUCH.into(),
        Err(PdfError::Invalid | PdfError::Start(_)) => INVALID.into(),
    }
}
