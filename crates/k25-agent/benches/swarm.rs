//! Figures of the swarm: what the runtime costs, and what working side by side gains.
//!
//! `cargo bench -p k25-agent --bench swarm` prints them and writes `bench/swarm/`: `curve.csv` and
//! `curve.svg` in virtual time, which are the same on every machine, and `runtime.json`, which names
//! the machine that it was measured on.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

#[path = "swarm/curve.rs"]
mod curve;
#[path = "swarm/plot.rs"]
mod plot;
#[path = "swarm/runtime.rs"]
mod runtime;

use std::path::PathBuf;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        // A process of its own, whose memory is that of one run.
        Some(runtime::CHILD) => runtime::measure_here(),
        Some("--bench") => {
            let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/swarm"));
            std::fs::create_dir_all(&folder).unwrap();
            curve::run(&folder);
            runtime::run(&folder);
        }
        // `cargo test --benches` only asks whether it can be built.
        _ => println!("run me with `cargo bench -p k25-agent --bench swarm`"),
    }
}
