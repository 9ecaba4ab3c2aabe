//! Router balancing without an auxiliary loss (DeepSeek-V3): a bias that counts for the choice alone rises where an expert is
//! visited too rarely and falls where it is visited too often.

/// How evenly rows were shared among the experts of one layer.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Balance {
    /// Load of the busiest expert over the mean, minus 1 (MaxVio); 0 is perfect.
    pub max_violation: f64,
    /// Experts that no row visited.
    pub idle: usize,
}

impl Balance {
    /// The balance of these loads.
    pub fn of(loads: &[u32]) -> Self {
        let mean =
            loads.iter().map(|load| f64::from(*load)).sum::<f64>() / loads.len().max(1) as f64;
        let largest = loads.iter().copied().max().unwrap_or(0);
        Self {
            max_violation: if mean > 0.0 {
                f64::from(largest) / mean - 1.0
            } else {
                0.0
            },
            idle: loads.iter().filter(|load| **load == 0).count(),
        }
    }
}

/// Moves a layer's correction bias by `rate` towards the experts that were visited less than the mean.
pub fn correct(bias: &mut [f32], loads: &[u32], rate: f32) {
    let mean = loads.iter().map(|load| f64::from(*load)).sum::<f64>() / loads.len().max(1) as f64;
    for (bias, load) in bias.iter_mut().zip(loads) {
        let lack = mean - f64::from(*load);
        if lack != 0.0 {
            *bias += rate * lack.signum() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_move_towards_balance() {
        let mut bias = [0.0, 0.0, 0.0];
        correct(&mut bias, &[9, 3, 6], 0.5);
        assert_eq!(bias, [-0.5, 0.5, 0.0]);
        let balance = Balance::of(&[9, 3, 0]);
        assert_eq!((balance.max_violation, balance.idle), (1.25, 1));
    }

    #[test]
    fn nothing_to_balance_is_balanced() {
        assert_eq!(Balance::of(&[]).max_violation, 0.0);
        assert_eq!(Balance::of(&[0, 0]).max_violation, 0.0);
    }
}
