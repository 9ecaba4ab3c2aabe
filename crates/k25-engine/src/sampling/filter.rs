//! Top-k, top-p and min-p in time linear in the vocabulary: selection, never a full sort.

use super::softmax;

/// A token that may be drawn, with its unnormalised probability (the likeliest has weight 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub weight: f32,
    pub id: u32,
}

impl Candidate {
    /// Likelier first; between equals, the lower id first. A total order without equals.
    fn before(&self, other: &Self) -> std::cmp::Ordering {
        other
            .weight
            .total_cmp(&self.weight)
            .then(self.id.cmp(&other.id))
    }
}

/// The `k` likeliest tokens, in no particular order.
pub(super) fn top_k(weights: &[f32], k: usize, candidates: &mut Vec<Candidate>) {
    let at_least = weight_reached_by_k(weights, k);
    collect_at_least(weights, at_least, candidates);
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k, Candidate::before);
        candidates.truncate(k);
    }
}

/// A weight that at least `k` tokens reach, high enough to leave few others: the k-th largest of the
/// maxima of small chunks. One pass that reads vectors, instead of a selection among all tokens.
fn weight_reached_by_k(weights: &[f32], k: usize) -> f32 {
    const CHUNK: usize = 64;
    if k == 0 || k > weights.len() / CHUNK {
        return 0.0;
    }
    let mut maxima: Vec<f32> = weights.chunks(CHUNK).map(softmax::max).collect();
    let (_, kth, _) = maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    *kth
}

/// Every token that top-p could keep, and perhaps more: those with at least an equal share of the
/// mass outside. All tokens below that share together weigh less than what top-p leaves out.
pub(super) fn nucleus_bound(
    weights: &[f32],
    total: f64,
    top_p: f32,
    candidates: &mut Vec<Candidate>,
) {
    // The factor leaves room for the rounding of the sums.
    let share = 0.99 * total * (1.0 - f64::from(top_p)) / weights.len() as f64;
    collect_at_least(weights, share as f32, candidates);
}

/// Every token with some weight.
pub(super) fn all(weights: &[f32], candidates: &mut Vec<Candidate>) {
    collect_at_least(weights, 0.0, candidates);
}

fn collect_at_least(weights: &[f32], at_least: f32, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    candidates.extend(
        (0u32..)
            .zip(weights)
            .filter(|&(_, &weight)| weight >= at_least && weight > 0.0)
            .map(|(id, &weight)| Candidate { weight, id }),
    );
}

/// Keeps the likeliest candidates until their weights reach `target`; the one that reaches it stays,
/// and so does at least one. Quickselect over weights: expected linear time.
pub(super) fn top_p(candidates: &mut Vec<Candidate>, target: f64) {
    let (mut kept, mut mass) = (0, 0.0);
    let mut end = candidates.len();
    // Invariant: [0, kept) stays and weighs `mass` < target; the cut is within [kept, end].
    while end - kept > 1 {
        let open = &mut candidates[kept..end];
        let likelier = open.len() / 2;
        open.select_nth_unstable_by(likelier, Candidate::before);
        let above = softmax::sum(open[..likelier].iter().map(|candidate| candidate.weight));
        if mass + above >= target {
            end = kept + likelier;
        } else {
            mass += above;
            kept += likelier;
        }
    }
    candidates.truncate(end);
}

/// Keeps candidates at least `min_p` as likely as the likeliest, whose weight is 1.
pub(super) fn min_p(candidates: &mut Vec<Candidate>, min_p: f32) {
    candidates.retain(|candidate| candidate.weight >= min_p);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The oracle: sort everything.
    fn sorted(weights: &[f32]) -> Vec<Candidate> {
        let mut sorted = Vec::new();
        all(weights, &mut sorted);
        sorted.sort_by(Candidate::before);
        sorted
    }

    fn ids(candidates: &[Candidate]) -> Vec<u32> {
        let mut ids: Vec<u32> = candidates.iter().map(|candidate| candidate.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Weights as after a softmax: in [0, 1], the largest 1, with many ties.
    fn weights() -> impl Strategy<Value = Vec<f32>> {
        let weight = prop_oneof![4 => 0.0f32..1.0, 2 => Just(0.0f32), 2 => Just(0.25f32)];
        (
            prop::collection::vec(weight, 1..600),
            any::<prop::sample::Index>(),
        )
            .prop_map(|(mut weights, at)| {
                let at = at.index(weights.len());
                weights[at] = 1.0;
                weights
            })
    }

    proptest! {
        #[test]
        fn top_k_equals_sorting(weights in weights(), k in 1usize..700) {
            let mut candidates = Vec::new();
            top_k(&weights, k, &mut candidates);
            let expected: Vec<_> = sorted(&weights).into_iter().take(k).collect();
            prop_assert_eq!(ids(&candidates), ids(&expected));
        }

        #[test]
        fn top_p_equals_sorting(weights in weights(), top_p_value in 0.01f32..0.999) {
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let target = f64::from(top_p_value) * total;
            let mut mass = 0.0;
            let mut expected = sorted(&weights);
            let reaching = expected.iter().position(|candidate| {
                mass += f64::from(candidate.weight);
                mass >= target
            });
            // Sums in another order may round to the other side of the target: leave those out.
            prop_assume!((mass - target).abs() > 1e-9);
            expected.truncate(reaching.map_or(expected.len(), |last| last + 1));

            let mut candidates = Vec::new();
            nucleus_bound(&weights, total, top_p_value, &mut candidates);
            top_p(&mut candidates, target);
            prop_assert_eq!(ids(&candidates), ids(&expected));
        }
    }

    #[test]
    fn a_hopeless_target_keeps_everything_and_a_tiny_one_keeps_one() {
        let weights: Vec<f32> = (1..=100).map(|i| i as f32 / 100.0).collect();
        for (target, kept) in [(1e9, 100), (1e-9, 1), (0.0, 1)] {
            let mut candidates = Vec::new();
            all(&weights, &mut candidates);
            top_p(&mut candidates, target);
            assert_eq!(candidates.len(), kept);
        }
    }
}
