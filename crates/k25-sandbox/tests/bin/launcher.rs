//! Stands in for the `k25` program in tests and benches: the launcher; a parent that runs one request
//! from standard input, for tests where it must be another user's process; and a way to start either
//! on a kernel that lacks system calls.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use k25_sandbox::{File, FileName, Limits, Program, Python, Sandbox, Spec, Walls};
use serde::{Deserialize, Serialize};

/// What is to be run.
#[derive(Debug, Deserialize)]
struct Request {
    language: String,
    code: String,
    #[serde(default)]
    argv: Vec<String>,
    #[serde(default)]
    files: BTreeMap<FileName, String>,
    #[serde(default)]
    limits: Option<Limits>,
    #[serde(default)]
    walls: Walls,
    #[serde(default)]
    landlock_at_most: Option<i32>,
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Answer {
    stdout: String,
    stderr: String,
    ended: String,
    killed_by: Option<String>,
    isolation: String,
    files: BTreeMap<String, String>,
    left_out: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    if k25_sandbox::is_stage() {
        k25_sandbox::stage_main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, missing, program @ ..] = arguments.as_slice()
        && command == "--without"
    {
        return start_without(missing, program);
    }
    let request: Request = serde_json::from_reader(std::io::stdin())?;
    let program = match request.language.as_str() {
        "python" => Python::find()?.program(&request.code),
        "javascript" => Program::JavaScript { code: request.code },
        _ => Program::Command {
            argv: request.argv,
            readable: Vec::new(),
        },
    };
    let mut sandbox = Sandbox::new().with_walls(request.walls);
    if let Some(version) = request.landlock_at_most {
        sandbox = sandbox.with_landlock_at_most(version);
    }
    let files = request.files.into_iter();
    let spec = Spec {
        program,
        files: files.map(|(name, text)| File::new(name, text)).collect(),
        limits: request.limits.unwrap_or_default(),
    };
    match wait(sandbox.run(spec)) {
        Ok(output) => {
            let files = output.files.iter();
            let answer = Answer {
                stdout: output.stdout.text(),
                stderr: output.stderr.text(),
                ended: format!("{:?}", output.ended),
                killed_by: output.killed_by.map(|by| format!("{by:?}")),
                isolation: format!("{:?}", output.isolation),
                files: files
                    .map(|file| {
                        (
                            file.name.to_string(),
                            String::from_utf8_lossy(&file.bytes).into_owned(),
                        )
                    })
                    .collect(),
                left_out: output
                    .left_out
                    .into_iter()
                    .map(|left| format!("{}: {}", left.name, left.why))
                    .collect(),
            };
            println!("{}", serde_json::to_string(&answer)?);
            Ok(())
        }
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("hint: {}", error.hint().unwrap_or_default());
            let is_missing = matches!(error, k25_sandbox::SandboxError::Missing { .. });
            std::process::exit(if is_missing { 3 } else { 4 });
        }
    }
}

/// An executor for one future.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Starts a program for which the kernel has none of these system calls, by their names.
fn start_without(missing: &str, program: &[String]) -> Result<(), Box<dyn Error>> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let number = |name| match name {
        "landlock_create_ruleset" => Ok(libc::SYS_landlock_create_ruleset),
        "mount" => Ok(libc::SYS_mount),
        "pidfd_open" => Ok(libc::SYS_pidfd_open),
        "seccomp" => Ok(libc::SYS_seccomp),
        "unshare" => Ok(libc::SYS_unshare),
        other => Err(format!("no number is known for {other}")),
    };
    let rules: Result<_, String> = missing
        .split(',')
        .map(|name| Ok((number(name)?, vec![])))
        .collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram =
        SeccompFilter::new(rules?, SeccompAction::Allow, refused, arch)?.try_into()?;
    seccompiler::apply_filter(&filter)?;
    let (program, arguments) = program.split_first().ok_or("no program")?;
    use std::os::unix::process::CommandExt as _;
    Err(std::process::Command::new(program)
        .args(arguments)
        .exec()
        .into())
}
