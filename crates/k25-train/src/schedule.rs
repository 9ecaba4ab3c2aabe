//! Learning rates: warm-up, a stable phase, and a cosine down to a fraction.

/// A schedule of learning rates.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The rate of the stable phase.
    pub peak: f32,
    /// Steps over which the rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Last steps, over which the rate falls along a cosine. All steps after the warm-up make a plain cosine schedule; none keep
    /// the rate.
    #[serde(default)]
    pub decay_steps: u64,
    /// Fraction of the peak at the end of the fall.
    #[serde(default)]
    pub final_fraction: f32,
}

impl Schedule {
    /// The rate of step `step` (counted from 0) of `total`.
    pub fn rate(&self, step: u64, total: u64) -> f32 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f32 / self.warmup_steps as f32;
        }
        let left = total.saturating_sub(step);
        if left > self.decay_steps || self.decay_steps == 0 {
            return self.peak;
        }
        let done = 1.0 - left as f32 / self.decay_steps as f32;
        let cosine = 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
        self.peak * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_stay_and_fall() {
        let schedule = Schedule {
            peak: 2.0,
            warmup_steps: 10,
            decay_steps: 40,
            final_fraction: 0.1,
        };
        let rate = |step| schedule.rate(step, 100);
        assert_eq!((rate(0), rate(9), rate(10), rate(59)), (0.2, 2.0, 2.0, 2.0));
        assert!((rate(80) - 2.0 * 0.55).abs() < 1e-6, "half way down");
        assert!(rate(99) < 0.205 && rate(99) > 0.2);
        assert!((10..100).all(|step| rate(step) >= rate(step + 1)));
    }
}
