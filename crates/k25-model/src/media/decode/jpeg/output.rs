//! From coefficients to RGB: transform, upsampling of subsampled colour, colour conversion.

use rayon::prelude::*;

use super::coefficients::{BLOCK, Component, Frame, SIDE};
use super::{Fault, Tables, idct};
use crate::media::RgbImage;

/// What the components mean.
#[derive(Clone, Copy)]
enum Colours {
    Grey,
    Rgb,
    YCbCr,
    /// Inverted, as Adobe's programs write it and the reference takes for granted.
    Cmyk,
    /// Inverted, with red, green and blue in place of cyan, magenta and yellow.
    Ycck,
}

/// A component's samples.
struct Plane {
    samples: Vec<u8>,
    /// Samples in a stored row.
    stride: usize,
    /// Samples that the image has, across and down.
    width: usize,
    height: usize,
    enlarge: Enlarge,
}

/// How a plane's samples become one per pixel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Enlarge {
    /// Repeated so often across and down; (1, 1) for a full plane.
    Repeat(usize, usize),
    /// Doubled across: three parts of the nearer sample, one of the farther.
    Across,
    /// Doubled down likewise.
    Down,
    /// Doubled in both directions.
    Both,
}

/// The image of a decoded frame.
pub(super) fn render(frame: Frame, tables: &Tables) -> Result<RgbImage, Fault> {
    let (width, height) = (frame.width, frame.height);
    let colours = colours(&frame, tables);
    let mut planes = Vec::with_capacity(frame.components.len());
    let enlarges: Vec<Enlarge> = frame
        .components
        .iter()
        .map(|component| enlarge(component, &frame))
        .collect::<Result<_, _>>()?;
    for (component, enlarge) in frame.components.into_iter().zip(enlarges) {
        planes.push(plane(component, enlarge)?);
    }
    let mut pixels = vec![0; width * height * 3];
    pixels
        .par_chunks_exact_mut(width * 3)
        .enumerate()
        .with_min_len(16)
        .for_each_init(
            || vec![Vec::with_capacity(width + 8); planes.len()],
            |rows, (y, pixels)| {
                for (row, plane) in rows.iter_mut().zip(&planes) {
                    plane.full_row(y, row);
                }
                convert_row(colours, rows, pixels);
            },
        );
    Ok(RgbImage::new(width, height, pixels))
}

/// What the components mean, by the rules of the reference.
fn colours(frame: &Frame, tables: &Tables) -> Colours {
    match (frame.components.len(), tables.adobe_transform) {
        (1, _) => Colours::Grey,
        (3, _) if tables.jfif => Colours::YCbCr,
        (3, Some(0)) => Colours::Rgb,
        (3, Some(_)) => Colours::YCbCr,
        (3, None)
            if frame
                .components
                .iter()
                .map(|component| component.id)
                .eq(*b"RGB") =>
        {
            Colours::Rgb
        }
        (3, None) => Colours::YCbCr,
        (_, None | Some(0)) => Colours::Cmyk,
        (_, Some(_)) => Colours::Ycck,
    }
}

fn enlarge(component: &Component, frame: &Frame) -> Result<Enlarge, Fault> {
    if !frame.max_horizontal.is_multiple_of(component.horizontal)
        || !frame.max_vertical.is_multiple_of(component.vertical)
    {
        return Err("its sampling factors are no multiples of each other");
    }
    // Two samples across are too few to blend neighbours.
    let wide = component.width > 2;
    Ok(
        match (
            frame.max_horizontal / component.horizontal,
            frame.max_vertical / component.vertical,
        ) {
            (2, 1) if wide => Enlarge::Across,
            (1, 2) => Enlarge::Down,
            (2, 2) if wide => Enlarge::Both,
            (across, down) => Enlarge::Repeat(across, down),
        },
    )
}

fn plane(component: Component, enlarge: Enlarge) -> Result<Plane, Fault> {
    let quantisation = component.quantisation.ok_or("a component has no scan")?;
    let stride = component.stride_blocks * SIDE;
    let mut samples = vec![0; component.coefficients.len()];
    samples
        .par_chunks_exact_mut(stride * SIDE)
        .zip(
            component
                .coefficients
                .par_chunks_exact(component.stride_blocks * BLOCK),
        )
        .for_each(|(band, blocks)| {
            for (column, coefficients) in blocks.chunks_exact(BLOCK).enumerate() {
                let rows = band
                    .chunks_exact_mut(stride)
                    .map(|row| &mut row[column * SIDE..(column + 1) * SIDE]);
                idct::transform(coefficients, &quantisation, rows);
            }
        });
    Ok(Plane {
        samples,
        stride,
        width: component.width,
        height: component.height,
        enlarge,
    })
}

