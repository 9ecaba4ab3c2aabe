//! Matrix product with a bias.

use k25_model::vision::weights::LinearBias;
use rayon::prelude::*;

use super::norm::ROWS;
use super::{Act, Backward, Operator, Tape};
use crate::params::Param;
use crate::simd::accumulate;

struct Bias {
    bias: Param,
    x: Act,
    y: Act,
}

impl Tape<'_> {
    /// `x · Wᵀ + b`: `[rows, in]` to `[rows, out]`.
    pub fn linear_bias(&mut self, linear: &LinearBias<Param, Param>, x: Act) -> Act {
        let product = self.linear(linear.weight, x);
        let (rows, cols) = self.shape(product);
        assert_eq!(cols, linear.bias.len(), "width of a bias");
        // No gradient reads the product itself, so the sum takes its place.
        let mut y = std::mem::take(&mut self.values[product.0].data);
        let bias = &self.params[linear.bias.range()];
        y.par_chunks_mut(ROWS * cols).for_each(|y| {
            y.chunks_exact_mut(cols)
                .for_each(|row| accumulate(row, bias));
        });
        let y = self.push(y, rows, cols);
        self.record(Bias {
            bias: linear.bias,
            x: product,
            y,
        });
        y
    }
}

impl Operator for Bias {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let grad = grads.take(self.y);
        let width = self.bias.len();
        let partial: Vec<Vec<f32>> = grad
            .par_chunks(ROWS * width)
            .map(|grad| {
                let mut sums = vec![0.0; width];
                grad.chunks_exact(width)
                    .for_each(|row| accumulate(&mut sums, row));
                sums
            })
            .collect();
        // In the order of rows, so that the sums do not depend on the threads.
        if let Some(bias_grad) = grads.param_grads.get_mut(self.bias) {
            for partial in partial {
                accumulate(bias_grad, &partial);
            }
        }
        grads.add(self.x, grad);
    }

    fn output(&self) -> Act {
        self.y
    }
}
