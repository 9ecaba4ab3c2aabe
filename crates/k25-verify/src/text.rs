//! Expectations on the language model: logits, layer states, router, latent attention, rotary
//! table, sparse positions, greedy tokens.
//!
//! Tolerances: the reference's own f32 noise on logits of about 9 is 1e-4 (f32 against f64), so 1e-3
//! separates noise from any real mistake.

use std::collections::BTreeMap;

use k25_model::exec::{InputRow, Site};
use k25_model::rope::Rotary;
use k25_model::weights::Model;
use k25_model::{LatentCache, MlaForm, Reference, ReferenceOptions, Rows, Tensor};

use crate::expected::Expected;
use crate::report::Part;

/// On logits and on states of the residual stream.
pub const LOGITS_TOLERANCE: f64 = 1e-3;
/// On router weights, which are below the routed scaling factor.
const ROUTER_WEIGHT_TOLERANCE: f64 = 1e-3;
/// On cosines and sines, given equal frequencies.
const ANGLE_TOLERANCE: f64 = 1e-5;

/// A prompt with its positions.
struct Prompt {
    ids: Vec<u32>,
    positions: Vec<u32>,
}

/// Everything one forward pass showed.
type Observations = BTreeMap<Site, Rows>;

/// Checks every expectation of `expected` against `model`.
pub fn verify(part: &mut Part<'_>, model: &Model, expected: &Expected) {
    for name in expected.names_ending_with("input_ids") {
        let Some(prompt) = read_prompt(part, model, expected, &name) else {
            continue;
        };
        verify_prompt(part, model, expected, &name, &prompt);
        if expected.get("greedy.tokens").is_some() && is_greedy_prompt(expected, &name) {
            verify_greedy(part, model, expected, &prompt);
        }
    }
    verify_rotary(part, model, expected);
    report_unknown(part, expected);
}

/// Checks the logits of other computations on the same prompts: `VARIANT.PROMPT.logits`.
pub fn verify_variants(
    part: &mut Part<'_>,
    model: &Model,
    unquantised: Option<&Model>,
    prompts: &Expected,
    variants: &Expected,
) {
    for name in variants.names() {
        let Some((variant, prompt_name)) = name
            .strip_suffix(".logits")
            .and_then(|name| name.split_once('.'))
        else {
            part.not_checked(&name, "the name is not VARIANT.PROMPT.logits");
            continue;
        };
        let Some(prompt) = read_prompt(part, model, prompts, prompt_name) else {
            continue;
        };
        let logits = |model: &Model, round_experts_to_bf16: bool| {
            let options = ReferenceOptions {
                round_experts_to_bf16,
                ..Default::default()
            };
            run(model, options, &prompt).0
        };
        let Some(expected) = variants.f32(&name) else {
            continue;
        };
        match variant {
            "experts_bf16_rounded" => {
                part.values(
                    &name,
                    logits(model, true).values(),
                    expected,
                    LOGITS_TOLERANCE,
                );
            }
            "bf16_compute" => part.information(&name, logits(model, false).values(), expected),
            "bf16_unquantized" => match unquantised {
                Some(model) => part.values(
                    &name,
                    logits(model, false).values(),
                    expected,
                    LOGITS_TOLERANCE,
                ),
                None => {
                    part.not_checked(&name, "the folder with the unquantised experts is not here");
                }
            },
            _ => part.not_checked(&name, "unknown variant"),
        }
    }
}

fn read_prompt(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    name: &str,
) -> Option<Prompt> {
    let item = format!("{name}.input_ids");
    let Some(ids) = expected.unsigned(&item) else {
        part.failed(&item, "missing, or not integers that fit an id");
        return None;
    };
    if let Some(id) = ids
        .iter()
        .find(|id| **id as usize >= model.config.text.vocab_size)
    {
        part.failed(
            &item,
            format!(
                "id {id} is not in the vocabulary of {}",
                model.config.text.vocab_size
            ),
        );
        return None;
    }
    let positions = expected
        .unsigned(&format!("{name}.position_ids"))
        .unwrap_or((0..ids.len() as u32).collect());
    if ids.is_empty() || positions.len() != ids.len() {
        part.failed(
            &item,
            format!("{} ids and {} positions", ids.len(), positions.len()),
        );
        return None;
    }
    Some(Prompt { ids, positions })
}

