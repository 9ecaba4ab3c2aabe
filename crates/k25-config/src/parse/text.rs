//! The language model's fields.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::fields::Fields;
use crate::{TextConfig, Yarn, limits};

/// Reads the language model from `text`, where `top` is the file's top level (the same object in
/// a flat file).
pub(super) fn read(text: &Fields<'_>, top: &Fields<'_>) -> TextConfig {
    refuse_other_computations(text);
    let experts = Experts::read(text);
    let layers = text.size("num_hidden_layers", 1..=limits::LAYERS);
    let tied = top.flag_or("tie_word_embeddings", false);
    TextConfig {
        hidden_size: text.size("hidden_size", 1..=limits::WIDTH),
        num_hidden_layers: layers,
        first_k_dense_replace: experts.first_layer.unwrap_or(layers),
        moe_layer_freq: text.size_or("moe_layer_freq", 1..=limits::LAYERS, 1),
        intermediate_size: text.size("intermediate_size", 1..=limits::INNER_WIDTH),
        moe_intermediate_size: experts.inner_width,
        n_routed_experts: experts.count,
        num_experts_per_tok: experts.per_token,
        n_shared_experts: experts.shared,
        n_group: experts.groups,
        topk_group: experts.chosen_groups,
        norm_topk_prob: text.flag_or("norm_topk_prob", true),
        routed_scaling_factor: experts.scaling,
        num_attention_heads: text.size("num_attention_heads", 1..=limits::HEADS),
        q_lora_rank: query_rank(text),
        kv_lora_rank: text.size("kv_lora_rank", 1..=limits::WIDTH),
        qk_nope_head_dim: text.size("qk_nope_head_dim", 1..=limits::WIDTH),
        qk_rope_head_dim: text.size("qk_rope_head_dim", 2..=limits::WIDTH),
        v_head_dim: text.size("v_head_dim", 1..=limits::WIDTH),
        rms_norm_eps: text.number("rms_norm_eps", EPSILON) as f32,
        vocab_size: text.size("vocab_size", 1..=limits::VOCABULARY),
        max_position_embeddings: text.size("max_position_embeddings", 1..=limits::POSITIONS),
        rope_theta: rope_theta(text),
        rope_scaling: rope_scaling(text),
        tie_word_embeddings: text.flag_or("tie_word_embeddings", tied),
        num_nextn_predict_layers: text.size_or("num_nextn_predict_layers", 0..=limits::LAYERS, 0),
    }
}

/// Norm epsilons: a normal f32, below anything that would swallow the signal.
pub(super) const EPSILON: RangeInclusive<f64> = 1e-12..=1e-1;

fn refuse_other_computations(text: &Fields<'_>) {
    text.only("hidden_act", &json!("silu"));
    text.only("scoring_func", &json!("sigmoid"));
    text.only("topk_method", &json!("noaux_tc"));
    text.only("attention_bias", &json!(false));
    text.only("rope_interleave", &json!(true));
    let heads = text.value("num_attention_heads").and_then(Value::as_u64);
    if let (Some(key_value), Some(heads)) = (text.value("num_key_value_heads"), heads)
        && key_value.as_u64() != Some(heads)
    {
        let reason = format!(
            "must equal num_attention_heads ({heads}): the latent is expanded for every head"
        );
        text.note(
            "num_key_value_heads",
            reason,
            "remove the field or give it the same number",
        );
    }
}

fn query_rank(text: &Fields<'_>) -> Option<usize> {
    if !text.has_key("q_lora_rank") {
        text.note(
            "q_lora_rank",
            "must be there",
            "add it: a rank, or null where queries are projected in one step",
        );
    }
    text.optional_size("q_lora_rank", 1..=limits::WIDTH)
}

/// The fields that only a model with experts has.
struct Experts {
    count: usize,
    first_layer: Option<usize>,
    inner_width: usize,
    per_token: usize,
    shared: usize,
    groups: usize,
    chosen_groups: usize,
    scaling: f32,
}

