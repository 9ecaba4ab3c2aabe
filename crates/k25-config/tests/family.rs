//! Every published member of the family is read, with its own numbers.

use k25_config::{ModelConfig, Quantization, Yarn};

fn read(name: &str) -> ModelConfig {
    let path = format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
    ModelConfig::from_file(path).unwrap_or_else(|error| panic!("{error}"))
}

const MEMBERS: [&str; 8] = [
    "kimi_k25",
    "kimi_k26",
    "kimi_k25_transformers5",
    "kimi_k25_native",
    "kimi_k2",
    "kimi_k2_thinking",
    "moonlight_16b_a3b",
    "deepseek_v3",
];

#[test]
fn k25_is_the_preset() {
    assert_eq!(read("kimi_k25"), ModelConfig::kimi_k25());
}

#[test]
fn the_forms_of_one_model_mean_the_same() {
    assert_eq!(read("kimi_k25_transformers5"), ModelConfig::kimi_k25());
    assert_eq!(read("kimi_k25_native"), ModelConfig::kimi_k25());
}

#[test]
fn k26_differs_in_its_end_id() {
    let expected = ModelConfig {
        eos_token_ids: vec![163_586],
        ..ModelConfig::kimi_k25()
    };
    assert_eq!(read("kimi_k26"), expected);
}

#[test]
fn k2_is_text_only_with_fp8_weights() {
    let config = read("kimi_k2");
    assert_eq!(config.vision, None);
    let Quantization::Unsupported { method, field } = &config.quantization else {
        panic!("fp8 must be told apart, found {:?}", config.quantization);
    };
    assert_eq!(
        (method.as_str(), field.as_str()),
        ("fp8", "quantization_config.quant_method")
    );
    let error = config
        .quantization
        .check_supported()
        .unwrap_err()
        .to_string();
    assert!(error.contains("fp8") && error.contains("hint"), "{error}");
    let yarn = config.text.rope_scaling.unwrap();
    assert_eq!(
        yarn,
        Yarn {
            factor: 32.0,
            beta_fast: 1.0,
            ..Yarn::kimi_k25()
        }
    );
}

#[test]
fn k2_thinking_is_text_only_with_int4_weights() {
    let config = read("kimi_k2_thinking");
    assert_eq!(config.vision, None);
    assert_eq!(config.quantization, Quantization::PackedInt4);
    config.quantization.check_supported().unwrap();
}

#[test]
fn moonlight_projects_queries_in_one_step_without_yarn() {
    let config = read("moonlight_16b_a3b");
    let text = &config.text;
    assert_eq!((text.q_lora_rank, text.rope_scaling), (None, None));
    assert_eq!(
        (
            text.hidden_size,
            text.num_hidden_layers,
            text.n_routed_experts
        ),
        (2048, 27, 64)
    );
    assert_eq!((text.num_experts_per_tok, text.n_shared_experts), (6, 2));
    assert_eq!(
        (text.intermediate_size, text.moe_intermediate_size),
        (11_264, 1408)
    );
    assert_eq!(text.routed_scaling_factor, 2.446);
    assert_eq!(config.quantization, Quantization::None);
}

#[test]
fn deepseek_v3_chooses_among_groups() {
    let config = read("deepseek_v3");
    let text = &config.text;
    assert_eq!(
        (text.n_group, text.topk_group, text.n_routed_experts),
        (8, 4, 256)
    );
    assert_eq!(
        (text.first_k_dense_replace, text.num_attention_heads),
        (3, 128)
    );
    assert_eq!(
        (text.rope_theta, text.rms_norm_eps, text.vocab_size),
        (10_000.0, 1e-6, 129_280)
    );
    assert_eq!(text.rope_scaling.unwrap().factor, 40.0);
    assert_eq!(text.num_nextn_predict_layers, 1);
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids.as_slice()),
        (Some(0), &[1][..])
    );
    assert!(!text.is_moe_layer(2) && text.is_moe_layer(3));
}

#[test]
fn written_files_read_back_equal() {
    for name in MEMBERS {
        let mut config = read(name);
        if matches!(config.quantization, Quantization::Unsupported { .. }) {
            config.quantization = Quantization::None;
        }
        let written = config.to_checkpoint_json();
        let again =
            ModelConfig::from_json(&written).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again, config, "{name}");
        assert_eq!(again.to_checkpoint_json(), written, "{name}");
    }
}

/// The written file has the layout of the published one: each of its fields is there under the
/// same name with the same value.
#[test]
fn the_written_file_has_the_published_layout() {
    let written: serde_json::Value =
        serde_json::from_str(&ModelConfig::kimi_k25().to_checkpoint_json()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kimi_k25.json");
    let published: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_contains(&published, &written, "");
}

fn assert_contains(published: &serde_json::Value, written: &serde_json::Value, path: &str) {
    match (published, written) {
        (serde_json::Value::Object(published), serde_json::Value::Object(written)) => {
            for (name, value) in written {
                let path = format!("{path}.{name}");
                let expected = published
                    .get(name)
                    .unwrap_or_else(|| panic!("{path} is not in the published file"));
                assert_contains(expected, value, &path);
            }
        }
        _ => assert_eq!(published, written, "{path}"),
    }
}

/// Reference: the element count of K2.5's safetensors as a listing of the published checkpoint
/// gives it, 170,738,182,128, where a packed expert matrix counts as words of eight weights, a scale
/// for each 32, and two words for its shape.
#[test]
fn parameter_count_agrees_with_the_published_checkpoint() {
    let config = ModelConfig::kimi_k25();
    let parameters = config.parameters();
    let matrices = 60 * 384 * 3;
    let experts_stored =
        parameters.routed_experts / 8 + parameters.routed_experts / 32 + 2 * matrices;
    assert_eq!(
        parameters.total() - parameters.routed_experts + experts_stored,
        170_738_182_128
    );
    // "1 T parameters, 32 B active" in the model card, which counts the head and not the embedding.
    assert_eq!(parameters.text / 1_000_000_000, 1026);
    let embedding = 163_840 * 7168;
    assert_eq!((parameters.active - embedding) / 1_000_000_000, 31);
}

#[test]
fn moonlight_has_sixteen_billion_parameters_of_which_three_are_active() {
    let parameters = read("moonlight_16b_a3b").parameters();
    assert_eq!(parameters.total() / 100_000_000, 159);
    assert_eq!(parameters.active / 100_000_000, 29);
}

#[test]
fn the_reference_fixtures_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().join("config.json");
        if path.is_file() {
            let config = ModelConfig::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                ModelConfig::from_json(config.to_checkpoint_json()).unwrap(),
                config,
                "{}",
                path.display()
            );
            found += 1;
        }
    }
    assert!(found >= 4, "only {found} fixture models in {folder}");
}

#[test]
fn the_grouped_fixture_has_its_numbers() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/t3g/config.json"
    );
    let config = ModelConfig::from_file(path).unwrap();
    let text = &config.text;
    assert_eq!(
        (
            text.n_group,
            text.topk_group,
            text.n_routed_experts,
            text.n_shared_experts
        ),
        (4, 2, 16, 2)
    );
    assert_eq!(
        (text.qk_rope_head_dim, text.routed_scaling_factor),
        (16, 1.5)
    );
    assert_eq!(config.vision.unwrap().init_pos_emb_height, 8);
}