/// Logits and observations of a whole prompt.
fn run(model: &Model, options: ReferenceOptions, prompt: &Prompt) -> (Rows, Observations) {
    let mut observations = Observations::new();
    let mut observer = |site: Site, value: &Rows| {
        observations.insert(site, value.clone());
    };
    let mut cache = LatentCache::new(&model.config.text);
    let rows: Vec<InputRow<'_>> = prompt.ids.iter().map(|id| InputRow::Token(*id)).collect();
    let wanted: Vec<usize> = (0..rows.len()).collect();
    let logits = Reference::new(&model.config.text, options, &mut cache, &prompt.positions)
        .with_observer(&mut observer)
        .logits(&model.text, &rows, &wanted);
    (logits, observations)
}

fn verify_prompt(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    name: &str,
    prompt: &Prompt,
) {
    let form = |mla| ReferenceOptions {
        mla,
        ..Default::default()
    };
    let (logits, observations) = run(model, form(MlaForm::Absorbed), prompt);
    let item = format!("{name}.logits");
    if let Some(values) = expected.f32(&item) {
        let last = |logits: &Rows| {
            logits.values()[logits.values().len().saturating_sub(values.len())..].to_vec()
        };
        part.values(&item, &last(&logits), values, LOGITS_TOLERANCE);
        let (expanded, _) = run(model, form(MlaForm::Expanded), prompt);
        part.values(
            &format!("{item} (expanded attention)"),
            &last(&expanded),
            values,
            LOGITS_TOLERANCE,
        );
    }
    verify_observations(part, model, expected, name, &observations);
}

fn verify_observations(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    prompt: &str,
    observations: &Observations,
) {
    for name in expected.names_below(prompt) {
        let rest = &name[prompt.len() + 1..];
        if matches!(rest, "input_ids" | "position_ids" | "logits") {
            continue;
        }
        match parse_site(rest) {
            Some((Site::RouterChoice(layer), _)) => {
                verify_choice(part, expected, &name, layer, observations);
            }
            Some((Site::RouterWeights(_), _)) => {} // checked with the choice, expert by expert
            Some((site, order)) => match (observations.get(&site), expected.f32(&name)) {
                (Some(rows), Some(values)) => {
                    part.values(&name, &order.arrange(model, rows), values, LOGITS_TOLERANCE);
                }
                _ => part.failed(&name, "this model has no such value"),
            },
            None => part.not_checked(&name, "unknown intermediate value"),
        }
    }
}

/// How a fixture orders the values of a site.
#[derive(Clone, Copy)]
enum Order {
    AsObserved,
    /// All even components of a rotated vector, then all odd ones; heads outermost.
    HalfSplitByHead,
    /// The same for the one key that all heads share.
    HalfSplit,
}

impl Order {
    fn arrange(self, model: &Model, rows: &Rows) -> Vec<f32> {
        let width = model.config.text.qk_rope_head_dim;
        match self {
            Self::AsObserved => rows.values().to_vec(),
            Self::HalfSplit => rows.iter().flat_map(half_split).collect(),
            Self::HalfSplitByHead => (0..model.config.text.num_attention_heads)
                .flat_map(|head| {
                    rows.iter()
                        .flat_map(move |row| half_split(&row[head * width..(head + 1) * width]))
                })
                .collect(),
        }
    }
}

fn half_split(pairs: &[f32]) -> impl Iterator<Item = f32> {
    pairs
        .iter()
        .step_by(2)
        .chain(pairs.iter().skip(1).step_by(2))
        .copied()
}

