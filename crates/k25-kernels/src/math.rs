//! Functions of sixteen values, made of additions, multiplications and fused multiply-adds only, so that
//! [`crate::scalar::math`] gives the same bits.

use crate::simd::Simd;

/// Where e^x is cut off: the results are the smallest and nearly the largest normal numbers.
pub(crate) const EXP_RANGE: (f32, f32) = (-87.33, 88.37);

/// ln 2, of which the first part times an integer below 2^8 is exact.
pub(crate) const LN2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);

/// A polynomial for (e^r − 1 − r)/r² on ±ln 2 / 2, highest power first (the classic single-precision one of the Cephes library).
pub(crate) const EXP_POLYNOMIAL: [f32; 6] = [
    1.987_569_1e-4,
    1.398_2e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];

/// Coefficients of 1 − erf, highest power first (Abramowitz and Stegun 7.1.26; absolute error 1.5e-7), and of its variable.
pub(crate) const ERFC_POLYNOMIAL: [f32; 5] = [
    1.061_405_4,
    -1.453_152,
    1.421_413_7,
    -0.284_496_74,
    0.254_829_6,
];
pub(crate) const ERFC_SCALE: f32 = 0.327_591_1;

/// e^x with a relative error below 2e-7; cut off outside [`EXP_RANGE`]; NaN stays NaN.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    let x = S::min(S::splat(EXP_RANGE.1), S::max(S::splat(EXP_RANGE.0), x));
    let n = S::to_i32(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
    let steps = S::from_i32(n);
    let r = S::fma(steps, S::splat(-LN2.0), x);
    let r = S::fma(steps, S::splat(-LN2.1), r);
    let mut p = S::splat(EXP_POLYNOMIAL[0]);
    for c in &EXP_POLYNOMIAL[1..] {
        p = S::fma(p, r, S::splat(*c));
    }
    let y = S::fma(S::mul(r, r), p, S::add(r, S::splat(1.0)));
    S::mul(y, S::exp2_i32(n))
}

/// x / (1 + e^−y): x times the logistic function of y.
#[inline(always)]
pub(crate) unsafe fn times_sigmoid<S: Simd>(x: S::F, y: S::F) -> S::F {
    let decay = exp::<S>(S::sub(S::splat(0.0), y));
    S::div(x, S::add(S::splat(1.0), decay))
}

/// The argument whose logistic function GELU's tanh form multiplies: 2·√(2/π)·(x + 0.044715 x³).
pub(crate) const GELU_TANH: (f32, f32) = (1.595_769_2, 0.071_354_814);

/// x·½(1 + tanh(√(2/π)(x + 0.044715 x³))), absolute error below 1e-6·max(1, |x|).
#[inline(always)]
pub(crate) unsafe fn gelu_tanh<S: Simd>(x: S::F) -> S::F {
    let cubic = S::fma(S::mul(x, x), S::splat(GELU_TANH.1), S::splat(GELU_TANH.0));
    times_sigmoid::<S>(x, S::mul(x, cubic))
}

/// x·½(1 + erf(x/√2)), absolute error below 1e-6·max(1, |x|).
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    let zero = S::splat(0.0);
    let z = S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2));
    let size = S::max(S::sub(zero, z), z);
    let t = S::div(
        S::splat(1.0),
        S::fma(size, S::splat(ERFC_SCALE), S::splat(1.0)),
    );
    let mut p = S::splat(ERFC_POLYNOMIAL[0]);
    for c in &ERFC_POLYNOMIAL[1..] {
        p = S::fma(p, t, S::splat(*c));
    }
    let erfc = S::mul(S::mul(p, t), exp::<S>(S::sub(zero, S::mul(size, size))));
    // For x ≥ 0 the factor is 1 − erfc/2, for x < 0 it is erfc/2: together x⁺ − |x|·erfc/2.
    let half = S::mul(S::max(S::sub(zero, x), x), S::splat(0.5));
    S::sub(S::max(zero, x), S::mul(half, erfc))
}
