//! Whatever the input, reading ends without a panic, and what it accepts holds together.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k25_config::{GenerationConfig, MediaConfig, ModelConfig, Quantization};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u64..100).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((field_name(), inner), 0..6)
                .prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

fn field_name() -> impl Strategy<Value = String> {
    let known = [
        "model_type",
        "text_config",
        "vision_config",
        "hidden_size",
        "rope_scaling",
        "quantization_config",
        "eos_token_id",
        "media_proc_cfg",
    ];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        "[a-z_]{0,8}"
    ]
}

/// Paths to every value of a published file.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    for (name, child) in value.as_object().into_iter().flatten() {
        paths(child, &format!("{path}/{name}"), found);
    }
}

fn published() -> Vec<Value> {
    [
        "kimi_k25",
        "kimi_k25_transformers5",
        "kimi_k25_native",
        "moonlight_16b_a3b",
        "deepseek_v3",
    ]
    .iter()
    .map(|name| format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR")))
    .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    .collect()
}

/// A published file with a few values replaced.
fn altered() -> impl Strategy<Value = Value> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4);
    (prop::sample::select(published()), changes).prop_map(|(mut file, changes)| {
        for (place, value) in changes {
            let mut all = Vec::new();
            paths(&file, "", &mut all);
            let path: &String = place.get(&all);
            *file.pointer_mut(path).unwrap() = value;
        }
        file
    })
}

/// What the rest of k25 relies on without asking again.
fn holds_together(config: &ModelConfig) {
    let text = &config.text;
    assert!(
        text.num_hidden_layers > 0
            && text.hidden_size > 0
            && text.qk_rope_head_dim.is_multiple_of(2)
    );
    assert!(
        text.rms_norm_eps.is_normal() && text.rope_theta.is_finite() && text.moe_layer_freq > 0
    );
    if text.n_routed_experts > 0 {
        assert_eq!(text.n_routed_experts % text.n_group, 0);
        assert!(
            text.num_experts_per_tok <= text.topk_group * (text.n_routed_experts / text.n_group)
        );
        assert!(text.routed_scaling_factor.is_normal());
    }
    if let Some(vision) = &config.vision {
        assert_eq!(vision.hidden_size % vision.num_attention_heads, 0);
        assert_eq!(vision.head_dim() % 4, 0);
        assert_eq!(vision.text_hidden_size, text.hidden_size);
    }
    assert!(config.parameters().total() <= 1 << 48);
    assert!(
        config
            .eos_token_ids
            .iter()
            .all(|&id| (id as usize) < text.vocab_size)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn altered_files_are_refused_or_hold_together(file in altered()) {
        if let Ok(config) = ModelConfig::from_json(file.to_string()) {
            holds_together(&config);
            let expected = match config.quantization {
                Quantization::Unsupported { .. } => ModelConfig { quantization: Quantization::None, ..config },
                _ => config,
            };
            prop_assert_eq!(ModelConfig::from_json(expected.to_checkpoint_json()).unwrap(), expected);
        }
    }

    #[test]
    fn any_json_is_read_without_panic(value in any_json()) {
        let text = value.to_string();
        let _ = ModelConfig::from_json(&text);
        let _ = MediaConfig::from_json(&text);
        let _ = GenerationConfig::from_json(&text);
        let nested = json!({"model_type": "kimi_k25", "text_config": value, "vision_config": value});
        let _ = ModelConfig::from_json(nested.to_string());
        let _ = MediaConfig::from_json(json!({"media_proc_cfg": value}).to_string());
        let _ = GenerationConfig::from_json(json!({"eos_token_id": value}).to_string());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = ModelConfig::from_json(&bytes);
    }
}