fn parse_site(name: &str) -> Option<(Site, Order)> {
    let plain = |site| Some((site, Order::AsObserved));
    match name {
        "hs.embed_or_inputs" => return plain(Site::Embedding),
        "hs.final_norm" => return plain(Site::FinalNorm),
        _ => {}
    }
    let (group, rest) = name.split_once(".layer")?;
    let (layer, value) = rest.split_once('.')?;
    let layer = layer.parse().ok()?;
    match (group, value) {
        ("hs", "attn_out") => plain(Site::AttentionOut(layer)),
        ("hs", "mlp_out") => plain(Site::FeedForwardOut(layer)),
        ("hs", "out") => plain(Site::LayerOut(layer)),
        ("router", "logits") => plain(Site::RouterLogits(layer)),
        ("router", "topk_ids") => plain(Site::RouterChoice(layer)),
        ("router", "topk_weights") => plain(Site::RouterWeights(layer)),
        ("mla", "q_a_normed") => plain(Site::QueryLatent(layer)),
        ("mla", "q_b_out") => plain(Site::Query(layer)),
        ("mla", "kv_a_out") => plain(Site::KvLatentRaw(layer)),
        ("mla", "latent_normed") => plain(Site::Latent(layer)),
        ("mla", "attn_ctx") => plain(Site::AttentionContext(layer)),
        ("mla", "q_pe_rot_halfsplit") => Some((Site::QueryRotary(layer), Order::HalfSplitByHead)),
        ("mla", "k_pe_rot_halfsplit") => Some((Site::KeyRotary(layer), Order::HalfSplit)),
        _ => None,
    }
}

/// Chosen experts as sets, and their weights expert by expert: two experts of almost equal weight
/// may stand in either order.
fn verify_choice(
    part: &mut Part<'_>,
    expected: &Expected,
    name: &str,
    layer: usize,
    observations: &Observations,
) {
    let weights_name = name.replace("topk_ids", "topk_weights");
    let (Some(choice), Some(weights)) = (
        observations.get(&Site::RouterChoice(layer)),
        observations.get(&Site::RouterWeights(layer)),
    ) else {
        part.failed(name, "this layer has no router");
        return;
    };
    let Some(expected_ids) = expected.unsigned(name) else {
        part.failed(name, "not expert numbers");
        return;
    };
    let by_expert = |ids: Vec<u32>, weights: &[f32]| -> Vec<(u32, f32)> {
        let mut pairs: Vec<_> = ids.into_iter().zip(weights.iter().copied()).collect();
        for row in pairs.chunks_mut(choice.width()) {
            row.sort_by_key(|(expert, _)| *expert);
        }
        pairs
    };
    let expected_weights = expected
        .f32(&weights_name)
        .map_or(vec![0.0; expected_ids.len()], <[f32]>::to_vec);
    let actual = by_expert(
        choice.values().iter().map(|id| *id as u32).collect(),
        weights.values(),
    );
    let wanted = by_expert(expected_ids, &expected_weights);
    let ids = |pairs: &[(u32, f32)]| pairs.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let values = |pairs: &[(u32, f32)]| pairs.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
    part.equal(name, &ids(&actual), &ids(&wanted));
    if expected.get(&weights_name).is_some() {
        part.values(
            &weights_name,
            &values(&actual),
            &values(&wanted),
            ROUTER_WEIGHT_TOLERANCE,
        );
    }
}

/// Greedy tokens follow the shortest prompt whose intermediate values the folder has, or their own.
fn is_greedy_prompt(expected: &Expected, name: &str) -> bool {
    if expected.get("greedy.input_ids").is_some() {
        return name == "greedy";
    }
    let mut with_attention: Vec<(usize, String)> = expected
        .names_ending_with("input_ids")
        .into_iter()
        .filter(|prompt| {
            expected
                .names_below(prompt)
                .iter()
                .any(|name| name.contains(".mla."))
        })
        .map(|prompt| {
            (
                expected
                    .get(&format!("{prompt}.input_ids"))
                    .map_or(0, |ids| ids.shape()[0]),
                prompt,
            )
        })
        .collect();
    with_attention.sort();
    with_attention
        .first()
        .is_some_and(|(_, prompt)| prompt == name)
}

