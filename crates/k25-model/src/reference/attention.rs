//! Multi-head latent attention in both forms (spec: architecture §3.1).

use k25_config::TextConfig;
use rayon::prelude::*;

use super::{MlaForm, Reference, dot, rms_norm_row};
use crate::exec::{Exec, Site};
use crate::rows::Rows;
use crate::weights::MlaWeights;

/// One head's part of `kv_b`, decoded: what turns a latent into that head's key and value.
struct HeadProjections {
    /// `[qk_nope_head_dim, kv_lora_rank]`.
    key: Rows,
    /// `[v_head_dim, kv_lora_rank]`.
    value: Rows,
}

/// One cached row, split.
#[derive(Clone, Copy)]
struct CachedRow<'a> {
    latent: &'a [f32],
    rotary_key: &'a [f32],
}

/// Causal attention of new rows over one layer's cached rows.
struct Attention<'a> {
    config: &'a TextConfig,
    form: MlaForm,
    scale: f32,
    /// Cached rows, `latent_width` values each; the new ones are the last.
    cached: &'a [f32],
    /// Rows that were cached before the new ones.
    first_row: usize,
}

impl Reference<'_> {
    pub(super) fn latent_attention(
        &mut self,
        layer: usize,
        weights: &MlaWeights,
        query: &Rows,
        kv: &Rows,
    ) -> Rows {
        let rotated_query = self.rotate_queries(query);
        let first_row = self.cache.layers[layer].len() / self.cache.width;
        self.extend_cache(layer, weights, kv);
        self.observe_attention_inputs(layer, &rotated_query, first_row);

        let attention = Attention {
            config: self.config,
            form: self.options.mla,
            scale: self.softmax_scale,
            cached: &self.cache.layers[layer],
            first_row,
        };
        let contexts: Vec<Rows> = (0..self.config.num_attention_heads)
            .into_par_iter()
            .map(|head| attention.head_contexts(weights, &rotated_query, head))
            .collect();
        concat_heads(&contexts, query.len(), self.config.v_head_dim)
    }

    /// Queries with the rotary part of every head turned to its row's position.
    fn rotate_queries(&self, query: &Rows) -> Rows {
        let mut rotated = query.clone();
        for (row, &position) in rotated.iter_mut().zip(self.positions) {
            let angles = self.rotary.angles(position);
            for head in row.chunks_exact_mut(self.config.qk_head_dim()) {
                angles.rotate(&mut head[self.config.qk_nope_head_dim..]);
            }
        }
        rotated
    }

    /// Appends the normed latent and the rotated key of every row.
    fn extend_cache(&mut self, layer: usize, weights: &MlaWeights, kv: &Rows) {
        for (row, &position) in kv.iter().zip(self.positions) {
            let mut cached = row.to_vec();
            let (latent, key) = cached.split_at_mut(self.config.kv_lora_rank);
            rms_norm_row(&weights.kv_a_norm, latent);
            self.rotary.angles(position).rotate(key);
            self.cache.layers[layer].extend_from_slice(&cached);
        }
    }

    fn observe_attention_inputs(&mut self, layer: usize, query: &Rows, first_row: usize) {
        if self.observer.is_none() {
            return;
        }
        let (nope, rank) = (self.config.qk_nope_head_dim, self.config.kv_lora_rank);
        let collect = |rows: Vec<f32>, width: usize| Rows::from_values(rows, width);
        let rotary_query = query
            .iter()
            .flat_map(|row| row.chunks_exact(self.config.qk_head_dim()))
            .flat_map(|head| head[nope..].iter().copied())
            .collect();
        let width = self.config.num_attention_heads * self.config.qk_rope_head_dim;
        let new_rows = || self.cache.rows(layer).skip(first_row);
        let latents = new_rows()
            .flat_map(|row| row[..rank].iter().copied())
            .collect();
        let rotary_keys = new_rows()
            .flat_map(|row| row[rank..].iter().copied())
            .collect();
        let (latents, rotary_keys) = (
            collect(latents, rank),
            collect(rotary_keys, self.config.qk_rope_head_dim),
        );
        self.observe(Site::QueryRotary(layer), &collect(rotary_query, width));
        self.observe(Site::Latent(layer), &latents);
        self.observe(Site::KeyRotary(layer), &rotary_keys);
    }
}

