//! The inverse cosine transform in integers.
//!
//! Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications"
//! (ICASSP 1989), in the fixed point of the Independent JPEG Group's accurate integer method: 13
//! fractional bits in the constants, 2 more kept between the passes. Overflow, which only damaged
//! files reach, wraps.

use std::num::Wrapping;

use super::coefficients::{BLOCK, SIDE};

type Int = Wrapping<i32>;

const CONSTANT_BITS: usize = 13;
const PASS_BITS: usize = 2;

const fn fixed(value: f64) -> Int {
    Wrapping((value * (1 << CONSTANT_BITS) as f64 + 0.5) as i32)
}

/// Turns coefficients into samples: `rows` are eight rows of the plane, eight samples each.
pub(super) fn transform<'a>(
    coefficients: &[i16],
    quantisation: &[u16; BLOCK],
    rows: impl Iterator<Item = &'a mut [u8]>,
) {
    let mut columns = [Wrapping(0i32); BLOCK];
    for column in 0..SIDE {
        let input = std::array::from_fn(|row| {
            let place = row * SIDE + column;
            Wrapping(i32::from(coefficients[place])) * Wrapping(i32::from(quantisation[place]))
        });
        let output = eight_points(input, CONSTANT_BITS - PASS_BITS);
        for (row, value) in output.into_iter().enumerate() {
            columns[row * SIDE + column] = value;
        }
    }
    for (row, into) in columns.chunks_exact(SIDE).zip(rows) {
        let input = std::array::from_fn(|column| row[column]);
        let output = eight_points(input, CONSTANT_BITS + PASS_BITS + 3);
        for (sample, value) in into.iter_mut().zip(output) {
            *sample = (value.0.saturating_add(128)).clamp(0, 255) as u8;
        }
    }
}

/// Eight points in one dimension, scaled by √8 and 2^13, rounded off by `shift` bits.
fn eight_points(input: [Int; SIDE], shift: usize) -> [Int; SIDE] {
    let scaled = |value: Int| value << CONSTANT_BITS;

    let rotated = (input[2] + input[6]) * fixed(0.541_196_100);
    let low = rotated - input[6] * fixed(1.847_759_065);
    let high = rotated + input[2] * fixed(0.765_366_865);
    let (sum, difference) = (scaled(input[0] + input[4]), scaled(input[0] - input[4]));
    let even = [sum + high, difference + low, difference - low, sum - high];

    let (t0, t1, t2, t3) = (input[7], input[5], input[3], input[1]);
    let common = (t0 + t2 + t1 + t3) * fixed(1.175_875_602);
    let z1 = -(t0 + t3) * fixed(0.899_976_223);
    let z2 = -(t1 + t2) * fixed(2.562_915_447);
    let z3 = common - (t0 + t2) * fixed(1.961_570_560);
    let z4 = common - (t1 + t3) * fixed(0.390_180_644);
    let odd = [
        t3 * fixed(1.501_321_110) + z1 + z4,
        t2 * fixed(3.072_711_026) + z2 + z3,
        t1 * fixed(2.053_119_869) + z2 + z4,
        t0 * fixed(0.298_631_336) + z1 + z3,
    ];

    let rounded = |value: Int| (value + Wrapping(1 << (shift - 1))) >> shift;
    std::array::from_fn(|point| {
        let mirrored = if point < 4 { point } else { 7 - point };
        rounded(if point < 4 {
            even[mirrored] + odd[mirrored]
        } else {
            even[mirrored] - odd[mirrored]
        })
    })
}
