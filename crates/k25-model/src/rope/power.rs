//! `base^exponent` in f32 with the rounding of the reference's power function.
//!
//! The reference framework computes powers of f32 vectors with SLEEF's `powf` (error bound 1 ulp): a
//! logarithm and an exponential in pairs of f32. Most of its results are correctly rounded; the ones
//! that are not decide rotary frequencies, and at position 262,143 one unit in the last place of a
//! frequency moves logits by 5e-3. So the same steps are taken here, for positive arguments whose
//! power is a normal number. The polynomial coefficients are SLEEF's.

// The coefficients stand with the digits that their source gives them.
#![allow(clippy::excessive_precision)]

/// `base^exponent` for a positive, normal `base` and a result in the normal range.
pub(super) fn power(base: f32, exponent: f32) -> f32 {
    debug_assert!(base.is_normal() && base > 0.0, "base {base}");
    exponential(logarithm(base).times(exponent))
}

/// An unevaluated sum `high + low` with about twice the precision of f32.
#[derive(Clone, Copy)]
struct Pair {
    high: f32,
    low: f32,
}

impl Pair {
    /// `x + y` exactly, whichever is larger.
    fn sum(x: f32, y: f32) -> Self {
        let high = x + y;
        let y_part = high - x;
        Self {
            high,
            low: (x - (high - y_part)) + (y - y_part),
        }
    }

    /// `self + other` for a `self` of larger magnitude.
    fn plus_smaller(self, other: Self) -> Self {
        let high = self.high + other.high;
        Self {
            high,
            low: self.high - high + other.high + self.low + other.low,
        }
    }

    fn plus(self, other: Self) -> Self {
        let sum = Self::sum(self.high, other.high);
        Self {
            high: sum.high,
            low: sum.low + (self.low + other.low),
        }
    }

    fn plus_single(self, other: f32) -> Self {
        let sum = Self::sum(self.high, other);
        Self {
            high: sum.high,
            low: sum.low + self.low,
        }
    }

    fn times(self, factor: f32) -> Self {
        let high = self.high * factor;
        Self {
            high,
            low: self.low.mul_add(factor, self.high.mul_add(factor, -high)),
        }
    }

    fn times_pair(self, other: Self) -> Self {
        let high = self.high * other.high;
        let rest = self.high.mul_add(other.high, -high);
        Self {
            high,
            low: self
                .high
                .mul_add(other.low, self.low.mul_add(other.high, rest)),
        }
    }

    fn squared(self) -> Self {
        let high = self.high * self.high;
        let rest = self.high.mul_add(self.high, -high);
        Self {
            high,
            low: (self.high + self.high).mul_add(self.low, rest),
        }
    }

    fn divided_by(self, divisor: Self) -> Self {
        let inverse = 1.0 / divisor.high;
        let high = self.high * inverse;
        let product_rest = inverse.mul_add(self.high, -high);
        let inverse_rest = (-divisor.low).mul_add(inverse, (-divisor.high).mul_add(inverse, 1.0));
        let low = high.mul_add(inverse_rest, self.low.mul_add(inverse, product_rest));
        Self { high, low }
    }

    /// The same value with the parts not overlapping.
    fn normalised(self) -> Self {
        let high = self.high + self.low;
        Self {
            high,
            low: self.high - high + self.low,
        }
    }

    fn doubled(self) -> Self {
        Self {
            high: self.high * 2.0,
            low: self.low * 2.0,
        }
    }
}

/// `ln(x)` by `2·artanh((m−1)/(m+1)) + e·ln 2` with `x = m·2^e` and `m` in 0.75..1.5.
fn logarithm(x: f32) -> Pair {
    const LN_2: Pair = Pair {
        high: 0.69314718246459960938,
        low: -1.904654323148236017e-09,
    };
    const THIRD: Pair = Pair {
        high: 0.66666662693023681640625,
        low: 3.69183861259614332084311e-09,
    };
    let exponent = binary_exponent(x * (1.0 / 0.75));
    let mantissa = x * power_of_two(-exponent);
    let ratio = Pair::sum(-1.0, mantissa).divided_by(Pair::sum(1.0, mantissa));
    let square = ratio.squared();
    let tail = 0.240320354700088500976562_f32
        .mul_add(square.high, 0.285112679004669189453125)
        .mul_add(square.high, 0.400007992982864379882812);
    let series = square
        .times_pair(ratio)
        .times_pair(square.times(tail).plus(THIRD));
    LN_2.times(exponent as f32)
        .plus_smaller(ratio.doubled())
        .plus_smaller(series)
}

/// `e^x` by a polynomial around the nearest multiple of ln 2.
fn exponential(x: Pair) -> f32 {
    // ln 2 in two parts, the first with few enough bits that its multiples are exact.
    const LN_2_HIGH: f32 = 0.693145751953125;
    const LN_2_LOW: f32 = 1.428606765330187045e-06;
    let multiple = ((x.high + x.low) * std::f32::consts::LOG2_E).round_ties_even();
    let rest = x
        .plus_single(multiple * -LN_2_HIGH)
        .plus_single(multiple * -LN_2_LOW)
        .normalised();
    let tail = 0.00136324646882712841033936_f32
        .mul_add(rest.high, 0.00836596917361021041870117)
        .mul_add(rest.high, 0.0416710823774337768554688)
        .mul_add(rest.high, 0.166665524244308471679688)
        .mul_add(rest.high, 0.499999850988388061523438);
    let one = Pair {
        high: 1.0,
        low: 0.0,
    };
    let sum = one.plus_smaller(rest.plus_smaller(rest.squared().times(tail)));
    (sum.high + sum.low) * power_of_two(multiple as i32)
}

fn binary_exponent(x: f32) -> i32 {
    (x.to_bits() >> 23) as i32 - 127
}

/// `2^exponent` for the normal range.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::power;

    /// Within one unit in the last place of the exact power, over the arguments that configurations
    /// have.
    #[test]
    fn is_within_one_unit_in_the_last_place() {
        for base in [100.0f32, 500.0, 10_000.0, 50_000.0, 1e6, 1e7] {
            for step in 0..512 {
                let exponent = step as f32 / 512.0;
                let exact = f64::from(base).powf(f64::from(exponent));
                let unit = f64::from(f32::EPSILON) * exact;
                let error = (f64::from(power(base, exponent)) - exact).abs();
                assert!(error <= unit, "{base}^{exponent}: off by {error}");
            }
        }
    }

    /// The one power among K2.5's 32 that the reference does not round correctly.
    #[test]
    fn rounds_as_the_reference_does() {
        let correctly_rounded = 50_000f64.powf(10.0 / 64.0) as f32;
        assert_eq!(
            power(50_000.0, 10.0 / 64.0).to_bits(),
            correctly_rounded.to_bits() + 1
        );
    }
}
