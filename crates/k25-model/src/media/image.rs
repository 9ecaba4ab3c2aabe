//! Still images, from encoded bytes to one vision item.

use k25_config::MediaConfig;

use super::rgb::CHANNELS;
use super::{
    ImageLimits, MediaError, RgbImage, TargetSize, decode_image, image_size, patches,
    resize_bicubic,
};
use crate::vision::VisionItem;

/// Decodes an image and prepares it for the vision tower.
///
/// # Errors
/// As [`decode_image`].
pub fn preprocess_image(
    bytes: &[u8],
    limits: &ImageLimits,
    config: &MediaConfig,
) -> Result<VisionItem, MediaError> {
    Ok(preprocess(decode_image(bytes, limits)?, config))
}

/// Resizes, pads, normalises and cuts a decoded image into patches.
pub fn preprocess(image: RgbImage, config: &MediaConfig) -> VisionItem {
    let size = image_size(image.width(), image.height(), config);
    let [rows, columns] = size.patch_grid(config);
    let padded = resize_and_pad(image, size);
    VisionItem {
        grid: [1, rows, columns],
        patches: patches(&[padded], config),
    }
}

/// Resizes an image to `size` and adds its zeros on the right and below.
pub fn resize_and_pad(image: RgbImage, size: TargetSize) -> RgbImage {
    let resized = resize_bicubic(image, size.width, size.height);
    if (size.pad_right, size.pad_bottom) == (0, 0) {
        return resized;
    }
    let padded_row = size.padded_width() * CHANNELS;
    let mut pixels = vec![0; padded_row * size.padded_height()];
    for (into, row) in pixels.chunks_exact_mut(padded_row).zip(resized.rows()) {
        into[..row.len()].copy_from_slice(row);
    }
    RgbImage::new(size.padded_width(), size.padded_height(), pixels)
}
