//! Matrix product and residual sum.

use super::{Act, Backward, Operator, Tape};
use crate::matmul::{Mat, Store, par_multiply};
use crate::params::Param;
use crate::simd::wide;
use rayon::prelude::*;

/// Values that one task of an elementwise loop handles.
pub(crate) const ELEMENTS: usize = 1 << 15;

struct Linear {
    weight: Param,
    x: Act,
    y: Act,
}

struct Add {
    x: Act,
    y: Act,
    sum: Act,
}

impl Tape<'_> {
    /// `x · Wᵀ`: `[rows, in]` to `[rows, out]`.
    pub fn linear(&mut self, weight: Param, x: Act) -> Act {
        let (rows, cols) = self.shape(x);
        assert_eq!(cols, weight.cols, "input width of a matrix");
        let mut y = self.arena.take(rows * weight.rows);
        let mut scratch = self.arena.take(self.params.scratch_len(weight));
        let matrix = self.params.par_matrix(weight, &mut scratch);
        par_multiply(
            &mut y,
            Store::Set,
            Mat::new(self.data(x), rows, cols),
            matrix.t(),
        );
        self.arena.give(scratch);
        let y = self.push(y, rows, weight.rows);
        self.record(Linear { weight, x, y });
        y
    }

    /// `x + y`.
    pub fn add(&mut self, x: Act, y: Act) -> Act {
        let (rows, cols) = self.shape(x);
        assert_eq!(self.shape(y), (rows, cols), "shapes of a sum");
        let mut sum = self.arena.take(rows * cols);
        let (a, b) = (self.data(x), self.data(y));
        sum.par_chunks_mut(ELEMENTS)
            .zip(a.par_chunks(ELEMENTS).zip(b.par_chunks(ELEMENTS)))
            .for_each(|(sum, (a, b))| add(sum, a, b));
        let sum = self.push(sum, rows, cols);
        self.record(Add { x, y, sum });
        sum
    }
}

wide! {
    fn add<'a>(sum: &'a mut [f32], x: &'a [f32], y: &'a [f32]) -> () {
        for ((sum, x), y) in sum.iter_mut().zip(x).zip(y) {
            *sum = x + y;
        }
    }
}

impl Operator for Linear {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let dy = grads.take(self.y);
        let (rows, cols) = grads.shape(self.x);
        let weight = self.weight;
        let mut scratch = grads.arena.take(grads.params.scratch_len(weight));
        let matrix = grads.params.par_matrix(weight, &mut scratch);
        let mut dx = grads.arena.take(rows * cols);
        let dy_matrix = Mat::new(&dy, rows, weight.rows);
        par_multiply(&mut dx, Store::Set, dy_matrix, matrix);
        let x = Mat::new(&grads.values[self.x.0].data, rows, cols);
        grads.param_grads.par_add(weight, dy_matrix, x);
        grads.add(self.x, dx);
        grads.arena.give(scratch);
        grads.arena.give(dy);
    }

    fn output(&self) -> Act {
        self.y
    }
}

impl Operator for Add {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let grad = grads.take(self.sum);
        let mut copy = grads.arena.take(grad.len());
        copy.copy_from_slice(&grad);
        grads.add(self.y, copy);
        grads.add(self.x, grad);
    }

    fn output(&self) -> Act {
        self.sum
    }
}
