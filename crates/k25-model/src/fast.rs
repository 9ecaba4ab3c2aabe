//! The fast execution: SIMD kernels over a paged latent cache, many sequences in one pass.
//!
//! Weights are read where they lie; [`FastModel`] prepares what no kernel can read in place (the
//! absorbed halves of `kv_b`, and int8 forms where asked for). Every row's result is the same
//! whatever else is in the batch and however many threads compute it.

mod act;
mod attention;
mod cache;
mod model;
mod moe;
mod products;
mod residency;
mod vision;

pub use act::Act;
pub use cache::{LatentFormat, PagedLatents, RowCopy};
pub use model::{ActivationFormat, DenseFormat, FastModel, FastOptions, FastOptionsError};
pub use residency::{ExpertCache, ExpertId, LeastRecentlyUsed, own_bytes, resident_bytes};
pub use vision::VisionFast;

use std::ops::Range;

use k25_config::TextConfig;
use k25_kernels::{Isa, Pool, Product, Rows as RowSet, multiply};

use self::products::Products;
use crate::exec::{Exec, InputRow};
use crate::linear::Linear;
use crate::rows::Rows;
use crate::text;
use crate::weights::{MlaWeights, Mlp, MoeWeights, RmsNorm};

/// Rows that one pass computes.
#[derive(Debug, Clone, Copy)]
pub struct FastBatch<'a> {
    /// Position of each row.
    pub positions: &'a [u32],
    /// The sequences whose rows these are, in the order of the rows.
    pub sequences: &'a [SequenceSpan<'a>],
}

/// The rows of one sequence in a batch.
#[derive(Debug, Clone)]
pub struct SequenceSpan<'a> {
    /// Which of the batch's rows.
    pub rows: Range<usize>,
    /// Rows of the sequence that the cache holds already.
    pub cached_rows: usize,
    /// Cache blocks of the sequence, with room for these rows.
    pub blocks: &'a [u32],
}

/// The fast execution of one pass.
pub struct Fast<'a> {
    model: &'a FastModel,
    config: &'a TextConfig,
    pool: &'a Pool,
    isa: Isa,
    cache: &'a mut PagedLatents,
    batch: FastBatch<'a>,
}

impl<'a> Fast<'a> {
    /// A pass over `batch`, whose latents go to `cache`.
    pub fn new(
        model: &'a FastModel,
        pool: &'a Pool,
        cache: &'a mut PagedLatents,
        batch: FastBatch<'a>,
    ) -> Self {
        Self {
            model,
            config: &model.model().config.text,
            pool,
            isa: Isa::active(),
            cache,
            batch,
        }
    }

    /// Logits `[wanted.len(), vocab]` of the rows that `wanted` names; one input row per position.
    pub fn logits(&mut self, rows: &[InputRow<'_>], wanted: &[usize]) -> Rows {
        assert_eq!(
            rows.len(),
            self.batch.positions.len(),
            "one position per input row"
        );
        let model = self.model;
        text::forward(self, &model.model().text, rows, wanted).into_rows()
    }

    fn multiply(&self, products: &mut [Product<'_>]) {
        multiply(self.pool, self.isa, products);
    }

    /// `x · Wᵀ` for all rows.
    fn product(&self, weight: &Linear, x: &Act) -> Rows {
        let mut y = Rows::zeros(x.rows().len(), weight.out_features());
        let mut products = Products::default();
        products.push(self, weight, x, all_rows(x), y.values_mut());
        products.run(self);
        y
    }

    fn silu_mul(&self, gate: &mut Rows, up: &Rows) {
        k25_kernels::silu_mul(self.pool, self.isa, gate.values_mut(), up.values());
    }
}

fn all_rows(x: &Act) -> RowSet<'static> {
    RowSet::Range(0..x.rows().len())
}

impl Exec for Fast<'_> {
    type Act = Act;

    fn embed(&mut self, table: &Linear, rows: &[InputRow<'_>]) -> Act {
        let mut embedded = Rows::zeros(rows.len(), table.in_features());
        self.pool.run_chunks(
            embedded.values_mut(),
            table.in_features(),
            |row, into| match rows[row] {
                InputRow::Token(id) => table.row_to_f32(id as usize, into),
                InputRow::Feature(values) => into.copy_from_slice(values),
            },
        );
        Act::new(embedded)
    }

    fn linear(&mut self, weight: &Linear, x: &Act) -> Act {
        Act::new(self.product(weight, x))
    }

    fn rms_norm(&mut self, norm: &RmsNorm, x: &Act) -> Act {
        let mut normed = Rows::zeros(x.rows().len(), x.rows().width());
        k25_kernels::rms_norm(
            self.pool,
            self.isa,
            x.rows().values(),
            &norm.weight,
            norm.eps,
            normed.values_mut(),
        );
        Act::new(normed)
    }

    fn add(&mut self, x: Act, y: &Act) -> Act {
        let mut sum = x.into_rows();
        k25_kernels::add(self.pool, self.isa, sum.values_mut(), y.rows().values());
        Act::new(sum)
    }

    fn mla(&mut self, layer: usize, weights: &MlaWeights, query: &Act, kv: &Act) -> Act {
        Act::new(self.latent_attention(layer, weights, query.rows(), kv.rows()))
    }

    fn mlp(&mut self, mlp: &Mlp, x: &Act) -> Act {
        let rows = x.rows().len();
        let (mut gate, mut up) = (
            Rows::zeros(rows, mlp.gate.out_features()),
            Rows::zeros(rows, mlp.up.out_features()),
        );
        let mut products = Products::default();
        products.push(self, &mlp.gate, x, all_rows(x), gate.values_mut());
        products.push(self, &mlp.up, x, all_rows(x), up.values_mut());
        products.run(self);
        self.silu_mul(&mut gate, &up);
        Act::new(self.product(&mlp.down, &Act::new(gate)))
    }

    fn moe(&mut self, layer: usize, weights: &MoeWeights, x: &Act) -> Act {
        Act::new(self.mixture_of_experts(layer, weights, x))
    }

    fn select_rows(&mut self, x: &Act, rows: &[usize]) -> Act {
        Act::new(x.rows().select(rows))
    }
}
