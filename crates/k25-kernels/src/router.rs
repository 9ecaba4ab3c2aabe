//! Choosing the experts of a token (architecture §3.2).

/// How experts are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterShape {
    /// Experts chosen per token.
    pub top_k: usize,
    /// Groups of equally many consecutive experts.
    pub groups: usize,
    /// Groups that stay in the choice.
    pub top_groups: usize,
    /// Whether the chosen weights are divided by their sum (+ 1e-20).
    pub normalize: bool,
    /// Factor of the weights, last.
    pub scale: f32,
}

/// Chooses experts for one token: with s = 1/(1 + e^−logit) and b = s + bias, keeps the `top_groups` groups with the largest
/// sums of their two largest b, takes the `top_k` largest b among them, and weighs each with its s.
///
/// Returns (expert, weight) by falling b; of equal b the lower expert comes first. A NaN counts as −∞.
///
/// # Panics
/// When the lengths differ, or the groups do not divide the experts.
pub fn route(shape: &RouterShape, logits: &[f32], bias: &[f32]) -> Vec<(u32, f32)> {
    let experts = logits.len();
    assert_eq!(experts, bias.len(), "one bias per expert");
    let groups = shape.groups.max(1);
    assert!(
        experts.is_multiple_of(groups),
        "{experts} experts in {groups} groups"
    );
    let weights: Vec<f32> = logits
        .iter()
        .map(|logit| 1.0 / (1.0 + (-logit).exp()))
        .collect();
    let scores: Vec<f32> = weights
        .iter()
        .zip(bias)
        .map(|(s, bias)| comparable(s + bias))
        .collect();
    let per_group = experts / groups;
    let mut candidates: Vec<usize> = (0..experts).collect();
    if groups > 1 && per_group > 0 {
        let group_scores: Vec<f32> = scores.chunks(per_group).map(two_largest).collect();
        let kept = largest(&group_scores, (0..groups).collect(), shape.top_groups);
        candidates.retain(|expert| kept.contains(&(expert / per_group)));
    }
    let chosen = largest(&scores, candidates, shape.top_k);
    let total: f32 = chosen.iter().map(|&expert| weights[expert]).sum::<f32>() + 1e-20;
    let divisor = if shape.normalize { total } else { 1.0 };
    chosen
        .into_iter()
        .map(|expert| (expert as u32, weights[expert] / divisor * shape.scale))
        .collect()
}

fn comparable(score: f32) -> f32 {
    if score.is_nan() {
        f32::NEG_INFINITY
    } else {
        score
    }
}

fn two_largest(scores: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &score in scores {
        if score > first {
            (first, second) = (score, first);
        } else if score > second {
            second = score;
        }
    }
    // A group of one has no second.
    if scores.len() == 1 {
        first
    } else {
        first + second
    }
}

/// The `count` candidates with the largest scores, by falling score, then rising index.
fn largest(scores: &[f32], mut candidates: Vec<usize>, count: usize) -> Vec<usize> {
    let order = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    let count = count.min(candidates.len());
    if count == 0 {
        return Vec::new();
    }
    candidates.select_nth_unstable_by(count - 1, order);
    candidates.truncate(count);
    candidates.sort_unstable_by(order);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: RouterShape = RouterShape {
        top_k: 2,
        groups: 1,
        top_groups: 1,
        normalize: true,
        scale: 2.0,
    };

    fn experts(chosen: &[(u32, f32)]) -> Vec<u32> {
        chosen.iter().map(|(expert, _)| *expert).collect()
    }

    #[test]
    fn bias_chooses_but_does_not_weigh() {
        let chosen = route(&SHAPE, &[0.0, 1.0, 2.0, 3.0], &[5.0, 0.0, 0.0, 0.0]);
        assert_eq!(experts(&chosen), [0, 3]);
        let (s0, s3) = (0.5, 1.0 / (1.0 + (-3.0_f32).exp()));
        // Two divisions and a sum: a few roundings of 6e-8.
        assert!((chosen[0].1 - 2.0 * s0 / (s0 + s3)).abs() < 1e-6);
        assert!((chosen[0].1 + chosen[1].1 - 2.0).abs() < 1e-6);
    }

    #[test]
    fn groups_are_chosen_by_their_two_best() {
        let shape = RouterShape {
            groups: 2,
            top_groups: 1,
            ..SHAPE
        };
        // Group 0 has the single best expert, group 1 the better pair.
        let chosen = route(&shape, &[3.0, -9.0, 2.0, 2.5], &[0.0; 4]);
        assert_eq!(experts(&chosen), [3, 2]);
    }

    #[test]
    fn equal_scores_go_to_the_lower_expert_and_nan_is_never_first() {
        assert_eq!(experts(&route(&SHAPE, &[1.0; 6], &[0.0; 6])), [0, 1]);
        assert_eq!(
            experts(&route(&SHAPE, &[f32::NAN, 0.0, 1.0], &[0.0; 3])),
            [2, 1]
        );
        assert!(route(&RouterShape { top_k: 0, ..SHAPE }, &[1.0], &[0.0]).is_empty());
    }
}
