//! Each field that can be wrong is refused by its full name, with its value, a reason and a hint.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k25_config::{ConfigError, ModelConfig, Problem};
use serde_json::{Value, json};

fn published(name: &str) -> Value {
    let path = format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Sets or, with no value, removes the field at a dotted path.
fn edit(file: &mut Value, path: &str, value: Option<Value>) {
    let mut place = file;
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        place = &mut place[parent];
    }
    let object = place.as_object_mut().unwrap();
    match value {
        Some(value) => drop(object.insert(name.to_owned(), value)),
        None => drop(object.shift_remove(name)),
    }
}

fn problems(file: &Value) -> Vec<Problem> {
    match ModelConfig::from_json(file.to_string()) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        other => panic!("must be refused as invalid, got {other:?}"),
    }
}

/// Asserts that `value` at `path` is refused, alone and by that name.
#[track_caller]
fn refused(name: &str, path: &str, value: Value, reason: &str) {
    let mut file = published(name);
    edit(&mut file, path, Some(value.clone()));
    let found = problems(&file);
    let [problem] = found.as_slice() else {
        panic!("{path} = {value}: expected one problem, got {found:?}")
    };
    assert_eq!(problem.field, path, "{problem}");
    assert_eq!(problem.value, value.to_string(), "{problem}");
    assert!(
        problem.reason.contains(reason),
        "{problem}, expected {reason:?}"
    );
    assert!(!problem.hint.is_empty(), "{problem}");
}

#[track_caller]
fn missing(name: &str, path: &str) {
    let mut file = published(name);
    edit(&mut file, path, None);
    let found = problems(&file);
    let [problem] = found.as_slice() else {
        panic!("{path}: expected one problem, got {found:?}")
    };
    assert_eq!(
        (problem.field.as_str(), problem.value.as_str()),
        (path, "absent"),
        "{problem}"
    );
    assert!(
        problem.reason.contains("must be there") && !problem.hint.is_empty(),
        "{problem}"
    );
}

const TEXT_SIZES: [&str; 16] = [
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "moe_intermediate_size",
    "num_experts_per_tok",
    "n_group",
    "topk_group",
    "num_attention_heads",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "vocab_size",
    "max_position_embeddings",
    "moe_layer_freq",
];

const VISION_SIZES: [&str; 8] = [
    "patch_size",
    "vt_hidden_size",
    "vt_num_hidden_layers",
    "vt_num_attention_heads",
    "vt_intermediate_size",
    "init_pos_emb_height",
    "init_pos_emb_width",
    "init_pos_emb_time",
];

fn not_sizes() -> [Value; 6] {
    [
        json!(0),
        json!(-1),
        json!(1_000_000_000_000_u64),
        json!(64.5),
        json!("64"),
        json!([64]),
    ]
}

#[test]
fn zero_negative_absurd_and_mistyped_sizes() {
    for value in not_sizes() {
        for name in TEXT_SIZES {
            if name == "num_attention_heads" {
                let mut file = published("kimi_k25");
                edit(&mut file, "text_config.num_key_value_heads", None);
                edit(
                    &mut file,
                    "text_config.num_attention_heads",
                    Some(value.clone()),
                );
                assert_eq!(problems(&file)[0].field, "text_config.num_attention_heads");
            } else {
                refused(
                    "kimi_k25",
                    &format!("text_config.{name}"),
                    value.clone(),
                    "whole number from",
                );
            }
        }
        for name in VISION_SIZES {
            refused(
                "kimi_k25",
                &format!("vision_config.{name}"),
                value.clone(),
                "whole number from",
            );
        }
        refused(
            "kimi_k25",
            "text_config.rope_scaling.original_max_position_embeddings",
            value.clone(),
            "whole number from",
        );
    }
}

