use proptest::prelude::*;

use super::*;

const VOCAB: usize = 163_840;

fn sample(logits: &[f32], params: &SamplingParams, position: u64) -> Option<Sampled> {
    Sampler::new().sample(logits, params, &TokenHistory::default(), None, position)
}

/// How often each token comes in `draws` positions.
fn frequencies(
    logits: &[f32],
    params: &SamplingParams,
    mask: Option<&TokenMask>,
    draws: u64,
) -> Vec<f64> {
    let mut sampler = Sampler::new();
    let mut counts = vec![0u32; logits.len()];
    for position in 0..draws {
        let history = TokenHistory::default();
        let sampled = sampler
            .sample(logits, params, &history, mask, position)
            .expect("a token is left");
        counts[sampled.token as usize] += 1;
    }
    counts
        .iter()
        .map(|&count| f64::from(count) / draws as f64)
        .collect()
}

/// The distribution by its definition: f64, everything sorted.
fn expected(logits: &[f32], params: &SamplingParams, mask: Option<&TokenMask>) -> Vec<f64> {
    let allowed = |id: usize| mask.is_none_or(|mask| mask.allows(id as u32));
    let scaled = |id: usize| f64::from(logits[id]) / f64::from(params.temperature);
    let mut order: Vec<usize> = (0..logits.len()).filter(|&id| allowed(id)).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let best = scaled(order[0]);
    let weight = |id: usize| (scaled(id) - best).exp();
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    let mut mass = 0.0;
    let nucleus = order.iter().position(|&id| {
        mass += weight(id);
        mass >= f64::from(params.top_p) * total
    });
    order.truncate(nucleus.map_or(order.len(), |last| last + 1));
    order.retain(|&id| weight(id) >= f64::from(params.min_p));
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    let mut distribution = vec![0.0; logits.len()];
    for id in order {
        distribution[id] = weight(id) / total;
    }
    distribution
}

fn assert_distribution(logits: &[f32], params: &SamplingParams, mask: Option<&TokenMask>) {
    let draws = 40_000;
    let observed = frequencies(logits, params, mask, draws);
    for (id, (seen, p)) in observed
        .iter()
        .zip(expected(logits, params, mask))
        .enumerate()
    {
        // Five standard deviations of a binomial, and three draws for the rare tokens that are not
        // near normal; seeds are fixed, so no flicker.
        let tolerance = 5.0 * (p * (1.0 - p) / draws as f64).sqrt() + 3.0 / draws as f64;
        assert!(
            (seen - p).abs() <= tolerance,
            "token {id}: seen {seen}, expected {p}, {params:?}"
        );
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [1.0, -0.5, 2.0, 2.0, 0.3, -3.0, 0.0, 1.4, 0.9, -1.0];
    let base = SamplingParams {
        seed: 11,
        ..SamplingParams::default()
    };
    let odd = TokenMask::only(logits.len(), [1, 3, 5, 7, 9]);
    for params in [
        base.clone(),
        SamplingParams {
            temperature: 0.6,
            ..base.clone()
        },
        SamplingParams {
            temperature: 3.0,
            ..base.clone()
        },
        SamplingParams {
            top_p: 0.7,
            ..base.clone()
        },
        SamplingParams {
            top_k: 4,
            ..base.clone()
        },
        SamplingParams {
            min_p: 0.2,
            ..base.clone()
        },
        SamplingParams {
            top_k: 6,
            top_p: 0.85,
            min_p: 0.25,
            temperature: 1.3,
            ..base.clone()
        },
    ] {
        assert_distribution(&logits, &params, None);
        assert_distribution(&logits, &params, Some(&odd));
    }
}

/// A vocabulary that spans many chunks, so the two-level walk is exercised.
#[test]
fn draws_follow_the_distribution_over_several_chunks() {
    let logits: Vec<f32> = (0..3_000)
        .map(|id| if id % 299 == 7 { 4.0 } else { -6.0 })
        .collect();
    let params = SamplingParams {
        seed: 5,
        ..SamplingParams::default()
    };
    assert_distribution(&logits, &params, None);
}

#[test]
fn bias_and_penalties_move_the_choice() {
    let logits = [1.0, 0.9, 0.0];
    let biased = SamplingParams {
        logit_bias: vec![(2, 1.5), (77, 1.0)],
        ..SamplingParams::greedy()
    };
    assert_eq!(sample(&logits, &biased, 0).map(|s| s.token), Some(2));

    let params = SamplingParams {
        presence_penalty: 0.2,
        ..SamplingParams::greedy()
    };
    let mut history = TokenHistory::new(&params, []);
    history.accept(0);
    let sampled = Sampler::new().sample(&logits, &params, &history, None, 0);
    assert_eq!(sampled.map(|s| s.token), Some(1));
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let logits = [0.0, 3.0, -1.0, 3.0];
    assert_eq!(
        sample(&logits, &SamplingParams::greedy(), 9).map(|s| s.token),
        Some(1)
    );
}

#[test]
fn logprobs_are_of_the_raw_distribution() {
    let logits = [1.0, 3.0, 2.0, f32::NEG_INFINITY];
    let params = SamplingParams {
        temperature: 0.0,
        logit_bias: vec![(0, 50.0)],
        logprobs: Some(3),
        ..SamplingParams::default()
    };
    let sampled = sample(&logits, &params, 0).expect("a token");
    let logprobs = sampled.logprobs.expect("asked for");
    let total: f64 = [1.0f64, 3.0, 2.0].iter().map(|l| l.exp()).sum();
    let exact = |logit: f64| (logit - total.ln()) as f32;
    assert_eq!(sampled.token, 0);
    assert!((logprobs.chosen - exact(1.0)).abs() < 1e-6);
    assert_eq!(
        logprobs.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [1, 2, 0]
    );
    for ((_, logprob), logit) in logprobs.top.iter().zip([3.0, 2.0, 1.0]) {
        assert!((logprob - exact(logit)).abs() < 1e-6);
    }
    let none = SamplingParams {
        logprobs: Some(0),
        ..SamplingParams::greedy()
    };
    assert!(
        sample(&logits, &none, 0)
            .expect("a token")
            .logprobs
            .expect("asked for")
            .top
            .is_empty()
    );
}

#[test]
fn a_token_with_no_chance_is_never_drawn() {
    let mut logits = vec![f32::NEG_INFINITY; 2_000];
    logits[1_234] = -5.0;
    for params in [
        SamplingParams::default(),
        SamplingParams::thinking(),
        SamplingParams::greedy(),
    ] {
        for position in 0..100 {
            assert_eq!(
                sample(&logits, &params, position).map(|s| s.token),
                Some(1_234)
            );
        }
    }
}

#[test]
fn no_candidate_is_no_token() {
    let nothing = TokenMask::none(4);
    for params in [
        SamplingParams::default(),
        SamplingParams::thinking(),
        SamplingParams::greedy(),
    ] {
        let history = TokenHistory::default();
        assert_eq!(
            Sampler::new().sample(&[1.0; 4], &params, &history, Some(&nothing), 0),
            None
        );
        assert_eq!(sample(&[f32::NAN; 4], &params, 0), None);
        assert_eq!(sample(&[], &params, 0), None);
    }
}

#[test]
fn the_full_vocabulary_is_served_alike_by_both_ways_of_drawing() {
    let logits: Vec<f32> = (0..VOCAB)
        .map(|id| ((id * 7_919) % 4_093) as f32 * 0.004)
        .collect();
    let plain = SamplingParams {
        seed: 3,
        ..SamplingParams::default()
    };
    let filtered = SamplingParams {
        top_k: VOCAB,
        ..plain.clone()
    };
    for position in 0..20 {
        let (a, b) = (
            sample(&logits, &plain, position),
            sample(&logits, &filtered, position),
        );
        assert_eq!(a, b, "both walk the tokens in id order with one draw");
    }
}

fn any_logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -20.0f32..20.0,
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0]),
    ]
}

