//! Why items cannot be encoded.

/// An item that the vision tower cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// A grid has a zero side.
    #[error(
        "vision item {item} has the empty grid {grid:?}\n  hint: every item has at least one frame, row and column"
    )]
    EmptyGrid {
        /// Place of the item in the batch.
        item: usize,
        /// Its grid `[t, h, w]`.
        grid: [usize; 3],
    },
    /// A grid is no whole number of merged windows.
    #[error(
        "vision item {item}: {} × {} patches are no whole number of {} × {} windows\n  \
         hint: pad images to multiples of the window, as the preprocessing does",
        grid[1], grid[2], kernel[0], kernel[1]
    )]
    UnmergeableGrid {
        /// Place of the item in the batch.
        item: usize,
        /// Its grid `[t, h, w]`.
        grid: [usize; 3],
        /// Patches in a merged window, `[height, width]`.
        kernel: [usize; 2],
    },
    /// An item has more frames than the model knows times for.
    #[error(
        "vision item {item} has {frames} frames, the model at most {limit}\n  \
         hint: split a video into chunks of {limit} frames, as the preprocessing does"
    )]
    TooManyFrames {
        /// Place of the item in the batch.
        item: usize,
        /// Its frames.
        frames: usize,
        /// `init_pos_emb_time`.
        limit: usize,
    },
    /// An item's values are not as many as its grid needs.
    #[error(
        "vision item {item} with grid {grid:?} has {found} values instead of {expected}\n  hint: a patch has {per_patch} values"
    )]
    WrongLength {
        /// Place of the item in the batch.
        item: usize,
        /// Its grid `[t, h, w]`.
        grid: [usize; 3],
        /// Values of one patch.
        per_patch: usize,
        /// Values that the grid needs.
        expected: usize,
        /// Values that are there.
        found: usize,
    },
}