impl Experts {
    fn read(text: &Fields<'_>) -> Self {
        if !text.has_key("n_routed_experts") {
            text.note(
                "n_routed_experts",
                "must be there",
                "add it: the number of experts, or 0 in a model without",
            );
        }
        let count = text.size_or("n_routed_experts", 0..=limits::EXPERTS, 0);
        if count == 0 {
            return Self::none();
        }
        Self {
            count,
            first_layer: Some(text.size("first_k_dense_replace", 0..=limits::LAYERS)),
            inner_width: text.size("moe_intermediate_size", 1..=limits::INNER_WIDTH),
            per_token: text.size("num_experts_per_tok", 1..=limits::EXPERTS),
            shared: text.size_or("n_shared_experts", 0..=limits::EXPERTS, 0),
            groups: text.size("n_group", 1..=limits::EXPERTS),
            chosen_groups: text.size("topk_group", 1..=limits::EXPERTS),
            scaling: text.number("routed_scaling_factor", 1e-6..=1e6) as f32,
        }
    }

    fn none() -> Self {
        Self {
            count: 0,
            first_layer: None,
            inner_width: 0,
            per_token: 0,
            shared: 0,
            groups: 1,
            chosen_groups: 1,
            scaling: 1.0,
        }
    }
}

/// The object with the rotary numbers: `rope_scaling`, which transformers 5 writes as
/// `rope_parameters` together with the base.
fn rope_fields<'a>(text: &Fields<'a>) -> Option<Fields<'a>> {
    text.child(text.first_present(&["rope_scaling", "rope_parameters"]))
}

fn rope_theta(text: &Fields<'_>) -> f64 {
    // A base of one would give every pair the same frequency, and YaRN a division by its logarithm.
    let range = 1.1..=1e12;
    let inner = text
        .child("rope_parameters")
        .filter(|rope| rope.value("rope_theta").is_some());
    match inner {
        Some(rope) => {
            let theta = rope.number("rope_theta", range);
            if text
                .value("rope_theta")
                .is_some_and(|outer| outer.as_f64() != Some(theta))
            {
                rope.note(
                    "rope_theta",
                    "differs from the rope_theta beside it",
                    "keep one of the two",
                );
            }
            theta
        }
        None => text.number("rope_theta", range),
    }
}

const ROTATIONS: RangeInclusive<f64> = 1e-6..=1e6;

fn rope_scaling(text: &Fields<'_>) -> Option<Yarn> {
    let rope = rope_fields(text)?;
    let name = rope.first_present(&["rope_type", "type"]);
    let kind = rope.text(name);
    match kind {
        Some("default") => return None,
        Some("yarn") => {}
        // transformers 5 may write the base alone.
        None if rope.value(name).is_none() && rope.value("factor").is_none() => return None,
        _ => {
            rope.note(
                name,
                "only \"yarn\" and \"default\" are computed",
                "k25 extends contexts with YaRN as DeepSeek-V3 does",
            );
            return None;
        }
    }
    rope.only_null("attention_factor");
    rope.only("truncate", &Value::Bool(true));
    let beta_slow = rope.number_or("beta_slow", ROTATIONS, 1.0);
    let beta_fast = rope.number_or("beta_fast", ROTATIONS, 32.0);
    if beta_fast < beta_slow {
        let reason = format!("must not be below beta_slow ({beta_slow})");
        rope.note(
            "beta_fast",
            reason,
            "the published models have 32 and 1, or 1 and 1",
        );
    }
    Some(Yarn {
        factor: rope.number("factor", 1.0..=1e6),
        original_max_position_embeddings: rope
            .size("original_max_position_embeddings", 1..=limits::POSITIONS),
        beta_fast,
        beta_slow,
        mscale: rope.number_or("mscale", 0.0..=1e3, 1.0),
        mscale_all_dim: rope.number_or("mscale_all_dim", 0.0..=1e3, 0.0),
    })
}
