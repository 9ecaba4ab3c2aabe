//! Random numbers that are the same on every machine: a counter through SplitMix64.

/// A stream of random numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    key: u64,
    counter: u64,
}

/// SplitMix64's step: 2⁶⁴ divided by the golden ratio.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014).
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

impl Random {
    /// Stream `stream` of `seed`; streams are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let key = mix(mix(seed.wrapping_add(GOLDEN_RATIO)) ^ stream.wrapping_mul(GOLDEN_RATIO));
        Self { key, counter: 0 }
    }

    /// A stream of its own that leaves this one where it is, so that what is drawn from this one stays as it was.
    pub fn aside(&self) -> Self {
        Self::new(self.key, self.counter)
    }

    /// The next 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        mix(self
            .key
            .wrapping_add(self.counter.wrapping_mul(GOLDEN_RATIO)))
    }

    /// A whole number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a 128-bit product; its bias is below bound / 2⁶⁴.
        ((u128::from(self.word()) * bound as u128) >> 64) as usize
    }

    /// A whole number from `first` to `last`, both possible.
    pub fn between(&mut self, first: i64, last: i64) -> i64 {
        first + self.below((last - first + 1).max(1) as usize) as i64
    }

    /// A number from 0 to 1, 1 left out.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One of `parts`, of which there is at least one, as often as its number says of their sum.
    pub fn part<T: Copy>(&mut self, parts: &[(T, usize)]) -> T {
        let mut left = self.below(parts.iter().map(|(_, part)| part).sum());
        let found = parts.iter().find(|(_, part)| {
            let is_it = left < *part;
            left = left.saturating_sub(*part);
            is_it
        });
        found.unwrap_or(&parts[0]).0
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Fills `values` from a normal distribution around 0 (Box and Muller).
    pub fn fill_normal(&mut self, values: &mut [f32], deviation: f32) {
        for pair in values.chunks_mut(2) {
            let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
            let angle = 2.0 * std::f64::consts::PI * self.unit();
            pair[0] = (radius * angle.cos()) as f32 * deviation;
            if let Some(second) = pair.get_mut(1) {
                *second = (radius * angle.sin()) as f32 * deviation;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_as_often_as_they_say() {
        let mut random = Random::new(3, 4);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[random.part(&[(0, 20), (1, 0), (2, 80)])] += 1;
        }
        assert!((1_850..2_150).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[1], 0);
        assert_eq!(counts[0] + counts[2], 10_000);
    }

    #[test]
    fn draws_have_the_moments_asked_for() {
        let mut values = vec![0.0; 100_001];
        Random::new(1, 2).fill_normal(&mut values, 0.5);
        let mean = values.iter().sum::<f32>() / 1e5;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 1e5;
        // Five standard errors of 100,000 draws.
        assert!(mean.abs() < 0.008, "{mean}");
        assert!((variance - 0.25).abs() < 0.006, "{variance}");
        let mut random = Random::new(3, 0);
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        assert!(
            counts.iter().all(|count| (9_500..10_500).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, stream| Random::new(seed, stream).word();
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }
}
