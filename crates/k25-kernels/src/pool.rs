//! A thread pool for parallel loops of a few microseconds.
//!
//! Workers watch for the next loop for [`SPIN`] before they sleep, so that the loops of one token follow each other without
//! waking anybody, and an idle program gives its cores back. Which thread runs which task never changes a result: tasks
//! own disjoint outputs, and no operation of this crate reduces across tasks.

use crate::shared::Chunks;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker, or a caller waiting for the last worker, watches before it sleeps.
pub const SPIN: Duration = Duration::from_micros(80);

/// Watching is cheap but reading the clock is not: one look at the clock per this many looks at the counter.
const LOOKS_PER_CLOCK: u32 = 64;

/// How the tasks of a loop are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Each thread gets one contiguous share: least traffic, best when tasks cost the same and cores are free.
    Static,
    /// Each thread takes the next task when it is done: best when tasks differ or cores are shared.
    Dynamic,
}

thread_local! {
    /// Set while this thread runs a task: a loop begun inside it runs here, alone.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A fixed number of threads, the caller's own among them.
pub struct Pool {
    shared: Arc<Shared>,
    /// One loop at a time; other callers wait.
    turn: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts loops; a change is the signal to start.
    generation: AtomicUsize,
    /// The loop in progress; valid from a change of `generation` until `running` is 0 again.
    job: Mutex<Option<Job>>,
    /// Workers that have not finished the current loop.
    running: AtomicUsize,
    stop: AtomicBool,
    /// Next task of a dynamic loop.
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    asleep: Mutex<usize>,
    wake: Condvar,
    done_lock: Mutex<()>,
    done: Condvar,
}

/// A loop with its borrow's lifetime erased.
#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    threads: usize,
    partition: Partition,
}

