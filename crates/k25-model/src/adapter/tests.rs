//! Adapters that are as they should be, and those that are not.

use std::fs;

use serde_json::{Map, json};

use super::*;

/// A folder with an adapter of these tensors (name, shape), whose values are their number divided by 64.
fn adapter(settings: &Value, tensors: &[(&str, [usize; 2])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join(CONFIG_FILE), settings.to_string()).expect("a file");
    let (mut fields, mut values) = (Map::new(), Vec::new());
    for (name, shape) in tensors {
        let (begin, count) = (values.len(), shape.iter().product::<usize>());
        for number in 0..count {
            values.extend((number as f32 / 64.0).to_le_bytes());
        }
        let field =
            json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, values.len()] });
        fields.insert((*name).to_owned(), field);
    }
    let header = Value::Object(fields).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    fs::write(dir.path().join(WEIGHTS_FILE), bytes).expect("a file");
    dir
}

fn settings() -> Value {
    json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 6, "base_model_name_or_path": "org/base" })
}

fn model() -> Model {
    let dir = format!("{}/../../fixtures/t1", env!("CARGO_MANIFEST_DIR"));
    Model::open(dir).expect("a fixture opens")
}

const MODULE: &str = "language_model.model.layers.0.self_attn.kv_a_proj_with_mqa";

/// Names and shapes of a sound adapter for [`MODULE`] of `model`.
fn sound(model: &Model) -> [(String, [usize; 2]); 2] {
    let matrix = &model.text.layers[0].attention.kv_a;
    [
        (
            format!("{PREFIX}{MODULE}.lora_A.weight"),
            [2, matrix.in_features()],
        ),
        (
            format!("{PREFIX}{MODULE}.lora_B.weight"),
            [matrix.out_features(), 2],
        ),
    ]
}

fn borrowed(tensors: &[(String, [usize; 2])]) -> Vec<(&str, [usize; 2])> {
    tensors
        .iter()
        .map(|(name, shape)| (name.as_str(), *shape))
        .collect()
}

/// Rows are those of `W + alpha / r · B · A`, or alpha / √r with rank-stabilised scaling; the stored matrix is untouched, and a second
/// adapter replaces the first.
#[test]
fn an_adapter_adds_its_product() {
    let mut model = model();
    let tensors = sound(&model);
    let width = tensors[0].1[1];
    let mut stored = vec![0.0; width];
    model.text.layers[0]
        .attention
        .kv_a
        .row_to_f32(3, &mut stored);
    for (is_stabilised, scale) in [(false, 3.0), (true, 6.0 / 2.0_f32.sqrt())] {
        let mut settings = settings();
        settings["use_rslora"] = is_stabilised.into();
        let dir = adapter(&settings, &borrowed(&tensors));
        let adapter = LoraAdapter::open(dir.path()).expect("a sound adapter");
        assert_eq!((adapter.len(), adapter.is_empty()), (1, false));
        model.adapt(&adapter).expect("it fits");
        let matrix = &model.text.layers[0].attention.kv_a;
        assert_eq!(adapter.byte_len(), 8 * (width + matrix.out_features()));
        let mut row = vec![0.0; width];
        matrix.row_to_f32(3, &mut row);
        for (j, (value, stored)) in row.iter().zip(&stored).enumerate() {
            // Row 3 of B holds its values 6 and 7; the rows of A begin with 0 and `width`.
            let product = 6.0 * j as f32 + 7.0 * (width + j) as f32;
            let expected = stored + scale * product / (64.0 * 64.0);
            assert!(
                (value - expected).abs() <= 1e-5 * expected.abs().max(1.0),
                "{j}"
            );
        }
        matrix.stored().row_to_f32(3, &mut row);
        assert_eq!(row, stored);
    }
}

