//! How much a file from a stranger may ask for.

use std::time::Duration;

/// Limits on one still image, checked before its pixels are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Most bytes of the encoded file. Default 256 MiB.
    pub file_bytes: usize,
    /// Most pixels on one side. Default 65,535.
    pub side: usize,
    /// Most pixels. Default 100 million; the largest phone cameras write half of that and up to
    /// twice as much, and the model sees at most 3.2 million.
    pub pixels: usize,
    /// Most bytes that a decoder may hold at once beside the file. Default 1 GiB.
    pub decoder_bytes: usize,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            file_bytes: 256 << 20,
            side: 65_535,
            pixels: 100_000_000,
            decoder_bytes: 1 << 30,
        }
    }
}

/// Limits on one video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoLimits {
    /// Most bytes of the encoded file. Default 4 GiB.
    pub file_bytes: u64,
    /// Most pixels of one frame. Default 33,177,600 (7,680 × 4,320).
    pub frame_pixels: usize,
    /// Most frames that are decoded. Default 1,000,000.
    pub decoded_frames: usize,
    /// Most frames that are sampled. Default 4,096.
    pub sampled_frames: usize,
    /// Most patches of all sampled frames together. Default 1,048,576: 65,536 tokens in chunks of
    /// four frames, and 2.5 GB for whoever holds all chunks at once.
    pub patches: usize,
    /// Time that one pass over a video may take; there are two. Default five minutes.
    pub timeout: Duration,
}

impl Default for VideoLimits {
    fn default() -> Self {
        Self {
            file_bytes: 4 << 30,
            frame_pixels: 7_680 * 4_320,
            decoded_frames: 1_000_000,
            sampled_frames: 4_096,
            patches: 1 << 20,
            timeout: Duration::from_secs(300),
        }
    }
}
