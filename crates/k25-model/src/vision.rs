//! MoonViT-3D and its projector: from image patches to rows of the language model's width
//! (spec: architecture §4).
//!
//! [`encode`] is the wiring, written once over the operators of [`VisionExec`]; what depends on
//! sizes alone (learned and temporal positions, rotary angles, where items begin) is computed here
//! for every execution alike.

mod encode;
mod error;
mod item;
mod packing;
mod pooling;
mod positions;
mod rope;
pub mod weights;

pub use encode::{Gelu, VisionExec, VisionSite, encode};
pub use error::VisionError;
pub use item::VisionItem;
pub use packing::{PackedItem, Packing};
pub use pooling::{pool_windows, spread_windows};
pub use positions::{position_rows, spread_positions};
pub use rope::RotaryAngles;
