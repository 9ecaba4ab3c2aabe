//! Absorbed latent attention for a batch of sequences (spec: architecture §3.1).
//!
//! Shape letters: n row of the batch, h head, d unrotated part of a head, r rotated part, c latent.

use k25_kernels::{
    Activations, LatentShape, MlaSequence, Product, Rows as RowSet, Weights, mla_attention,
};

use super::act::Act;
use super::model::HeadMatrix;
use super::{Fast, PagedLatents};
use crate::rope::Angles;
use crate::rows::Rows;
use crate::weights::MlaWeights;

impl Fast<'_> {
    pub(super) fn latent_attention(
        &mut self,
        layer: usize,
        weights: &MlaWeights,
        query: &Rows,
        kv: &Rows,
    ) -> Rows {
        let angles: Vec<Angles> = self
            .batch
            .positions
            .iter()
            .map(|position| self.model.rotary.angles(*position))
            .collect();
        self.write_cache(layer, weights, kv, &angles);
        let absorbed = self.absorb_queries(layer, query, &angles);
        let contexts_nhc = self.attend(layer, &absorbed);
        self.project_contexts(layer, contexts_nhc)
    }

    /// Stores the normed latent and the rotated key of every row.
    fn write_cache(&mut self, layer: usize, weights: &MlaWeights, kv: &Rows, angles: &[Angles]) {
        let rank = self.config.kv_lora_rank;
        let mut cached = vec![0.0; kv.width()];
        for span in self.batch.sequences {
            for (offset, row) in span.rows.clone().enumerate() {
                let (raw_latent, raw_key) = kv.row(row).split_at(rank);
                let (latent, key) = cached.split_at_mut(rank);
                let norm = &weights.kv_a_norm;
                k25_kernels::rms_norm(
                    self.pool,
                    self.isa,
                    raw_latent,
                    &norm.weight,
                    norm.eps,
                    latent,
                );
                key.copy_from_slice(raw_key);
                angles[row].rotate(key);
                let position = span.cached_rows + offset;
                let block = span.blocks[position / PagedLatents::BLOCK_ROWS];
                self.cache
                    .write(layer, block, position % PagedLatents::BLOCK_ROWS, &cached);
            }
        }
    }

    /// Queries in the latent space with their rotated parts behind, `[n·h, c + r]`.
    fn absorb_queries(&self, layer: usize, query: &Rows, angles: &[Angles]) -> Rows {
        let (nope, rank) = (self.config.qk_nope_head_dim, self.config.kv_lora_rank);
        let (heads, width) = (self.config.num_attention_heads, self.config.qk_head_dim());
        let mut unrotated_nhd = Rows::zeros(query.len() * heads, nope);
        for (into, head) in unrotated_nhd
            .iter_mut()
            .zip(query.values().chunks_exact(width))
        {
            into.copy_from_slice(&head[..nope]);
        }
        let latent_hnc = self.per_head(&self.model.absorbed[layer].key, &Act::new(unrotated_nhd));
        let mut absorbed = Rows::zeros(query.len() * heads, self.config.latent_width());
        let row_width = heads * absorbed.width();
        self.pool
            .run_chunks(absorbed.values_mut(), row_width, |row, into| {
                let query = query.row(row).chunks_exact(width);
                let into = into.chunks_exact_mut(self.config.latent_width());
                for (head, (into, query)) in into.zip(query).enumerate() {
                    let (latent, rotary) = into.split_at_mut(rank);
                    latent.copy_from_slice(latent_hnc.row(head * angles.len() + row));
                    rotary.copy_from_slice(&query[nope..]);
                    angles[row].rotate(rotary);
                }
            });
        absorbed
    }

    /// Contexts in the latent space, `[n·h, c]`.
    fn attend(&self, layer: usize, absorbed: &Rows) -> Rows {
        let shape = LatentShape {
            heads: self.config.num_attention_heads,
            latent: self.config.kv_lora_rank,
            rope: self.config.qk_rope_head_dim,
        };
        let mut contexts = Rows::zeros(absorbed.len(), shape.latent);
        let blocks: Vec<Vec<_>> = self
            .batch
            .sequences
            .iter()
            .map(|span| {
                span.blocks
                    .iter()
                    .map(|block| self.cache.block(layer, *block))
                    .collect()
            })
            .collect();
        let (mut q, mut out) = (absorbed.values(), contexts.values_mut());
        let mut sequences = Vec::with_capacity(blocks.len());
        for (span, blocks) in self.batch.sequences.iter().zip(&blocks) {
            let queries = span.rows.len() * shape.heads;
            let (of_span, rest) = q.split_at(queries * shape.width());
            let (into, out_rest) = std::mem::take(&mut out).split_at_mut(queries * shape.latent);
            (q, out) = (rest, out_rest);
            sequences.push(MlaSequence {
                q: of_span,
                past: span.cached_rows,
                blocks,
                out: into,
            });
        }
        mla_attention(
            self.pool,
            self.isa,
            shape,
            self.model.softmax_scale,
            &mut sequences,
        );
        contexts
    }

    /// Contexts of all heads side by side, `[n, h · v_head_dim]`.
    fn project_contexts(&self, layer: usize, contexts_nhc: Rows) -> Rows {
        let (heads, width) = (self.config.num_attention_heads, self.config.v_head_dim);
        let rows = contexts_nhc.len() / heads;
        let values_hnv = self.per_head(&self.model.absorbed[layer].value, &Act::new(contexts_nhc));
        let mut contexts = Rows::zeros(rows, heads * width);
        self.pool
            .run_chunks(contexts.values_mut(), heads * width, |row, into| {
                for (head, into) in into.chunks_exact_mut(width).enumerate() {
                    into.copy_from_slice(values_hnv.row(head * rows + row));
                }
            });
        contexts
    }

    /// One product per head: from `x` `[n·h, in]` to `[h·n, out]`.
    fn per_head(&self, matrices: &[HeadMatrix], x: &Act) -> Rows {
        let (heads, rows) = (matrices.len(), x.rows().len() / matrices.len());
        let of_head: Vec<Vec<u32>> = (0..heads)
            .map(|head| (0..rows).map(|row| (row * heads + head) as u32).collect())
            .collect();
        let (width, _) = matrices[0].kernel_view().shape();
        let mut results = Rows::zeros(heads * rows, width);
        let mut products: Vec<Product<'_>> = matrices
            .iter()
            .zip(&of_head)
            .zip(results.values_mut().chunks_exact_mut(rows * width))
            .map(|((matrix, rows), y)| {
                let weights = matrix.kernel_view();
                let x = self.activations_for(weights, x);
                Product {
                    weights,
                    x,
                    rows: RowSet::Index(rows),
                    y,
                }
            })
            .collect();
        self.multiply(&mut products);
        drop(products);
        results
    }

    /// Activations in the form that the weights ask for.
    pub(super) fn activations_for<'x>(&self, weights: Weights<'_>, x: &'x Act) -> Activations<'x> {
        let quantised = match weights {
            Weights::Int4(_) => self.model.options().activations == super::ActivationFormat::Int8,
            Weights::Int8(_) => true,
            Weights::Dense(_) => false,
        };
        if quantised {
            x.quantised(self.pool, self.isa)
        } else {
            x.exact()
        }
    }
}
