//! Starts the code and watches over it: time, memory, output, the parent's wish to stop.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};

use super::capture::Capture;
use super::kernel::{self, Fork};
use super::{Places, Step, build_place, collect, confine, fault, start_code};
use crate::files::File;
use crate::output::{Captured, Ended, KilledBy, Usage};
use crate::protocol::{Fault, Plan};
use crate::spec::{Isolation, Limits};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the folder is looked at, in looks, where no file system of its own limits it.
const FOLDER_EVERY: u32 = 10;
/// Output beyond this many times of what is kept ends the run.
const MAX_OUTPUT: u64 = 1_000;
/// Bytes written beyond this many times the room for files end the run, without namespaces.
const MAX_WRITTEN: u64 = 4;

/// What the first process says when the new root stands.
const READY: u8 = 1;

/// What the guard saw.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) ended: Ended,
    pub(super) killed_by: Option<KilledBy>,
    pub(super) usage: Usage,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
}

/// The ends of the pipes that the code's side holds.
struct Inside {
    stdout: OwnedFd,
    stderr: OwnedFd,
    faults: OwnedFd,
    status: OwnedFd,
}

/// The ends that the guard holds.
struct Outside {
    stdout: OwnedFd,
    stderr: OwnedFd,
    faults: OwnedFd,
    status: OwnedFd,
}

fn pipes() -> Step<(Outside, Inside)> {
    let (stdout, stderr) = (kernel::pipe()?, kernel::pipe()?);
    let (faults, status) = (kernel::pipe()?, kernel::pipe()?);
    let inside = Inside {
        stdout: stdout.1,
        stderr: stderr.1,
        faults: faults.1,
        status: status.1,
    };
    let outside = Outside {
        stdout: stdout.0,
        stderr: stderr.0,
        faults: faults.0,
        status: status.0,
    };
    for end in [
        &outside.stdout,
        &outside.stderr,
        &outside.faults,
        &outside.status,
    ] {
        kernel::do_not_block(end)?;
    }
    Ok((outside, inside))
}

/// Runs the code to its end; `None` if the parent wants no more of it.
pub(super) fn run(plan: &Plan, places: &Places, files: Vec<File>) -> Step<Option<Watched>> {
    let (outside, inside) = pipes()?;
    let child = match kernel::fork().map_err(|error| fault("fork", error))? {
        Fork::Child => {
            drop(outside);
            match plan.isolation {
                Isolation::Namespaces => be_init(plan, places, files, &inside),
                Isolation::Confined => be_only_child(plan, places, files, &inside),
            }
        }
        Fork::Parent(child) => child,
    };
    drop((inside, files));
    Guard::new(plan, places, child, &outside)?.watch()
}

/// The first process of the new namespace: it starts the code, buries the dead, and when the code
/// ends everything else in there ends with it.
fn be_init(plan: &Plan, places: &Places, files: Vec<File>, inside: &Inside) -> ! {
    let set_up = || {
        die_with_the_guard(inside)?;
        build_place(plan, places, &files)?;
        drop(files);
        // From here on the guard sees the new /proc.
        rustix::io::write(&inside.status, &[READY]).map_err(|error| fault("a pipe", error))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|error| fault("prctl", error))?;
        kernel::fork().map_err(|error| fault("fork", error))
    };
    let code = match set_up() {
        Ok(Fork::Parent(code)) => code,
        Ok(Fork::Child) => be_code(plan, places, inside),
        Err(fault) => tell_and_exit(inside, &fault),
    };
    use std::os::fd::AsRawFd as _;
    kernel::close_all_above(-1, &[inside.status.as_raw_fd()]);
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == code => {
                let _ = rustix::io::write(&inside.status, &status.as_raw().to_le_bytes());
                kernel::exit_now(0);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => kernel::exit_now(1),
        }
    }
}

/// The one child that there is without namespaces.
fn be_only_child(plan: &Plan, places: &Places, files: Vec<File>, inside: &Inside) -> ! {
    let built = die_with_the_guard(inside).and_then(|()| build_place(plan, places, &files));
    drop(files);
    match built {
        Ok(()) => be_code(plan, places, inside),
        Err(fault) => tell_and_exit(inside, &fault),
    }
}

/// The child that becomes the code.
fn be_code(plan: &Plan, places: &Places, inside: &Inside) -> ! {
    let started = enter_code(inside)
        .and_then(|()| confine::apply(plan, places))
        .and_then(|()| start_code(plan, places, || kernel::close_all_above(2, &[])));
    match started {
        Ok(code) => kernel::exit_now(code),
        Err(fault) => tell_and_exit(inside, &fault),
    }
}

/// A session without a terminal, nothing to read, and no descriptor but the streams.
fn enter_code(inside: &Inside) -> Step<()> {
    die_with_the_guard(inside)?;
    rustix::process::setsid().map_err(|error| fault("setsid", error))?;
    let null = std::fs::File::open("/dev/null").map_err(|error| fault("/dev/null", error))?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&inside.stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(&inside.stderr))
        .map_err(|error| fault("the streams", error))?;
    drop(null);
    use std::os::fd::AsRawFd as _;
    // What stays is closed when the code starts.
    kernel::close_all_above(2, &[inside.faults.as_raw_fd()]);
    Ok(())
}