#[test]
fn sizes_that_may_be_zero_but_not_negative_absurd_or_mistyped() {
    for value in &not_sizes()[1..] {
        for name in [
            "first_k_dense_replace",
            "n_shared_experts",
            "n_routed_experts",
            "num_nextn_predict_layers",
        ] {
            refused(
                "kimi_k25",
                &format!("text_config.{name}"),
                value.clone(),
                "whole number from 0",
            );
        }
    }
}

#[test]
fn numbers_out_of_their_range() {
    for (name, values) in [
        (
            "rms_norm_eps",
            [json!(0), json!(-1e-5), json!(1e300), json!("1e-5")],
        ),
        (
            "rope_theta",
            [json!(1), json!(-50_000), json!(1e300), json!("50000")],
        ),
        (
            "routed_scaling_factor",
            [json!(0), json!(-2.8), json!(1e39), json!(true)],
        ),
        (
            "rope_scaling.factor",
            [json!(0), json!(-64), json!(1e300), json!("64")],
        ),
        (
            "rope_scaling.beta_fast",
            [json!(0), json!(-32), json!(1e300), json!("32")],
        ),
        (
            "rope_scaling.beta_slow",
            [json!(0), json!(-1), json!(1e300), json!("1")],
        ),
        (
            "rope_scaling.mscale",
            [json!(-1), json!(1e300), json!("1"), json!([1])],
        ),
        (
            "rope_scaling.mscale_all_dim",
            [json!(-1), json!(1e300), json!("1"), json!([1])],
        ),
    ] {
        for value in values {
            refused(
                "kimi_k25",
                &format!("text_config.{name}"),
                value,
                "number from",
            );
        }
    }
    refused(
        "kimi_k25",
        "vision_config.projector_ln_eps",
        json!(0),
        "number from",
    );
}

#[test]
fn numbers_that_json_cannot_hold() {
    for text in ["NaN", "Infinity", "-Infinity", "1e999"] {
        let file = published("kimi_k25").to_string().replace("50000.0", text);
        let error = ModelConfig::from_json(file).unwrap_err();
        assert!(matches!(error, ConfigError::Json { .. }), "{text}: {error}");
        assert!(error.to_string().contains("line 1 column"), "{error}");
    }
}

#[test]
fn required_fields() {
    for name in [
        "hidden_size",
        "num_hidden_layers",
        "first_k_dense_replace",
        "intermediate_size",
        "moe_intermediate_size",
        "n_routed_experts",
        "num_experts_per_tok",
        "n_group",
        "topk_group",
        "routed_scaling_factor",
        "q_lora_rank",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "rms_norm_eps",
        "vocab_size",
        "max_position_embeddings",
        "rope_theta",
    ] {
        missing("kimi_k25", &format!("text_config.{name}"));
        missing("moonlight_16b_a3b", name);
    }
    missing("kimi_k25", "model_type");
    missing("kimi_k25", "text_config");
    missing("kimi_k25", "text_config.rope_scaling.factor");
    missing(
        "kimi_k25",
        "text_config.rope_scaling.original_max_position_embeddings",
    );
    for name in VISION_SIZES {
        missing("kimi_k25", &format!("vision_config.{name}"));
    }
}

#[test]
fn other_architectures() {
    refused(
        "kimi_k25",
        "model_type",
        json!("llama"),
        "another architecture",
    );
    refused(
        "kimi_k25",
        "model_type",
        json!("deepseek_v32"),
        "another architecture",
    );
    refused(
        "kimi_k25",
        "text_config.model_type",
        json!("kimi_linear"),
        "another architecture",
    );
    for (name, value) in [
        ("hidden_act", json!("gelu")),
        ("scoring_func", json!("softmax")),
        ("topk_method", json!("greedy")),
        ("attention_bias", json!(true)),
        ("rope_interleave", json!(false)),
        ("rope_scaling.attention_factor", json!(1.2)),
        ("rope_scaling.truncate", json!(false)),
        ("rope_scaling.type", json!("linear")),
    ] {
        refused("kimi_k25", &format!("text_config.{name}"), value, "only");
    }
    for (name, value) in [
        ("merge_type", json!("sd2")),
        ("mm_projector_type", json!("mlp")),
        ("pos_emb_type", json!("learned")),
        ("projector_hidden_act", json!("relu")),
        ("video_attn_type", json!("spatial")),
        ("hidden_act", json!("silu")),
    ] {
        refused("kimi_k25", &format!("vision_config.{name}"), value, "only");
    }
}

