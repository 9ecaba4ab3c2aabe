//! The launcher: a process of one thread that builds the walls, and then guards them.
//!
//! Everything here runs in a process of its own that holds nothing but the request, so forking is
//! safe and every step may be plain.

mod capture;
mod collect;
mod confine;
mod guard;
pub(crate) mod kernel;
mod landlock;
mod namespaces;
mod root;
mod seccomp;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::File;
use crate::javascript;
use crate::output::LeftOut;
use crate::protocol::{self, Done, Fault, Plan};
use crate::spec::{Isolation, Program};

/// The private folder as the code sees it, in a file system of its own.
const FOLDER: &str = "/mnt/data";
/// For what the program does not want to keep, and the sources of a script.
const SCRATCH: &str = "/tmp";

/// A step that failed.
type Step<T> = Result<T, Fault>;

/// A fault of the setup, in words.
fn fault(what: impl Into<String>, error: impl std::fmt::Display) -> Fault {
    Fault {
        feature: None,
        what: format!("{}: {error}", what.into()),
        hint: "this is unexpected: please report it, with what `uname -r` says".to_owned(),
    }
}

/// A feature that is not there.
fn missing(feature: &str, error: impl std::fmt::Display, hint: &str) -> Fault {
    Fault {
        feature: Some(feature.to_owned()),
        what: error.to_string(),
        hint: hint.to_owned(),
    }
}

/// Where the files of a run lie.
#[derive(Debug, Clone)]
struct Places {
    folder: PathBuf,
    scratch: PathBuf,
}

/// Reads the request, runs it, reports, ends.
pub(crate) fn main() -> ! {
    let mut report = match kernel::take_report_pipe() {
        Ok(pipe) => pipe,
        Err(_) => std::process::exit(1),
    };
    let result = serve(&mut report);
    let is_told = match result {
        Ok(()) => true,
        Err(fault) => protocol::write_fault(&mut report, &fault)
            .and_then(|()| report.flush())
            .is_ok(),
    };
    std::process::exit(if is_told { 0 } else { 1 });
}

fn serve(report: &mut impl Write) -> Step<()> {
    kernel::require_one_thread()?;
    let (plan, files) = protocol::read_request(&mut io::stdin().lock())
        .map_err(|error| fault("the request", error))?;
    let places = leave_host(&plan)?;
    let known = collect::known(&files);
    let watched = guard::run(&plan, &places, files)?;
    let Some(watched) = watched else {
        return Ok(()); // The parent is gone or wants no more of it.
    };
    let mut out = io::BufWriter::new(report);
    let told = tell(&mut out, &plan, &places, &known, watched);
    let told = told.and_then(|()| out.flush());
    collect::open_up(&places.folder);
    told.map_err(|error| fault("the report", error))
}

/// What is done before anything is started.
fn leave_host(plan: &Plan) -> Step<Places> {
    kernel::be_first_to_go_without_memory();
    match plan.isolation {
        Isolation::Namespaces => {
            namespaces::become_nobody()?;
            namespaces::enter()?;
            Ok(Places {
                folder: FOLDER.into(),
                scratch: SCRATCH.into(),
            })
        }
        Isolation::Confined => {
            let places = Places {
                folder: plan.folder.join("files"),
                scratch: plan.folder.join("scratch"),
            };
            namespaces::give_to_nobody(&plan.folder)?;
            namespaces::become_nobody()?;
            Ok(places)
        }
    }
}

/// Builds the place where the code runs. To be called by the first process behind the walls.
fn build_place(plan: &Plan, places: &Places, files: &[File]) -> Step<()> {
    match plan.isolation {
        Isolation::Namespaces => root::build(plan)?,
        Isolation::Confined => {
            for folder in [&places.folder, &places.scratch] {
                std::fs::create_dir(folder).map_err(|error| Fault {
                    hint: "set TMPDIR to a folder that everybody may enter".to_owned(),
                    ..fault(folder.display().to_string(), error)
                })?;
            }
        }
    }
    place_files(places, &plan.program, files)
}

fn place_files(places: &Places, program: &Program, files: &[File]) -> Step<()> {
    let put = |path: &Path, bytes: &[u8]| {
        let parent = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        parent
            .and_then(|()| std::fs::write(path, bytes))
            .map_err(|error| fault(path.display().to_string(), error))
    };
    for file in files {
        put(&places.folder.join(file.name.as_str()), &file.bytes)?;
    }
    if let Program::Script { sources, .. } = program {
        for (name, text) in sources {
            put(&places.scratch.join("code").join(name), text.as_bytes())?;
        }
    }
    Ok(())
}

/// Sends the files and what became of the run.
fn tell(
    out: &mut impl Write,
    plan: &Plan,
    places: &Places,
    known: &collect::Known,
    watched: guard::Watched,
) -> io::Result<()> {
    let collected = collect::files(&places.folder, &plan.limits, known, |file| {
        protocol::write_file_out(out, &file)
    })?;
    let mut left_out: Vec<LeftOut> = collected.left_out;
    left_out.truncate(collect::MAX_LEFT_OUT);
    let done = Done {
        ended: watched.ended,
        killed_by: watched.killed_by,
        usage: watched.usage,
        isolation: plan.isolation,
        missing_bytes: (watched.stdout.missing_bytes, watched.stderr.missing_bytes),
        kept: collected.kept,
        left_out,
    };
    protocol::write_done(out, &watched.stdout, &watched.stderr, &done)
}

/// The code itself, in the child, behind all walls. Returns what kept it from starting.
fn start_code(plan: &Plan, places: &Places, ready: impl FnOnce()) -> Step<i32> {
    let command = match &plan.program {
        Program::JavaScript { code } => {
            ready();
            return Ok(javascript::run(code, &plan.limits));
        }
        Program::Script { argv, sources, .. } => {
            let script = sources.first().map(|(name, _)| name.as_str());
            let script = places.scratch.join("code").join(script.unwrap_or_default());
            let mut argv: Vec<_> = argv.iter().map(Into::into).collect();
            argv.push(script.into_os_string());
            argv
        }
        Program::Command { argv, .. } => argv.iter().map(Into::into).collect(),
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(fault("the program", "it has no name"));
    };
    use std::os::unix::process::CommandExt as _;
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment(places))
        .exec();
    Err(fault(
        format!("{} cannot be started", program.display()),
        error,
    ))
}

/// All that the program's environment holds.
fn environment(places: &Places) -> Vec<(&'static str, std::ffi::OsString)> {
    let folder = places.folder.as_os_str().to_owned();
    let scratch = places.scratch.as_os_str().to_owned();
    vec![
        ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
        ("HOME", folder.clone()),
        ("TMPDIR", scratch.clone()),
        ("LANG", "C.UTF-8".into()),
        ("TZ", "UTC".into()),
        ("PYTHONPATH", folder),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("MPLBACKEND", "Agg".into()),
        ("MPLCONFIGDIR", scratch.clone()),
        ("XDG_CACHE_HOME", scratch),
        ("OPENBLAS_NUM_THREADS", "2".into()),
        ("OMP_NUM_THREADS", "2".into()),
    ]
}
