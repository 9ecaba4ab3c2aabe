//! Rotary position embedding, plain or extended by YaRN, in the reference's f32 arithmetic.
//!
//! The reference multiplies an f32 position by an f32 frequency and takes the cosine of that f32
//! angle. Near position 262,143 such an angle is coarse (up to 8e-3 rad), so a more exact
//! computation would disagree visibly with the model as it was trained (spec: architecture §3.1).

use std::f64::consts::PI;

use k25_config::{TextConfig, Yarn};

use self::power::power;

mod power;

/// Frequencies of the rotated part of queries and keys, and what else depends on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians per position of each pair, `[qk_rope_head_dim / 2]`.
    pub inv_freq: Vec<f32>,
    /// Factor on every cosine and sine; 1 for the K2 family.
    pub magnitude: f32,
}

/// Cosines and sines of one position, `[qk_rope_head_dim / 2]` each.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    /// Cosines, times [`Rotary::magnitude`].
    pub cos: Vec<f32>,
    /// Sines, times [`Rotary::magnitude`].
    pub sin: Vec<f32>,
}

impl Rotary {
    /// The frequencies that `config` asks for.
    pub fn new(config: &TextConfig) -> Self {
        let powers = theta_powers(config.rope_theta, config.qk_rope_head_dim);
        match &config.rope_scaling {
            None => Self {
                inv_freq: powers.iter().map(|p| 1.0 / p).collect(),
                magnitude: 1.0,
            },
            Some(yarn) => Self {
                inv_freq: yarn_frequencies(&powers, yarn, config),
                magnitude: yarn_magnitude(yarn) as f32,
            },
        }
    }

    /// Cosines and sines at `position`.
    pub fn angles(&self, position: u32) -> Angles {
        let angle = |frequency: &f32| position as f32 * frequency;
        Angles {
            cos: self
                .inv_freq
                .iter()
                .map(|f| angle(f).cos() * self.magnitude)
                .collect(),
            sin: self
                .inv_freq
                .iter()
                .map(|f| angle(f).sin() * self.magnitude)
                .collect(),
        }
    }
}

impl Angles {
    /// Rotates the interleaved pairs `(2j, 2j + 1)` of `values` in place.
    pub fn rotate(&self, values: &mut [f32]) {
        for ((pair, cos), sin) in values.chunks_exact_mut(2).zip(&self.cos).zip(&self.sin) {
            let (even, odd) = (pair[0], pair[1]);
            pair[0] = even * cos - odd * sin;
            pair[1] = odd * cos + even * sin;
        }
    }
}

/// Factor on query–key products: `qk_head_dim^-½`, times the square of YaRN's correction where
/// `mscale_all_dim` asks for it.
pub fn softmax_scale(config: &TextConfig) -> f32 {
    let plain = (config.qk_head_dim() as f64).powf(-0.5);
    let correction = match &config.rope_scaling {
        Some(yarn) if yarn.mscale_all_dim != 0.0 => {
            attention_correction(yarn.factor, yarn.mscale_all_dim)
        }
        _ => 1.0,
    };
    (plain * correction * correction) as f32
}

/// `theta^(2j/width)` in f32.
fn theta_powers(theta: f64, width: usize) -> Vec<f32> {
    (0..width / 2)
        .map(|pair| power(theta as f32, (2 * pair) as f32 / width as f32))
        .collect()
}

fn yarn_frequencies(powers: &[f32], yarn: &Yarn, config: &TextConfig) -> Vec<f32> {
    let (low, high) = correction_range(yarn, config.rope_theta, config.qk_rope_head_dim);
    powers
        .iter()
        .enumerate()
        .map(|(pair, &power)| {
            let ramp = ((pair as f32 - low) / (high - low)).clamp(0.0, 1.0);
            let keep = 1.0 - ramp;
            let fast = 1.0 / power;
            let slow = 1.0 / (yarn.factor as f32 * power);
            slow * (1.0 - keep) + fast * keep
        })
        .collect()
}

/// The pairs between which YaRN blends from the original frequency to the divided one.
fn correction_range(yarn: &Yarn, theta: f64, width: usize) -> (f32, f32) {
    let pair_that_rotates = |rotations: f64| {
        let length = yarn.original_max_position_embeddings as f64;
        width as f64 * (length / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln())
    };
    let low = pair_that_rotates(yarn.beta_fast).floor().max(0.0);
    let high = pair_that_rotates(yarn.beta_slow)
        .ceil()
        .min(width as f64 - 1.0);
    let high = if low == high { high + 0.001 } else { high };
    (low as f32, high as f32)
}

/// The cos/sin multiplier: `m(mscale) / m(mscale_all_dim)`, or `m(1)` unless both are given.
fn yarn_magnitude(yarn: &Yarn) -> f64 {
    if yarn.mscale != 0.0 && yarn.mscale_all_dim != 0.0 {
        attention_correction(yarn.factor, yarn.mscale)
            / attention_correction(yarn.factor, yarn.mscale_all_dim)
    } else {
        attention_correction(yarn.factor, 1.0)
    }
}

fn attention_correction(factor: f64, mscale: f64) -> f64 {
    if factor > 1.0 {
        0.1 * mscale * factor.ln() + 1.0
    } else {
        1.0
    }
}
