//! Bytes and operations that a pass cannot do without: the floor under its time.

use k25_kernels::Weights;
use k25_model::fast::{FastModel, LatentFormat, PagedLatents};
use k25_model::linear::Linear;
use k25_model::weights::{FeedForward, LayerWeights, Mlp, MoeWeights, QueryWeights};

use crate::machine::Machine;

/// What a pass reads and computes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Bytes of weights and cache that must come from memory once.
    pub bytes: f64,
    /// Operations with INT4 weights (a multiplication and an addition are two).
    pub int4_ops: f64,
    /// Operations with weights of 8 bits.
    pub int8_ops: f64,
    /// Operations in f32: dense weights as stored, router, attention.
    pub f32_ops: f64,
}

impl Cost {
    /// The least time if reading and arithmetic overlap perfectly.
    pub fn floor_seconds(&self, machine: &Machine) -> f64 {
        let reading = self.bytes / machine.read_bytes_per_second;
        let computing = self.int4_ops / machine.int4_ops_per_second
            + self.int8_ops / machine.int8_ops_per_second
            + self.f32_ops / machine.f32_ops_per_second;
        reading.max(computing)
    }

    /// Adds a product of `rows` rows with a matrix that `share` of the passes read.
    fn add_matrix(&mut self, matrix: &Linear, rows: f64, share: f64) {
        self.bytes += matrix.byte_len() as f64 * share;
        let ops = 2.0 * rows * matrix.out_features() as f64 * matrix.in_features() as f64;
        match matrix.kernel_view() {
            Weights::Int4(_) => self.int4_ops += ops,
            Weights::Int8(_) => self.int8_ops += ops,
            Weights::Dense(_) => self.f32_ops += ops,
        }
    }

    fn add_mlp(&mut self, mlp: &Mlp, rows: f64, share: f64) {
        for matrix in [&mlp.gate, &mlp.up, &mlp.down] {
            self.add_matrix(matrix, rows, share);
        }
    }

    /// Adds a mixture of experts for `rows` rows that choose at random.
    pub fn add_moe(&mut self, moe: &MoeWeights, rows: f64, chosen: usize) {
        self.add_matrix(&moe.router.weight, rows, 1.0);
        if let Some(shared) = &moe.shared {
            self.add_mlp(shared, rows, 1.0);
        }
        let share = chosen as f64 / moe.experts.len() as f64;
        // An expert is read unless all rows pass it by.
        let visited = 1.0 - (1.0 - share).powf(rows);
        for expert in &moe.experts {
            self.add_mlp(expert, rows * share, visited);
        }
    }
}

/// The cost of `sequences` sequences that each compute `rows` rows after `depth` cached ones, with
/// logits of one row each.
pub fn pass(model: &FastModel, cache: LatentFormat, sequences: f64, rows: f64, depth: f64) -> Cost {
    let text = &model.model().text;
    let config = &model.model().config.text;
    let mut cost = Cost::default();
    let all_rows = sequences * rows;
    for layer in &text.layers {
        add_projections(&mut cost, layer, all_rows);
        match &layer.feed_forward {
            FeedForward::Dense(mlp) => cost.add_mlp(mlp, all_rows, 1.0),
            FeedForward::Moe(moe) => cost.add_moe(moe, all_rows, config.num_experts_per_tok),
        }
    }
    cost.add_matrix(&text.lm_head, sequences, 1.0);
    let seen = depth + (rows + 1.0) / 2.0;
    let per_query = 2.0 * (config.latent_width() + config.kv_lora_rank) as f64;
    let layers = text.layers.len() as f64;
    cost.f32_ops += layers * all_rows * config.num_attention_heads as f64 * seen * per_query;
    let row_bytes =
        PagedLatents::block_bytes(config, cache) as f64 / PagedLatents::BLOCK_ROWS as f64;
    cost.bytes += sequences * (depth + rows) * row_bytes;
    cost
}

/// The projections around attention. `kv_b` counts once: half of it makes queries, half contexts.
fn add_projections(cost: &mut Cost, layer: &LayerWeights, rows: f64) {
    let attention = &layer.attention;
    match &attention.query {
        QueryWeights::LowRank { a, b, .. } => {
            cost.add_matrix(a, rows, 1.0);
            cost.add_matrix(b, rows, 1.0);
        }
        QueryWeights::Direct(projection) => cost.add_matrix(projection, rows, 1.0),
    }
    for matrix in [&attention.kv_a, &attention.kv_b, &attention.output] {
        cost.add_matrix(matrix, rows, 1.0);
    }
}