// SAFETY: the closure behind the pointer is `Sync`, and `run` keeps it alive until every worker is done with it.
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `threads` threads (at least one): the caller and `threads − 1` workers.
    pub fn new(threads: usize) -> Pool {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            generation: AtomicUsize::new(0),
            job: Mutex::new(None),
            running: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            asleep: Mutex::new(0),
            wake: Condvar::new(),
            done_lock: Mutex::new(()),
            done: Condvar::new(),
        });
        // A worker that the system refuses to start only makes the pool smaller.
        let workers: Vec<_> = (1..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                let body = move || shared.work(index);
                std::thread::Builder::new()
                    .name(format!("k25-kernels-{index}"))
                    .spawn(body)
                    .ok()
            })
            .collect();
        Pool {
            shared,
            turn: Mutex::new(()),
            workers,
        }
    }

    /// A pool as wide as the machine.
    pub fn for_machine() -> Pool {
        Pool::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Threads that share a loop, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(0)` … `task(tasks − 1)`, each once, dynamically shared out; returns when all are done.
    ///
    /// Called from inside a task it runs all of them on the calling thread.
    ///
    /// # Panics
    /// With the first panic of a task, after every thread has stopped; the pool stays usable.
    pub fn run<T: Fn(usize) + Sync>(&self, tasks: usize, task: T) {
        self.run_partitioned(tasks, Partition::Dynamic, task);
    }

    /// Calls `task(i, chunk)` for each chunk of `chunk` values (the last may be shorter), dynamically shared out.
    ///
    /// # Panics
    /// As [`Pool::run`]; and when `chunk` is 0.
    pub fn run_chunks<T: Send>(
        &self,
        values: &mut [T],
        chunk: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let tasks = values.len().div_ceil(chunk);
        let chunks = Chunks::new(values, chunk);
        // SAFETY: each task takes its own chunk, once.
        self.run(tasks, |index| task(index, unsafe { chunks.take(index) }));
    }

    /// [`Pool::run`] with a choice of [`Partition`].
    pub fn run_partitioned<T: Fn(usize) + Sync>(
        &self,
        tasks: usize,
        partition: Partition,
        task: T,
    ) {
        if tasks <= 1 || self.workers.is_empty() || INSIDE.get() {
            (0..tasks).for_each(task);
            return;
        }
        let turn = lock(&self.turn);
        let task: &(dyn Fn(usize) + Sync) = &task;
        // SAFETY: only the lifetime changes; the pointer is used by workers before `running` reaches 0, and this
        // function does not return, or unwind, before that.
        let task: *const (dyn Fn(usize) + Sync) = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task)
        };
        let job = Job {
            task,
            tasks,
            threads: self.threads(),
            partition,
        };
        self.shared.start(job, self.workers.len());
        self.shared.take_part(job, 0);
        self.shared.wait_until_done();
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.signal();
        for worker in self.workers.drain(..) {
            // A worker catches its tasks' panics; were it to panic itself, there is nobody left to tell.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn start(&self, job: Job, workers: usize) {
        *lock(&self.job) = Some(job);
        self.next.store(0, Ordering::Relaxed);
        self.running.store(workers, Ordering::Release);
        self.signal();
    }

    /// Tells the workers to look, and wakes those that sleep.
    fn signal(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        // A worker counts itself as asleep and looks at the generation again under this lock, so none is missed.
        if *lock(&self.asleep) > 0 {
            self.wake.notify_all();
        }
    }

    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.await_change(seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let job = *lock(&self.job);
            if let Some(job) = job {
                self.take_part(job, index);
            }
            if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
                drop(lock(&self.done_lock));
                self.done.notify_all();
            }
        }
    }

    /// Watches, then sleeps, until the generation differs from `seen`.
    fn await_change(&self, seen: usize) -> usize {
        if spin_until(|| self.generation.load(Ordering::Acquire) != seen) {
            return self.generation.load(Ordering::Acquire);
        }
        let mut asleep = lock(&self.asleep);
        *asleep += 1;
        while self.generation.load(Ordering::SeqCst) == seen {
            asleep = self
                .wake
                .wait(asleep)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *asleep -= 1;
        self.generation.load(Ordering::Acquire)
    }

    fn wait_until_done(&self) {
        let done = || self.running.load(Ordering::Acquire) == 0;
        if spin_until(done) {
            return;
        }
        let mut guard = lock(&self.done_lock);
        while !done() {
            guard = self
                .done
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs this thread's part of the loop; a panic is kept for the caller and ends the loop early.
    fn take_part(&self, job: Job, index: usize) {
        INSIDE.set(true);
        // SAFETY: `run_partitioned` keeps the closure alive until `running` is 0, which this thread delays.
        let task = unsafe { &*job.task };
        let outcome = catch_unwind(AssertUnwindSafe(|| match job.partition {
            Partition::Static => {
                let (begin, end) = share(job.tasks, job.threads, index);
                (begin..end).for_each(task);
            }
            Partition::Dynamic => loop {
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                if next >= job.tasks {
                    break;
                }
                task(next);
            },
        }));
        INSIDE.set(false);
        if let Err(panic) = outcome {
            self.next.store(job.tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
    }
}

/// The contiguous share of thread `index`.
fn share(tasks: usize, threads: usize, index: usize) -> (usize, usize) {
    let (each, extra) = (tasks / threads, tasks % threads);
    let begin = index * each + index.min(extra);
    (begin, begin + each + usize::from(index < extra))
}

/// Watches for `condition` for [`SPIN`]; whether it came.
fn spin_until(condition: impl Fn() -> bool) -> bool {
    let mut began = None;
    loop {
        for _ in 0..LOOKS_PER_CLOCK {
            if condition() {
                return true;
            }
            std::hint::spin_loop();
        }
        let began = *began.get_or_insert_with(Instant::now);
        if began.elapsed() > SPIN {
            return false;
        }
    }
}

/// A panic inside a task never happens under one of these locks, so a poisoned one holds good data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
