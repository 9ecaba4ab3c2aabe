//! Random values, fast and the same on every machine.
//!
//! Values come from tables over 16 random bits, and random bits from a counter: any piece of any
//! tensor can be made by itself, on any thread.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use half::bf16;

use crate::names::{Form, Kind, Part};

/// Standard deviation of INT4 codes before rounding (spec: performance §2).
const CODE_DEVIATION: f64 = 2.6;

/// What the values of a tensor look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    /// Packed INT4 codes.
    Codes,
    /// bf16, evenly spread from 3/4 to 5/4 of this: scales of groups, all positive.
    Scales { middle: f32 },
    /// bf16, normally distributed.
    Normal { mean: f32, deviation: f32 },
    /// f32, normally distributed around 0.
    NormalF32 { deviation: f32 },
    /// The shape of a packed matrix.
    Declared { rows: usize, width: usize },
}

impl Fill {
    /// Values with which activations neither vanish nor grow: a matrix keeps the size of normed
    /// rows, and each block adds about as much to the residual stream as the embedding put there.
    pub(super) fn of_plain(part: &Part) -> Self {
        if part.name.ends_with("e_score_correction_bias") {
            return Self::NormalF32 { deviation: 0.05 };
        }
        let width: usize = part.shape[1..].iter().product();
        let (mean, deviation) = match (part.form, part.shape.len()) {
            (Form::Values, 1) if part.name.ends_with(".bias") => (0.0, 0.02),
            (Form::Values, 1) => (1.0, 0.1),
            (Form::Values, _) => (0.0, 0.5),
            (Form::Matrix, _) if part.kind == Kind::Embedding => (0.0, 1.0),
            // Logits of trained models spread wider than a row of random products.
            (Form::Matrix, _) if part.kind == Kind::Head => (0.0, 3.0 / (width as f32).sqrt()),
            (Form::Matrix, _) => (0.0, 1.0 / (width as f32).sqrt()),
        };
        Self::Normal { mean, deviation }
    }

    /// Scales of a packed matrix of this width.
    pub(super) fn of_scales(width: usize) -> Self {
        Self::Scales {
            middle: 1.0 / (CODE_DEVIATION as f32 * (width as f32).sqrt()),
        }
    }

    /// Writes the bytes from `start` on of a tensor whose random bits belong to `key`. `start` is a
    /// multiple of 8.
    pub(super) fn write(self, key: u64, start: u64, into: &mut [u8]) {
        match self {
            Self::Codes => {
                let table = code_pairs();
                words(key, start, into, |word| draws(word).map(|draw| table[draw]));
            }
            Self::Scales { middle } => words(key, start, into, |word| {
                bf16_bytes(draws(word).map(|draw| middle * (0.75 + draw as f32 / 131_072.0)))
            }),
            Self::Normal { mean, deviation } => {
                let table = quantiles();
                words(key, start, into, |word| {
                    bf16_bytes(draws(word).map(|draw| mean + deviation * table[draw]))
                });
            }
            Self::NormalF32 { deviation } => {
                let table = quantiles();
                words(key, start, into, |word| {
                    (deviation * table[draws(word)[0]]).to_le_bytes()
                });
            }
            Self::Declared { rows, width } => {
                let values = (rows as u64 | (width as u64) << 32).to_le_bytes();
                let start = start as usize;
                into.copy_from_slice(&values[start..start + into.len()]);
            }
        }
    }
}

/// Fills the bytes from `start` on, `N` from each random word.
fn words<const N: usize>(key: u64, start: u64, into: &mut [u8], make: impl Fn(u64) -> [u8; N]) {
    let word = |number: u64| make(mix(key.wrapping_add(number.wrapping_mul(GOLDEN_RATIO))));
    let mut number = start / N as u64;
    let mut chunks = into.chunks_exact_mut(N);
    for chunk in &mut chunks {
        chunk.copy_from_slice(&word(number));
        number += 1;
    }
    let rest = chunks.into_remainder();
    rest.copy_from_slice(&word(number)[..rest.len()]);
}

/// Four draws of 16 bits.
fn draws(word: u64) -> [usize; 4] {
    [0, 16, 32, 48].map(|shift| (word >> shift) as usize & 0xFFFF)
}

fn bf16_bytes(values: [f32; 4]) -> [u8; 8] {
    let [a, b, c, d] = values.map(|value| u64::from(bf16::from_f32(value).to_bits()));
    (a | b << 16 | c << 32 | d << 48).to_le_bytes()
}

/// The key of a tensor's random bits.
pub(super) fn key(seed: u64, name: &str) -> u64 {
    let mut hasher = Fnv(0xCBF2_9CE4_8422_2325);
    name.hash(&mut hasher);
    mix(mix(seed) ^ hasher.finish())
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

/// FNV-1a: a hash that stays the same from release to release, unlike the standard library's.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The standard normal distribution at the middles of 65,536 equal parts.
fn quantiles() -> &'static [f32] {
    static TABLE: OnceLock<Vec<f32>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let upper = (0..32_768).scan(0.0, |x, index| {
            *x = quantile(0.5 + (f64::from(index) + 0.5) / 65_536.0, *x);
            Some(*x as f32)
        });
        let upper: Vec<_> = upper.collect();
        upper
            .iter()
            .rev()
            .map(|x| -x)
            .chain(upper.iter().copied())
            .collect()
    })
}

/// The value that a standard normal variable stays below with this probability, by Newton's method
/// from a value somewhat smaller.
fn quantile(probability: f64, start: f64) -> f64 {
    let mut x = start;
    for _ in 0..20 {
        let density = libm::exp(-x * x / 2.0) / (2.0 * std::f64::consts::PI).sqrt();
        let step = (probability - probability_below(x)) / density;
        x += step;
        if step.abs() < 1e-12 {
            break;
        }
    }
    x
}

