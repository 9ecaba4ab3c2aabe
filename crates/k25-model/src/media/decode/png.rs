//! PNG of every colour type and depth.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use super::{ImageFormat, check_size};
use crate::media::{ImageLimits, MediaError, RgbImage};

/// Bytes that the decoder may take for rows, palette and other chunks.
const CHUNK_BYTES: usize = 64 << 20;

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, MediaError> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: CHUNK_BYTES });
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);

    let header = decoder.read_header_info().map_err(broken)?;
    let (width, height) = header.size();
    let (colour, depth) = (header.color_type, header.bit_depth);
    let bytes_per_pixel = (colour.samples() * depth as usize).div_ceil(8) + 3;
    check_size(
        ImageFormat::Png,
        (width.into(), height.into()),
        bytes_per_pixel,
        limits,
    )?;

    let mut reader = decoder.read_info().map_err(broken)?;
    let palette = match colour {
        ColorType::Indexed => full_palette(reader.info().palette.as_deref().unwrap_or_default()),
        _ => [[0; 3]; 256],
    };
    let too_large = || ImageFormat::Png.broken("its rows do not fit the address space");
    let row_bytes = reader.output_line_size(width).ok_or_else(too_large)?;
    let mut samples = vec![
        0;
        row_bytes
            .checked_mul(height as usize)
            .ok_or_else(too_large)?
    ];
    reader.next_frame(&mut samples).map_err(broken)?;

    let (width, height) = (width as usize, height as usize);
    if (colour, depth) == (ColorType::Rgb, BitDepth::Eight) {
        return Ok(RgbImage::new(width, height, samples));
    }
    let mut pixels = Vec::with_capacity(width * height * 3);
    for row in samples.chunks_exact(row_bytes) {
        append_row(row, width, colour, depth, &palette, &mut pixels);
    }
    Ok(RgbImage::new(width, height, pixels))
}

/// The stored palette, and black for the indices that it lacks.
fn full_palette(stored: &[u8]) -> [[u8; 3]; 256] {
    let mut palette = [[0; 3]; 256];
    for (entry, colour) in palette.iter_mut().zip(stored.chunks_exact(3)) {
        entry.copy_from_slice(colour);
    }
    palette
}

fn append_row(
    row: &[u8],
    width: usize,
    colour: ColorType,
    depth: BitDepth,
    palette: &[[u8; 3]; 256],
    pixels: &mut Vec<u8>,
) {
    // A 16-bit sample is big-endian, so its high byte comes first.
    let sample_bytes = if depth == BitDepth::Sixteen { 2 } else { 1 };
    let samples = row.chunks_exact(colour.samples() * sample_bytes);
    match (colour, depth) {
        (ColorType::Grayscale, BitDepth::Sixteen) => {
            pixels.extend(samples.flat_map(|grey| [if grey[0] == 0 { grey[1] } else { 255 }; 3]));
        }
        (ColorType::Grayscale, BitDepth::Eight) | (ColorType::GrayscaleAlpha, _) => {
            pixels.extend(samples.flat_map(|grey| [grey[0]; 3]));
        }
        (ColorType::Grayscale, _) => {
            let bits = depth as u8;
            let step = 255 / ((1u16 << bits) - 1) as u8;
            pixels.extend(
                packed(row, bits)
                    .take(width)
                    .flat_map(|grey| [grey * step; 3]),
            );
        }
        (ColorType::Indexed, _) => {
            pixels.extend(
                packed(row, depth as u8)
                    .take(width)
                    .flat_map(|index| palette[usize::from(index)]),
            );
        }
        (ColorType::Rgb | ColorType::Rgba, _) => {
            pixels.extend(
                samples.flat_map(|pixel| [pixel[0], pixel[sample_bytes], pixel[2 * sample_bytes]]),
            );
        }
    }
}

/// Samples of 1, 2, 4 or 8 bits, the most significant first.
fn packed(row: &[u8], bits: u8) -> impl Iterator<Item = u8> {
    row.iter().flat_map(move |byte| {
        (0..8 / bits)
            .rev()
            .map(move |place| ((u16::from(*byte) >> (place * bits)) & ((1 << bits) - 1)) as u8)
    })
}

fn broken(error: DecodingError) -> MediaError {
    match error {
        DecodingError::LimitsExceeded => {
            ImageFormat::Png.broken(format!("its chunks take more than {CHUNK_BYTES} bytes"))
        }
        other => ImageFormat::Png.broken(other),
    }
}
