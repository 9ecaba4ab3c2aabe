//! What this machine can do at all.

use k25_kernels::{Isa, Pool, roof};
use serde::Serialize;

/// Memory that the bandwidth is measured over: many times any cache.
const PROBE_BYTES: usize = 1 << 30;

/// How often each roof is measured; the best counts, since a roof is what is possible.
const REPETITIONS: usize = 5;

/// The machine, its roofs measured now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Instruction set in use.
    pub isa: &'static str,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes per second read from memory by all threads.
    pub read_bytes_per_second: f64,
    /// Read streams per thread at which that was reached.
    pub read_streams: usize,
    /// Operations per second with int8 weights.
    pub int8_ops_per_second: f64,
    /// Operations per second with INT4 weights.
    pub int4_ops_per_second: f64,
    /// Floating-point operations per second in f32.
    pub f32_ops_per_second: f64,
}

impl Machine {
    /// Measures every roof with the threads of `pool`; about two seconds.
    pub fn measure(pool: &Pool) -> Self {
        let isa = Isa::active();
        let memory: Vec<u64> = (0..PROBE_BYTES as u64 / 8).collect();
        let bandwidth = |streams| best(|| roof::read_bandwidth(isa, pool, &memory, streams));
        let (read_bytes_per_second, read_streams) = roof::STREAMS
            .into_iter()
            .map(|streams| (bandwidth(streams), streams))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .expect("there are stream counts");
        Self {
            processor: processor_name(),
            isa: isa.name(),
            threads: pool.threads(),
            read_bytes_per_second,
            read_streams,
            int8_ops_per_second: best(|| roof::int8_peak(isa, pool)),
            int4_ops_per_second: best(|| roof::int4_peak(isa, pool)),
            f32_ops_per_second: best(|| roof::f32_peak(isa, pool)),
        }
    }
}

fn best(measure: impl Fn() -> f64) -> f64 {
    (0..REPETITIONS).map(|_| measure()).fold(0.0, f64::max)
}

/// The name that Linux gives the processor; elsewhere its architecture.
fn processor_name() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |name| name.trim().to_owned(),
    )
}
