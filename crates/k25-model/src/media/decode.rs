//! Encoded images to RGB, as Pillow's `convert("RGB")` sees them (spec: architecture §4.1).
//!
//! The format is found from the content. Alpha is dropped, not blended; palettes are looked up;
//! 16-bit channels keep their high byte, except greys without alpha, which are cut off at 255; an
//! orientation in the metadata is not applied; colour profiles and gamma are ignored; of an
//! animation the first frame counts. Sizes are checked before pixels are decoded.

use std::fmt;

use super::{ImageLimits, MediaError, RgbImage};

mod bmp;
pub(super) mod gif;
mod jpeg;
mod png;
mod webp;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG, sequential or progressive.
    Jpeg,
    /// WebP, lossy or lossless.
    WebP,
    /// Graphics Interchange Format.
    Gif,
    /// Windows bitmap.
    Bmp,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
        })
    }
}

impl ImageFormat {
    /// The format that these bytes begin like.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Self::Png),
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'B', b'M', ..] => Some(Self::Bmp),
            _ => None,
        }
    }

    fn broken(self, reason: impl fmt::Display) -> MediaError {
        MediaError::Broken {
            format: self,
            reason: reason.to_string(),
        }
    }
}

/// Decodes an encoded image.
///
/// # Errors
/// Where the format is unknown, the file or the declared size is beyond `limits`, or the content is
/// broken or cut short.
pub fn decode_image(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, MediaError> {
    let format = ImageFormat::sniff(bytes).ok_or_else(|| unknown_format(bytes))?;
    if bytes.len() > limits.file_bytes {
        return Err(MediaError::FileTooLarge {
            bytes: bytes.len() as u64,
            limit: limits.file_bytes as u64,
        });
    }
    match format {
        ImageFormat::Png => png::decode(bytes, limits),
        ImageFormat::Jpeg => jpeg::decode(bytes, limits),
        ImageFormat::Gif => gif::decode_first_frame(bytes, limits),
        ImageFormat::WebP => webp::decode(bytes, limits),
        ImageFormat::Bmp => bmp::decode(bytes, limits),
    }
}

fn unknown_format(bytes: &[u8]) -> MediaError {
    let start: Vec<String> = bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let start = if start.is_empty() {
        "nothing".to_owned()
    } else {
        start.join(" ")
    };
    MediaError::UnknownFormat { start }
}

/// Checks a declared size before anything is allocated for it; `decoder_bytes_per_pixel` is what
/// decoding holds for each pixel, the result included.
fn check_size(
    format: ImageFormat,
    (width, height): (u64, u64),
    decoder_bytes_per_pixel: usize,
    limits: &ImageLimits,
) -> Result<(), MediaError> {
    let refused = |reason: String, hint| {
        Err(MediaError::Size {
            format,
            width,
            height,
            reason,
            hint,
        })
    };
    let scale_down = "scale the picture down; the model sees a few million pixels at most";
    if width == 0 || height == 0 {
        return refused(
            "it has no pixels".to_owned(),
            "the file is damaged; save it again",
        );
    }
    if width.max(height) > limits.side as u64 {
        return refused(
            format!("a side has more than {} pixels", limits.side),
            scale_down,
        );
    }
    let pixels = width * height;
    if pixels > limits.pixels as u64 {
        return refused(
            format!("it has more than {} pixels", limits.pixels),
            scale_down,
        );
    }
    let bytes = pixels.saturating_mul(decoder_bytes_per_pixel as u64);
    if bytes > limits.decoder_bytes as u64 {
        return refused(
            format!(
                "decoding would take {bytes} bytes, more than the {} allowed",
                limits.decoder_bytes
            ),
            scale_down,
        );
    }
    Ok(())
}
