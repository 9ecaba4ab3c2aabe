//! Exponentials and sums over a vocabulary, in one fixed order of operations.

/// Logits per partial sum.
pub(super) const CHUNK: usize = 512;

/// The largest logit, or negative infinity where there is none.
pub(super) fn max(logits: &[f32]) -> f32 {
    const LANES: usize = 16;
    let chunks = logits.chunks_exact(LANES);
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let tail = chunks
        .remainder()
        .iter()
        .fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes
        .iter()
        .fold(tail, |max, &x| if x > max { x } else { max })
}

/// Replaces each logit by `exp((logit − max) · inverse_temperature)`; the largest becomes 1.
pub(super) fn exponentiate(logits: &mut [f32], max: f32, inverse_temperature: f32) {
    for logit in logits {
        *logit = exp_of_nonpositive((*logit - max) * inverse_temperature);
    }
}

/// Sum of each chunk of [`CHUNK`] weights, into `sums`, and the sum of those.
pub(super) fn chunk_sums(weights: &[f32], sums: &mut Vec<f64>) -> f64 {
    sums.clear();
    sums.extend(
        weights
            .chunks(CHUNK)
            .map(|chunk| sum(chunk.iter().copied())),
    );
    sums.iter().sum()
}

/// Sum in eight interleaved partial sums.
fn sum(weights: impl Iterator<Item = f32>) -> f64 {
    let mut lanes = [0.0f64; 8];
    for (index, weight) in weights.enumerate() {
        lanes[index % 8] += f64::from(weight);
    }
    lanes.iter().sum()
}

/// `ln Σ exp(logit)`, the normaliser of log-probabilities; negative infinity without a finite logit.
pub(super) fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = max(logits);
    if max == f32::NEG_INFINITY {
        return max;
    }
    let total: f64 = logits
        .chunks(CHUNK)
        .map(|chunk| sum(chunk.iter().map(|logit| exp_of_nonpositive(logit - max))))
        .sum();
    (f64::from(max) + total.ln()) as f32
}

/// `exp(x)` for `x ≤ 0`, within 3e-7 of its value and 0 below −87.
///
/// Written out so that the compiler can use vectors and every machine computes the same bits:
/// `x = n·ln 2 + r` with the nearest whole `n`, then the Taylor polynomial of `exp(r)`, `|r| ≤ 0.35`.
fn exp_of_nonpositive(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5·2²³ rounds to a whole number and leaves it in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x > -87.0 { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN_2_HIGH) - n * LN_2_LOW;
    let high = r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + high))));
    let exponent = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    if x > -87.0 {
        series * f32::from_bits(exponent)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oracle: the f64 exponential. 3e-7 is five units in the last place of f32.
    #[test]
    fn the_exponential_is_as_exact_as_documented() {
        let mut worst = 0.0f64;
        for step in 0..1_000_000 {
            let x = -(step as f32) * 8.69e-5;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_of_nonpositive(x)) / exact - 1.0).abs());
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(exp_of_nonpositive(0.0), 1.0);
        for x in [-87.1, -1e9, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp_of_nonpositive(x), 0.0, "{x}");
        }
    }

    #[test]
    fn sums_agree_with_f64() {
        let logits: Vec<f32> = (0..2_001)
            .map(|i| ((i * 37) % 101) as f32 * 0.07 - 3.0)
            .collect();
        let exact: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        assert!((f64::from(log_sum_exp(&logits)) - exact.ln()).abs() < 1e-6);
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY]), f32::NEG_INFINITY);
        let mut sums = Vec::new();
        let total = chunk_sums(&logits, &mut sums);
        assert_eq!(sums.len(), 4);
        assert!((total - logits.iter().map(|&l| f64::from(l)).sum::<f64>()).abs() < 1e-9);
    }
}
