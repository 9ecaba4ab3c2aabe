//! Weights that stay as a checkpoint has them, and the adapters that are trained on top of them.
//!
//! A frozen matrix `W` with an adapter reads as `W + scale · B · A` (LoRA: Hu et al. 2021). It is dequantised, and its adapter
//! added, each time an operator needs it: INT4 experts take the memory that they take in the checkpoint (QLoRA: Dettmers
//! et al. 2023), and nothing but `A` and `B` has gradients and moments.

use k25_model::linear::Linear;
use k25_model::names::Part;
use rayon::prelude::*;

use crate::matmul::{Mat, Store, multiply, par_multiply};
use crate::params::Param;

/// Addresses from here on are of frozen weights; those of trained values lie below.
const FIRST_ADDRESS: usize = 1 << (usize::BITS - 2);

/// Every frozen weight, in the order of its address.
#[derive(Debug, Clone, Default)]
pub struct Frozen {
    entries: Vec<FrozenEntry>,
}

/// A frozen matrix or norm.
#[derive(Debug, Clone)]
pub struct FrozenEntry {
    /// Its name, kind and shape in the checkpoint.
    pub part: Part,
    /// Its address and shape.
    pub param: Param,
    /// Its values.
    pub values: Kept,
    /// What is trained on top of it.
    pub adapter: Option<Adapter>,
}

/// Values of a frozen weight.
#[derive(Debug, Clone)]
pub enum Kept {
    /// A matrix as it is stored.
    Matrix(Linear),
    /// The few values of a norm.
    Values(Vec<f32>),
}

/// Two trained matrices whose product is added to a frozen one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adapter {
    /// `[rank, in]`.
    pub a: Param,
    /// `[out, rank]`.
    pub b: Param,
    /// Factor of their product: alpha / rank.
    pub scale: f32,
}

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The calling thread alone.
    Alone,
    /// All threads of the pool.
    Shared,
}

impl Work {
    /// A product; see [`multiply`].
    pub fn multiply(self, dst: &mut [f32], mode: Store, lhs: Mat<'_>, rhs: Mat<'_>) {
        match self {
            Self::Alone => multiply(dst, mode, lhs, rhs),
            Self::Shared => par_multiply(dst, mode, lhs, rhs),
        }
    }

    fn each_row(self, values: &mut [f32], width: usize, fill: impl Fn(usize, &mut [f32]) + Sync) {
        let numbered = |(row, into): (usize, &mut [f32])| fill(row, into);
        match self {
            Self::Alone => values
                .chunks_exact_mut(width)
                .enumerate()
                .for_each(numbered),
            Self::Shared => values
                .par_chunks_exact_mut(width)
                .with_min_len(16)
                .enumerate()
                .for_each(numbered),
        }
    }
}

impl Frozen {
    /// Gives a part an address after all others; its values come with [`keep`](Self::keep).
    pub(crate) fn add(&mut self, part: Part) -> Param {
        let end = self.entries.last().map(|entry| entry.param.range().end);
        let param = Param::of(&part, end.unwrap_or(FIRST_ADDRESS));
        self.entries.push(FrozenEntry {
            part,
            param,
            values: Kept::Values(Vec::new()),
            adapter: None,
        });
        param
    }

    /// Gives a weight its values.
    ///
    /// # Panics
    /// Where there is no weight at this address.
    pub(crate) fn keep(&mut self, param: Param, values: Kept) {
        let found = self
            .entries
            .binary_search_by_key(&param.start, |entry| entry.param.start);
        self.entries[found.expect("an address that was given")].values = values;
    }

    /// Every weight, in the order of its address.
    pub fn entries(&self) -> &[FrozenEntry] {
        &self.entries
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [FrozenEntry] {
        &mut self.entries
    }

    /// Whether everything is trained.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many values stay as they are.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|entry| entry.param.len()).sum()
    }

    /// The weights that lie under an address, one or several side by side; `None` where trained values do.
    pub(crate) fn under(&self, param: Param) -> Option<&[FrozenEntry]> {
        let range = param.range();
        let before = |address: usize| {
            self.entries
                .partition_point(|entry| entry.param.start < address)
        };
        (param.start >= FIRST_ADDRESS)
            .then(|| &self.entries[before(range.start)..before(range.end)])
    }
}

impl FrozenEntry {
    /// Writes the matrix with its adapter, which lies in the `trained` values, into `into`.
    pub(crate) fn write(&self, trained: &[f32], into: &mut [f32], work: Work) {
        match &self.values {
            Kept::Matrix(linear) => work.each_row(into, self.param.cols, |row, into| {
                linear.row_to_f32(row, into);
            }),
            Kept::Values(values) => into.copy_from_slice(values),
        }
        if let Some(adapter) = &self.adapter {
            let scaled: Vec<f32> = trained[adapter.b.range()]
                .iter()
                .map(|value| value * adapter.scale)
                .collect();
            let b = Mat::new(&scaled, adapter.b.rows, adapter.b.cols);
            work.multiply(into, Store::Add, b, adapter.a.of_values(trained));
        }
    }
}

impl Adapter {
    /// Where both matrices lie; they are neighbours.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.a.start..self.b.range().end
    }

    /// Adds to the gradients of both matrices what a product `y = x · Wᵀ` brings whose result has the gradient `dy`:
    /// with dW = dyᵀ · x, that is scale · Bᵀ · dW for `A` and scale · dW · Aᵀ for `B`, without making dW.
    /// `grads` begins with the gradient at the address `first`.
    pub(crate) fn add_gradient(
        self,
        trained: &[f32],
        dy: Mat<'_>,
        x: Mat<'_>,
        grads: &mut [f32],
        first: usize,
        work: Work,
    ) {
        let (rows, rank) = (x.row_count(), self.a.rows);
        let scaled = |lhs: Mat<'_>, rhs: Mat<'_>| {
            let mut product = vec![0.0; rows * rank];
            work.multiply(&mut product, Store::Set, lhs, rhs);
            product.iter_mut().for_each(|value| *value *= self.scale);
            product
        };
        let inner = scaled(x, self.a.of_values(trained).t());
        let d_inner = scaled(dy, self.b.of_values(trained));
        let both = &mut grads[self.a.start - first..self.b.range().end - first];
        let (da, db) = both.split_at_mut(self.a.len());
        work.multiply(da, Store::Add, Mat::new(&d_inner, rows, rank).t(), x);
        work.multiply(db, Store::Add, dy.t(), Mat::new(&inner, rows, rank));
    }
}