impl Plane {
    /// The stored row `row`, or the nearest that the image has.
    fn row(&self, row: usize) -> &[u8] {
        let start = row.min(self.height - 1) * self.stride;
        &self.samples[start..start + self.width]
    }

    /// One sample for every pixel of row `y`, and possibly some more.
    fn full_row(&self, y: usize, into: &mut Vec<u8>) {
        into.clear();
        match self.enlarge {
            Enlarge::Repeat(across, down) => {
                into.extend(
                    self.row(y / down)
                        .iter()
                        .flat_map(|sample| std::iter::repeat_n(*sample, across)),
                );
            }
            Enlarge::Across => blend_across(self.row(y), into),
            Enlarge::Down => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                into.extend(self.blended_down(y).map(|sum| ((sum + bias) >> 2) as u8));
            }
            Enlarge::Both => blend_both(self.blended_down(y), into),
        }
    }

    /// Three parts of the nearer row and one of the farther, not yet divided.
    fn blended_down(&self, y: usize) -> impl Iterator<Item = u32> {
        let farther = if y.is_multiple_of(2) {
            (y / 2).saturating_sub(1)
        } else {
            y / 2 + 1
        };
        let (near, far) = (self.row(y / 2).iter(), self.row(farther).iter());
        near.zip(far)
            .map(|(near, far)| 3 * u32::from(*near) + u32::from(*far))
    }
}

/// Doubles a row of at least two samples; the two new ones round in opposite directions.
fn blend_across(row: &[u8], into: &mut Vec<u8>) {
    let last = row.len() - 1;
    for (index, sample) in row.iter().enumerate() {
        let near = 3 * u32::from(*sample);
        let left = if index == 0 {
            *sample
        } else {
            ((near + u32::from(row[index - 1]) + 1) >> 2) as u8
        };
        let right = if index == last {
            *sample
        } else {
            ((near + u32::from(row[index + 1]) + 2) >> 2) as u8
        };
        into.extend([left, right]);
    }
}

/// Doubles a row of at least two sums of four parts, and divides by sixteen.
fn blend_both(sums: impl Iterator<Item = u32>, into: &mut Vec<u8>) {
    let mut sums = sums.peekable();
    let mut left = None;
    while let Some(sum) = sums.next() {
        let to_left = 3 * sum + left.unwrap_or(sum);
        let to_right = 3 * sum + sums.peek().copied().unwrap_or(sum);
        into.extend([((to_left + 8) >> 4) as u8, ((to_right + 7) >> 4) as u8]);
        left = Some(sum);
    }
}

fn convert_row(colours: Colours, rows: &[Vec<u8>], pixels: &mut [u8]) {
    let at = |x: usize| [rows[0][x], rows[1][x], rows[2][x]];
    for (x, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        let colour = match colours {
            Colours::Grey => [rows[0][x]; 3],
            Colours::Rgb => at(x),
            Colours::YCbCr => rgb(at(x)),
            Colours::Cmyk => at(x).map(|inverted| less_ink(255 - inverted, rows[3][x])),
            Colours::Ycck => rgb(at(x)).map(|ink| less_ink(ink, rows[3][x])),
        };
        pixel.copy_from_slice(&colour);
    }
}

/// Luminance and two colour differences to RGB, in 16 fractional bits.
fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const fn fixed(value: f64) -> i32 {
        (value * 65_536.0 + 0.5) as i32
    }
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = (fixed(1.402) * cr + HALF) >> 16;
    let green = (-fixed(0.344_14) * cb - fixed(0.714_14) * cr + HALF) >> 16;
    let blue = (fixed(1.772) * cb + HALF) >> 16;
    [y + red, y + green, y + blue].map(|value| value.clamp(0, 255) as u8)
}

/// What `paper` (255 for no black ink) reflects under one coloured ink, as Pillow computes it.
fn less_ink(ink: u8, paper: u8) -> u8 {
    let product = u32::from(ink) * u32::from(paper) + 128;
    let absorbed = ((product >> 8) + product) >> 8;
    paper.saturating_sub(absorbed as u8)
}
