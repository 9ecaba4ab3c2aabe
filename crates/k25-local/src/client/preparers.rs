//! A few threads that make requests ready, so that nobody who polls a stream waits for it: a film
//! may take seconds. How many there are bounds the memory of pictures on their way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

/// Most requests made ready at a time.
const MOST_THREADS: usize = 4;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The threads' door; when it is gone, they finish what was asked and end.
pub(super) struct Preparers {
    jobs: Sender<Job>,
}

impl Preparers {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let inbox = Arc::new(Mutex::new(inbox));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.clamp(2, MOST_THREADS) {
            let inbox = Arc::clone(&inbox);
            thread::Builder::new()
                .name("k25-prepare".to_owned())
                .spawn(move || work(&inbox))?;
        }
        Ok(Self { jobs })
    }

    /// Runs `job` when a thread is free.
    pub(super) fn run(&self, job: Job) {
        // Fails only without threads, and they live as long as this door.
        let _ = self.jobs.send(job);
    }
}

fn work(inbox: &Mutex<Receiver<Job>>) {
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        // A job that panics has dropped its channel, which its stream reports; others go on.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}
