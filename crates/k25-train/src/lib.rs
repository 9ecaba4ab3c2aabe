//! The trainer of k25: the model's own wiring over a tape, optimisers, data.

pub mod arena;
pub mod exec;
mod matmul;
pub mod model;
pub mod params;
pub mod random;
mod simd;
pub mod tape;
