//! SwiGLU MLPs: `down · (silu(gate · x) ⊙ (up · x))`.

use k25_model::weights::Mlp;
use rayon::prelude::*;

use super::norm::ROWS;
use super::{Act, Backward, Operator, Tape};
use crate::arena::Arena;
use crate::matmul::{Mat, Store, par_multiply};
use crate::params::Param;
use crate::simd::{sigmoid, wide};
use crate::values::Values;

/// The two matrices of an MLP that read the same rows, side by side as one, and the one that
/// reads their product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projections {
    /// `[2 · inner, hidden]`: gate, then up.
    pub gate_up: Param,
    /// `[hidden, inner]`.
    pub down: Param,
}

struct SwiGlu {
    projections: Projections,
    x: Act,
    y: Act,
    /// `[rows, 2 · inner]`.
    gate_up: Vec<f32>,
}

impl Projections {
    /// # Panics
    /// Where gate and up do not lie side by side; a model in training lays them so.
    pub fn new(mlp: &Mlp<Param>) -> Self {
        assert_eq!(
            mlp.gate.range().end,
            mlp.up.start,
            "gate and up side by side"
        );
        Self {
            gate_up: Param {
                rows: 2 * mlp.gate.rows,
                ..mlp.gate
            },
            down: mlp.down,
        }
    }
}

impl Tape<'_> {
    /// A SwiGLU MLP on every row of `x`.
    pub fn mlp(&mut self, mlp: &Mlp<Param>, x: Act) -> Act {
        let projections = Projections::new(mlp);
        let (rows, cols) = self.shape(x);
        let mut y = self.arena.take(rows * cols);
        let data = &self.values[x.0].data;
        let gate_up = forward(self.params, projections, data, &mut y, self.arena);
        let y = self.push(y, rows, cols);
        self.record(SwiGlu {
            projections,
            x,
            y,
            gate_up,
        });
        y
    }
}

impl Operator for SwiGlu {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let dy = grads.take(self.y);
        let (rows, cols) = grads.shape(self.x);
        let mut dx = grads.arena.take(rows * cols);
        backward(grads, self.projections, self.x, &self.gate_up, &dy, &mut dx);
        grads.add(self.x, dx);
        grads.arena.give(dy);
    }

    fn output(&self) -> Act {
        self.y
    }

    fn release(&mut self, arena: &mut Arena) {
        arena.give(std::mem::take(&mut self.gate_up));
    }
}

/// Writes the result for rows `x` into `y`; returns the inner values before the activation.
pub(super) fn forward(
    params: Values<'_>,
    projections: Projections,
    x: &[f32],
    y: &mut [f32],
    arena: &mut Arena,
) -> Vec<f32> {
    let Projections { gate_up, down } = projections;
    let (rows, inner) = (x.len() / gate_up.cols, down.cols);
    let mut before = arena.take(rows * gate_up.rows);
    let mut scratch = arena.take(params.scratch_len(gate_up));
    let matrix = params.par_matrix(gate_up, &mut scratch);
    par_multiply(
        &mut before,
        Store::Set,
        Mat::new(x, rows, gate_up.cols),
        matrix.t(),
    );

    let mut hidden = arena.take(rows * inner);
    hidden
        .par_chunks_mut(ROWS * inner)
        .zip(before.par_chunks(ROWS * 2 * inner))
        .for_each(|(hidden, before)| activate(before, inner, hidden));
    let matrix = params.par_matrix(down, &mut scratch);
    par_multiply(y, Store::Set, Mat::new(&hidden, rows, inner), matrix.t());
    arena.give(scratch);
    arena.give(hidden);
    before
}

/// Adds to the gradients of the projections, and sets that of the input rows.
pub(super) fn backward(
    grads: &mut Backward<'_>,
    projections: Projections,
    x: Act,
    before: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let Projections { gate_up, down } = projections;
    let (rows, cols) = grads.shape(x);
    let inner = down.cols;
    let dy = Mat::new(dy, rows, cols);
    let mut d_hidden = grads.arena.take(rows * inner);
    let mut scratch = grads.arena.take(grads.params.scratch_len(gate_up));
    let matrix = grads.params.par_matrix(down, &mut scratch);
    par_multiply(&mut d_hidden, Store::Set, dy, matrix);

    let mut d_before = grads.arena.take(rows * 2 * inner);
    d_before
        .par_chunks_mut(ROWS * 2 * inner)
        .zip(before.par_chunks(ROWS * 2 * inner))
        .zip(d_hidden.par_chunks_mut(ROWS * inner))
        .for_each(|((d_before, before), hidden)| {
            activate_backward(before, inner, hidden, d_before);
        });
    let (hidden, d_before) = (d_hidden, d_before);
    let hidden_matrix = Mat::new(&hidden, rows, inner);
    grads.param_grads.par_add(down, dy, hidden_matrix);

    let d_matrix = Mat::new(&d_before, rows, gate_up.rows);
    let matrix = grads.params.par_matrix(gate_up, &mut scratch);
    par_multiply(dx, Store::Set, d_matrix, matrix);
    let x = Mat::new(&grads.values[x.0].data, rows, cols);
    grads.param_grads.par_add(gate_up, d_matrix, x);
    grads.arena.give(scratch);
    grads.arena.give(hidden);
    grads.arena.give(d_before);
}

wide! {
    /// `hidden ← silu(gate) ⊙ up`, row by row.
    pub(super) fn activate<'a>(before: &'a [f32], inner: usize, hidden: &'a mut [f32]) -> () {
        for (hidden, before) in hidden.chunks_exact_mut(inner).zip(before.chunks_exact(2 * inner)) {
            let (gate, up) = before.split_at(inner);
            for ((hidden, gate), up) in hidden.iter_mut().zip(gate).zip(up) {
                *hidden = gate * sigmoid(*gate) * up;
            }
        }
    }
}

wide! {
    /// Takes gradients of the hidden values in `hidden`; leaves the hidden values themselves there, and
    /// the gradients of what they were made from in `d_before`.
    pub(super) fn activate_backward<'a>(
        before: &'a [f32],
        inner: usize,
        hidden: &'a mut [f32],
        d_before: &'a mut [f32],
    ) -> () {
        let rows = hidden.chunks_exact_mut(inner).zip(before.chunks_exact(2 * inner));
        for ((hidden, before), d_before) in rows.zip(d_before.chunks_exact_mut(2 * inner)) {
            let (gate, up) = before.split_at(inner);
            let (d_gate, d_up) = d_before.split_at_mut(inner);
            let inputs = hidden.iter_mut().zip(gate.iter().zip(up));
            for ((hidden, (gate, up)), (d_gate, d_up)) in inputs.zip(d_gate.iter_mut().zip(d_up)) {
                let grad = *hidden;
                let s = sigmoid(*gate);
                let silu = gate * s;
                *d_gate = grad * up * s * (1.0 + gate * (1.0 - s));
                *d_up = grad * silu;
                *hidden = silu * up;
            }
        }
    }
}
