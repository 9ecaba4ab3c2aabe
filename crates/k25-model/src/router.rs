//! How a row chooses its experts: sigmoid scores, a correction bias that counts for the choice
//! alone, and groups (spec: architecture §3.2; DeepSeek-V3's `noaux_tc`).

use k25_config::TextConfig;

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
    let scores: Vec<f32> = logits
        .iter()
        .map(|logit| 1.0 / (1.0 + (-logit).exp()))
        .collect();
    let mut biased: Vec<f32> = scores
        .iter()
        .zip(correction_bias)
        .map(|(score, bias)| score + bias)
        .collect();
    if config.n_group > 1 {
        drop_weak_groups(config, &mut biased);
    }
    let mut chosen: Vec<Choice> = best(&biased, config.num_experts_per_tok)
        .into_iter()
        .map(|expert| Choice {
            expert,
            weight: scores[expert],
        })
        .collect();
    scale_weights(config, &mut chosen);
    chosen.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    chosen
}

/// Takes all but the best `topk_group` groups out of the choice; a group is as good as the sum of
/// its two best experts.
fn drop_weak_groups(config: &TextConfig, biased: &mut [f32]) {
    let width = biased.len() / config.n_group;
    let strengths: Vec<f32> = biased
        .chunks_exact(width)
        .map(|group| best(group, 2).into_iter().map(|expert| group[expert]).sum())
        .collect();
    let kept = best(&strengths, config.topk_group);
    for (index, group) in biased.chunks_exact_mut(width).enumerate() {
        if !kept.contains(&index) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

fn scale_weights(config: &TextConfig, chosen: &mut [Choice]) {
    let sum: f32 = chosen.iter().map(|choice| choice.weight).sum();
    let divisor = if config.norm_topk_prob {
        sum + 1e-20
    } else {
        1.0
    };
    for choice in chosen {
        choice.weight = choice.weight / divisor * config.routed_scaling_factor;
    }
}

/// Indices of the `count` largest values, largest first, equal ones by index.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}
