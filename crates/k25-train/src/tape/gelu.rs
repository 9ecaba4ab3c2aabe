//! GELU in its two forms.

use k25_model::vision::Gelu;
use rayon::prelude::*;

use super::linear::ELEMENTS;
use super::{Act, Backward, Operator, Tape};
use crate::simd::{sigmoid, wide};

/// √(2/π).
const TANH_SCALE: f32 = 0.797_884_6;

/// The cube's factor in the tanh form.
const TANH_CUBE: f32 = 0.044_715;

/// 1/√(2π).
const NORMAL_PEAK: f32 = 0.398_942_3;

struct Activated {
    form: Gelu,
    x: Act,
    y: Act,
}

impl Tape<'_> {
    /// GELU of each value.
    pub fn gelu(&mut self, form: Gelu, x: Act) -> Act {
        let (rows, cols) = self.shape(x);
        let mut y = self.arena.take(rows * cols);
        y.par_chunks_mut(ELEMENTS)
            .zip(self.data(x).par_chunks(ELEMENTS))
            .for_each(|(y, x)| match form {
                Gelu::Tanh => tanh_form(x, y),
                Gelu::Erf => erf_form(x, y),
            });
        let y = self.push(y, rows, cols);
        self.record(Activated { form, x, y });
        y
    }
}

impl Operator for Activated {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let mut grad = grads.take(self.y);
        let x = &grads.values[self.x.0].data;
        grad.par_chunks_mut(ELEMENTS)
            .zip(x.par_chunks(ELEMENTS))
            .for_each(|(grad, x)| match self.form {
                Gelu::Tanh => tanh_backward(x, grad),
                Gelu::Erf => erf_backward(x, grad),
            });
        grads.add(self.x, grad);
    }

    fn output(&self) -> Act {
        self.y
    }
}

/// (1 + tanh u) / 2 with the u of the tanh form: a sigmoid of 2u, which loses nothing where u is far below 0.
#[inline(always)]
fn tanh_gate(x: f32) -> f32 {
    sigmoid(2.0 * TANH_SCALE * (x + TANH_CUBE * x * x * x))
}

wide! {
    fn tanh_form<'a>(x: &'a [f32], y: &'a mut [f32]) -> () {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * tanh_gate(*x);
        }
    }
}

wide! {
    /// Multiplies gradients by the derivative at `x`.
    fn tanh_backward<'a>(x: &'a [f32], grad: &'a mut [f32]) -> () {
        for (grad, x) in grad.iter_mut().zip(x) {
            let gate = tanh_gate(*x);
            let inner = 2.0 * TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * x * x);
            *grad *= gate + x * gate * (1.0 - gate) * inner;
        }
    }
}

/// The normal distribution up to `x`.
fn normal_cdf(x: f32) -> f32 {
    0.5 * libm::erfcf(-x * std::f32::consts::FRAC_1_SQRT_2)
}

fn erf_form(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = x * normal_cdf(*x);
    }
}

/// Multiplies gradients by the derivative at `x`.
fn erf_backward(x: &[f32], grad: &mut [f32]) {
    for (grad, x) in grad.iter_mut().zip(x) {
        let density = NORMAL_PEAK * (-0.5 * x * x).exp();
        *grad *= normal_cdf(*x) + x * density;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms against f64, and their derivatives against f64 differences.
    #[test]
    fn values_and_derivatives_agree_with_f64() {
        let tanh = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        };
        let erf = |x: f64| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        let x: Vec<f32> = (-800..=800).map(|step| step as f32 * 0.01).collect();
        for form in [Gelu::Tanh, Gelu::Erf] {
            let exact = |x: f64| match form {
                Gelu::Tanh => tanh(x),
                Gelu::Erf => erf(x),
            };
            let (mut y, mut slope) = (vec![0.0; x.len()], vec![1.0; x.len()]);
            match form {
                Gelu::Tanh => {
                    tanh_form(&x, &mut y);
                    tanh_backward(&x, &mut slope);
                }
                Gelu::Erf => {
                    erf_form(&x, &mut y);
                    erf_backward(&x, &mut slope);
                }
            }
            for ((x, y), slope) in x.iter().zip(&y).zip(&slope) {
                let x = f64::from(*x);
                let difference = (exact(x + 1e-5) - exact(x - 1e-5)) / 2e-5;
                // A few roundings of values up to 8, and of a gate near 1 times the up to 30 that the tanh form's derivative
                // multiplies it by; the differences are exact to some 1e-10.
                assert!((f64::from(*y) - exact(x)).abs() < 2e-6, "{form:?} {x}");
                assert!(
                    (f64::from(*slope) - difference).abs() < 5e-6,
                    "{form:?} {x}"
                );
            }
        }
    }
}
