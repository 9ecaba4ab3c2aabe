//! How a row chooses its experts: sigmoid scores, a correction bias that counts for the choice
//! alone, and groups (spec: architecture §3.2; DeepSeek-V3's `noaux_tc`).

use k25_config::TextConfig;
use k25_kernels::{RouterShape, route};

/// One chosen expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Index of the expert.
    pub expert: usize,
    /// Factor on its result.
    pub weight: f32,
}

/// The experts that a row with these router `logits` visits, best weight first.
///
/// Equal scores go to the lower index (the reference leaves ties open).
pub fn choose(config: &TextConfig, logits: &[f32], correction_bias: &[f32]) -> Vec<Choice> {
    let shape = RouterShape {
        top_k: config.num_experts_per_tok,
        groups: config.n_group,
        top_groups: config.topk_group,
        normalize: config.norm_topk_prob,
        scale: config.routed_scaling_factor,
    };
    let mut chosen: Vec<Choice> = route(&shape, logits, correction_bias)
        .into_iter()
        .map(|(expert, weight)| Choice {
            expert: expert as usize,
            weight,
        })
        .collect();
    chosen.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    chosen
}
