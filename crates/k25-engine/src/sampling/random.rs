//! Random numbers by counter: a pure function of a seed and a position, so that a token's chance
//! depends on neither the batch, nor the order of work, nor what was drawn before.

/// Steps of the Weyl sequence of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number uniform in [0, 1) with 53 random bits, for `position` of a sequence with `seed`.
pub fn uniform(seed: u64, position: u64) -> f64 {
    let bits = mix(mix(seed) ^ position.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The seed of sample `index` of a request; sample 0 keeps the request's.
pub(super) fn sample_seed(seed: u64, index: u64) -> u64 {
    if index == 0 {
        seed
    } else {
        mix(mix(seed.wrapping_add(GOLDEN_GAMMA)) ^ index)
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood 2014, variant 13 of Stafford): every input bit
/// changes every output bit with probability near one half.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(GOLDEN_GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's statistic of draws over 64 equal cells.
    fn chi_square(draws: impl Iterator<Item = f64>) -> f64 {
        let mut cells = [0u32; 64];
        let mut count = 0u32;
        for draw in draws {
            assert!((0.0..1.0).contains(&draw));
            cells[(draw * 64.0) as usize] += 1;
            count += 1;
        }
        let expected = f64::from(count) / 64.0;
        cells
            .iter()
            .map(|&n| (f64::from(n) - expected).powi(2) / expected)
            .sum()
    }

    /// Along positions and along seeds. With 63 degrees of freedom the statistic exceeds 113 once in
    /// 10⁴ runs of true chance; the inputs are fixed, so the test cannot flicker.
    #[test]
    fn draws_are_uniform_along_positions_and_seeds() {
        for fixed in [0, 1, 42, u64::MAX] {
            let along_positions = chi_square((0..64_000).map(|position| uniform(fixed, position)));
            let along_seeds = chi_square((0..64_000).map(|seed| uniform(seed, fixed)));
            assert!(
                along_positions < 113.0,
                "positions of seed {fixed}: {along_positions}"
            );
            assert!(
                along_seeds < 113.0,
                "seeds at position {fixed}: {along_seeds}"
            );
        }
    }

    /// Correlation between neighbours: of 10⁵ pairs it is below 0.016 (five deviations).
    #[test]
    fn neighbouring_draws_are_uncorrelated() {
        let pairs = 100_000;
        let correlation = |next: fn(u64) -> f64| {
            (0..pairs)
                .map(|i| (uniform(3, i) - 0.5) * (next(i) - 0.5))
                .sum::<f64>()
                * 12.0
                / pairs as f64
        };
        assert!(correlation(|i| uniform(3, i + 1)).abs() < 0.016);
        assert!(correlation(|i| uniform(4, i)).abs() < 0.016);
        assert!(correlation(|i| uniform(sample_seed(3, 1), i)).abs() < 0.016);
    }
}
