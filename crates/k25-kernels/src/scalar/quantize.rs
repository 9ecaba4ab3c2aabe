//! Activations to int8.

use crate::activations::{ZERO_GROUP, position};
use crate::simd::GROUP;

/// Scale and reciprocal for a group whose largest magnitude is given; the reciprocal is 0 where all values become 0.
pub(crate) fn scale_and_inverse(largest: f32) -> (f32, f32) {
    if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < ZERO_GROUP {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    }
}

/// The largest magnitude; NaN if a value is not finite.
pub(crate) fn largest_magnitude(x: &[f32]) -> f32 {
    if x.iter().all(|x| x.is_finite()) {
        x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()))
    } else {
        f32::NAN
    }
}

/// −8 times the sums of the values in byte positions 0, 1 and 2, 3 of each word, in the low and high half.
#[inline(always)]
pub(crate) fn correction(values: &[i8; GROUP]) -> i32 {
    let mut sums = [0_i16; 2];
    for word in values.chunks_exact(4) {
        sums[0] += i16::from(word[0]) + i16::from(word[1]);
        sums[1] += i16::from(word[2]) + i16::from(word[3]);
    }
    let (low, high) = (-8 * sums[0], -8 * sums[1]);
    (i32::from(high) << 16) | i32::from(low.cast_unsigned())
}

/// Up to 32 values times `inverse`, rounded, in the order that the kernels keep; zeros where `inverse` is 0.
pub(crate) fn scaled_group(x: &[f32], inverse: f32) -> [i8; GROUP] {
    let mut group = [0; GROUP];
    if inverse != 0.0 {
        for (i, x) in x.iter().enumerate() {
            group[position(i)] = (x * inverse).round_ties_even() as i8;
        }
    }
    group
}

pub(crate) fn quantize_rows(
    x: &[f32],
    cols: usize,
    values: &mut [i8],
    scales: &mut [f32],
    corrections: &mut [i32],
) {
    let groups = cols.div_ceil(GROUP);
    for (r, row) in x.chunks_exact(cols).enumerate() {
        for (g, x) in row.chunks(GROUP).enumerate() {
            let at = r * groups + g;
            let (scale, inverse) = scale_and_inverse(largest_magnitude(x));
            let group = scaled_group(x, inverse);
            values[at * GROUP..(at + 1) * GROUP].copy_from_slice(&group);
            scales[at] = scale;
            corrections[at] = correction(&group);
        }
    }
}
