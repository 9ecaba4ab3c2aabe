//! What operators read, and where their gradients go: trained values in place, frozen ones dequantised when they are asked for.

use std::ops::{Index, Range};

use crate::frozen::{Frozen, FrozenEntry, Kept, Work};
use crate::matmul::Mat;
use crate::params::Param;

/// The values behind addresses.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    trained: &'a [f32],
    frozen: Option<&'a Frozen>,
}

/// Trained values alone.
impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(trained: &'a [f32]) -> Self {
        Self {
            trained,
            frozen: None,
        }
    }
}

/// Values that lie in memory as they are: trained ones, and frozen norms.
impl Index<Range<usize>> for Values<'_> {
    type Output = [f32];

    fn index(&self, range: Range<usize>) -> &[f32] {
        let param = Param {
            start: range.start,
            rows: 1,
            cols: range.len(),
        };
        match self.under(param) {
            None => &self.trained[range],
            Some([entry]) => match &entry.values {
                Kept::Values(values) => values,
                Kept::Matrix(_) => panic!("{} is read as a matrix", entry.part.name),
            },
            Some(_) => panic!("a norm has an address of its own"),
        }
    }
}

impl<'a> Values<'a> {
    pub(crate) fn new(trained: &'a [f32], frozen: &'a Frozen) -> Self {
        Self {
            trained,
            frozen: Some(frozen),
        }
    }

    fn under(&self, param: Param) -> Option<&'a [FrozenEntry]> {
        self.frozen.and_then(|frozen| frozen.under(param))
    }

    /// Values that a buffer for [`matrix`](Self::matrix) holds: none where it is read in place.
    pub(crate) fn scratch_len(&self, param: Param) -> usize {
        self.under(param).map_or(0, |_| param.len())
    }

    /// A matrix, or several that lie one under the other: in place, or written into `scratch` by the calling thread.
    pub(crate) fn matrix<'v>(&'v self, param: Param, scratch: &'v mut Vec<f32>) -> Mat<'v> {
        self.matrix_by(Work::Alone, param, scratch)
    }

    /// [`matrix`](Self::matrix), written by all threads.
    pub(crate) fn par_matrix<'v>(&'v self, param: Param, scratch: &'v mut Vec<f32>) -> Mat<'v> {
        self.matrix_by(Work::Shared, param, scratch)
    }

    fn matrix_by<'v>(&'v self, work: Work, param: Param, scratch: &'v mut Vec<f32>) -> Mat<'v> {
        let Some(entries) = self.under(param) else {
            return param.of_values(self.trained);
        };
        scratch.resize(param.len(), 0.0);
        let mut rest = scratch.as_mut_slice();
        for entry in entries {
            let (into, after) = rest.split_at_mut(entry.param.len());
            entry.write(self.trained, into, work);
            rest = after;
        }
        Mat::new(scratch, param.rows, param.cols)
    }

    /// Copies one row of a matrix that has no adapter: the embedding of a token.
    pub(crate) fn row(&self, param: Param, row: usize, into: &mut [f32]) {
        match self.under(param) {
            None => {
                let start = param.start + row * param.cols;
                into.copy_from_slice(&self.trained[start..start + param.cols]);
            }
            Some(entries) => match entries.first().map(|entry| &entry.values) {
                Some(Kept::Matrix(linear)) => linear.row_to_f32(row, into),
                _ => panic!("rows are read of matrices"),
            },
        }
    }

    /// Where the values lie that are trained for these addresses: themselves, or the adapters of frozen weights.
    fn trained_range(&self, range: Range<usize>) -> Range<usize> {
        let param = Param {
            start: range.start,
            rows: 1,
            cols: range.len(),
        };
        let Some(entries) = self.under(param) else {
            return range;
        };
        let mut adapters = entries.iter().filter_map(|entry| entry.adapter);
        match (adapters.next(), adapters.next_back()) {
            (Some(first), Some(last)) => first.range().start..last.range().end,
            (Some(only), None) => only.range(),
            (None, _) => 0..0,
        }
    }
}

/// Gradients of trained values.
pub(crate) struct Gradients<'a> {
    values: Values<'a>,
    /// The address of the first gradient.
    first: usize,
    grads: &'a mut [f32],
}

impl<'a> Gradients<'a> {
    /// `grads` is as long as the trained values.
    pub fn new(values: Values<'a>, grads: &'a mut [f32]) -> Self {
        Self {
            values,
            first: 0,
            grads,
        }
    }

    /// The gradient of values that operators read as they are: norms, embeddings. `None` where they are frozen.
    pub fn get_mut(&mut self, param: Param) -> Option<&mut [f32]> {
        let range = param.range();
        match self.values.under(param) {
            None => Some(&mut self.grads[range.start - self.first..range.end - self.first]),
            Some(_) => None,
        }
    }

    /// Adds what a product `y = x · Wᵀ` brings whose result has the gradient `dy`; computed by the calling thread.
    pub fn add(&mut self, weight: Param, dy: Mat<'_>, x: Mat<'_>) {
        self.add_by(Work::Alone, weight, dy, x);
    }

    /// [`add`](Self::add), computed by all threads.
    pub fn par_add(&mut self, weight: Param, dy: Mat<'_>, x: Mat<'_>) {
        self.add_by(Work::Shared, weight, dy, x);
    }

    fn add_by(&mut self, work: Work, weight: Param, dy: Mat<'_>, x: Mat<'_>) {
        let Some(entries) = self.values.under(weight) else {
            let range = weight.start - self.first..weight.range().end - self.first;
            return work.multiply(&mut self.grads[range], crate::matmul::Store::Add, dy.t(), x);
        };
        let mut first_row = 0;
        for entry in entries {
            if let Some(adapter) = entry.adapter {
                let dy = dy.cols(first_row, entry.param.rows);
                adapter.add_gradient(self.values.trained, dy, x, self.grads, self.first, work);
            }
            first_row += entry.param.rows;
        }
    }

    /// A piece for each of these ranges of addresses, which ascend, so that several threads can add.
    pub fn split(&mut self, ranges: impl Iterator<Item = Range<usize>>) -> Vec<Gradients<'_>> {
        let (values, mut first, mut rest) = (self.values, self.first, &mut *self.grads);
        ranges
            .map(|range| {
                let trained = values.trained_range(range);
                let begin = trained.start.max(first);
                let (_, after) = std::mem::take(&mut rest).split_at_mut(begin - first);
                let (grads, after) = after.split_at_mut(trained.len());
                (first, rest) = (begin + grads.len(), after);
                Gradients {
                    values,
                    first: begin,
                    grads,
                }
            })
            .collect()
    }
}
