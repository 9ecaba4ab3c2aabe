//! The vision tower over SIMD kernels, in f32 and bf16 as the weights are stored.

use k25_config::VisionConfig;
use k25_kernels::{Activations, Attention, Isa, Pool, Strided, attention, multiply_one};

use crate::rows::Rows;
use crate::vision::weights::{LayerNorm, LinearBias, PositionTable, VisionWeights};
use crate::vision::{
    Gelu, Packing, RotaryAngles, VisionError, VisionExec, VisionItem, encode, pool_windows,
    position_rows,
};

/// The fast execution of the vision tower. An item's features are the same whatever else is in the
/// batch and however many threads compute them.
pub struct VisionFast<'a> {
    pool: &'a Pool,
    isa: Isa,
}

impl<'a> VisionFast<'a> {
    /// An execution on the threads of `pool`.
    pub fn new(pool: &'a Pool) -> Self {
        Self {
            pool,
            isa: Isa::active(),
        }
    }

    /// Features `[tokens, text_hidden_size]` of all items in order.
    ///
    /// # Errors
    /// As [`Packing::new`].
    pub fn features(
        &mut self,
        config: &VisionConfig,
        weights: &VisionWeights,
        items: &[VisionItem],
    ) -> Result<Rows, VisionError> {
        encode(self, config, weights, items)
    }
}

impl VisionExec for VisionFast<'_> {
    type Act = Rows;

    fn input(&mut self, parts: &[&[f32]], width: usize) -> Rows {
        Rows::from_values(parts.concat(), width)
    }

    fn positions(&mut self, table: &PositionTable, packing: &Packing) -> Rows {
        let hidden = table.values.len() / (table.height * table.width);
        Rows::from_values(position_rows(table, packing), hidden)
    }

    fn linear(&mut self, linear: &LinearBias, x: &Rows) -> Rows {
        let out_features = linear.weight.out_features();
        let mut y = Rows::zeros(x.len(), out_features);
        let activations = Activations::F32 {
            values: x.values(),
            cols: x.width(),
        };
        multiply_one(
            self.pool,
            self.isa,
            linear.weight.kernel_view(),
            activations,
            y.values_mut(),
        );
        self.pool
            .run_chunks(y.values_mut(), out_features, |_, row| {
                row.iter_mut()
                    .zip(&linear.bias)
                    .for_each(|(value, bias)| *value += bias);
            });
        y
    }

    fn layer_norm(&mut self, norm: &LayerNorm, x: &Rows) -> Rows {
        let mut normed = Rows::zeros(x.len(), x.width());
        let weights = (norm.weight.as_slice(), norm.bias.as_slice());
        k25_kernels::layer_norm(
            self.pool,
            self.isa,
            x.values(),
            weights,
            norm.eps,
            normed.values_mut(),
        );
        normed
    }

    fn add(&mut self, mut x: Rows, y: &Rows) -> Rows {
        k25_kernels::add(self.pool, self.isa, x.values_mut(), y.values());
        x
    }

    fn gelu(&mut self, form: Gelu, mut x: Rows) -> Rows {
        match form {
            Gelu::Tanh => k25_kernels::gelu_tanh(self.pool, self.isa, x.values_mut()),
            Gelu::Erf => k25_kernels::gelu(self.pool, self.isa, x.values_mut()),
        }
        x
    }

    fn attention(
        &mut self,
        heads: usize,
        packing: &Packing,
        angles: &RotaryAngles,
        qkv: &Rows,
    ) -> Rows {
        let hidden = qkv.width() / 3;
        let head_dim = hidden / heads;
        let mut turned = qkv.clone();
        self.pool
            .run_chunks(turned.values_mut(), 3 * hidden, |row, qkv| {
                let queries_and_keys = &mut qkv[..2 * hidden];
                queries_and_keys
                    .chunks_exact_mut(head_dim)
                    .for_each(|head| angles.rotate(row, head));
            });
        let part = |item_row: usize, third: usize| Strided {
            values: turned.values(),
            offset: item_row * 3 * hidden + third * hidden,
            row_stride: 3 * hidden,
            head_stride: head_dim,
            width: head_dim,
        };
        let mut contexts = Rows::zeros(qkv.len(), hidden);
        let mut rest = contexts.values_mut();
        let mut items = Vec::with_capacity(packing.items().len());
        for item in packing.items() {
            let rows = item.rows().len();
            let (out, others) = rest.split_at_mut(rows * hidden);
            rest = others;
            let [q, k, v] = [0, 1, 2].map(|third| part(item.first_row, third));
            items.push(Attention {
                heads,
                q_rows: rows,
                kv_rows: rows,
                q,
                k,
                v,
                causal_past: None,
                out,
            });
        }
        attention(
            self.pool,
            self.isa,
            1.0 / (head_dim as f32).sqrt(),
            &mut items,
        );
        contexts
    }

    fn pool(&mut self, packing: &Packing, x: &Rows) -> Rows {
        Rows::from_values(pool_windows(packing, x.width(), x.values()), x.width())
    }

    fn join_rows(&mut self, count: usize, x: Rows) -> Rows {
        Rows::from_values(x.values().to_vec(), x.width() * count)
    }
}