/// The probability that a standard normal variable stays below `x`. `libm` computes the same on
/// every machine.
fn probability_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// Bytes of two independent codes over 16 random bits: each of the 256 pairs fills as many of the
/// 65,536 places as its probability asks for, to the nearest.
fn code_pairs() -> &'static [u8; 65_536] {
    static TABLE: OnceLock<Box<[u8; 65_536]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let probabilities: [f64; 16] = std::array::from_fn(code_probability);
        let mut table = Box::new([0; 65_536]);
        let (mut below, mut start) = (0.0, 0);
        for byte in 0..=u8::MAX {
            let [low, high] = [byte & 15, byte >> 4].map(usize::from);
            below += probabilities[low] * probabilities[high];
            let end = (below * 65_536.0).round() as usize;
            table[start..end].fill(byte);
            start = end;
        }
        table
    })
}

/// The probability of a nibble (code + 8): a normally distributed code, rounded, −8 to 7.
fn code_probability(nibble: usize) -> f64 {
    let below = |code: f64| probability_below(code / CODE_DEVIATION);
    match nibble {
        0 => below(-7.5),
        15 => 1.0 - below(6.5),
        _ => below(nibble as f64 - 7.5) - below(nibble as f64 - 8.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(fill: Fill, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        fill.write(key(1, "a"), 0, &mut bytes);
        bytes
    }

    fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
        let values: Vec<_> = values.collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    fn halves(bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
        bytes
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64())
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        let table = quantiles();
        assert!(table.windows(2).all(|pair| pair[0] < pair[1]));
        // From tables of the normal distribution: Φ⁻¹(0.975) and Φ⁻¹(0.8413…) = 1.
        assert!((quantile(0.975, 0.0) - 1.959_963_985).abs() < 1e-9);
        assert!((quantile(0.841_344_746_068_542_9, 0.0) - 1.0).abs() < 1e-9);
        let (mean, deviation) = moments(table.iter().map(|&x| f64::from(x)));
        assert!(
            mean.abs() < 1e-9 && (deviation - 1.0).abs() < 1e-4,
            "{mean} {deviation}"
        );
    }

    #[test]
    fn code_pairs_cover_the_table() {
        let total: f64 = (0..16).map(code_probability).sum();
        assert!((total - 1.0).abs() < 1e-12, "{total}");
        let count = |byte: u8| code_pairs().iter().filter(|&&entry| entry == byte).count();
        // Two zeros: 65,536 times the square of the probability of −0.5 to 0.5 at deviation 2.6.
        let zero = probability_below(0.5 / 2.6) - probability_below(-0.5 / 2.6);
        let expected = (65_536.0 * zero * zero).round() as usize;
        assert!(count(0x88).abs_diff(expected) <= 1);
        // A pair and its mirror image, up to the rounding of their borders.
        assert!(count(0x85).abs_diff(count(0x58)) <= 1);
        assert!(code_pairs()[65_535] > 0x80);
    }

    /// Tolerances: five standard errors of 200,000 draws, plus the effect of rounding and clamping
    /// for codes (variance 2.6² + 1/12, less what −8 and 7 cut off).
    #[test]
    fn values_have_the_moments_asked_for() {
        let codes = bytes(Fill::Codes, 100_000);
        let nibbles = codes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        let (mean, deviation) = moments(nibbles.map(|nibble| f64::from(nibble) - 8.0));
        assert!(
            mean.abs() < 0.03 && (deviation - 2.61).abs() < 0.03,
            "{mean} {deviation}"
        );

        let normal = bytes(
            Fill::Normal {
                mean: 1.0,
                deviation: 0.1,
            },
            400_000,
        );
        let (mean, deviation) = moments(halves(&normal));
        assert!(
            (mean - 1.0).abs() < 0.002 && (deviation - 0.1).abs() < 0.002,
            "{mean} {deviation}"
        );

        let scales = bytes(Fill::Scales { middle: 0.01 }, 400_000);
        assert!(halves(&scales).all(|scale| (0.0074..=0.0126).contains(&scale)));
        let (mean, _) = moments(halves(&scales));
        assert!((mean - 0.01).abs() < 0.0001, "{mean}");
    }

    #[test]
    fn a_tensor_can_be_made_in_pieces() {
        for fill in [
            Fill::Codes,
            Fill::Scales { middle: 0.01 },
            Fill::Normal {
                mean: 0.0,
                deviation: 1.0,
            },
            Fill::NormalF32 { deviation: 1.0 },
            Fill::Declared { rows: 3, width: 4 },
        ] {
            let len = if matches!(fill, Fill::Declared { .. }) {
                8
            } else {
                1004
            };
            let whole = bytes(fill, len);
            for cut in [0, 8, 264, 1000].into_iter().filter(|&cut| cut <= len) {
                let mut pieces = vec![0; len];
                let (first, second) = pieces.split_at_mut(cut);
                fill.write(key(1, "a"), 0, first);
                fill.write(key(1, "a"), cut as u64, second);
                assert_eq!(pieces, whole, "{fill:?} at {cut}");
            }
        }
    }

    #[test]
    fn seeds_and_names_matter() {
        let make = |key| {
            let mut bytes = [0; 64];
            Fill::Codes.write(key, 0, &mut bytes);
            bytes
        };
        assert_ne!(make(key(1, "a")), make(key(2, "a")));
        assert_ne!(make(key(1, "a")), make(key(1, "b")));
    }
}
