//! Top-k, top-p and min-p in time linear in the vocabulary: a histogram and one selection, never a
//! full sort. A token that is left out gets weight 0.

use std::cmp::Ordering;

/// Bits of a weight's pattern that are not part of its bucket: a bucket spans a sixteenth of an
/// octave. Patterns of positive floats order as the floats do.
const BUCKET_SHIFT: u32 = 19;

/// Buckets for weights in [0, 1].
const BUCKETS: usize = (1.0f32.to_bits() >> BUCKET_SHIFT) as usize + 1;

/// Weights by magnitude, and room for the members of one bucket.
#[derive(Debug, Default)]
pub(super) struct Filter {
    buckets: Vec<Amount>,
    members: Vec<Candidate>,
}

/// Some tokens: how many, and their weight together.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    count: usize,
    mass: f64,
}

/// A token that may be drawn, with its unnormalised probability (the likeliest has weight 1).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    weight: f32,
    id: u32,
}

impl Filter {
    /// Keeps the `k` likeliest tokens.
    pub fn top_k(&mut self, weights: &mut [f32], k: usize) {
        self.fill(weights);
        self.cut(weights, |kept| kept.count >= k);
    }

    /// Keeps the likeliest tokens until they reach the part `p` of all weight; the token that
    /// reaches it stays, and so does at least one.
    pub fn top_p(&mut self, weights: &mut [f32], p: f32) {
        self.fill(weights);
        let total: f64 = self.buckets.iter().map(|bucket| bucket.mass).sum();
        let target = f64::from(p) * total;
        self.cut(weights, |kept| kept.mass >= target);
    }

    fn fill(&mut self, weights: &[f32]) {
        self.buckets.clear();
        self.buckets.resize(BUCKETS, Amount::default());
        for &weight in weights.iter().filter(|&&weight| weight > 0.0) {
            let bucket = &mut self.buckets[bucket_of(weight)];
            bucket.count += 1;
            bucket.mass += f64::from(weight);
        }
    }

    /// Keeps the likeliest tokens until `enough` says so of what is kept.
    fn cut(&mut self, weights: &mut [f32], enough: impl Fn(Amount) -> bool) {
        let mut kept = Amount::default();
        let reaching = self.buckets.iter().rposition(|&bucket| {
            let with_bucket = kept.plus(bucket);
            let reached = bucket.count > 0 && enough(with_bucket);
            if !reached {
                kept = with_bucket;
            }
            reached
        });
        let Some(bucket) = reaching else {
            return;
        };
        self.members.clear();
        self.members.extend(
            (0u32..)
                .zip(weights.iter())
                .filter(|&(_, &weight)| weight > 0.0 && bucket_of(weight) == bucket)
                .map(|(id, &weight)| Candidate { weight, id }),
        );
        let last = last_kept(&mut self.members, kept, enough);
        for (id, weight) in (0u32..).zip(weights) {
            let candidate = Candidate {
                weight: *weight,
                id,
            };
            if candidate.before(&last) == Ordering::Greater {
                *weight = 0.0;
            }
        }
    }
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            mass: self.mass + other.mass,
        }
    }

    fn of(candidates: &[Candidate]) -> Self {
        let mass = candidates
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .sum();
        Self {
            count: candidates.len(),
            mass,
        }
    }
}

impl Candidate {
    /// Likelier first; between equals, the lower id first. A total order without equals.
    fn before(&self, other: &Self) -> Ordering {
        other
            .weight
            .total_cmp(&self.weight)
            .then(self.id.cmp(&other.id))
    }
}

/// Keeps tokens at least `min_p` as likely as the likeliest, whose weight is 1.
pub(super) fn min_p(weights: &mut [f32], min_p: f32) {
    for weight in weights {
        *weight = if *weight >= min_p { *weight } else { 0.0 };
    }
}

fn bucket_of(weight: f32) -> usize {
    ((weight.to_bits() >> BUCKET_SHIFT) as usize).min(BUCKETS - 1)
}

/// The least likely of `members` that is needed for `enough`, beside what was `kept` before them.
/// Quickselect: expected linear time. `members` is not empty.
fn last_kept(
    members: &mut [Candidate],
    mut kept: Amount,
    enough: impl Fn(Amount) -> bool,
) -> Candidate {
    let (mut start, mut end) = (0, members.len());
    // The answer is within [start, end); what lies before `start` is part of `kept`.
    while end - start > 1 {
        let open = &mut members[start..end];
        let half = open.len() / 2;
        open.select_nth_unstable_by(half, Candidate::before);
        let with_half = kept.plus(Amount::of(&open[..half]));
        if enough(with_half) {
            end = start + half;
        } else {
            kept = with_half;
            start += half;
        }
    }
    members[start]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The oracle: sort everything.
    fn sorted(weights: &[f32]) -> Vec<Candidate> {
        let mut sorted: Vec<_> = (0u32..)
            .zip(weights)
            .filter(|&(_, &weight)| weight > 0.0)
            .map(|(id, &weight)| Candidate { weight, id })
            .collect();
        sorted.sort_by(Candidate::before);
        sorted
    }

    /// The weights that stay, and 0 for the others.
    fn only(candidates: &[Candidate], len: usize) -> Vec<f32> {
        let mut weights = vec![0.0; len];
        candidates
            .iter()
            .for_each(|candidate| weights[candidate.id as usize] = candidate.weight);
        weights
    }

    /// Weights as after a softmax: in [0, 1], the largest 1, with many ties.
    fn weights() -> impl Strategy<Value = Vec<f32>> {
        let weight = prop_oneof![4 => 0.0f32..1.0, 2 => Just(0.0f32), 2 => Just(0.25f32), 1 => 1e-37f32..1e-30];
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
        fn top_k_equals_sorting(mut weights in weights(), k in 1usize..700) {
            let mut expected = sorted(&weights);
            expected.truncate(k);
            let expected = only(&expected, weights.len());
            Filter::default().top_k(&mut weights, k);
            prop_assert_eq!(weights, expected);
        }

        #[test]
        fn top_p_equals_sorting(mut weights in weights(), p in 0.01f32..0.999) {
            let target = f64::from(p) * weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
            let mut mass = 0.0;
            let mut expected = sorted(&weights);
            let reaching = expected.iter().position(|candidate| {
                mass += f64::from(candidate.weight);
                mass >= target
            });
            // Sums in another order may round to the other side of the target: leave those out.
            prop_assume!((mass - target).abs() > 1e-9);
            expected.truncate(reaching.map_or(expected.len(), |last| last + 1));
            let expected = only(&expected, weights.len());
            Filter::default().top_p(&mut weights, p);
            prop_assert_eq!(weights, expected);
        }
    }

    #[test]
    fn everything_or_one_token_may_stay() {
        let weights: Vec<f32> = (1..=100).map(|i| i as f32 / 100.0).collect();
        let kept = |filter: &dyn Fn(&mut [f32])| {
            let mut weights = weights.clone();
            filter(&mut weights);
            weights.iter().filter(|&&weight| weight > 0.0).count()
        };
        assert_eq!(kept(&|weights| Filter::default().top_k(weights, 1)), 1);
        assert_eq!(
            kept(&|weights| Filter::default().top_k(weights, 1_000)),
            100
        );
        assert_eq!(
            kept(&|weights| Filter::default().top_p(weights, f32::MIN_POSITIVE)),
            1
        );
        assert_eq!(kept(&|weights| Filter::default().top_p(weights, 1.0)), 100);
        assert_eq!(kept(&|weights| min_p(weights, 0.5)), 51);
    }
}