/// Decodes token by token with the cache, always the largest logit.
fn verify_greedy(part: &mut Part<'_>, model: &Model, expected: &Expected, prompt: &Prompt) {
    let Some(expected_tokens) = expected.unsigned("greedy.tokens") else {
        part.failed("greedy.tokens", "not token ids");
        return;
    };
    let mut cache = LatentCache::new(&model.config.text);
    let (mut tokens, mut gaps) = (Vec::new(), Vec::new());
    let mut pending = prompt.ids.clone();
    let mut logits = Vec::new();
    while tokens.len() < expected_tokens.len() {
        let first = cache.len() as u32;
        let positions: Vec<u32> = (first..first + pending.len() as u32).collect();
        let rows: Vec<InputRow<'_>> = pending.iter().map(|id| InputRow::Token(*id)).collect();
        let mut reference = Reference::new(
            &model.config.text,
            ReferenceOptions::default(),
            &mut cache,
            &positions,
        );
        logits = reference
            .logits(&model.text, &rows, &[rows.len() - 1])
            .values()
            .to_vec();
        let (best, gap) = best_and_gap(&logits);
        tokens.push(best);
        gaps.push(gap);
        pending = vec![best];
    }
    part.equal("greedy.tokens", &tokens, &expected_tokens);
    for (name, actual) in [("greedy.logits_last", &logits), ("greedy.top2_gap", &gaps)] {
        if let Some(values) = expected.f32(name) {
            part.values(name, actual, values, LOGITS_TOLERANCE);
        }
    }
}

/// The index of the largest logit, and how far it is ahead of the next.
fn best_and_gap(logits: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    let mut second = f32::NEG_INFINITY;
    for (index, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            second = best.1;
            best = (index as u32, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (best.0, best.1 - second)
}

fn verify_rotary(part: &mut Part<'_>, model: &Model, expected: &Expected) {
    let rotary = Rotary::new(&model.config.text);
    if let Some(frequencies) = expected.f32("rope.inv_freq") {
        // Relative to the largest frequency, which is 1: one unit in the last place of f32.
        part.values(
            "rope.inv_freq",
            &rotary.inv_freq,
            frequencies,
            f64::from(f32::EPSILON) / 2.0,
        );
    }
    let Some(positions) = expected.unsigned("long.position_ids") else {
        return;
    };
    let angles: Vec<_> = positions
        .iter()
        .map(|position| rotary.angles(*position))
        .collect();
    let cos: Vec<f32> = angles
        .iter()
        .flat_map(|angles| angles.cos.clone())
        .collect();
    let sin: Vec<f32> = angles
        .iter()
        .flat_map(|angles| angles.sin.clone())
        .collect();
    for (name, actual) in [("rope.cos", cos), ("rope.sin", sin)] {
        if let Some(values) = expected.f32(name) {
            part.values(name, &actual, values, ANGLE_TOLERANCE);
        }
    }
}

/// Lists what belongs to no prompt and to none of the known groups.
fn report_unknown(part: &mut Part<'_>, expected: &Expected) {
    const GREEDY: [&str; 4] = [
        "greedy.tokens",
        "greedy.logits_last",
        "greedy.top2_gap",
        "greedy.input_ids",
    ];
    const ROTARY: [&str; 3] = ["rope.inv_freq", "rope.cos", "rope.sin"];
    let prompts = expected.names_ending_with("input_ids");
    for name in expected.names() {
        let of_prompt = prompts
            .iter()
            .any(|prompt| name.starts_with(&format!("{prompt}.")));
        if !of_prompt && !GREEDY.contains(&name.as_str()) && !ROTARY.contains(&name.as_str()) {
            part.not_checked(&name, "unknown expectation");
        }
    }
}

/// The packed unit matrix: dequantised values, exact, and rounded to bf16.
pub fn verify_int4_unit(part: &mut Part<'_>, unit: &Expected) {
    let Some(matrix) = unit.packed_int4() else {
        part.failed(
            "int4_unit",
            "weight_packed, weight_scale and weight_shape do not form a matrix",
        );
        return;
    };
    let mut values = vec![0.0; matrix.out_features * matrix.in_features];
    for (row, into) in values.chunks_exact_mut(matrix.in_features).enumerate() {
        matrix.row_to_f32(row, into);
    }
    if let Some(exact) = unit.f32("dequant_f32") {
        part.values("int4_unit.dequant_f32", &values, exact, 0.0);
    }
    if let Some(rounded) = unit.get("dequant_bf16").map(Tensor::as_u16) {
        let actual: Vec<u16> = values
            .iter()
            .map(|value| half::bf16::from_f32(*value).to_bits())
            .collect();
        part.equal("int4_unit.dequant_bf16", &actual, rounded);
    }
}
