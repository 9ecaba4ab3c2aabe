//! Products that are computed together, and what adapters add to them.

use k25_kernels::{Activations, Product, Rows as RowSet};

use super::Fast;
use super::act::Act;
use crate::linear::{Linear, LowRank};
use crate::rows::Rows;

/// Products of one parallel loop.
#[derive(Default)]
pub(super) struct Products<'p> {
    products: Vec<Product<'p>>,
    additions: Vec<Addition<'p>>,
}

/// An adapter of one of the products: `B · (A · x)` is added to its result.
struct Addition<'p> {
    product: usize,
    adapter: &'p LowRank,
    x: &'p Act,
    rows: RowSet<'p>,
}

impl<'p> Products<'p> {
    /// Adds a product, its activations in the form that the weights ask for.
    pub fn push(
        &mut self,
        fast: &Fast<'_>,
        weight: &'p Linear,
        x: &'p Act,
        rows: RowSet<'p>,
        y: &'p mut [f32],
    ) {
        if let Some(adapter) = weight.adapter() {
            self.additions.push(Addition {
                product: self.products.len(),
                adapter,
                x,
                rows: rows.clone(),
            });
        }
        let weights = weight.kernel_view();
        self.products.push(Product {
            weights,
            x: fast.activations_for(weights, x),
            rows,
            y,
        });
    }

    /// Computes all of them.
    pub fn run(mut self, fast: &Fast<'_>) {
        fast.multiply(&mut self.products);
        if self.additions.is_empty() {
            return;
        }
        let zeros = |width: fn(&LowRank) -> usize| -> Vec<Rows> {
            let additions = self.additions.iter();
            additions
                .map(|addition| Rows::zeros(addition.rows.len(), width(addition.adapter)))
                .collect()
        };
        let (mut inner, mut added) = (zeros(LowRank::rank), zeros(LowRank::out_features));
        let mut products: Vec<Product<'_>> = self
            .additions
            .iter()
            .zip(&mut inner)
            .map(|(addition, inner)| Product {
                weights: addition.adapter.a(),
                x: addition.x.exact(),
                rows: addition.rows.clone(),
                y: inner.values_mut(),
            })
            .collect();
        fast.multiply(&mut products);
        let mut products: Vec<Product<'_>> = self
            .additions
            .iter()
            .zip(inner.iter().zip(&mut added))
            .map(|(addition, (inner, added))| Product {
                weights: addition.adapter.b(),
                x: Activations::F32 {
                    values: inner.values(),
                    cols: inner.width(),
                },
                rows: RowSet::Range(0..inner.len()),
                y: added.values_mut(),
            })
            .collect();
        fast.multiply(&mut products);
        drop(products);
        for (addition, added) in self.additions.iter().zip(&added) {
            let y = &mut *self.products[addition.product].y;
            k25_kernels::add(fast.pool, fast.isa, y, added.values());
        }
    }
}
