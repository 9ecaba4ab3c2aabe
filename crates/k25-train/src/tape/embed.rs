//! Rows of the embedding, and rows chosen out of an activation.

use super::{Act, Backward, Operator, Tape};
use crate::params::Param;
use crate::simd::accumulate;

struct Embed {
    table: Param,
    /// The token of every row; `None` where a feature row stands instead.
    tokens: Vec<Option<u32>>,
    y: Act,
}

struct Select {
    rows: Vec<usize>,
    x: Act,
    y: Act,
}

impl Tape<'_> {
    /// The embedding's row of every token; `features` gives the rows where there is no token.
    pub fn embed(&mut self, table: Param, tokens: Vec<Option<u32>>, features: &[&[f32]]) -> Act {
        let width = table.cols;
        let mut y = self.arena.take(tokens.len() * width);
        let values = &self.params[table.range()];
        let mut features = features.iter();
        for (into, token) in y.chunks_exact_mut(width).zip(&tokens) {
            match token {
                Some(id) => {
                    let start = *id as usize * width;
                    into.copy_from_slice(&values[start..start + width]);
                }
                None => into.copy_from_slice(features.next().expect("a feature row for every gap")),
            }
        }
        let y = self.push(y, tokens.len(), width);
        self.record(Embed { table, tokens, y });
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
        let table = &mut grads.param_grads[self.table.range()];
        let width = self.table.cols;
        for (grad, token) in grad.chunks_exact(width).zip(&self.tokens) {
            if let Some(id) = token {
                let start = *id as usize * width;
                accumulate(&mut table[start..start + width], grad);
            }
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
