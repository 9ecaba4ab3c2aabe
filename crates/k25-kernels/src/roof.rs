//! What this machine can do at most: the figures that every measurement of this crate is a fraction of.
//!
//! Measure a roof in the same run as the thing that is compared with it, several times in turn, and keep the best of each:
//! other programs only ever take speed away.

use crate::dispatch::{Kernel, dispatch};
use crate::isa::Isa;
use crate::pool::{Partition, Pool};
use crate::simd::Simd;
use std::hint::black_box;
use std::time::Instant;

/// The numbers of read streams per thread that [`read_bandwidth`] knows.
pub const STREAMS: [usize; 5] = [1, 2, 4, 8, 16];

/// Bytes per second at which all threads of `pool` read `memory`, each with `streams` sequential streams side by side.
///
/// The memory should be many times the size of the last-level cache, and written once before, so that it exists.
///
/// # Panics
/// When `streams` is not in [`STREAMS`].
pub fn read_bandwidth(isa: Isa, pool: &Pool, memory: &[u64], streams: usize) -> f64 {
    assert!(
        STREAMS.contains(&streams),
        "{streams} streams; hint: use one of {STREAMS:?}"
    );
    let share = memory.len() / pool.threads();
    let begin = Instant::now();
    pool.run_partitioned(pool.threads(), Partition::Static, |thread| {
        let memory = &memory[thread * share..(thread + 1) * share];
        black_box(dispatch(isa, Read { memory, streams }));
    });
    (share * pool.threads() * size_of::<u64>()) as f64 / begin.elapsed().as_secs_f64()
}

/// Operations per second (a multiplication and an addition count as two) of unsigned × signed byte products summed in
/// 32 bits, all threads of `pool` together: `vpdpbusd`, or `vpmaddubsw` + `vpmaddwd` + `vpaddd` on AVX2.
pub fn int8_peak(isa: Isa, pool: &Pool) -> f64 {
    peak(pool, 2 * ROUNDS * Dots::PER_ROUND, || dispatch(isa, Dots))
}

/// The same for 4-bit × 8-bit products. On AVX2 eight of them fit a 16-bit sum, so less widening is needed and this
/// lies above [`int8_peak`]; on AVX-512 VNNI it is the same.
pub fn int4_peak(isa: Isa, pool: &Pool) -> f64 {
    peak(pool, 2 * ROUNDS * NibbleDots::PER_ROUND, || {
        dispatch(isa, NibbleDots);
    })
}

/// Floating-point operations per second of fused multiply-adds in f32, all threads of `pool` together.
pub fn f32_peak(isa: Isa, pool: &Pool) -> f64 {
    peak(pool, 2 * ROUNDS * Fmas::PER_ROUND, || dispatch(isa, Fmas))
}

/// About a millisecond of arithmetic.
const ROUNDS: usize = 100_000;

fn peak(pool: &Pool, operations: usize, work: impl Fn() + Sync) -> f64 {
    let begin = Instant::now();
    pool.run_partitioned(pool.threads(), Partition::Static, |_| work());
    (operations * pool.threads()) as f64 / begin.elapsed().as_secs_f64()
}

/// Independent chains: enough to hide the latency of two-wide units, few enough for sixteen 256-bit registers.
const CHAINS: usize = 5;

/// Start values that differ from lane to lane, and that the compiler does not know: equal ones it would compute once.
struct Seeds([u32; 16]);

impl Seeds {
    fn new() -> Seeds {
        Seeds(black_box(std::array::from_fn(|lane| {
            0x0102_0304 + 0x11 * lane as u32
        })))
    }

    #[inline(always)]
    unsafe fn words<S: Simd>(&self) -> S::I {
        S::load_i32(self.0.as_ptr().cast())
    }
}

struct Fmas;

impl Fmas {
    const PER_ROUND: usize = CHAINS * 16;
}

impl Kernel for Fmas {
    type Output = ();

    fn scalar(self) {
        let mut sums = [[0.0_f32; 16]; CHAINS];
        let (a, b) = black_box((1.0_f32, 0.5));
        for _ in 0..ROUNDS {
            for sum in sums.iter_mut().flatten() {
                *sum = a * *sum + b;
            }
        }
        black_box(sums);
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let (a, b) = black_box((0.5_f32, 0.5));
        let (a, b) = (S::splat(a), S::splat(b));
        let seed = S::from_i32(Seeds::new().words::<S>());
        let mut sums = [seed; CHAINS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = S::mul(seed, S::splat(1.0 + i as f32));
        }
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = S::fma(*sum, a, b);
            }
        }
        for sum in sums {
            black_box(S::reduce_add(sum));
        }
    }
}

