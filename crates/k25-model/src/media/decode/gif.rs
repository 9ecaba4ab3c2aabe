//! GIF: the first frame as an image, and all frames as a small video.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, Frame, MemoryLimit};

use super::{ImageFormat, check_size};
use crate::media::{ImageLimits, MediaError, RgbImage};

/// Bytes per pixel that decoding a frame holds: indices, canvas, and what disposal restores.
const DECODER_BYTES_PER_PIXEL: usize = 8;

/// Frames of a GIF, drawn one over the other.
pub(in crate::media) struct GifFrames<'a> {
    decoder: Decoder<&'a [u8]>,
    global_palette: Vec<u8>,
    /// Palette entry that disposal leaves where nothing is transparent.
    background: usize,
    width: usize,
    height: usize,
    limits: ImageLimits,
    canvas: Vec<u8>,
    /// What the next frame finds restored: a region and its pixels.
    restore: Option<(Region, Vec<u8>)>,
    drawn: usize,
}

/// A rectangle within the screen.
#[derive(Debug, Clone, Copy)]
struct Region {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

pub(super) fn decode_first_frame(
    bytes: &[u8],
    limits: &ImageLimits,
) -> Result<RgbImage, MediaError> {
    let mut frames = GifFrames::open(bytes, limits)?;
    match frames.advance()? {
        Some(_) => Ok(frames.into_image()),
        None => Err(ImageFormat::Gif.broken("it has no frame")),
    }
}

impl<'a> GifFrames<'a> {
    /// Reads the header.
    pub(in crate::media) fn open(
        bytes: &'a [u8],
        limits: &ImageLimits,
    ) -> Result<Self, MediaError> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        options.set_memory_limit(MemoryLimit::Bytes(
            NonZeroU64::new(limits.decoder_bytes as u64).unwrap_or(NonZeroU64::MIN),
        ));
        let decoder = options.read_info(bytes).map_err(broken)?;
        let (width, height) = (decoder.width(), decoder.height());
        check_size(
            ImageFormat::Gif,
            (width.into(), height.into()),
            DECODER_BYTES_PER_PIXEL,
            limits,
        )?;
        let (width, height) = (usize::from(width), usize::from(height));
        Ok(Self {
            global_palette: decoder.global_palette().unwrap_or_default().to_vec(),
            background: decoder.bg_color().unwrap_or(0),
            decoder,
            width,
            height,
            limits: *limits,
            canvas: vec![0; width * height * 3],
            restore: None,
            drawn: 0,
        })
    }

    /// Width and height of the screen.
    pub(in crate::media) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Draws the next frame and returns how long it is shown, in hundredths of a second; `None`
    /// after the last.
    pub(in crate::media) fn advance(&mut self) -> Result<Option<u16>, MediaError> {
        let Some(frame) = self.decoder.next_frame_info().map_err(broken)? else {
            return Ok(None);
        };
        let (width, height) = (frame.width, frame.height);
        check_size(
            ImageFormat::Gif,
            (width.into(), height.into()),
            DECODER_BYTES_PER_PIXEL,
            &self.limits,
        )?;
        let frame = frame.clone();
        let mut indices = vec![0; self.decoder.buffer_size()];
        self.decoder
            .read_into_buffer(&mut indices)
            .map_err(broken)?;

        self.restore_previous();
        let palette = palette(frame.palette.as_deref().unwrap_or(&self.global_palette));
        if self.drawn == 0 {
            // Around a smaller first frame Pillow shows the transparent entry, or the first.
            let around = palette[usize::from(frame.transparent.unwrap_or(0))];
            self.canvas
                .chunks_exact_mut(3)
                .for_each(|pixel| pixel.copy_from_slice(&around));
        }
        let region = self.visible_region(&frame);
        self.remember_for_disposal(&frame, region, &palette);
        self.draw(&frame, &indices, region, &palette);
        self.drawn += 1;
        Ok(Some(frame.delay))
    }

    /// The screen as it is shown now.
    pub(in crate::media) fn image(&self) -> RgbImage {
        RgbImage::new(self.width, self.height, self.canvas.clone())
    }

    fn into_image(self) -> RgbImage {
        RgbImage::new(self.width, self.height, self.canvas)
    }

    /// The part of the frame that lies on the screen.
    fn visible_region(&self, frame: &Frame<'_>) -> Region {
        let left = usize::from(frame.left).min(self.width);
        let top = usize::from(frame.top).min(self.height);
        Region {
            left,
            top,
            width: usize::from(frame.width).min(self.width - left),
            height: usize::from(frame.height).min(self.height - top),
        }
    }

    fn draw(
        &mut self,
        frame: &Frame<'_>,
        indices: &[u8],
        region: Region,
        palette: &[[u8; 3]; 256],
    ) {
        // The first frame has nothing below it: a transparent pixel shows its own colour.
        let transparent = frame.transparent.filter(|_| self.drawn > 0);
        let rows = indices.chunks_exact(usize::from(frame.width).max(1));
        for (offset, row) in rows.take(region.height).enumerate() {
            let start = ((region.top + offset) * self.width + region.left) * 3;
            let pixels = self.canvas[start..start + region.width * 3].chunks_exact_mut(3);
            for (pixel, index) in pixels.zip(row) {
                if Some(*index) != transparent {
                    pixel.copy_from_slice(&palette[usize::from(*index)]);
                }
            }
        }
    }

    fn remember_for_disposal(
        &mut self,
        frame: &Frame<'_>,
        region: Region,
        palette: &[[u8; 3]; 256],
    ) {
        self.restore = match frame.dispose {
            DisposalMethod::Any | DisposalMethod::Keep => None,
            DisposalMethod::Background => {
                let background = frame.transparent.map_or(self.background, usize::from);
                Some((
                    region,
                    palette[background].repeat(region.width * region.height),
                ))
            }
            DisposalMethod::Previous => {
                let rows = self
                    .canvas
                    .chunks_exact(self.width * 3)
                    .skip(region.top)
                    .take(region.height);
                let pixels =
                    rows.flat_map(|row| &row[region.left * 3..(region.left + region.width) * 3]);
                Some((region, pixels.copied().collect()))
            }
        };
    }

    fn restore_previous(&mut self) {
        let Some((region, pixels)) = self.restore.take() else {
            return;
        };
        let rows = self
            .canvas
            .chunks_exact_mut(self.width * 3)
            .skip(region.top);
        for (row, saved) in rows.zip(pixels.chunks_exact((region.width * 3).max(1))) {
            row[region.left * 3..(region.left + region.width) * 3].copy_from_slice(saved);
        }
    }
}

/// The stored palette, and black for the indices that it lacks.
fn palette(stored: &[u8]) -> [[u8; 3]; 256] {
    let mut palette = [[0; 3]; 256];
    for (entry, colour) in palette.iter_mut().zip(stored.chunks_exact(3)) {
        entry.copy_from_slice(colour);
    }
    palette
}

fn broken(error: DecodingError) -> MediaError {
    ImageFormat::Gif.broken(error)
}
