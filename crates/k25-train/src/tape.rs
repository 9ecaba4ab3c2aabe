//! A reverse-mode tape whose operators are the model's own blocks.
//!
//! Each operator computes its result at once, keeps what its gradient will need, and is asked for that
//! gradient in reverse order. Activations are row-major matrices named by [`Act`]; an activation and its
//! gradient go back to the arena as soon as nobody needs them.

use crate::arena::Arena;
use crate::simd::accumulate;
use crate::values::{Gradients, Values};

mod attention;
mod bias;
mod embed;
mod gelu;
mod head;
mod layer_norm;
mod linear;
mod mla;
mod moe;
mod norm;
mod patches;
mod qkv;
mod swiglu;

pub use attention::{Prefix, Segment};
pub use head::{HeadGradients, HeadLoss, cross_entropy};
pub use mla::{MlaGeometry, Segments};
pub use qkv::QkvGeometry;

/// Names an activation of a [`Tape`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act(usize);

/// A matrix of activations.
#[derive(Debug, Default)]
struct Value {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

/// What was computed, in order.
pub struct Tape<'a> {
    /// The values that matrices and norms have.
    params: Values<'a>,
    arena: &'a mut Arena,
    values: Vec<Value>,
    operators: Vec<Box<dyn Operator>>,
}

/// An operator that has been computed.
trait Operator: Send {
    /// Turns the gradient of the result into gradients of inputs and parameters.
    fn backward(&mut self, grads: &mut Backward<'_>);

    /// The result.
    fn output(&self) -> Act;

    /// Gives kept buffers back.
    fn release(&mut self, _arena: &mut Arena) {}
}

/// Gradients on their way back.
pub(crate) struct Backward<'a> {
    values: Vec<Value>,
    grads: Vec<Option<Vec<f32>>>,
    params: Values<'a>,
    param_grads: Gradients<'a>,
    arena: &'a mut Arena,
}

impl<'a> Tape<'a> {
    /// A tape over these parameter values, with buffers from `arena`.
    pub fn new(params: impl Into<Values<'a>>, arena: &'a mut Arena) -> Self {
        Self {
            params: params.into(),
            arena,
            values: Vec::new(),
            operators: Vec::new(),
        }
    }

    /// Where buffers come from.
    pub fn arena(&mut self) -> &mut Arena {
        self.arena
    }

    /// The values of an activation, row-major.
    pub fn data(&self, act: Act) -> &[f32] {
        &self.values[act.0].data
    }

    /// Rows and columns of an activation.
    pub fn shape(&self, act: Act) -> (usize, usize) {
        (self.values[act.0].rows, self.values[act.0].cols)
    }

    /// Takes in values from outside: `data` of `cols` columns.
    pub fn input(&mut self, data: &[f32], cols: usize) -> Act {
        // A buffer from outside would stay in the arena, one more with every step.
        let mut own = self.arena.take(data.len());
        own.copy_from_slice(data);
        self.push(own, data.len() / cols.max(1), cols)
    }

    fn push(&mut self, data: Vec<f32>, rows: usize, cols: usize) -> Act {
        debug_assert_eq!(data.len(), rows * cols, "values of an activation");
        self.values.push(Value { data, rows, cols });
        Act(self.values.len() - 1)
    }

    fn record(&mut self, operator: impl Operator + 'static) {
        self.operators.push(Box::new(operator));
    }

    /// Adds to `param_grads` what every parameter contributes to the loss, where `seeds` are gradients of the loss with respect
    /// to activations; returns the gradients of `wanted` activations that no operator made.
    pub fn backward(
        self,
        seeds: Vec<(Act, Vec<f32>)>,
        wanted: &[Act],
        param_grads: &mut [f32],
    ) -> Vec<Option<Vec<f32>>> {
        let mut grads: Vec<Option<Vec<f32>>> = Vec::new();
        grads.resize_with(self.values.len(), || None);
        let mut backward = Backward {
            values: self.values,
            grads,
            params: self.params,
            param_grads: Gradients::new(self.params, param_grads),
            arena: self.arena,
        };
        for (act, grad) in seeds {
            backward.add(act, grad);
        }
        for mut operator in self.operators.into_iter().rev() {
            let output = operator.output();
            if backward.grads[output.0].is_some() {
                operator.backward(&mut backward);
            }
            operator.release(backward.arena);
            backward.forget(output);
        }
        let wanted: Vec<_> = wanted
            .iter()
            .map(|act| backward.grads[act.0].take())
            .collect();
        backward.finish();
        wanted
    }

    /// Gives every buffer back without asking for gradients.
    pub fn discard(self) {
        for mut operator in self.operators {
            operator.release(self.arena);
        }
        for value in self.values {
            self.arena.give(value.data);
        }
    }
}

impl Backward<'_> {
    /// The gradient of an operator's result, which is there whenever the operator is asked.
    fn take(&mut self, act: Act) -> Vec<f32> {
        self.grads[act.0]
            .take()
            .expect("operators whose result has no gradient are not asked")
    }

    /// Adds to the gradient of an activation.
    fn add(&mut self, act: Act, grad: Vec<f32>) {
        match &mut self.grads[act.0] {
            Some(sum) => {
                accumulate(sum, &grad);
                self.arena.give(grad);
            }
            empty => *empty = Some(grad),
        }
    }

    fn shape(&self, act: Act) -> (usize, usize) {
        (self.values[act.0].rows, self.values[act.0].cols)
    }

    fn forget(&mut self, act: Act) {
        let data = std::mem::take(&mut self.values[act.0].data);
        self.arena.give(data);
        if let Some(grad) = self.grads[act.0].take() {
            self.arena.give(grad);
        }
    }

    fn finish(self) {
        for value in self.values {
            self.arena.give(value.data);
        }
        for grad in self.grads.into_iter().flatten() {
            self.arena.give(grad);
        }
    }
}
