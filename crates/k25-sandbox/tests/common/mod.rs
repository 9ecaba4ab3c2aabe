//! What the tests share: a sandbox with its launcher, and an executor for one future.
#![allow(dead_code, clippy::unwrap_used)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use k25_sandbox::{File, FileName, Limits, Output, Program, Sandbox, Spec, Walls};

/// The program that stands in for `k25`.
pub const LAUNCHER: &str = env!("CARGO_BIN_EXE_k25-sandbox");

/// Both kinds of walls.
pub const WALLS: [Walls; 2] = [Walls::Namespaces, Walls::Confined];

pub fn sandbox(walls: Walls) -> Sandbox {
    Sandbox::with_launcher(LAUNCHER).with_walls(walls)
}

pub fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub fn file(name: &str, text: impl Into<Vec<u8>>) -> File {
    File::new(FileName::new(name).unwrap(), text)
}

pub fn javascript(code: &str) -> Program {
    Program::JavaScript {
        code: code.to_owned(),
    }
}

pub fn python(code: &str) -> Program {
    k25_sandbox::Python::find().unwrap().program(code)
}

pub fn command(argv: &[&str]) -> Program {
    Program::Command {
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        readable: Vec::new(),
    }
}

pub fn limits(wall_ms: u64) -> Limits {
    Limits {
        wall: Duration::from_millis(wall_ms),
        ..Limits::default()
    }
}

pub fn run_with(walls: Walls, program: Program, files: Vec<File>, limits: Limits) -> Output {
    let spec = Spec {
        program,
        files,
        limits,
    };
    wait(sandbox(walls).run(spec)).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()))
}

pub fn run(walls: Walls, program: Program) -> Output {
    run_with(walls, program, Vec::new(), Limits::default())
}
