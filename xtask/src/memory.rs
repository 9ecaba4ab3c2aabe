//! Memory errors: the kernels' small matrix, the thread pool and the block pool under Valgrind's memcheck.
//!
//! Every load and store of the scalar and AVX2 levels is watched for bytes outside an allocation and values that nobody
//! wrote; the pool's threads take turns, so that each is watched. The AVX-512 level, which Valgrind does not know, runs in
//! Miri (crates/k25-kernels/tests/small.rs says how).

use anyhow::Result;

use crate::process::{cargo, run as shell};

/// Cargo's own way to run test binaries in another program.
const RUNNER: &str = "target.'cfg(all())'.runner=['valgrind', '--quiet', '--error-exitcode=9', '--leak-check=no', '--fair-sched=yes']";

/// Which tests: small enough for a program that is some fifty times slower. The whole workspace is named, though few of its
/// crates have such tests, because then everything has been built already.
const TESTS: [&[&str]; 2] = [
    &["--workspace", "--test", "small", "--test", "pool"],
    &["--workspace", "--lib", "paged_cache"],
];

/// Runs them.
pub fn run() -> Result<()> {
    for tests in TESTS {
        let mut command = cargo(&["test", "--locked", "--config", RUNNER]);
        shell(command.args(tests))?;
    }
    Ok(())
}
