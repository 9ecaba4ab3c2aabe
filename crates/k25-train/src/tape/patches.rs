//! What happens to a picture's patches beside the blocks: their learned positions, averages over frames in the
//! order of merged windows, and a window's patches joined into one row.

use k25_model::vision::weights::PositionTable;
use k25_model::vision::{Packing, pool_windows, position_rows, spread_positions, spread_windows};

use super::{Act, Backward, Operator, Tape};
use crate::params::Param;

struct Positions {
    table: PositionTable<Param>,
    packing: Packing,
    y: Act,
}

struct Pool {
    packing: Packing,
    x: Act,
    y: Act,
}

struct Join {
    x: Act,
    y: Act,
}

impl Tape<'_> {
    /// The learned positions at the size of each item, and fixed ones in time, `[rows, hidden]`.
    pub fn positions(&mut self, table: &PositionTable<Param>, packing: &Packing) -> Act {
        let hidden = table.values.len() / (table.height * table.width);
        let values = PositionTable {
            values: &self.params[table.values.range()],
            height: table.height,
            width: table.width,
        };
        let rows = position_rows(&values, packing);
        let y = self.input(&rows, hidden);
        self.record(Positions {
            table: table.clone(),
            packing: packing.clone(),
            y,
        });
        y
    }

    /// Averages each item over its frames and orders rows by merged window.
    pub fn pool(&mut self, packing: &Packing, x: Act) -> Act {
        let (_, cols) = self.shape(x);
        let pooled = pool_windows(packing, cols, self.data(x));
        let y = self.input(&pooled, cols);
        let packing = packing.clone();
        self.record(Pool { packing, x, y });
        y
    }

    /// Joins every `count` neighbouring rows into one.
    pub fn join_rows(&mut self, count: usize, x: Act) -> Act {
        let (rows, cols) = self.shape(x);
        assert!(rows.is_multiple_of(count), "whole rows of {count}");
        let mut y = self.arena.take(rows * cols);
        y.copy_from_slice(self.data(x));
        let y = self.push(y, rows / count, cols * count);
        self.record(Join { x, y });
        y
    }
}

impl Operator for Positions {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let grad = grads.take(self.y);
        if let Some(values) = grads.param_grads.get_mut(self.table.values) {
            let (height, width) = (self.table.height, self.table.width);
            let table = PositionTable {
                values,
                height,
                width,
            };
            spread_positions(table, &self.packing, &grad);
        }
        grads.arena.give(grad);
    }

    fn output(&self) -> Act {
        self.y
    }
}

impl Operator for Pool {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let grad = grads.take(self.y);
        let (rows, cols) = grads.shape(self.x);
        let mut dx = grads.arena.take(rows * cols);
        dx.copy_from_slice(&spread_windows(&self.packing, cols, &grad));
        grads.add(self.x, dx);
        grads.arena.give(grad);
    }

    fn output(&self) -> Act {
        self.y
    }
}

impl Operator for Join {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let grad = grads.take(self.y);
        grads.add(self.x, grad);
    }

    fn output(&self) -> Act {
        self.y
    }
}