struct Dots;

impl Dots {
    const PER_ROUND: usize = CHAINS * 64;
}

impl Kernel for Dots {
    type Output = ();

    fn scalar(self) {
        let mut sums = [[0_i32; 16]; CHAINS];
        let (w, a) = black_box(([3_u8; 4], [-5_i8; 4]));
        for _ in 0..ROUNDS {
            for sum in sums.iter_mut().flatten() {
                for i in 0..4 {
                    *sum = sum.wrapping_add(i32::from(w[i]) * i32::from(a[i]));
                }
            }
        }
        black_box(sums);
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let seed = Seeds::new().words::<S>();
        let mut sums = [S::splat_i32(0); CHAINS];
        for round in 0..ROUNDS {
            // A new operand each round, so that the product cannot be taken out of the loop.
            let w = S::sub_i32(seed, S::splat_i32(round as i32));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = S::dot_bytes(*sum, w, S::splat_i32(0x0102_0304 + i as i32));
            }
        }
        for sum in sums {
            black_box(S::reduce_max_u32(sum));
        }
    }
}

struct NibbleDots;

impl NibbleDots {
    const PER_ROUND: usize = 3 * 8 * 64;
}

impl Kernel for NibbleDots {
    type Output = ();

    fn scalar(self) {
        // The scalar reference multiplies nibbles and bytes alike.
        for _ in 0..Self::PER_ROUND / Dots::PER_ROUND {
            Dots.scalar();
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let seed = Seeds::new().words::<S>();
        let mut total = [S::splat(0.0); 3];
        let steps = black_box(8);
        for round in 0..ROUNDS {
            let mut sums = [S::acc4(0); 3];
            let mut w = S::and(
                S::sub_i32(seed, S::splat_i32(round as i32)),
                S::splat_i32(0x0f0f_0f0f),
            );
            for _ in 0..steps {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = S::dot4(*sum, w, S::splat_i32(0x0102_0304 + i as i32));
                }
                // A cheap change, so that the products of successive steps differ.
                w = S::and(S::sub_i32(w, seed), S::splat_i32(0x0f0f_0f0f));
            }
            for (total, sum) in total.iter_mut().zip(sums) {
                *total = S::add(*total, S::acc4_sum(sum));
            }
        }
        for total in total {
            black_box(S::reduce_add(total));
        }
    }
}

struct Read<'a> {
    memory: &'a [u64],
    streams: usize,
}

/// `u64`s in a cache line.
const LINE: usize = 8;

impl Kernel for Read<'_> {
    type Output = u64;

    fn scalar(self) -> u64 {
        let share = self.memory.len() / self.streams;
        let mut sum = 0_u64;
        for i in 0..share {
            for stream in 0..self.streams {
                sum ^= self.memory[stream * share + i];
            }
        }
        sum
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) -> u64 {
        match self.streams {
            1 => read::<S, 1>(self.memory),
            2 => read::<S, 2>(self.memory),
            4 => read::<S, 4>(self.memory),
            8 => read::<S, 8>(self.memory),
            _ => read::<S, 16>(self.memory),
        }
    }
}

#[inline(always)]
unsafe fn read<S: Simd, const STREAMS: usize>(memory: &[u64]) -> u64 {
    // Streams a power of two apart would fight for the same sets of the caches; an odd number of lines they do not.
    let lines = (memory.len() / LINE / STREAMS).saturating_sub(1) | 1;
    let lines = lines.min(memory.len() / LINE / STREAMS);
    let mut sum = S::splat_i32(0);
    for line in 0..lines {
        for stream in 0..STREAMS {
            let words = memory.as_ptr().add((stream * lines + line) * LINE);
            S::prefetch(words.wrapping_add(LINE * 16).cast());
            sum = S::sub_i32(sum, S::load_i32(words.cast()));
        }
    }
    u64::from(S::reduce_max_u32(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_reports_a_speed_at_every_level() {
        let pool = Pool::new(2);
        let memory = vec![1_u64; 1 << 16];
        for isa in Isa::supported() {
            for streams in STREAMS {
                assert!(read_bandwidth(isa, &pool, &memory, streams) > 1e6);
            }
            assert!(int8_peak(isa, &pool) > 1e6);
            assert!(int4_peak(isa, &pool) > 1e6);
            assert!(f32_peak(isa, &pool) > 1e6);
        }
    }
}
