//! AdamW (Loshchilov and Hutter 2019), element by element.

use super::{Moved, Step};
use crate::simd::wide;

/// Numbers of one step for one parameter.
#[derive(Clone, Copy)]
struct Numbers {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    first_correction: f32,
    second_correction: f32,
    decay: f32,
    rate: f32,
    scale: f32,
}

/// Moves one parameter.
pub(super) fn apply(step: &Step, moved: Moved<'_>) {
    let config = &step.config;
    let power = step.number.min(1 << 20) as i32;
    let numbers = Numbers {
        beta1: config.beta1,
        beta2: config.beta2,
        epsilon: config.epsilon,
        first_correction: 1.0 / (1.0 - config.beta1.powi(power)),
        second_correction: 1.0 / (1.0 - config.beta2.powi(power)),
        decay: step.decay(moved.entry),
        rate: step.rate,
        scale: step.scale,
    };
    move_values(
        numbers,
        moved.values,
        moved.grads,
        moved.first,
        moved.second,
    );
}

wide! {
    fn move_values<'a>(
        n: Numbers,
        values: &'a mut [f32],
        grads: &'a [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
    ) -> () {
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((value, grad), (first, second)) in values.iter_mut().zip(grads).zip(moments) {
            let grad = grad * n.scale;
            *first = n.beta1 * *first + (1.0 - n.beta1) * grad;
            *second = n.beta2 * *second + (1.0 - n.beta2) * grad * grad;
            let mean = *first * n.first_correction;
            let deviation = (*second * n.second_correction).sqrt() + n.epsilon;
            *value = *value * n.decay - n.rate * mean / deviation;
        }
    }
}
