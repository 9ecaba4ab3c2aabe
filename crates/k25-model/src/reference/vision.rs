//! The vision tower in readable f32 (spec: architecture §4).
//!
//! Every result row is computed by one task in one fixed order, so results do not depend on the
//! number of threads.

use rayon::prelude::*;

use super::dot;
use crate::rows::Rows;
use crate::vision::weights::{LayerNorm, LinearBias, PositionTable, VisionWeights};
use crate::vision::{
    Gelu, PackedItem, Packing, RotaryAngles, VisionError, VisionExec, VisionItem, VisionSite,
    encode, pool_windows, position_rows,
};
use k25_config::VisionConfig;

/// Rows that share one pass over the weights of a linear operator.
const LINEAR_BLOCK: usize = 64;

/// Queries that share one pass over an item's keys and values.
const QUERY_BLOCK: usize = 16;

/// Keys whose scores are computed side by side.
const KEY_TILE: usize = 64;

/// Sees intermediate values of the vision tower.
pub type VisionObserver<'a> = &'a mut dyn FnMut(VisionSite, &Rows);

/// The reference execution of the vision tower.
#[derive(Default)]
pub struct VisionReference<'a> {
    observer: Option<VisionObserver<'a>>,
}

impl<'a> VisionReference<'a> {
    /// An execution that nobody observes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows every observed value to `observer`.
    pub fn with_observer(mut self, observer: VisionObserver<'a>) -> Self {
        self.observer = Some(observer);
        self
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

impl VisionExec for VisionReference<'_> {
    type Act = Rows;

    fn input(&mut self, parts: &[&[f32]], width: usize) -> Rows {
        Rows::from_values(parts.concat(), width)
    }

    fn positions(&mut self, table: &PositionTable, packing: &Packing) -> Rows {
        let hidden = table.values.len() / (table.height * table.width);
        Rows::from_values(position_rows(table, packing), hidden)
    }

    fn linear(&mut self, linear: &LinearBias, x: &Rows) -> Rows {
        let (width, out_features) = (linear.weight.in_features(), linear.weight.out_features());
        assert_eq!(x.width(), width, "input width of a linear operator");
        let mut y = Rows::zeros(x.len(), out_features);
        y.values_mut()
            .par_chunks_mut(LINEAR_BLOCK * out_features)
            .zip(x.values().par_chunks(LINEAR_BLOCK * width))
            .for_each_init(
                || vec![0.0; width],
                |weight_row, (y, x)| {
                    for (output, bias) in linear.bias.iter().enumerate() {
                        linear.weight.row_to_f32(output, weight_row);
                        for (y, x) in y.chunks_exact_mut(out_features).zip(x.chunks_exact(width)) {
                            y[output] = dot(weight_row, x) + bias;
                        }
                    }
                },
            );
        y
    }

    fn layer_norm(&mut self, norm: &LayerNorm, x: &Rows) -> Rows {
        let mut normed = x.clone();
        normed
            .values_mut()
            .par_chunks_exact_mut(x.width())
            .for_each(|row| layer_norm_row(norm, row));
        normed
    }

    fn add(&mut self, mut x: Rows, y: &Rows) -> Rows {
        x.values_mut()
            .par_iter_mut()
            .zip(y.values())
            .for_each(|(x, y)| *x += y);
        x
    }

    fn gelu(&mut self, form: Gelu, mut x: Rows) -> Rows {
        x.values_mut()
            .par_iter_mut()
            .for_each(|x| *x = gelu(form, *x));
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
        let mut contexts = Rows::zeros(qkv.len(), hidden);
        for item in packing.items() {
            let parts: Vec<Head> = (0..heads)
                .into_par_iter()
                .map(|head| Head::new(heads, head, *item, angles, qkv))
                .collect();
            let rows = item.rows();
            contexts.values_mut()[rows.start * hidden..rows.end * hidden]
                .par_chunks_mut(QUERY_BLOCK * hidden)
                .enumerate()
                .for_each(|(block, into)| {
                    let head_dim = hidden / heads;
                    for (index, head) in parts.iter().enumerate() {
                        let contexts = head.attend(block * QUERY_BLOCK, into.len() / hidden);
                        for (row, context) in into
                            .chunks_exact_mut(hidden)
                            .zip(contexts.chunks_exact(head_dim))
                        {
                            row[index * head_dim..(index + 1) * head_dim].copy_from_slice(context);
                        }
                    }
                });
        }
        contexts
    }

    fn pool(&mut self, packing: &Packing, x: &Rows) -> Rows {
        Rows::from_values(pool_windows(packing, x.width(), x.values()), x.width())
    }

    fn join_rows(&mut self, count: usize, x: Rows) -> Rows {
        Rows::from_values(x.values().to_vec(), x.width() * count)
    }

    fn observe(&mut self, site: VisionSite, value: &Rows) {
        if let Some(observer) = &mut self.observer {
            observer(site, value);
        }
    }
}

fn layer_norm_row(norm: &LayerNorm, row: &mut [f32]) {
    let width = row.len() as f32;
    let mean = row.iter().sum::<f32>() / width;
    for value in row.iter_mut() {
        *value -= mean;
    }
    let variance = dot(row, row) / width;
    let scale = 1.0 / (variance + norm.eps).sqrt();
    for ((value, weight), bias) in row.iter_mut().zip(&norm.weight).zip(&norm.bias) {
        *value = *value * scale * weight + bias;
    }
}

fn gelu(form: Gelu, x: f32) -> f32 {
    match form {
        Gelu::Tanh => {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Gelu::Erf => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
    }
}

/// One head of one item: what its queries attend to.
struct Head {
    head_dim: usize,
    len: usize,
    /// Turned and scaled, `[len, head_dim]`.
    queries: Vec<f32>,
    /// Turned; tiles of [`KEY_TILE`] keys, each `[head_dim, KEY_TILE]`, the last filled with zeros.
    key_tiles: Vec<f32>,
    /// `[len, head_dim]`.
    values: Vec<f32>,
}

impl Head {
    fn new(heads: usize, head: usize, item: PackedItem, angles: &RotaryAngles, qkv: &Rows) -> Self {
        let hidden = qkv.width() / 3;
        let (head_dim, len) = (hidden / heads, item.rows().len());
        let part = |third: usize, row: usize| {
            let start = third * hidden + head * head_dim;
            &qkv.row(row)[start..start + head_dim]
        };
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut queries = Vec::with_capacity(len * head_dim);
        let mut key_tiles = vec![0.0; len.next_multiple_of(KEY_TILE) * head_dim];
        let mut values = Vec::with_capacity(len * head_dim);
        for (index, row) in item.rows().enumerate() {
            queries.extend_from_slice(part(0, row));
            let query = &mut queries[index * head_dim..];
            angles.rotate(row, query);
            query.iter_mut().for_each(|value| *value *= scale);

            let mut key = part(1, row).to_vec();
            angles.rotate(row, &mut key);
            let tile = &mut key_tiles[index / KEY_TILE * KEY_TILE * head_dim..];
            for (component, value) in key.into_iter().enumerate() {
                tile[component * KEY_TILE + index % KEY_TILE] = value;
            }
            values.extend_from_slice(part(2, row));
        }
        Self {
            head_dim,
            len,
            queries,
            key_tiles,
            values,
        }
    }

    /// Contexts `[count, head_dim]` of the queries from `first` on.
    fn attend(&self, first: usize, count: usize) -> Vec<f32> {
        let queries = &self.queries[first * self.head_dim..(first + count) * self.head_dim];
        let mut scores = self.scores(queries);
        for scores in scores.chunks_exact_mut(self.padded_len()) {
            let (scores, padding) = scores.split_at_mut(self.len);
            softmax(scores);
            padding.fill(0.0);
        }
        self.weighted_values(&scores)
    }

    /// Length of a row of scores: whole tiles of keys.
    fn padded_len(&self) -> usize {
        self.key_tiles.len() / self.head_dim
    }

    /// Scores of every query with every key, `[queries, padded_len]`.
    fn scores(&self, queries: &[f32]) -> Vec<f32> {
        let count = queries.len() / self.head_dim;
        let mut scores = vec![0.0; count * self.padded_len()];
        for (tile_index, tile) in self
            .key_tiles
            .chunks_exact(KEY_TILE * self.head_dim)
            .enumerate()
        {
            for (index, query) in queries.chunks_exact(self.head_dim).enumerate() {
                let mut sums = [0.0f32; KEY_TILE];
                for (component, keys) in query.iter().zip(tile.chunks_exact(KEY_TILE)) {
                    for (sum, key) in sums.iter_mut().zip(keys) {
                        *sum += component * key;
                    }
                }
                let start = index * self.padded_len() + tile_index * KEY_TILE;
                scores[start..start + KEY_TILE].copy_from_slice(&sums);
            }
        }
        scores
    }

    /// Sums of values weighted by each row of probabilities, `[queries, head_dim]`.
    fn weighted_values(&self, probabilities: &[f32]) -> Vec<f32> {
        let count = probabilities.len() / self.padded_len();
        let mut contexts = vec![0.0; count * self.head_dim];
        for (tile_index, values) in self.values.chunks(KEY_TILE * self.head_dim).enumerate() {
            for (index, context) in contexts.chunks_exact_mut(self.head_dim).enumerate() {
                let start = index * self.padded_len() + tile_index * KEY_TILE;
                for (p, value) in probabilities[start..]
                    .iter()
                    .zip(values.chunks_exact(self.head_dim))
                {
                    for (sum, value) in context.iter_mut().zip(value) {
                        *sum += p * value;
                    }
                }
            }
        }
        contexts
    }
}

fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
    }
    let sum: f32 = scores.iter().sum();
    for score in scores.iter_mut() {
        *score /= sum;
    }
}
