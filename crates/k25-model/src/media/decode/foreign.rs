//! WebP and BMP through the `image` crate, whose pixels are those of the reference.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::ImageError;
use image::{ColorType, ImageDecoder};

use super::{ImageFormat, check_size};
use crate::media::{ImageLimits, MediaError, RgbImage};

/// Bytes per pixel that the decoders hold at most: planes or a canvas, their own result, and ours.
const DECODER_BYTES_PER_PIXEL: usize = 12;

pub(super) fn decode(
    format: ImageFormat,
    bytes: &[u8],
    limits: &ImageLimits,
) -> Result<RgbImage, MediaError> {
    let reader = Cursor::new(bytes);
    let broken = |error: ImageError| describe(format, error);
    match format {
        ImageFormat::WebP => read(format, WebPDecoder::new(reader).map_err(broken)?, limits),
        ImageFormat::Jpeg => read(format, JpegDecoder::new(reader).map_err(broken)?, limits),
        _ => read(format, BmpDecoder::new(reader).map_err(broken)?, limits),
    }
}

fn read(
    format: ImageFormat,
    decoder: impl ImageDecoder,
    limits: &ImageLimits,
) -> Result<RgbImage, MediaError> {
    let (width, height) = decoder.dimensions();
    check_size(
        format,
        (width.into(), height.into()),
        DECODER_BYTES_PER_PIXEL,
        limits,
    )?;
    let colour = decoder.color_type();
    let (width, height) = (width as usize, height as usize);
    let mut samples = vec![0; width * height * usize::from(colour.bytes_per_pixel())];
    decoder
        .read_image(&mut samples)
        .map_err(|error| describe(format, error))?;
    let pixels = match colour {
        ColorType::Rgb8 => samples,
        ColorType::Rgba8 => samples
            .chunks_exact(4)
            .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]])
            .collect(),
        ColorType::L8 => samples.into_iter().flat_map(|grey| [grey; 3]).collect(),
        other => {
            return Err(MediaError::Unsupported {
                format,
                feature: format!("the pixel layout {other:?}"),
            });
        }
    };
    Ok(RgbImage::new(width, height, pixels))
}

fn describe(format: ImageFormat, error: ImageError) -> MediaError {
    match error {
        ImageError::Unsupported(error) => MediaError::Unsupported {
            format,
            feature: error.to_string(),
        },
        other => format.broken(other),
    }
}