/// Whoever kills the guard kills this, too.
fn die_with_the_guard(inside: &Inside) -> Step<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| fault("prctl", error))?;
    // It may have died before: then nobody reads the status.
    let mut ends = [PollFd::new(&inside.status, PollFlags::OUT)];
    let _ = poll(&mut ends, Some(&Timespec::default()));
    if ends[0].revents().contains(PollFlags::ERR) {
        kernel::exit_now(1);
    }
    Ok(())
}

fn tell_and_exit(inside: &Inside, fault: &Fault) -> ! {
    let text = serde_json::to_vec(fault).unwrap_or_default();
    let _ = rustix::io::write(&inside.faults, &text);
    kernel::exit_now(127);
}

/// The guard at work.
struct Guard<'a> {
    plan: &'a Plan,
    places: &'a Places,
    child: Pid,
    ends: &'a Outside,
    began: Instant,
    stdout: Capture,
    stderr: Capture,
    peak_memory_bytes: u64,
    looks: u32,
    /// Whether /proc is the new one; without namespaces there is but one.
    is_ready: bool,
    killed_by: Option<KilledBy>,
    is_cancelled: bool,
}

impl<'a> Guard<'a> {
    fn new(plan: &'a Plan, places: &'a Places, child: Pid, ends: &'a Outside) -> Step<Self> {
        Ok(Guard {
            plan,
            places,
            child,
            ends,
            began: Instant::now(),
            stdout: Capture::new(plan.limits.output_bytes),
            stderr: Capture::new(plan.limits.output_bytes),
            peak_memory_bytes: 0,
            looks: 0,
            is_ready: plan.isolation == Isolation::Confined,
            killed_by: None,
            is_cancelled: false,
        })
    }

