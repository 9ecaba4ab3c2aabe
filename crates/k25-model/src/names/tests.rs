use super::*;

fn kimi() -> ModelConfig {
    ModelConfig::kimi_k25()
}

fn shape_of(names: NameMap<'_>, name: &str) -> Option<Vec<usize>> {
    names
        .parts()
        .find(|part| part.name == name)
        .map(|part| part.shape)
}

/// The table of the specification, architecture §2.
#[test]
fn names_and_shapes_of_kimi_k25() {
    let config = kimi();
    let names = NameMap::new(&config, Prefix::LanguageModel, true);
    let layer = "language_model.model.layers";
    let table = [
        (
            "language_model.model.embed_tokens.weight".to_owned(),
            vec![163840, 7168],
        ),
        (
            "language_model.lm_head.weight".to_owned(),
            vec![163840, 7168],
        ),
        ("language_model.model.norm.weight".to_owned(), vec![7168]),
        (format!("{layer}.0.input_layernorm.weight"), vec![7168]),
        (
            format!("{layer}.60.post_attention_layernorm.weight"),
            vec![7168],
        ),
        (
            format!("{layer}.5.self_attn.q_a_proj.weight"),
            vec![1536, 7168],
        ),
        (
            format!("{layer}.5.self_attn.q_a_layernorm.weight"),
            vec![1536],
        ),
        (
            format!("{layer}.5.self_attn.q_b_proj.weight"),
            vec![12288, 1536],
        ),
        (
            format!("{layer}.5.self_attn.kv_a_proj_with_mqa.weight"),
            vec![576, 7168],
        ),
        (
            format!("{layer}.5.self_attn.kv_a_layernorm.weight"),
            vec![512],
        ),
        (
            format!("{layer}.5.self_attn.kv_b_proj.weight"),
            vec![16384, 512],
        ),
        (
            format!("{layer}.5.self_attn.o_proj.weight"),
            vec![7168, 8192],
        ),
        (format!("{layer}.0.mlp.gate_proj.weight"), vec![18432, 7168]),
        (format!("{layer}.0.mlp.down_proj.weight"), vec![7168, 18432]),
        (format!("{layer}.1.mlp.gate.weight"), vec![384, 7168]),
        (
            format!("{layer}.1.mlp.gate.e_score_correction_bias"),
            vec![384],
        ),
        (
            format!("{layer}.1.mlp.shared_experts.up_proj.weight"),
            vec![2048, 7168],
        ),
        (
            format!("{layer}.1.mlp.shared_experts.down_proj.weight"),
            vec![7168, 2048],
        ),
        (
            format!("{layer}.60.mlp.experts.383.gate_proj.weight"),
            vec![2048, 7168],
        ),
        (
            format!("{layer}.60.mlp.experts.0.down_proj.weight"),
            vec![7168, 2048],
        ),
        ("mm_projector.pre_norm.bias".to_owned(), vec![1152]),
        ("mm_projector.proj.0.weight".to_owned(), vec![4608, 4608]),
        ("mm_projector.proj.0.bias".to_owned(), vec![4608]),
        ("mm_projector.proj.2.weight".to_owned(), vec![7168, 4608]),
        ("mm_projector.proj.2.bias".to_owned(), vec![7168]),
        (
            "vision_tower.patch_embed.proj.weight".to_owned(),
            vec![1152, 3, 14, 14],
        ),
        ("vision_tower.patch_embed.proj.bias".to_owned(), vec![1152]),
        (
            "vision_tower.patch_embed.pos_emb.weight".to_owned(),
            vec![64, 64, 1152],
        ),
        (
            "vision_tower.encoder.blocks.0.norm0.weight".to_owned(),
            vec![1152],
        ),
        (
            "vision_tower.encoder.blocks.26.norm1.bias".to_owned(),
            vec![1152],
        ),
        (
            "vision_tower.encoder.blocks.3.wqkv.weight".to_owned(),
            vec![3456, 1152],
        ),
        (
            "vision_tower.encoder.blocks.3.wqkv.bias".to_owned(),
            vec![3456],
        ),
        (
            "vision_tower.encoder.blocks.3.wo.weight".to_owned(),
            vec![1152, 1152],
        ),
        (
            "vision_tower.encoder.blocks.3.mlp.fc0.weight".to_owned(),
            vec![4304, 1152],
        ),
        (
            "vision_tower.encoder.blocks.3.mlp.fc1.weight".to_owned(),
            vec![1152, 4304],
        ),
        (
            "vision_tower.encoder.blocks.3.mlp.fc1.bias".to_owned(),
            vec![1152],
        ),
        (
            "vision_tower.encoder.final_layernorm.bias".to_owned(),
            vec![1152],
        ),
    ];
    for (name, shape) in table {
        assert_eq!(shape_of(names, &name), Some(shape), "{name}");
    }
}

/// 208,550 tensors: each routed expert's matrix counts three times.
#[test]
fn kimi_k25_has_208_550_tensors() {
    let config = kimi();
    let names = NameMap::new(&config, Prefix::LanguageModel, true);
    let tensors: usize = names
        .parts()
        .map(|part| {
            if part.kind == Kind::RoutedExperts {
                3
            } else {
                1
            }
        })
        .sum();
    assert_eq!(tensors, 208_550);
}

/// Two counts of the same thing, written independently: one from shapes, one from formulas.
#[test]
fn parameters_agree_with_the_configuration() {
    let config = kimi();
    let count = |with_vision| -> u64 {
        let names = NameMap::new(&config, Prefix::LanguageModel, with_vision);
        names.parts().map(|part| part.parameters()).sum()
    };
    assert_eq!(count(true) - count(false), config.parameters().vision);
    assert_eq!(count(true), config.parameters().total());
}

#[test]
fn text_only_members_have_no_prefix() {
    let mut config = kimi();
    config.vision = None;
    config.text.q_lora_rank = None;
    config.text.tie_word_embeddings = true;
    config.text.n_shared_experts = 0;
    let prefix = Prefix::detect(|name| name == "model.embed_tokens.weight");
    let names = NameMap::new(&config, prefix, true);
    let q = names
        .parts()
        .find(|part| part.name == "model.layers.0.self_attn.q_proj.weight");
    assert_eq!(q.map(|part| part.shape), Some(vec![12288, 7168]));
    for absent in [
        "lm_head",
        "q_a_proj",
        "shared_experts",
        "vision_tower",
        "language_model",
    ] {
        assert!(
            names.parts().all(|part| !part.name.contains(absent)),
            "{absent}"
        );
    }
}

#[test]
fn strays_are_told_apart() {
    let config = kimi();
    let names = NameMap::new(&config, Prefix::LanguageModel, true);
    let cases = [
        (
            "language_model.model.layers.3.self_attn.rotary_emb.inv_freq",
            Stray::RotaryBuffer,
        ),
        (
            "language_model.model.layers.61.eh_proj.weight",
            Stray::LayerPastTheLast,
        ),
        (
            "language_model.model.layers.60.eh_proj.weight",
            Stray::Unknown,
        ),
        ("model.layers.61.eh_proj.weight", Stray::Unknown),
        ("language_model.lm_head.weight", Stray::TiedHead),
        ("something.else", Stray::Unknown),
    ];
    for (name, stray) in cases {
        assert_eq!(names.stray(name), stray, "{name}");
    }
}