#[test]
fn what_is_not_computed_is_refused() {
    let model = model();
    let tensors = sound(&model);
    let cases = [
        ("peft_type", json!("IA3"), "peft_type"),
        ("use_dora", json!(true), "use_dora"),
        ("fan_in_fan_out", json!(true), "fan_in_fan_out"),
        ("bias", json!("all"), "bias"),
        ("alpha_pattern", json!({ "o_proj": 4 }), "alpha_pattern"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save"),
        ("lora_alpha", json!("much"), "cannot be read"),
        ("lora_alpha", json!(1e39), "lora_alpha"),
    ];
    for (field, value, expected) in cases {
        let mut settings = settings();
        settings[field] = value;
        let dir = adapter(&settings, &borrowed(&tensors));
        let message = LoraAdapter::open(dir.path()).expect_err(field).to_string();
        assert!(
            message.contains(expected) && message.contains("hint"),
            "{message}"
        );
    }
    let mut whole = settings();
    for (field, value) in [
        ("bias", json!("none")),
        ("alpha_pattern", json!({})),
        ("modules_to_save", json!(null)),
        ("target_modules", json!("all-linear")),
    ] {
        whole[field] = value;
    }
    let dir = adapter(&whole, &borrowed(&tensors));
    LoraAdapter::open(dir.path()).expect("settings as PEFT writes them");
}

#[test]
fn damaged_files_are_named() {
    let model = model();
    let [a, b] = sound(&model);
    let (a, b) = ((a.0.as_str(), a.1), (b.0.as_str(), b.1));
    let embedding = "base_model.model.model.embed_tokens.lora_embedding_A";
    let cases = [
        (vec![a], "half of an adapter is missing"),
        (vec![b], "half of an adapter is missing"),
        (vec![a, (b.0, [b.1[0], 3])], "ranks 2 and 3"),
        (
            vec![(a.0, [0, a.1[1]]), (b.0, [b.1[0], 0])],
            "ranks 0 and 0",
        ),
        (vec![a, b, (embedding, [2, 2])], "no half"),
    ];
    for (tensors, expected) in cases {
        let dir = adapter(&settings(), &tensors);
        let message = LoraAdapter::open(dir.path())
            .expect_err("a fault")
            .to_string();
        assert!(
            message.contains(expected) && message.contains("hint"),
            "{message}"
        );
    }
    let dir = adapter(&settings(), &[a, b]);
    fs::write(dir.path().join(WEIGHTS_FILE), b"cut").expect("a file");
    assert!(LoraAdapter::open(dir.path()).is_err());
    fs::write(dir.path().join(CONFIG_FILE), vec![b' '; 2 << 20]).expect("a file");
    let message = LoraAdapter::open(dir.path())
        .expect_err("too long")
        .to_string();
    assert!(message.contains("1 MiB"), "{message}");
    let message = LoraAdapter::open("/nowhere")
        .expect_err("nothing")
        .to_string();
    assert!(message.contains("adapter_config.json"), "{message}");
}

#[test]
fn an_adapter_of_another_model_leaves_this_one_as_it_was() {
    let mut model = model();
    let [a, b] = sound(&model);
    let (a, b) = ((a.0.as_str(), a.1), (b.0.as_str(), b.1));
    let wider = [(a.0, [2, a.1[1] + 32]), b];
    let other = a.0.replace("layers.0", "layers.99");
    let other_b = other.replace("lora_A", "lora_B");
    let far = [(other.as_str(), a.1), (other_b.as_str(), b.1)];
    for (tensors, expected) in [(wider, "the model's is"), (far, "org/base")] {
        let dir = adapter(&settings(), &tensors);
        let adapter = LoraAdapter::open(dir.path()).expect("sound by itself");
        let message = model
            .adapt(&adapter)
            .expect_err("another model")
            .to_string();
        assert!(
            message.contains(expected) && message.contains("hint"),
            "{message}"
        );
        assert!(model.text.layers[0].attention.kv_a.adapter().is_none());
    }
}