impl Attention<'_> {
    /// The cached rows that new row `index` attends to: all before it, and itself.
    fn rows_seen_by(&self, index: usize) -> impl Iterator<Item = CachedRow<'_>> + Clone {
        let rows = self.cached.chunks_exact(self.config.latent_width());
        rows.take(self.first_row + index + 1).map(|row| {
            let (latent, rotary_key) = row.split_at(self.config.kv_lora_rank);
            CachedRow { latent, rotary_key }
        })
    }

    /// Contexts `[rows, v_head_dim]` of one head.
    fn head_contexts(&self, weights: &MlaWeights, query: &Rows, head: usize) -> Rows {
        let projections = self.head_projections(weights, head);
        let width = self.config.qk_head_dim();
        let mut contexts = Rows::zeros(query.len(), self.config.v_head_dim);
        for (index, row) in query.iter().enumerate() {
            let (nope, rope) =
                row[head * width..(head + 1) * width].split_at(self.config.qk_nope_head_dim);
            let seen = self.rows_seen_by(index);
            let context = match self.form {
                MlaForm::Absorbed => absorbed(&projections, nope, rope, seen, self.scale),
                MlaForm::Expanded => expanded(&projections, nope, rope, seen, self.scale),
            };
            contexts.row_mut(index).copy_from_slice(&context);
        }
        contexts
    }

    fn head_projections(&self, weights: &MlaWeights, head: usize) -> HeadProjections {
        let (nope, value) = (self.config.qk_nope_head_dim, self.config.v_head_dim);
        let first = head * (nope + value);
        let decode = |from: usize, count: usize| {
            let mut rows = Rows::zeros(count, self.config.kv_lora_rank);
            for (offset, row) in rows.iter_mut().enumerate() {
                weights.kv_b.row_to_f32(from + offset, row);
            }
            rows
        };
        HeadProjections {
            key: decode(first, nope),
            value: decode(first + nope, value),
        }
    }
}

/// Scores and contexts in the latent space: the query goes there once, the context comes back once.
fn absorbed<'a>(
    head: &HeadProjections,
    nope: &[f32],
    rope: &[f32],
    seen: impl Iterator<Item = CachedRow<'a>> + Clone,
    scale: f32,
) -> Vec<f32> {
    let mut latent_query = vec![0.0; head.key.width()];
    for (q, key_row) in nope.iter().zip(head.key.iter()) {
        add_scaled(&mut latent_query, *q, key_row);
    }
    let scores = seen
        .clone()
        .map(|row| scale * (dot(&latent_query, row.latent) + dot(rope, row.rotary_key)))
        .collect();
    let mut latent_context = vec![0.0; head.key.width()];
    for (p, row) in softmax(scores).into_iter().zip(seen) {
        add_scaled(&mut latent_context, p, row.latent);
    }
    head.value
        .iter()
        .map(|value_row| dot(value_row, &latent_context))
        .collect()
}

/// Keys and values of every cached row are made first, as the formula of attention reads.
fn expanded<'a>(
    head: &HeadProjections,
    nope: &[f32],
    rope: &[f32],
    seen: impl Iterator<Item = CachedRow<'a>> + Clone,
    scale: f32,
) -> Vec<f32> {
    let project = |rows: &Rows, latent: &[f32]| -> Vec<f32> {
        rows.iter().map(|row| dot(row, latent)).collect()
    };
    let scores = seen
        .clone()
        .map(|row| scale * (dot(nope, &project(&head.key, row.latent)) + dot(rope, row.rotary_key)))
        .collect();
    let mut context = vec![0.0; head.value.len()];
    for (p, row) in softmax(scores).into_iter().zip(seen) {
        add_scaled(&mut context, p, &project(&head.value, row.latent));
    }
    context
}

fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in &mut scores {
        *score = (*score - max).exp();
    }
    let sum: f32 = scores.iter().sum();
    for score in &mut scores {
        *score /= sum;
    }
    scores
}

fn add_scaled(into: &mut [f32], factor: f32, values: &[f32]) {
    for (into, value) in into.iter_mut().zip(values) {
        *into += factor * value;
    }
}

fn concat_heads(contexts: &[Rows], len: usize, width: usize) -> Rows {
    let mut all = Rows::zeros(len, contexts.len() * width);
    for (index, row) in all.iter_mut().enumerate() {
        for (into, head) in row.chunks_exact_mut(width).zip(contexts) {
            into.copy_from_slice(head.row(index));
        }
    }
    all
}
