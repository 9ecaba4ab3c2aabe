//! Loops compiled for the widest vectors that the processor has.
//!
//! A function declared by [`wide!`] has its body inside a function that the compiler builds for AVX2 or AVX-512; what the body
//! calls must be `#[inline(always)]` to be built with it (a closure may not be, and would then compute without fused
//! multiply-add). Sums keep sixteen partial sums in a fixed order, so a result does not depend on the vectors' width.

/// Partial sums of a reduction.
pub const LANES: usize = 16;

/// Declares a function whose body is compiled for the widest vectors of the processor it runs on. Every reference among its
/// parameters has the lifetime that stands after its name.
macro_rules! wide {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$life:lifetime>(
        $($parameter:ident: $kind:ty),* $(,)?
    ) -> $result:ty $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "declared by a macro")]
        $vis fn $name<$life>($($parameter: $kind),*) -> $result {
            struct Work<$life> {
                $($parameter: $kind),*
            }
            impl<$life> pulp::WithSimd for Work<$life> {
                type Output = $result;

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _simd: S) -> $result {
                    let Self { $($parameter),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Work { $($parameter),* })
        }
    };
}

pub(crate) use wide;

/// e^x, relative error below 3e-7; arguments beyond ±87 are clamped.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    /// Adding this rounds to a whole number and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(-LN2_HI, x);
    let rest = whole.mul_add(-LN2_LO, rest);
    // Minimax polynomial of e^r on |r| ≤ ln(2)/2 (Cephes, `expf`).
    let mut sum = 1.987_569_2e-4_f32;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_66,
        0.5,
    ] {
        sum = sum.mul_add(rest, coefficient);
    }
    let value = (sum * rest).mul_add(rest, rest) + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    value * power
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Reduces `LANES` values at a time with `step`, then the partial results and the tail in order.
#[inline(always)]
fn reduce(
    x: &[f32],
    y: &[f32],
    start: f32,
    step: impl Fn(f32, f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let y = &y[..x.len()];
    let mut partial = [start; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (x_rest, y_rest) = (xs.remainder(), ys.remainder());
    for (x, y) in xs.zip(ys) {
        for lane in 0..LANES {
            partial[lane] = step(partial[lane], x[lane], y[lane]);
        }
    }
    let mut total = partial.into_iter().fold(start, &join);
    for (x, y) in x_rest.iter().zip(y_rest) {
        total = step(total, *x, *y);
    }
    total
}

/// Σ xᵢ·yᵢ.
#[inline(always)]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    reduce(x, y, 0.0, |sum, x, y| x.mul_add(y, sum), |a, b| a + b)
}

/// Σ xᵢ.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    reduce(x, x, 0.0, |sum, x, _| sum + x, |a, b| a + b)
}

/// The largest xᵢ; −∞ where there is none.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    reduce(x, x, f32::NEG_INFINITY, |max, x, _| larger(max, x), larger)
}

wide! {
    /// `into += x`.
    pub fn accumulate<'a>(into: &'a mut [f32], x: &'a [f32]) -> () {
        debug_assert_eq!(into.len(), x.len(), "lengths of a sum");
        for (into, x) in into.iter_mut().zip(x) {
            *into += x;
        }
    }
}

wide! {
    /// `into += factor · x`.
    pub fn accumulate_scaled<'a>(into: &'a mut [f32], factor: f32, x: &'a [f32]) -> () {
        for (into, x) in into.iter_mut().zip(x) {
            *into = x.mul_add(factor, *into);
        }
    }
}

wide! {
    /// `into ← a · into + b · x`.
    pub fn blend<'a>(into: &'a mut [f32], a: f32, b: f32, x: &'a [f32]) -> () {
        for (into, x) in into.iter_mut().zip(x) {
            *into = a * *into + b * x;
        }
    }
}

wide! {
    /// Σ xᵢ² in f64, in blocks, so that long vectors lose nothing.
    pub fn square_sum<'a>(x: &'a [f32]) -> f64 {
        let mut total = 0.0;
        for block in x.chunks(4096) {
            total += f64::from(dot(block, block));
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_a_few_roundings() {
        for step in -8_600..8_600 {
            let x = step as f32 * 0.01;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            // Two units in the last place of f32, and the polynomial's 2e-7.
            assert!(
                (found - expected).abs() <= 3e-7 * expected,
                "e^{x}: {found} and {expected}"
            );
        }
        assert!(exp(-1000.0) < 2e-38 && exp(1000.0).is_finite());
    }

    #[test]
    fn reductions_agree_with_f64_at_any_length() {
        for len in [0, 1, 15, 16, 17, 100, 1000] {
            let x: Vec<f32> = (0..len)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
                .collect();
            let exact: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            // A thousand terms below 1 in sixteen partial sums: 63 roundings of 6e-8 each.
            assert!((f64::from(dot(&x, &x)) - exact).abs() < 1e-3, "{len}");
            assert!((square_sum(&x) - exact).abs() < 1e-3, "{len}");
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&x), largest);
        }
    }
}
