//! Pillow's antialiased bicubic resampling, bit for bit (spec: architecture §4.1).
//!
//! Two passes, rounded to eight bits in between; weights in fixed point with 22 fractional bits. An
//! axis that keeps its length is passed over, so an equal size is a copy. Widths are usually
//! resampled first; since version 13 Pillow begins with the heights where that loses more than
//! twice as many rows as columns, and the rounding in between makes that visible.

use rayon::prelude::*;

use super::RgbImage;
use super::rgb::CHANNELS;

/// Fractional bits of a weight: 32 of the accumulator, less 8 of a grey level, less 2 for sign and
/// overshoot.
const FRACTION_BITS: u32 = 32 - 8 - 2;

/// Half of a grey level in fixed point: what turns truncation into rounding.
const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// Reach of the bicubic kernel in input pixels at scale 1.
const KERNEL_RADIUS: f64 = 2.0;

/// The kernel's free parameter.
const KERNEL_A: f64 = -0.5;

/// Resamples to `width` × `height` pixels, both at least 1.
pub fn resize_bicubic(image: RgbImage, width: usize, height: usize) -> RgbImage {
    assert!(width > 0 && height > 0, "the resized image has pixels");
    if heights_first(&image, width, height) {
        to_width(to_height(image, height), width)
    } else {
        to_height(to_width(image, width), height)
    }
}

fn heights_first(image: &RgbImage, width: usize, height: usize) -> bool {
    let lost_columns = image.width() as i64 - width as i64;
    let lost_rows = image.height() as i64 - height as i64;
    lost_rows > 0 && lost_rows > 2 * lost_columns
}

fn to_width(image: RgbImage, width: usize) -> RgbImage {
    if image.width() == width {
        image
    } else {
        resize_width(&image, width)
    }
}

fn to_height(image: RgbImage, height: usize) -> RgbImage {
    if image.height() == height {
        image
    } else {
        resize_height(&image, height)
    }
}

/// For every output pixel of an axis: the first input pixel that it reads, and its weights.
struct Taps {
    first: Vec<usize>,
    /// Weights of all outputs one after the other; those of output `i` end at `ends[i]`.
    weights: Vec<i32>,
    ends: Vec<usize>,
}

impl Taps {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let reach = KERNEL_RADIUS * filter_scale;
        let mut taps = Self {
            first: Vec::with_capacity(to),
            weights: Vec::new(),
            ends: Vec::with_capacity(to),
        };
        let mut exact = Vec::new();
        for output in 0..to {
            let center = (output as f64 + 0.5) * scale;
            // The casts truncate towards zero and stop at zero: the reference clamps there too.
            let first = (center - reach + 0.5) as usize;
            let end = ((center + reach + 0.5) as usize).min(from);
            exact.clear();
            exact.extend((first..end).map(|input| {
                let distance = input as f64 - center + 0.5;
                cubic(distance * (1.0 / filter_scale))
            }));
            let mut sum = 0.0;
            for weight in &exact {
                sum += weight;
            }
            taps.first.push(first);
            taps.weights.extend(
                exact
                    .iter()
                    .map(|weight| fixed_point(if sum == 0.0 { *weight } else { weight / sum })),
            );
            taps.ends.push(taps.weights.len());
        }
        taps
    }

    /// First input and weights of output `index`.
    fn of(&self, index: usize) -> (usize, &[i32]) {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        (self.first[index], &self.weights[begin..self.ends[index]])
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        (0..self.first.len()).map(|index| self.of(index))
    }
}

/// Keys' cubic convolution kernel.
fn cubic(distance: f64) -> f64 {
    let x = distance.abs();
    if x < 1.0 {
        ((KERNEL_A + 2.0) * x - (KERNEL_A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * KERNEL_A
    } else {
        0.0
    }
}

/// Rounds half away from zero, by a sum and a truncation as the reference does it.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1u32 << FRACTION_BITS);
    (scaled + 0.5f64.copysign(scaled)) as i32
}

fn grey_level(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

fn resize_width(image: &RgbImage, width: usize) -> RgbImage {
    let taps = Taps::new(image.width(), width);
    let mut pixels = vec![0u8; width * image.height() * CHANNELS];
    pixels
        .par_chunks_exact_mut(width * CHANNELS)
        .zip(image.pixels().par_chunks_exact(image.row_bytes()))
        .with_min_len(rows_per_task(image.row_bytes()))
        .for_each(|(into, row)| {
            for (pixel, (first, weights)) in into.chunks_exact_mut(CHANNELS).zip(taps.iter()) {
                let inputs = row[first * CHANNELS..].chunks_exact(CHANNELS);
                let mut sums = [HALF; CHANNELS];
                for (input, weight) in inputs.zip(weights) {
                    for channel in 0..CHANNELS {
                        sums[channel] += i32::from(input[channel]) * weight;
                    }
                }
                for channel in 0..CHANNELS {
                    pixel[channel] = grey_level(sums[channel]);
                }
            }
        });
    RgbImage::new(width, image.height(), pixels)
}

fn resize_height(image: &RgbImage, height: usize) -> RgbImage {
    let taps = Taps::new(image.height(), height);
    let row_bytes = image.row_bytes();
    let mut pixels = vec![0u8; row_bytes * height];
    pixels
        .par_chunks_exact_mut(row_bytes)
        .enumerate()
        .with_min_len(rows_per_task(row_bytes))
        .for_each_init(
            || vec![0i32; row_bytes],
            |sums, (output, into)| {
                let (first, weights) = taps.of(output);
                sums.fill(HALF);
                for (row, weight) in image.rows().skip(first).zip(weights) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += i32::from(*value) * weight;
                    }
                }
                for (value, sum) in into.iter_mut().zip(sums.iter()) {
                    *value = grey_level(*sum);
                }
            },
        );
    RgbImage::new(image.width(), height, pixels)
}

/// Rows that make a task worth its dispatch.
fn rows_per_task(row_bytes: usize) -> usize {
    (1 << 16) / row_bytes.max(1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_size_is_a_copy() {
        let image = RgbImage::new(2, 2, (0..12).collect());
        assert_eq!(resize_bicubic(image.clone(), 2, 2), image);
    }

    #[test]
    fn weights_of_a_kept_axis_would_be_the_identity() {
        let taps = Taps::new(7, 7);
        for index in 0..7 {
            let (first, weights) = taps.of(index);
            let (at, weight) = weights
                .iter()
                .enumerate()
                .find(|(_, weight)| **weight != 0)
                .expect("one weight");
            assert_eq!((first + at, *weight), (index, 1 << FRACTION_BITS));
        }
    }

    #[test]
    fn a_flat_image_stays_flat() {
        let image = RgbImage::new(50, 40, vec![200; 50 * 40 * 3]);
        assert!(
            resize_bicubic(image, 17, 61)
                .pixels()
                .iter()
                .all(|&value| value == 200)
        );
    }
}
