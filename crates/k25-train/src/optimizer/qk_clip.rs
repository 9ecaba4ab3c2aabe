//! QK-Clip: where a head's attention scores grew beyond a threshold, its query and key projections shrink.

use k25_model::weights::QueryWeights;

use crate::model::TrainModel;

/// Scales the projections of every head whose largest score of the last step, `max_scores[layer][head]`, is above `threshold`: by
/// √γ the unrotated parts of query and key, by γ the rotated part of the query (the rotated key is shared by all heads and stays);
/// γ = threshold / score. Returns how many heads were scaled.
pub fn qk_clip(model: &mut TrainModel, max_scores: &[Vec<f32>], threshold: f32) -> usize {
    let text = &model.config.text;
    let (nope, rope, value) = (
        text.qk_nope_head_dim,
        text.qk_rope_head_dim,
        text.v_head_dim,
    );
    let values = model.params.values_mut();
    let mut clipped = 0;
    for (layer, scores) in model.text.layers.iter().zip(max_scores) {
        let query = match &layer.attention.query {
            QueryWeights::LowRank { b, .. } => *b,
            QueryWeights::Direct(query) => *query,
        };
        let key = layer.attention.kv_b;
        for (head, score) in scores.iter().enumerate() {
            if *score <= threshold || !score.is_finite() {
                continue;
            }
            clipped += 1;
            let gamma = threshold / score;
            let mut scale = |start: usize, rows: usize, cols: usize, factor: f32| {
                for value in &mut values[start..start + rows * cols] {
                    *value *= factor;
                }
            };
            let first = query.start + head * (nope + rope) * query.cols;
            scale(first, nope, query.cols, gamma.sqrt());
            scale(first + nope * query.cols, rope, query.cols, gamma);
            let first = key.start + head * (nope + value) * key.cols;
            scale(first, nope, key.cols, gamma.sqrt());
        }
    }
    clipped
}
