//! WebP, lossy and lossless, through the `image-webp` crate, whose pixels are libwebp's.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::{ImageFormat, check_size};
use crate::media::{ImageLimits, MediaError, RgbImage};

/// Bytes per pixel that decoding holds at most: planes or a canvas, the crate's result, and ours.
const DECODER_BYTES_PER_PIXEL: usize = 15;

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, MediaError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(
        ImageFormat::WebP,
        (width.into(), height.into()),
        DECODER_BYTES_PER_PIXEL,
        limits,
    )?;
    decoder.set_memory_limit(limits.decoder_bytes);
    let (width, height) = (width as usize, height as usize);
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut samples = vec![0; width * height * channels];
    decoder.read_image(&mut samples).map_err(broken)?;
    let pixels = match channels {
        3 => samples,
        _ => samples
            .chunks_exact(4)
            .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]])
            .collect(),
    };
    Ok(RgbImage::new(width, height, pixels))
}

fn broken(error: DecodingError) -> MediaError {
    match error {
        DecodingError::UnsupportedFeature(feature) => MediaError::Unsupported {
            format: ImageFormat::WebP,
            feature,
        },
        other => ImageFormat::WebP.broken(other),
    }
}
