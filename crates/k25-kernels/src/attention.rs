//! Attention without its score matrix: cache rows pass by in tiles, with a running maximum and sum per query.
//!
//! A query's result does not depend on the queries beside it, on the number of threads, or on the level of [`Isa`]: tiles and splits
//! of the cache begin at fixed rows, and splits are joined in order, whether one thread computed all of them or several did.
//!
//! Shape letters: r query row, h head, t cache row, w key width, v value width.

mod expanded;
mod flash;
mod latent;
mod tiles;

pub use expanded::{Attention, Strided, attention};
pub use latent::{
    INT8_LATENT_COLS, LATENT_BLOCK_ROWS, LatentBlock, LatentShape, MlaSequence, mla_attention,
    quantize_latent_row,
};

/// Cache rows of one tile.
pub(crate) const TILE: usize = 64;

/// Cache rows of one split, which can be computed apart.
pub(crate) const SPLIT: usize = 512;

/// Queries of one task at most: row-head pairs that see the same cache rows.
pub(crate) const QUERIES: usize = 64;

/// The running maximum before anything was seen; finite, so that differences are.
pub(crate) const NOTHING: f32 = -1e30;
