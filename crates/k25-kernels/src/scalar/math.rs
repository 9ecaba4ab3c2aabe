//! The functions of [`crate::math`], one value at a time.

use crate::math::{ERFC_POLYNOMIAL, ERFC_SCALE, EXP_POLYNOMIAL, EXP_RANGE, GELU_TANH, LN2};

/// The larger; the second where they do not compare.
pub(crate) fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smaller; the second where they do not compare.
pub(crate) fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

pub(crate) fn exp(x: f32) -> f32 {
    let x = min(EXP_RANGE.1, max(EXP_RANGE.0, x));
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-LN2.0, x);
    let r = n.mul_add(-LN2.1, r);
    let mut p = EXP_POLYNOMIAL[0];
    for c in &EXP_POLYNOMIAL[1..] {
        p = p.mul_add(r, *c);
    }
    let y = (r * r).mul_add(p, r + 1.0);
    y * f32::from_bits(((n as i32 + 127) << 23).cast_unsigned())
}

pub(crate) fn times_sigmoid(x: f32, y: f32) -> f32 {
    x / (1.0 + exp(0.0 - y))
}

pub(crate) fn gelu_tanh(x: f32) -> f32 {
    times_sigmoid(x, x * (x * x).mul_add(GELU_TANH.1, GELU_TANH.0))
}

pub(crate) fn gelu(x: f32) -> f32 {
    let z = x * std::f32::consts::FRAC_1_SQRT_2;
    let size = max(0.0 - z, z);
    let t = 1.0 / size.mul_add(ERFC_SCALE, 1.0);
    let mut p = ERFC_POLYNOMIAL[0];
    for c in &ERFC_POLYNOMIAL[1..] {
        p = p.mul_add(t, *c);
    }
    let erfc = p * t * exp(0.0 - size * size);
    let half = max(0.0 - x, x) * 0.5;
    max(0.0, x) - half * erfc
}
