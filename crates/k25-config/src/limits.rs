//! The largest numbers that are believed.
//!
//! Each lies far above every model of the family, and so low that the sizes formed from them fit
//! 64 bits and that lists with one entry per layer or expert stay small. A number above them means
//! a damaged or hostile file.

/// Widths: hidden sizes, ranks, head widths.
pub(crate) const WIDTH: usize = 1 << 20;
/// Inner widths of feed-forward parts.
pub(crate) const INNER_WIDTH: usize = 1 << 22;
/// Decoder layers or encoder blocks.
pub(crate) const LAYERS: usize = 1 << 10;
/// Attention heads.
pub(crate) const HEADS: usize = 1 << 13;
/// Routed experts in one layer.
pub(crate) const EXPERTS: usize = 1 << 14;
/// Routed experts in all layers together.
pub(crate) const ALL_EXPERTS: usize = 1 << 20;
/// Rows of the embedding.
pub(crate) const VOCABULARY: usize = 1 << 24;
/// Positions of a context.
pub(crate) const POSITIONS: usize = 1 << 27;
/// Parameters of the whole model.
pub(crate) const PARAMETERS: u128 = 1 << 48;
/// Side of a patch in pixels.
pub(crate) const PATCH_SIDE: usize = 1 << 8;
/// Patches merged along one side.
pub(crate) const MERGE_SIDE: usize = 1 << 4;
/// Rows, columns or frames of the vision position table.
pub(crate) const POSITION_TABLE_SIDE: usize = 1 << 12;
/// Patches of one image or video.
pub(crate) const PATCHES: usize = 1 << 22;
/// Patches along one side of an image.
pub(crate) const PATCHES_ON_ONE_SIDE: usize = 1 << 16;
