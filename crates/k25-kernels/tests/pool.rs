//! The pool: every task once, panics, nesting, many callers.

use k25_kernels::{Partition, Pool};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn counts(pool: &Pool, tasks: usize, partition: Partition) -> Vec<usize> {
    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    pool.run_partitioned(tasks, partition, |task| {
        counts[task].fetch_add(1, Ordering::Relaxed);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_task_runs_once() {
    for threads in [0, 1, 2, 3, 8] {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads.max(1));
        for tasks in [0, 1, 2, 3, 7, 8, 9, 1000] {
            for partition in [Partition::Static, Partition::Dynamic] {
                assert!(
                    counts(&pool, tasks, partition)
                        .iter()
                        .all(|&count| count == 1),
                    "{threads} {tasks}"
                );
            }
        }
    }
}

#[test]
fn many_loops_in_a_row_and_after_a_rest() {
    let pool = Pool::new(4);
    for round in 0..2000 {
        assert_eq!(counts(&pool, 5, Partition::Dynamic), [1; 5]);
        if round % 500 == 0 {
            // Long enough for the workers to fall asleep.
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

#[test]
fn a_loop_inside_a_task_runs_there() {
    let pool = Pool::new(3);
    let total = AtomicUsize::new(0);
    pool.run(10, |_| {
        pool.run(10, |_| {
            pool.run(3, |_| {
                total.fetch_add(1, Ordering::Relaxed);
            });
        });
    });
    assert_eq!(total.into_inner(), 300);
}

#[test]
fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
    let pool = Pool::new(3);
    for partition in [Partition::Static, Partition::Dynamic] {
        for guilty in [0, 5, 99] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run_partitioned(100, partition, |task| {
                    assert!(task != guilty, "task {task} fails");
                });
            }));
            let panic = outcome.expect_err("the panic arrives");
            let message = panic.downcast_ref::<String>().expect("a message");
            assert!(
                message.contains(&format!("task {guilty} fails")),
                "{message}"
            );
            assert!(
                counts(&pool, 100, partition)
                    .iter()
                    .all(|&count| count == 1)
            );
        }
    }
}

#[test]
fn a_panic_of_a_lone_task_does_not_mark_the_thread_as_busy() {
    let pool = Pool::new(2);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.run(1, |_| panic!("alone")))).is_err());
    assert_eq!(counts(&pool, 10, Partition::Dynamic), [1; 10]);
}

#[test]
fn several_callers_take_turns() {
    let pool = Pool::new(2);
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.run(7, |_| {
                        total.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 4 * 200 * 7);
}

#[test]
fn an_idle_pool_uses_no_processor() {
    // No other test here has an eleventh worker.
    let pool = Pool::new(12);
    pool.run(100, |_| {});
    std::thread::sleep(Duration::from_millis(50));
    let Some(before) = process_ticks() else {
        println!("no /proc here: processor time not measured");
        return;
    };
    std::thread::sleep(Duration::from_millis(300));
    let used = process_ticks().expect("read once already") - before;
    // A spinning worker would use some 30 ticks of 10 ms, or its share of the cores.
    assert!(used <= 1, "{used} ticks of 10 ms while idle");
}

/// Processor time of an eleventh worker, in ticks of 10 ms.
fn process_ticks() -> Option<u64> {
    let (mut ticks, mut is_there) = (0, false);
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        // Threads of other tests end meanwhile.
        let Ok(stat) = std::fs::read_to_string(task.ok()?.path().join("stat")) else {
            continue;
        };
        let (name, rest) = stat.split_once(") ")?;
        if name.contains("k25-kernels-11") {
            is_there = true;
            let fields: Vec<&str> = rest.split(' ').collect();
            ticks += fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        }
    }
    assert!(is_there, "the eleventh worker is among the threads");
    Some(ticks)
}