#[test]
fn relations_that_do_not_hold() {
    refused(
        "kimi_k25",
        "text_config.num_key_value_heads",
        json!(8),
        "must equal num_attention_heads (64)",
    );
    refused(
        "kimi_k25",
        "text_config.qk_rope_head_dim",
        json!(63),
        "must be even",
    );
    refused(
        "kimi_k25",
        "text_config.n_group",
        json!(7),
        "must divide n_routed_experts (384)",
    );
    refused(
        "kimi_k25",
        "text_config.n_group",
        json!(384),
        "two experts in each group",
    );
    refused(
        "kimi_k25",
        "text_config.topk_group",
        json!(2),
        "must not be above n_group (1)",
    );
    refused(
        "kimi_k25",
        "text_config.num_experts_per_tok",
        json!(385),
        "must not be above 384",
    );
    refused(
        "deepseek_v3",
        "num_experts_per_tok",
        json!(129),
        "must not be above 128",
    );
    refused(
        "kimi_k25",
        "text_config.rope_scaling.beta_fast",
        json!(0.5),
        "must not be below beta_slow (1)",
    );
    refused(
        "kimi_k25",
        "vision_config.vt_num_attention_heads",
        json!(7),
        "must divide the encoder's width (1152)",
    );
    refused(
        "kimi_k25",
        "vision_config.vt_num_attention_heads",
        json!(64),
        "multiple of 4",
    );
    refused(
        "kimi_k25",
        "vision_config.mm_hidden_size",
        json!(1024),
        "must equal the encoder's width (1152)",
    );
    refused(
        "kimi_k25",
        "vision_config.text_hidden_size",
        json!(4096),
        "must equal the language model's hidden_size (7168)",
    );
    for value in [
        json!([2, 3]),
        json!([0, 0]),
        json!([2]),
        json!([2, 2, 2]),
        json!("2"),
        json!(1_000_000),
    ] {
        refused(
            "kimi_k25",
            "vision_config.merge_kernel_size",
            value,
            "two equal whole numbers",
        );
    }
    let mut file = published("kimi_k25_transformers5");
    edit(&mut file, "text_config.rope_theta", Some(json!(10_000.0)));
    assert_eq!(
        problems(&file)[0].field,
        "text_config.rope_parameters.rope_theta"
    );
}

#[test]
fn token_ids() {
    for name in [
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "media_placeholder_token_id",
    ] {
        refused(
            "kimi_k25",
            name,
            json!(163_840),
            "not in the vocabulary of 163840",
        );
        refused("kimi_k25", name, json!(-1), "must be a token id");
        refused("kimi_k25", name, json!(1.5), "must be a token id");
        refused("kimi_k25", name, json!(1_u64 << 40), "must be a token id");
    }
    refused(
        "kimi_k25",
        "eos_token_id",
        json!([163_585, -1]),
        "must be a token id",
    );
}

#[test]
fn sizes_that_only_multiplied_are_absurd() {
    let mut file = published("kimi_k25");
    edit(
        &mut file,
        "text_config.n_routed_experts",
        Some(json!(16_384)),
    );
    edit(
        &mut file,
        "text_config.num_hidden_layers",
        Some(json!(1024)),
    );
    edit(
        &mut file,
        "text_config.moe_intermediate_size",
        Some(json!(1 << 22)),
    );
    let found = problems(&file);
    let fields: Vec<&str> = found.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        ["text_config.n_routed_experts", "text_config.hidden_size"],
        "{found:?}"
    );
    assert!(
        found[0].reason.contains("16777216 experts") && found[1].reason.contains("parameters"),
        "{found:?}"
    );
}

