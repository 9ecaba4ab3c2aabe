//! What the vision tower reads.

/// One image, or one chunk of video frames, cut into normalised patches.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionItem {
    /// Frames, patch rows and patch columns, `[t, h, w]`.
    pub grid: [usize; 3],
    /// `[t · h · w, 3, patch, patch]` in the order frame, patch row, patch column.
    pub patches: Vec<f32>,
}
