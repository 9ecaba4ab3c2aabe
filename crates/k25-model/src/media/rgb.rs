//! A picture in memory.

/// Red, green and blue, eight bits each, row by row from the top, without padding between rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// Bytes of one pixel.
pub(super) const CHANNELS: usize = 3;

impl RgbImage {
    /// An image of these pixels, `height · width · 3` bytes.
    ///
    /// # Panics
    /// Where a side is zero or the number of bytes does not fit the sides.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert!(
            width > 0 && height > 0,
            "an image of {width}×{height} pixels has nothing in it"
        );
        assert_eq!(
            pixels.len(),
            width * height * CHANNELS,
            "bytes of a {width}×{height} image"
        );
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All pixels, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        self.width * CHANNELS
    }

    /// The rows from the top.
    pub(super) fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.pixels.chunks_exact(self.row_bytes())
    }

    /// The same image, its pixels without a copy.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}
