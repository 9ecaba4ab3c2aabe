//! Rows of the embedding with features of pictures between them, and rows chosen out of an activation.

use super::{Act, Backward, Operator, Tape};
use crate::params::Param;
use crate::simd::accumulate;

struct Embed {
    table: Param,
    /// The token of every row; `None` where a feature row stands instead.
    tokens: Vec<Option<u32>>,
    features: Option<Act>,
    y: Act,
}

struct Select {
    rows: Vec<usize>,
    x: Act,
    y: Act,
}

impl Tape<'_> {
    /// The embedding's row of every token; `features` has the rows where there is no token, in their order.
    pub fn embed(&mut self, table: Param, tokens: Vec<Option<u32>>, features: Option<Act>) -> Act {
        let width = table.cols;
        let mut y = self.arena.take(tokens.len() * width);
        let rows = features.map_or(&[][..], |features| self.data(features));
        let mut rows = rows.chunks_exact(width);
        for (into, token) in y.chunks_exact_mut(width).zip(&tokens) {
            match token {
                Some(id) => self.params.row(table, *id as usize, into),
                None => into.copy_from_slice(rows.next().expect("a feature row for every gap")),
            }
        }
        assert_eq!(rows.len(), 0, "a gap for every feature row");
        let y = self.push(y, tokens.len(), width);
        self.record(Embed {
            table,
            tokens,
            features,
            y,
        });
        y
    }

    /// The rows that `rows` name, in that order.
    pub fn select_rows(&mut self, x: Act, rows: &[usize]) -> Act {
        let (_, cols) = self.shape(x);
        let mut y = self.arena.take(rows.len() * cols);
        let data = self.data(x);
        for (into, row) in y.chunks_exact_mut(cols).zip(rows) {
            into.copy_from_slice(&data[row * cols..(row + 1) * cols]);
        }
        let y = self.push(y, rows.len(), cols);
        let rows = rows.to_vec();
        self.record(Select { rows, x, y });
        y
    }
}

impl Operator for Embed {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let grad = grads.take(self.y);
        let mut table = grads.param_grads.get_mut(self.table);
        let width = self.table.cols;
        let mut to_features = Vec::new();
        for (grad, token) in grad.chunks_exact(width).zip(&self.tokens) {
            match (token, &mut table) {
                (Some(id), Some(table)) => {
                    let start = *id as usize * width;
                    accumulate(&mut table[start..start + width], grad);
                }
                (Some(_), None) => {}
                (None, _) => to_features.push(grad),
            }
        }
        if let Some(features) = self.features {
            let mut d_features = grads.arena.take(to_features.len() * width);
            for (into, grad) in d_features.chunks_exact_mut(width).zip(to_features) {
                into.copy_from_slice(grad);
            }
            grads.add(features, d_features);
        }
        grads.arena.give(grad);
    }

    fn output(&self) -> Act {
        self.y
    }
}

impl Operator for Select {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let grad = grads.take(self.y);
        let (rows, cols) = grads.shape(self.x);
        let mut dx = grads.arena.zeros(rows * cols);
        for (grad, row) in grad.chunks_exact(cols).zip(&self.rows) {
            accumulate(&mut dx[row * cols..(row + 1) * cols], grad);
        }
        grads.add(self.x, dx);
        grads.arena.give(grad);
    }

    fn output(&self) -> Act {
        self.y
    }
}
