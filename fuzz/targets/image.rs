//! An encoded image from a stranger: decoded, resized, cut into patches.
#![no_main]

use k25_config::MediaConfig;
use k25_model::media::{ImageLimits, preprocess_image};
use libfuzzer_sys::fuzz_target;

/// Small enough for thousands of images per second.
const LIMITS: ImageLimits = ImageLimits {
    file_bytes: 1 << 20,
    side: 65_535,
    pixels: 1 << 14,
    decoder_bytes: 64 << 20,
};

fuzz_target!(|data: &[u8]| {
    let config = MediaConfig::default();
    if let Ok(item) = preprocess_image(data, &LIMITS, &config) {
        let [frames, rows, columns] = item.grid;
        assert!(
            frames == 1
                && rows % config.merge_kernel_size == 0
                && columns % config.merge_kernel_size == 0
        );
        assert_eq!(
            item.patches.len(),
            rows * columns * 3 * config.patch_size * config.patch_size
        );
        assert!(
            item.patches
                .iter()
                .all(|value| (-1.0..=1.0).contains(value))
        );
    }
});
