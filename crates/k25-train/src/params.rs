//! All trained values in one vector, and where in it each matrix and each norm lies.
//!
//! Gradients, momenta and second moments are vectors of the same length, so an optimiser, a norm of
//! the gradient or a checkpoint is one loop. Beside the trained values there may be *effective*
//! ones, which the forward pass reads instead: the same values rounded as the exported checkpoint
//! will hold them (see [`quantize`](crate::quantize)). Where only adapters are trained, the weights
//! under them are [`Frozen`].

use std::ops::Range;

use k25_model::names::Part;

use crate::frozen::Frozen;
use crate::matmul::Mat;
use crate::values::Values;

/// A trained matrix `[rows, cols]`, or the weights of a norm as `[1, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Param {
    /// Where its first value lies.
    pub start: usize,
    /// Rows: the width of the result.
    pub rows: usize,
    /// Columns: the width of the input.
    pub cols: usize,
}

impl Param {
    /// A part's place from the address `start` on.
    pub(crate) fn of(part: &Part, start: usize) -> Self {
        let rows = if part.shape.len() > 1 {
            part.shape[0]
        } else {
            1
        };
        Self {
            start,
            rows,
            cols: part.parameters() as usize / rows.max(1),
        }
    }

    /// The matrix in the vector of trained values.
    pub(crate) fn of_values(self, values: &[f32]) -> Mat<'_> {
        Mat::new(&values[self.range()], self.rows, self.cols)
    }

    /// Where its values lie.
    pub fn range(self) -> Range<usize> {
        self.start..self.start + self.len()
    }

    /// How many values it has.
    pub fn len(self) -> usize {
        self.rows * self.cols
    }

    /// Whether it has no value.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// How a parameter is stored in an exported checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// bf16.
    Bf16,
    /// INT4 in groups of 32 with bf16 scales: routed experts.
    Int4,
    /// f32: adapters.
    F32,
}

/// A parameter and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name, kind and shape in a checkpoint.
    pub part: Part,
    /// Where its values lie.
    pub param: Param,
    /// How it will be stored.
    pub storage: Storage,
}

/// The trained values.
#[derive(Debug, Clone, Default)]
pub struct ParamStore {
    entries: Vec<Entry>,
    values: Vec<f32>,
    effective: Option<Vec<f32>>,
    frozen: Frozen,
}

impl ParamStore {
    /// Makes room for a part, filled with zeros, after everything that is there.
    pub fn add(&mut self, part: Part, storage: Storage) -> Param {
        let param = Param::of(&part, self.values.len());
        self.values.resize(param.range().end, 0.0);
        self.entries.push(Entry {
            part,
            param,
            storage,
        });
        param
    }

    /// How many of the parameters are the language model's; they come first.
    pub fn text_entries(&self) -> usize {
        let is_vision = |entry: &Entry| entry.part.kind.is_vision();
        let first = self.entries.iter().position(is_vision);
        first.unwrap_or(self.entries.len())
    }

    /// How many of the values are the language model's.
    pub fn text_len(&self) -> usize {
        let entry = self.entries.get(self.text_entries());
        entry.map_or(self.len(), |entry| entry.param.start)
    }

    /// Keeps the first `count` parameters alone.
    pub fn truncate(&mut self, count: usize) {
        self.entries.truncate(count);
        let len = self
            .entries
            .last()
            .map_or(0, |entry| entry.param.range().end);
        self.values.truncate(len);
        self.effective = None;
    }

    /// Every parameter, in the order of its values.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The trained values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The trained values, to be changed. The effective ones stay as they were.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The trained values as the forward pass reads them.
    pub fn effective(&self) -> &[f32] {
        self.effective.as_deref().unwrap_or(&self.values)
    }

    /// All values that the forward pass reads.
    pub fn read(&self) -> Values<'_> {
        Values::new(self.effective(), &self.frozen)
    }

    /// The weights that are not trained.
    pub fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    pub(crate) fn frozen_mut(&mut self) -> &mut Frozen {
        &mut self.frozen
    }

    /// Computes effective values anew from the trained ones, or stops having them (`None`).
    pub fn refresh(&mut self, round: Option<fn(Storage, usize, &mut [f32])>) {
        let Some(round) = round else {
            self.effective = None;
            return;
        };
        use rayon::prelude::*;
        let mut effective = self.effective.take().unwrap_or_default();
        effective.clone_from(&self.values);
        let mut rest = effective.as_mut_slice();
        let mut pieces = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let (piece, after) = rest.split_at_mut(entry.param.len());
            rest = after;
            pieces.push((entry, piece));
        }
        pieces.into_par_iter().for_each(|(entry, piece)| {
            round(entry.storage, entry.param.cols, piece);
        });
        self.effective = Some(effective);
    }

    /// How many values are trained.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