    fn watch(mut self) -> Step<Option<Watched>> {
        let child = rustix::process::pidfd_open(self.child, PidfdFlags::empty())
            .map_err(|error| fault("the child", error))?;
        let mut looked = Instant::now();
        while !self.wait(&child) {
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look();
            }
            if self.began.elapsed() >= self.plan.limits.wall {
                self.kill(KilledBy::Time);
            }
        }
        let (status, micros) =
            kernel::wait_for(self.child).map_err(|error| fault("the child", error))?;
        if self.is_cancelled {
            return Ok(None);
        }
        while self.read_output() {}
        self.finish(status, micros).map(Some)
    }

    /// Waits for something to happen; `true` when the child has ended.
    fn wait(&mut self, child: &OwnedFd) -> bool {
        let stdin = io::stdin();
        let left = self.plan.limits.wall.saturating_sub(self.began.elapsed());
        let timeout = Timespec::try_from(left.min(LOOK_EVERY)).unwrap_or_default();
        let mut fds = [
            PollFd::new(child, PollFlags::IN),
            PollFd::new(&stdin, PollFlags::empty()),
            PollFd::new(&self.ends.stdout, PollFlags::IN),
            PollFd::new(&self.ends.stderr, PollFlags::IN),
        ];
        let _ = poll(&mut fds, Some(&timeout));
        let [has_ended, is_left] = [&fds[0], &fds[1]].map(|fd| !fd.revents().is_empty());
        let is_silent = fds[2..].iter().all(|fd| fd.revents() == PollFlags::HUP);
        if is_left && !self.is_cancelled {
            self.is_cancelled = true;
            let _ = rustix::process::kill_process(self.child, Signal::KILL);
        }
        self.read_output();
        if is_silent && !has_ended {
            // Both streams are closed and the program goes on: do not spin.
            std::thread::sleep(Duration::from_millis(1));
        }
        has_ended
    }

    /// Takes what is there of both streams; `true` if there was something.
    fn read_output(&mut self) -> bool {
        let mut buffer = [0; 1 << 16];
        let mut has_read = false;
        for (end, capture) in [
            (&self.ends.stdout, &mut self.stdout),
            (&self.ends.stderr, &mut self.stderr),
        ] {
            if let Ok(count @ 1..) = rustix::io::read(end, &mut buffer) {
                capture.add(&buffer[..count]);
                has_read = true;
            }
        }
        let most = (self.plan.limits.output_bytes as u64).saturating_mul(MAX_OUTPUT);
        if self.stdout.total().max(self.stderr.total()) > most.max(1 << 20) {
            self.kill(KilledBy::Output);
        }
        has_read
    }

    /// Ends everything inside.
    fn kill(&mut self, why: KilledBy) {
        if self.killed_by.is_none() {
            self.killed_by = Some(why);
            let _ = rustix::process::kill_process(self.child, Signal::KILL);
        }
    }

    /// Looks at memory and, where nothing else limits them, threads and files.
    fn look(&mut self) {
        let limits = self.plan.limits;
        self.is_ready = self.is_ready || told_ready(&self.ends.status);
        if !self.is_ready {
            return;
        }
        self.looks += 1;
        let memory = self.memory_bytes(limits.memory_bytes);
        self.peak_memory_bytes = self.peak_memory_bytes.max(memory);
        if memory > limits.memory_bytes {
            self.kill(KilledBy::Memory);
        }
        if self.plan.isolation == Isolation::Confined {
            let process = PathBuf::from(format!("/proc/{}", self.child.as_raw_nonzero()));
            if threads(&process) > limits.processes {
                self.kill(KilledBy::Processes);
            }
            let looks_at_folder = self.looks.is_multiple_of(FOLDER_EVERY);
            if written(&process) > limits.files_bytes.saturating_mul(MAX_WRITTEN)
                || looks_at_folder && self.is_full(&limits)
            {
                self.kill(KilledBy::Files);
            }
        }
    }

    fn is_full(&self, limits: &Limits) -> bool {
        [&self.places.folder, &self.places.scratch]
            .into_iter()
            .map(|folder| collect::size(folder))
            .any(|(bytes, files)| bytes > limits.files_bytes || files > 4 * limits.files)
    }

    /// What all processes use together. Pages that several share are counted once each; where that
    /// seems too much, they are divided among those who share them.
    fn memory_bytes(&self, limit: u64) -> u64 {
        let processes = self.processes();
        let resident: u64 = processes.iter().map(|process| resident(process)).sum();
        if resident <= limit {
            return resident;
        }
        processes.iter().map(|process| proportional(process)).sum()
    }

    fn processes(&self) -> Vec<PathBuf> {
        if self.plan.isolation == Isolation::Confined {
            return vec![format!("/proc/{}", self.child.as_raw_nonzero()).into()];
        }
        // The guard stands in the new root, whose /proc shows the new processes alone; the first
        // of them is ours.
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let is_process = |name: &str| name != "1" && name.bytes().all(|b| b.is_ascii_digit());
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_process))
            .map(|entry| entry.path())
            .collect()
    }

    fn finish(mut self, status: i32, micros: u64) -> Step<Watched> {
        if let Some(fault) = told_fault(&self.ends.faults) {
            return Err(fault);
        }
        self.is_ready = self.is_ready || told_ready(&self.ends.status);
        let status = match self.plan.isolation {
            Isolation::Namespaces => told_status(&self.ends.status).unwrap_or(status),
            Isolation::Confined => status,
        };
        let ended = match (libc::WIFEXITED(status), libc::WIFSIGNALED(status)) {
            (true, _) => Ended::Exited(libc::WEXITSTATUS(status)),
            (_, true) => Ended::Signalled(libc::WTERMSIG(status)),
            _ => Ended::Signalled(libc::SIGKILL),
        };
        let cpu = Duration::from_micros(micros);
        let is_cpu = ended == Ended::Signalled(libc::SIGXCPU)
            || ended == Ended::Signalled(libc::SIGKILL)
                && cpu.as_secs() >= self.plan.limits.cpu_seconds;
        Ok(Watched {
            ended,
            killed_by: self.killed_by.or(is_cpu.then_some(KilledBy::Cpu)),
            usage: Usage {
                wall: self.began.elapsed(),
                cpu,
                peak_memory_bytes: self.peak_memory_bytes,
            },
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
        })
    }
}

/// What the child said before it could become the code.
fn told_fault(faults: impl AsFd) -> Option<Fault> {
    let mut text = vec![0; 1 << 16];
    let count = rustix::io::read(faults, &mut text)
        .ok()
        .filter(|count| *count > 0)?;
    let unreadable = || fault("the child", "it failed without words");
    Some(serde_json::from_slice(&text[..count]).unwrap_or_else(|_| unreadable()))
}

fn told_ready(status: impl AsFd) -> bool {
    let mut byte = [0];
    rustix::io::read(status, &mut byte) == Ok(1) && byte == [READY]
}

fn told_status(status: impl AsFd) -> Option<i32> {
    let mut bytes = [0; 4];
    let count = rustix::io::read(status, &mut bytes).ok()?;
    (count == bytes.len()).then(|| i32::from_le_bytes(bytes))
}

fn small_file(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let _ = file.map(|file| file.take(1 << 16).read_to_string(&mut text));
    text
}

fn resident(process: &Path) -> u64 {
    let statm = small_file(&process.join("statm"));
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

fn proportional(process: &Path) -> u64 {
    field(&small_file(&process.join("smaps_rollup")), "Pss:")
        .map_or_else(|| resident(process), |kilobytes| kilobytes * 1024)
}

fn threads(process: &Path) -> u64 {
    field(&small_file(&process.join("status")), "Threads:").unwrap_or(0)
}

/// Bytes that went towards a disk, or through calls that write.
fn written(process: &Path) -> u64 {
    let io = small_file(&process.join("io"));
    let written = |name| field(&io, name).unwrap_or(0);
    written("write_bytes:").max(written("wchar:"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
