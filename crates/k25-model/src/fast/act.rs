//! Activations of the fast execution: f32 rows, and their int8 form once somebody asked for it.

use std::cell::OnceCell;

use k25_kernels::{Activations, Isa, Pool, QuantRows};

use crate::rows::Rows;

/// A matrix of activations `[rows, width]`.
#[derive(Debug)]
pub struct Act {
    rows: Rows,
    quantised: OnceCell<QuantRows>,
}

impl Act {
    /// Activations over f32 rows.
    pub fn new(rows: Rows) -> Self {
        Self {
            rows,
            quantised: OnceCell::new(),
        }
    }

    /// The f32 values.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Gives the f32 values up.
    pub fn into_rows(self) -> Rows {
        self.rows
    }

    /// The values as the exact kernels read them.
    pub(super) fn exact(&self) -> Activations<'_> {
        Activations::F32 {
            values: self.rows.values(),
            cols: self.rows.width(),
        }
    }

    /// The values as the integer kernels read them, quantised at the first call.
    pub(super) fn quantised(&self, pool: &Pool, isa: Isa) -> Activations<'_> {
        Activations::Quant(self.quantised.get_or_init(|| {
            let mut quantised = QuantRows::new();
            quantised.set(
                pool,
                isa,
                self.rows.values(),
                self.rows.len(),
                self.rows.width(),
            );
            quantised
        }))
    }
}
