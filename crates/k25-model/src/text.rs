//! The wiring of the language model, written once over [`Exec`] (spec: architecture §3).

use crate::exec::{Exec, InputRow, Site};
use crate::weights::{FeedForward, LayerWeights, MlaWeights, QueryWeights, TextWeights};

/// Runs `rows` through every layer and returns the logits `[wanted.len(), vocab]` of the rows that
/// `wanted` names.
pub fn forward<M, N, E: Exec<M, N>>(
    exec: &mut E,
    model: &TextWeights<M, N>,
    rows: &[InputRow<'_>],
    wanted: &[usize],
) -> E::Act {
    let normed = hidden_states(exec, model, rows, wanted);
    exec.linear(&model.lm_head, &normed)
}

/// Runs `rows` through every layer and the last norm; returns the rows that `wanted` names.
pub fn hidden_states<M, N, E: Exec<M, N>>(
    exec: &mut E,
    model: &TextWeights<M, N>,
    rows: &[InputRow<'_>],
    wanted: &[usize],
) -> E::Act {
    let mut residual = exec.embed(&model.embed, rows);
    exec.observe(Site::Embedding, &residual);
    for (index, layer) in model.layers.iter().enumerate() {
        residual = decoder_layer(exec, index, layer, residual);
        exec.observe(Site::LayerOut(index), &residual);
    }
    let last = exec.select_rows(&residual, wanted);
    let normed = exec.rms_norm(&model.norm, &last);
    exec.observe(Site::FinalNorm, &normed);
    normed
}

/// One layer: attention and the feed-forward part, each behind a norm and added to `residual`.
pub fn decoder_layer<M, N, E: Exec<M, N>>(
    exec: &mut E,
    index: usize,
    layer: &LayerWeights<M, N>,
    residual: E::Act,
) -> E::Act {
    let normed = exec.rms_norm(&layer.input_norm, &residual);
    let attended = attention(exec, index, &layer.attention, &normed);
    exec.observe(Site::AttentionOut(index), &attended);
    let residual = exec.add(residual, &attended);

    let normed = exec.rms_norm(&layer.post_attention_norm, &residual);
    let transformed = match &layer.feed_forward {
        FeedForward::Dense(mlp) => exec.mlp(mlp, &normed),
        FeedForward::Moe(moe) => exec.moe(index, moe, &normed),
    };
    exec.observe(Site::FeedForwardOut(index), &transformed);
    exec.add(residual, &transformed)
}

fn attention<M, N, E: Exec<M, N>>(
    exec: &mut E,
    index: usize,
    weights: &MlaWeights<M, N>,
    x: &E::Act,
) -> E::Act {
    let query = match &weights.query {
        QueryWeights::LowRank { a, norm, b } => {
            let low_rank = exec.linear(a, x);
            let low_rank = exec.rms_norm(norm, &low_rank);
            exec.observe(Site::QueryLatent(index), &low_rank);
            exec.linear(b, &low_rank)
        }
        QueryWeights::Direct(projection) => exec.linear(projection, x),
    };
    exec.observe(Site::Query(index), &query);
    let kv = exec.linear(&weights.kv_a, x);
    exec.observe(Site::KvLatentRaw(index), &kv);
    let context = exec.mla(index, weights, &query, &kv);
    exec.observe(Site::AttentionContext(index), &context);
    exec.linear(&weights.output, &context)
}
