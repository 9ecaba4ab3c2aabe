//! Arithmetic on slices: what a model of Kimi K2.5's kind needs, for processors without a GPU.
//!
//! Every operation exists three times over: a scalar reference in plain loops, and one vector
//! algorithm written over a machine of sixteen 32-bit lanes, which AVX2 and AVX-512 (VNNI) implement. [`Isa`] names the level;
//! it is chosen at run time and can be lowered by the environment variable [`ISA_VARIABLE`].
//!
//! | room | what |
//! |---|---|
//! | `pool` | [`Pool`]: parallel loops of a few microseconds |
//! | `weights`, `activations` | [`Int4`] and [`Dense`] views of a checkpoint's bytes, [`Int8Matrix`], [`QuantRows`] |
//! | `linear` | [`multiply`]: matrix products of any kind, many in one loop |
//! | `attention` | [`mla_attention`] over the paged latent cache, [`attention`] per head |
//! | `norm`, `elementwise`, `rope`, `router` | the small operations between |
//! | [`roof`] | what this machine could do at most |
//! | `simd`, `avx2`, `avx512`, `dispatch`, `scalar` | the lanes, their two implementations, the choice, the references |
//!
//! # The rule of equal bits
//!
//! A result depends on its own row of the input alone. Which other rows are in the batch, how many threads share the work and
//! which level runs it change no bit: every output is computed by the same additions and multiplications in the same order, integer
//! sums are exact, and functions such as e^x are built from fused multiply-adds. The tests compare every level with the reference for
//! equality, not within a tolerance, and the references with f64.
//!
//! # What the tests run
//!
//! A test can only run the levels of the processor it runs on, and prints which those were. The AVX-512 level differs from the
//! AVX2 level in `avx512.rs` alone, one instruction or two per operation. `tests/small.rs` also runs in Miri, which interprets all three
//! levels without such a processor; three AVX-512 instructions that it lacks (conversion to integers, maximum, minimum) are AVX2
//! ones there. The speed of the AVX-512 level has not been measured.

mod activations;
mod aligned;
mod attention;
mod dispatch;
mod elementwise;
mod isa;
mod linear;
mod math;
mod norm;
mod pool;
pub mod roof;
mod rope;
mod router;
mod scalar;
mod shared;
mod simd;
mod weights;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

pub use activations::QuantRows;
pub use aligned::{Aligned, Plain};
pub use attention::{
    Attention, INT8_LATENT_COLS, LATENT_BLOCK_ROWS, LatentBlock, LatentShape, MlaSequence, Strided,
    attention, mla_attention, quantize_latent_row,
};
pub use elementwise::{add, add_scaled, gelu, gelu_tanh, silu_mul};
pub use isa::{ISA_VARIABLE, Isa, IsaError};
pub use linear::{Activations, Product, Rows, Weights, multiply, multiply_one};
pub use norm::{layer_norm, rms_norm, softmax};
pub use pool::{Partition, Pool, SPIN};
pub use rope::rotate_pairs;
pub use router::{RouterShape, route};
pub use simd::GROUP;
pub use weights::{Dense, INT8_SCALE_COLS, Int4, Int8Matrix, ShapeError, bf16_to_f32, f32_to_bf16};