prop_compose! {
    fn any_params()(
        temperature in prop_oneof![Just(0.0f32), Just(f32::MIN_POSITIVE / 2.0), 0.0f32..5.0, Just(f32::MAX)],
        top_p in prop_oneof![Just(1.0f32), Just(f32::MIN_POSITIVE), 0.001f32..1.0],
        top_k in prop_oneof![Just(0usize), 1usize..80, Just(usize::MAX)],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0, Just(1.0f32)],
        presence_penalty in -2.0f32..2.0,
        frequency_penalty in -2.0f32..2.0,
        repetition_penalty in prop_oneof![Just(1.0f32), 0.5f32..2.0, Just(f32::MIN_POSITIVE), Just(f32::MAX)],
        logit_bias in prop::collection::vec((0u32..80, -100.0f32..100.0), 0..4),
        logprobs in prop::option::of(0usize..=MAX_LOGPROBS),
        seed in any::<u64>(),
    ) -> SamplingParams {
        SamplingParams {
            temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, repetition_penalty,
            logit_bias, logprobs, seed, ..SamplingParams::default()
        }
    }
}

proptest! {
    /// Whatever the row: no panic, no NaN in the answer, the token allowed, and the same again.
    #[test]
    fn any_row_is_survived(
        logits in prop::collection::vec(any_logit(), 0..80),
        params in any_params(),
        prompt in prop::collection::vec(0u32..100, 0..10),
        generated in prop::collection::vec(0u32..100, 0..10),
        allowed in prop::option::of(prop::collection::vec(0u32..80, 0..40)),
        position in any::<u64>(),
    ) {
        let mut history = TokenHistory::new(&params, prompt);
        generated.iter().for_each(|&token| history.accept(token));
        let mask = allowed.map(|ids| TokenMask::only(80, ids));
        let mut sampler = Sampler::new();
        let first = sampler.sample(&logits, &params, &history, mask.as_ref(), position);
        let again = sampler.sample(&logits, &params, &history, mask.as_ref(), position);
        prop_assert_eq!(&first, &again);

        let possible = |id: u32| {
            let logit = logits[id as usize];
            mask.as_ref().is_none_or(|mask| mask.allows(id)) && !logit.is_nan() && logit > f32::NEG_INFINITY
        };
        prop_assert_eq!(first.is_some(), (0..logits.len() as u32).any(possible));
        if let Some(sampled) = first {
            prop_assert!(possible(sampled.token));
            if let Some(logprobs) = sampled.logprobs {
                prop_assert!(logprobs.chosen <= 1e-3);
                prop_assert!(logprobs.top.iter().all(|(_, logprob)| !logprob.is_nan()));
            }
        }
    }
}
