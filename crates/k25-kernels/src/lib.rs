//! Arithmetic on slices.
mod activations;
mod aligned;
mod attention;
mod dispatch;
mod isa;
mod linear;
mod math;
mod pool;
pub mod roof;
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
    Attention, INT8_LATENT_COLS, LATENT_BLOCK_ROWS, LatentBlock, LatentShape, MlaSequence, Strided, attention,
    mla_attention, quantize_latent_row,
};
pub use isa::{ISA_VARIABLE, Isa, IsaError};
pub use linear::{Activations, Product, Rows, Weights, multiply, multiply_one};
pub use pool::{Partition, Pool, SPIN};
pub use simd::GROUP;
pub use weights::{Dense, INT8_SCALE_COLS, Int4, Int8Matrix, ShapeError, bf16_to_f32, f32_to_bf16};
