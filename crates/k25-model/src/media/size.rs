//! What size a picture is given before it is cut into patches: f64 arithmetic in the reference's
//! order, so that every truncation falls on the same side (spec: architecture §4.1).

use k25_config::MediaConfig;

/// The size that a picture is resized to, and the zeros added right and below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TargetSize {
    /// Width after resizing, pixels.
    pub width: usize,
    /// Height after resizing, pixels.
    pub height: usize,
    /// Columns of zeros added on the right.
    pub pad_right: usize,
    /// Rows of zeros added below.
    pub pad_bottom: usize,
}

impl TargetSize {
    /// Width with padding, a multiple of a merged patch's side.
    pub fn padded_width(&self) -> usize {
        self.width + self.pad_right
    }

    /// Height with padding, a multiple of a merged patch's side.
    pub fn padded_height(&self) -> usize {
        self.height + self.pad_bottom
    }

    /// Patches of one frame, `[rows, columns]`.
    pub fn patch_grid(&self, config: &MediaConfig) -> [usize; 2] {
        [
            self.padded_height() / config.patch_size,
            self.padded_width() / config.patch_size,
        ]
    }

    /// Language-model tokens of one item of this size, whatever its number of frames.
    pub fn tokens(&self, config: &MediaConfig) -> usize {
        let side = merged_side(config);
        (self.padded_height() / side) * (self.padded_width() / side)
    }
}

/// The size of a still image of `width` × `height` pixels, both at least 1.
pub fn image_size(width: usize, height: usize, config: &MediaConfig) -> TargetSize {
    limited_size(width, height, config.in_patch_limit, config)
}

/// The size of each frame of a video of `width` × `height` pixels, both at least 1.
pub fn frame_size(width: usize, height: usize, config: &MediaConfig) -> TargetSize {
    limited_size(width, height, config.in_patch_limit_each_frame, config)
}

/// Never enlarges. The limit counts whole patches before padding, so the padded grid may hold a
/// few more.
fn limited_size(
    width: usize,
    height: usize,
    patch_limit: usize,
    config: &MediaConfig,
) -> TargetSize {
    let patch = config.patch_size;
    let longest_side = config.patch_limit_on_one_side * patch;
    let whole_patches = |side: usize| (side / patch).max(1) as f64;

    let by_area = (patch_limit as f64 / (whole_patches(width) * whole_patches(height))).sqrt();
    let by_width = longest_side as f64 / width as f64;
    let by_height = longest_side as f64 / height as f64;
    let scale = 1.0f64.min(by_area).min(by_width).min(by_height);

    let scaled = |side: usize| ((side as f64 * scale) as usize).max(1).min(longest_side);
    let (width, height) = (scaled(width), scaled(height));
    TargetSize {
        width,
        height,
        pad_right: width.next_multiple_of(merged_side(config)) - width,
        pad_bottom: height.next_multiple_of(merged_side(config)) - height,
    }
}

/// Pixels along each side of a merged window: what padding rounds up to.
fn merged_side(config: &MediaConfig) -> usize {
    config.patch_size * config.merge_kernel_size
}
