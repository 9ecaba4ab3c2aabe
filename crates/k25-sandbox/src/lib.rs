//! A sandbox for code that nobody trusts: what a model writes runs here, and nowhere else.
//!
//! [`Sandbox::run`] starts this same program a second time as a *launcher* ([`stage_main`], to be
//! called first thing in `main`), which has one thread and nothing in memory but the [`Spec`]. The
//! launcher builds the walls and becomes the guard; its child runs the code:
//!
//! ```text
//!  parent (many threads)  ── pipe: plan, files ──►  launcher, guard: limits, files out
//!                         ◄── pipe: report, files ──     │ new user, mount, process, network, IPC, host namespaces
//!                                                        init of the new process namespace
//!                                                        │ limits, no capabilities, Landlock, seccomp
//!                                                        the code
//! ```
//!
//! Where a kernel or a container forbids user namespaces, Landlock and seccomp stand alone, and the
//! code then gets no process of its own to start ([`Isolation::Confined`]). Where even that cannot be
//! had, nothing runs: [`SandboxError::Missing`] names the feature.
//!
//! Not defended against: faults of the kernel in the few system calls that stay open, and timing of
//! caches between processes. [`Isolation::Confined`] cannot hide the names, sizes and times of files.

mod error;
mod files;
mod output;
mod place;
mod protocol;
mod python;
mod sandbox;
mod spec;

#[cfg(target_os = "linux")]
mod javascript;
#[cfg(target_os = "linux")]
mod stage;

pub use error::SandboxError;
pub use files::{File, FileName, FileNameError};
pub use output::{Captured, Ended, KilledBy, LeftOut, Output, Usage};
pub use protocol::{FrameError, Report, read_report, read_request};
pub use python::{Python, PythonError};
pub use sandbox::{Running, Sandbox};
pub use spec::{Isolation, Limits, Program, Spec, Walls};

/// The argument that makes a program of ours the launcher.
pub const STAGE: &str = "__sandbox";

/// Whether this process was started as the launcher.
pub fn is_stage() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == STAGE)
}

/// The launcher: reads what to run from standard input, reports on standard output, and ends the
/// process. To be called before anything else in `main`, when [`is_stage`] says so.
pub fn stage_main() -> ! {
    #[cfg(target_os = "linux")]
    stage::main();
    #[cfg(not(target_os = "linux"))]
    std::process::exit(1);
}
