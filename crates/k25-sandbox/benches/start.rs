//! What a sandbox adds to a program's start: `cargo bench -p k25-sandbox`.
//!
//! Each line is the median and the minimum of many starts, one after the other: from the call to the
//! output in hand, with everything built and torn down. The goal is a median below 20 ms for a program
//! that does nothing.
#![cfg(target_os = "linux")]

use std::future::Future;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

use k25_sandbox::{Limits, Program, Python, Sandbox, Spec, Walls};

const ROUNDS: usize = 100;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

fn measure(name: &str, mut once: impl FnMut()) {
    once();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            once();
            began.elapsed()
        })
        .collect();
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name:32} median {:6.2} ms   min {:6.2} ms",
        ms(times[ROUNDS / 2]),
        ms(times[0])
    );
}

fn main() {
    let python = Python::find().ok();
    measure("true, as it is", || {
        assert!(
            Command::new("/bin/true")
                .status()
                .is_ok_and(|status| status.success())
        );
    });
    if let Some(python) = &python {
        measure("python, as it is", || {
            let status = Command::new(&python.path)
                .args(["-s", "-c", "pass"])
                .status();
            assert!(status.is_ok_and(|status| status.success()));
        });
    }
    for walls in [Walls::Namespaces, Walls::Confined] {
        let sandbox = Sandbox::with_launcher(env!("CARGO_BIN_EXE_k25-sandbox")).with_walls(walls);
        let run = |program: &Program| {
            let spec = Spec {
                program: program.clone(),
                files: Vec::new(),
                limits: Limits::default(),
            };
            let output = wait(sandbox.run(spec)).expect("the machine offers these walls");
            assert!(output.is_success(), "{output:?}");
        };
        let nothing = Program::Command {
            argv: vec!["/bin/true".to_owned()],
            readable: Vec::new(),
        };
        let javascript = Program::JavaScript {
            code: "1 + 1".to_owned(),
        };
        measure(&format!("true, {walls:?}"), || run(&nothing));
        measure(&format!("javascript, {walls:?}"), || run(&javascript));
        if let Some(python) = &python {
            let program = python.program("1 + 1");
            measure(&format!("python, {walls:?}"), || run(&program));
        }
    }
}
