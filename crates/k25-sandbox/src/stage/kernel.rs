//! The few things that Rust's library has no safe words for. All `unsafe` of the sandbox is here.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use super::{Fault, Step, fault};

/// Takes standard output for the report, so that nothing else is ever written there, and closes
/// whatever else the parent let slip through.
pub(super) fn take_report_pipe() -> io::Result<File> {
    let report = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    close_all_above(2, &[report.as_raw_fd()]);
    Ok(report.into())
}

/// Closes every descriptor above `last` but these, whoever owns them: only for processes that hold
/// no others by then.
pub(super) fn close_all_above(last: i32, keep: &[i32]) {
    let mut keep: Vec<i32> = keep.iter().copied().filter(|fd| *fd > last).collect();
    keep.sort_unstable();
    let mut first = last + 1;
    for fd in keep.into_iter().chain([i32::MAX]) {
        if first < fd {
            // SAFETY: closing descriptors touches no memory; callers hold none in this range.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = fd.saturating_add(1);
    }
}

/// Forking is safe in a process of one thread only; this says whether that is so.
pub(super) fn require_one_thread() -> Step<()> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    match threads {
        Ok(1) => Ok(()),
        Ok(count) => Err(fault("the launcher", format!("{count} threads, not one"))),
        Err(error) => Err(Fault {
            hint: "mount /proc".to_owned(),
            ..fault("/proc/self/task", error)
        }),
    }
}

/// When the machine runs out of memory, this goes before anything of the user's.
pub(super) fn be_first_to_go_without_memory() {
    // An ordinary user may always raise it; where /proc is read-only it stays as it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// The two sides of a fork.
pub(super) enum Fork {
    Parent(Pid),
    Child,
}

/// Splits the process.
pub(super) fn fork() -> io::Result<Fork> {
    // SAFETY: the launcher has one thread (see `require_one_thread`), so the child's memory is whole
    // and no lock is held by a thread that is not there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Pid::from_raw(child)
            .map(Fork::Parent)
            .ok_or_else(|| io::Error::other("a child without a number")),
    }
}

/// Ends the process at once, without running what was meant for its parent's end.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Waits for a child: its status as `wait` gives it, and processor time in microseconds.
pub(super) fn wait_for(child: Pid) -> io::Result<(i32, u64)> {
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let child = child.as_raw_nonzero().get();
    loop {
        // SAFETY: both pointers are to live locals of the right types.
        let waited = unsafe { libc::wait4(child, &raw mut status, 0, &raw mut usage) };
        if waited == child {
            let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
            return Ok((status, micros(usage.ru_utime) + micros(usage.ru_stime)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Leaves the namespaces of the host.
pub(super) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the flags are of namespaces; descriptors and working folder, on which other threads
    // could rely, are not among them, and there are no other threads.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// The version of Landlock that the kernel speaks; `None` without Landlock.
pub(super) fn landlock_version() -> Option<i32> {
    const VERSION: u32 = 1; // LANDLOCK_CREATE_RULESET_VERSION
    let none: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag the kernel reads no memory; it answers with a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    i32::try_from(version).ok().filter(|version| *version > 0)
}

/// Both ends of a pipe, closed in whatever is executed.
pub(super) fn pipe() -> Step<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| fault("a pipe", error))
}

/// Makes reading return at once.
pub(super) fn do_not_block(fd: impl AsFd) -> Step<()> {
    rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK)
        .map_err(|error| fault("a pipe", error))
}

/// A copy of an array of bytes of JavaScript's; empty where its buffer was taken away.
pub(crate) fn bytes_of(array: &rquickjs::TypedArray<'_, u8>) -> Vec<u8> {
    // SAFETY: the bytes are copied before any script runs again, which alone could move or free them.
    let bytes = unsafe { array.as_bytes() };
    bytes.map(<[u8]>::to_vec).unwrap_or_default()
}
