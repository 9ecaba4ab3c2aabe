//! Normalisation and patches (spec: architecture §4, §4.1).

use k25_config::MediaConfig;

use super::RgbImage;
use super::rgb::CHANNELS;

/// Patches of frames of one size, normalised: `[frame, patch row, patch column]` one after the
/// other, each `[channel, y, x]`.
///
/// # Panics
/// Where the sides are no multiples of the patch, or the frames differ in size.
pub fn patches(frames: &[RgbImage], config: &MediaConfig) -> Vec<f32> {
    let levels = normalised_levels(config);
    let pixels: usize = frames.iter().map(|frame| frame.pixels().len()).sum();
    let mut patches = Vec::with_capacity(pixels);
    for frame in frames {
        assert_eq!(
            (frame.width(), frame.height()),
            (frames[0].width(), frames[0].height()),
            "frames of one size"
        );
        append_patches(frame, config.patch_size, &levels, &mut patches);
    }
    patches
}

/// The normalised value of every grey level per channel: `(v / 255 − mean) / std` in f32.
fn normalised_levels(config: &MediaConfig) -> [[f32; 256]; CHANNELS] {
    std::array::from_fn(|channel| {
        let (mean, inverse_std) = (config.image_mean[channel], 1.0 / config.image_std[channel]);
        std::array::from_fn(|level| (level as f32 / 255.0 - mean) * inverse_std)
    })
}

fn append_patches(
    frame: &RgbImage,
    side: usize,
    levels: &[[f32; 256]; CHANNELS],
    into: &mut Vec<f32>,
) {
    assert!(
        frame.width().is_multiple_of(side) && frame.height().is_multiple_of(side),
        "a {}×{} image is no whole number of patches of side {side}",
        frame.width(),
        frame.height()
    );
    let row_bytes = frame.row_bytes();
    for band in frame.pixels().chunks_exact(row_bytes * side) {
        for column in 0..frame.width() / side {
            for (channel, levels) in levels.iter().enumerate() {
                for row in band.chunks_exact(row_bytes) {
                    let pixels =
                        row[column * side * CHANNELS..][..side * CHANNELS].chunks_exact(CHANNELS);
                    into.extend(pixels.map(|pixel| levels[usize::from(pixel[channel])]));
                }
            }
        }
    }
}