#[test]
fn quantisations_that_would_be_misread() {
    let group = "text_config.quantization_config.config_groups.group_0";
    for (path, value) in [
        ("weights.num_bits", json!(8)),
        ("weights.group_size", json!(128)),
        ("weights.symmetric", json!(false)),
        ("weights.type", json!("float")),
        ("weights.strategy", json!("channel")),
        ("weights.dynamic", json!(true)),
        ("weights.actorder", json!("group")),
        ("weights.block_structure", json!([128, 128])),
        ("input_activations", json!({"num_bits": 8})),
        ("output_activations", json!({"num_bits": 8})),
        ("format", json!("float-quantized")),
    ] {
        refused(
            "kimi_k25",
            &format!("{group}.{path}"),
            value,
            "is supported",
        );
    }
    refused(
        "kimi_k25",
        "text_config.quantization_config.format",
        json!("int-quantized"),
        "is supported",
    );
    refused(
        "kimi_k25",
        "text_config.quantization_config.kv_cache_scheme",
        json!({"num_bits": 8}),
        "is supported",
    );
    missing("kimi_k25", "text_config.quantization_config.config_groups");
    missing("kimi_k25", &format!("{group}.weights"));
    missing("kimi_k25", &format!("{group}.weights.num_bits"));
    missing("kimi_k25", &format!("{group}.weights.group_size"));
}

#[test]
fn objects_and_flags_of_the_wrong_type() {
    for path in [
        "text_config",
        "vision_config",
        "text_config.rope_scaling",
        "text_config.quantization_config",
    ] {
        let mut file = published("kimi_k25");
        edit(&mut file, path, Some(json!(7)));
        let found = problems(&file);
        assert!(
            found
                .iter()
                .any(|p| p.field == path && p.reason.contains("must be an object")),
            "{found:?}"
        );
    }
    for path in [
        "text_config.norm_topk_prob",
        "text_config.tie_word_embeddings",
        "tie_word_embeddings",
    ] {
        refused("kimi_k25", path, json!("yes"), "true or false");
    }
    for value in [json!(null), json!(3), json!([]), json!("text")] {
        assert_eq!(problems(&value)[0].field, "the top level");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let mut file = published("kimi_k25");
    edit(&mut file, "text_config.hidden_size", Some(json!(0)));
    edit(
        &mut file,
        "text_config.scoring_func",
        Some(json!("softmax")),
    );
    edit(&mut file, "vision_config.patch_size", Some(json!(-14)));
    let error = ModelConfig::from_json(file.to_string())
        .unwrap_err()
        .to_string();
    for part in [
        "text_config.hidden_size is 0",
        "text_config.scoring_func is \"softmax\"",
        "vision_config.patch_size is -14",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(error.matches("hint:").count(), 3, "{error}");
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("config.json");
    let error = ModelConfig::from_file(&absent).unwrap_err().to_string();
    assert!(
        error.contains("config.json") && error.contains("hint:"),
        "{error}"
    );
    let error = ModelConfig::from_file(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("not a regular file"), "{error}");

    std::fs::write(&absent, "{\"model_type\": ").unwrap();
    let error = ModelConfig::from_file(&absent).unwrap_err().to_string();
    assert!(
        error.contains("not valid JSON") && error.contains("line 1"),
        "{error}"
    );

    let large = std::fs::File::create(&absent).unwrap();
    large.set_len(k25_config::MAX_CONFIG_BYTES + 1).unwrap();
    let error = ModelConfig::from_file(&absent).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
}

#[test]
fn deep_nesting_is_refused() {
    let file = "[".repeat(1_000_000);
    assert!(matches!(
        ModelConfig::from_json(file),
        Err(ConfigError::Json { .. })
    ));
}
