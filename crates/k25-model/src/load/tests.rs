use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use half::bf16;
use tempfile::TempDir;

use super::*;
use crate::SafetensorsFile;
use crate::names::Stray;
use crate::tensor::DType;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

/// A tensor in memory, to be changed and written.
#[derive(Debug, Clone)]
struct Loose {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Loose {
    fn zeros(dtype: DType, shape: &[usize]) -> Self {
        let len = dtype.byte_len(shape).expect("a small tensor");
        Self {
            dtype,
            shape: shape.into(),
            bytes: vec![0; len],
        }
    }
}

type Tensors = BTreeMap<String, Loose>;

/// All tensors of a fixture.
fn tensors_of(name: &str) -> Tensors {
    let checkpoint = Checkpoint::open(fixture(name)).expect("opens");
    let loose = checkpoint.tensors().map(|located| {
        let tensor = located.tensor();
        let (dtype, shape, bytes) = (tensor.dtype(), tensor.shape().into(), tensor.bytes().into());
        (
            located.info.name.to_owned(),
            Loose {
                dtype,
                shape,
                bytes,
            },
        )
    });
    loose.collect()
}

/// A folder with these tensors in one file whose values begin `shift` bytes after an 8-byte border.
fn folder(config: &str, tensors: &Tensors, shift: usize) -> TempDir {
    let mut header = serde_json::Map::new();
    let mut values: Vec<u8> = Vec::new();
    for (name, tensor) in tensors {
        let begin = values.len();
        values.extend(&tensor.bytes);
        let entry = serde_json::json!({
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, values.len()],
        });
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    while header.len() % 8 != shift {
        header.push(' ');
    }
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(values);
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("model.safetensors"), file).expect("written");
    fs::write(dir.path().join("config.json"), config).expect("written");
    dir
}

fn config_of(name: &str) -> ModelConfig {
    ModelConfig::from_file(fixture(name).join("config.json")).expect("parses")
}

/// The fixture with some tensors changed.
fn changed(name: &str, change: impl FnOnce(&mut Tensors)) -> TempDir {
    let mut tensors = tensors_of(name);
    change(&mut tensors);
    folder(&config_of(name).to_checkpoint_json(), &tensors, 0)
}

fn refusal(dir: &TempDir) -> String {
    Model::open(dir.path()).expect_err("refused").to_string()
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

fn survey(dir: impl AsRef<Path>) -> Survey {
    let config = ModelConfig::from_file(dir.as_ref().join("config.json")).expect("parses");
    let checkpoint = Checkpoint::open(dir).expect("opens");
    let names = name_map(&config, &checkpoint);
    Survey::of(Finder::new(&checkpoint, &config), names).expect("reads")
}

fn expert(model: &Model, layer: usize, index: usize) -> &Mlp {
    match &model.text.layers[layer].feed_forward {
        FeedForward::Moe(moe) => &moe.experts[index],
        FeedForward::Dense(_) => panic!("layer {layer} is dense"),
    }
}

fn rows(linear: &Linear) -> Vec<f32> {
    let width = linear.in_features();
    let mut values = vec![0.0; linear.out_features() * width];
    for (row, into) in values.chunks_exact_mut(width).enumerate() {
        linear.row_to_f32(row, into);
    }
    values
}

const EXPERT: &str = "language_model.model.layers.1.mlp.experts.3.gate_proj.weight";

#[test]
fn every_tensor_of_the_fixtures_is_accounted_for() {
    let cases = [
        ("t1", true, "INT4 g32"),
        ("t2", true, "INT4 g32"),
        ("t3g", false, "INT4 g32"),
        ("t1_bf16", false, "BF16"),
    ];
    for (name, vision, storage) in cases {
        let survey = survey(fixture(name));
        assert!(
            survey.missing.is_empty() && survey.mismatches.is_empty(),
            "{name}: {survey:?}"
        );
        assert!(survey.strays.is_empty(), "{name}: {:?}", survey.strays);
        let counted: usize = survey.kinds.values().map(|kind| kind.tensors).sum();
        assert_eq!(counted, tensors_of(name).len(), "{name}");

        let model = Model::open(fixture(name)).expect("loads");
        assert_eq!(model.vision.is_some(), vision, "{name}");
        assert_eq!(
            model.text.layers.len(),
            model.config.text.num_hidden_layers,
            "{name}"
        );
        assert_eq!(expert(&model, 1, 0).gate.storage(), storage, "{name}");
        assert_eq!(model.text.embed.storage(), "BF16", "{name}");
    }
}

/// The reference's own unpacking, to the bit: an integer times a bf16 scale is exact in f32.
#[test]
fn packed_matrices_unpack_as_the_reference_does() {
    for name in ["t1", "t2", "t3g"] {
        let unit =
            SafetensorsFile::open(fixture(name).join("int4_unit.safetensors")).expect("opens");
        let tensor = |suffix: &str| {
            let found = unit
                .header()
                .tensors()
                .find(|tensor| tensor.name.ends_with(suffix));
            unit.tensor(
                found
                    .unwrap_or_else(|| panic!("no {suffix} in {name}"))
                    .name,
            )
            .expect("there")
        };
        let (packed, expected) = (tensor("packed"), tensor("dequant_f32"));
        let [out_features, in_features] = *expected.shape() else {
            panic!("not a matrix")
        };
        let linear = Linear::Int4(crate::linear::PackedInt4 {
            packed,
            scales: tensor("scale"),
            out_features,
            in_features,
        });
        assert_eq!(rows(&linear), expected.as_f32(), "{name}");
    }
}

#[test]
fn latent_norms_have_their_own_epsilon() {
    let model = Model::open(fixture("t1")).expect("loads");
    let layer = &model.text.layers[0];
    assert_eq!(layer.input_norm.eps, 1e-5);
    assert_eq!(model.text.norm.eps, 1e-5);
    assert_eq!(layer.attention.kv_a_norm.eps, 1e-6);
    match &layer.attention.query {
        QueryWeights::LowRank { norm, .. } => assert_eq!(norm.eps, 1e-6),
        QueryWeights::Direct(_) => panic!("t1 has a low-rank query"),
    }
}

#[test]
fn matrices_stay_in_the_file_unless_misaligned() {
    let expected = rows(&expert(&Model::open(fixture("t1")).expect("loads"), 1, 3).gate);
    let (config, tensors) = (config_of("t1").to_checkpoint_json(), tensors_of("t1"));
    for shift in [0, 1, 2, 5] {
        let dir = folder(&config, &tensors, shift);
        let misaligned = Checkpoint::open(dir.path())
            .expect("opens")
            .misaligned_bytes();
        assert_eq!(misaligned > 0, shift > 0);
        let model = Model::open(dir.path()).expect("loads");
        assert_eq!(rows(&expert(&model, 1, 3).gate), expected, "shift {shift}");
    }
}

#[test]
fn a_declared_shape_may_be_int64() {
    let dir = changed("t1", |tensors| {
        for (_, tensor) in tensors
            .iter_mut()
            .filter(|(name, _)| name.ends_with("weight_shape"))
        {
            let wide = tensor
                .bytes
                .chunks_exact(4)
                .flat_map(|word| [word, &[0; 4]].concat());
            (tensor.dtype, tensor.bytes) = (DType::I64, wide.collect());
        }
    });
    Model::open(dir.path()).expect("loads");
}

#[test]
fn a_wrong_declared_shape_is_named() {
    let dir = changed("t1", |tensors| {
        let declared = tensors.get_mut(&format!("{EXPERT}_shape")).expect("there");
        declared.bytes[0] += 1;
    });
    let expected = [
        "a tensor is not as config.json asks",
        "experts.3.gate_proj.weight_shape",
        "values [32, 64]",
        "values [33, 64]",
        "file     model.safetensors",
        "hint",
    ];
    assert_says(&refusal(&dir), &expected);
}

#[test]
fn wrong_types_and_shapes_are_named() {
    let q_a = "language_model.model.layers.2.self_attn.q_a_proj.weight";
    let norm = "language_model.model.layers.0.input_layernorm.weight";
    let cases: [(String, DType, Vec<usize>, &str); 9] = [
        (
            q_a.to_owned(),
            DType::BF16,
            vec![64, 48],
            "BF16 or F32 [48, 64]",
        ),
        (
            q_a.to_owned(),
            DType::F16,
            vec![48, 64],
            "BF16 or F32 [48, 64]",
        ),
        (
            q_a.to_owned(),
            DType::F8_E4M3,
            vec![48, 64],
            "BF16 or F32 [48, 64]",
        ),
        (
            norm.to_owned(),
            DType::BF16,
            vec![65],
            "BF16 or F32 or F16 [64]",
        ),
        (
            norm.to_owned(),
            DType::I32,
            vec![64],
            "BF16 or F32 or F16 [64]",
        ),
        (
            format!("{EXPERT}_packed"),
            DType::I64,
            vec![32, 8],
            "I32 [32, 8]",
        ),
        (
            format!("{EXPERT}_packed"),
            DType::I32,
            vec![8, 32],
            "I32 [32, 8]",
        ),
        (
            format!("{EXPERT}_scale"),
            DType::F32,
            vec![32, 2],
            "BF16 [32, 2]",
        ),
        (
            format!("{EXPERT}_shape"),
            DType::I32,
            vec![3],
            "I32 or I64 [2]",
        ),
    ];
    for (name, dtype, shape, expected) in cases {
        let dir = changed("t1", |tensors| {
            tensors
                .insert(name.clone(), Loose::zeros(dtype, &shape))
                .expect("was there");
        });
        let found = format!("found    {dtype} {shape:?}");
        let expected = format!("expected {expected}");
        assert_says(
            &refusal(&dir),
            &[&name, &expected, &found, "model.safetensors", "hint"],
        );
        assert!(survey(dir.path()).strays.is_empty());
    }
}

#[test]
fn missing_tensors_are_listed() {
    for name in [
        "language_model.model.embed_tokens.weight",
        "language_model.lm_head.weight",
        "language_model.model.norm.weight",
        "language_model.model.layers.1.mlp.gate.e_score_correction_bias",
        "language_model.model.layers.0.self_attn.kv_b_proj.weight",
        "language_model.model.layers.1.mlp.experts.3.gate_proj.weight_packed",
        "language_model.model.layers.1.mlp.experts.3.gate_proj.weight_scale",
        "language_model.model.layers.1.mlp.experts.3.gate_proj.weight_shape",
        "mm_projector.proj.2.bias",
        "vision_tower.patch_embed.pos_emb.weight",
    ] {
        let dir = changed("t1", |tensors| {
            tensors.remove(name).expect("was there");
        });
        assert_says(
            &refusal(&dir),
            &["a tensor is missing", &format!("missing  {name}\n"), "hint"],
        );
        assert!(survey(dir.path()).strays.is_empty(), "{name}");
    }
    let dir = changed("t1", |tensors| {
        tensors.retain(|name, _| !name.contains("layers.2."));
    });
    assert_says(
        &refusal(&dir),
        &[
            "tensors are missing",
            "layers.2.input_layernorm.weight",
            "more",
        ],
    );
}

#[test]
fn too_few_layers_in_the_configuration_are_noticed() {
    let mut config = config_of("t1");
    config.text.num_hidden_layers = 2;
    let dir = folder(&config.to_checkpoint_json(), &tensors_of("t1"), 0);
    assert_says(
        &refusal(&dir),
        &["more layers than the 2", "num_hidden_layers", "hint"],
    );
}

#[test]
fn prediction_layers_and_buffers_are_left_out() {
    let (mtp, buffer) = (
        "language_model.model.layers.3.",
        "language_model.model.layers.0.self_attn.rotary_emb.inv_freq",
    );
    let dir = changed("t1", |tensors| {
        for name in ["input_layernorm", "eh_proj", "enorm"] {
            tensors.insert(
                format!("{mtp}{name}.weight"),
                Loose::zeros(DType::BF16, &[64]),
            );
        }
        tensors.insert(buffer.to_owned(), Loose::zeros(DType::F32, &[4]));
        tensors.insert("odd".to_owned(), Loose::zeros(DType::F64, &[1]));
    });
    Model::open(dir.path()).expect("loads");
    let strays = survey(dir.path()).strays;
    assert_eq!(strays[&Stray::LayerPastTheLast].count, 3);
    assert_eq!(strays[&Stray::RotaryBuffer].first, [buffer]);
    assert_eq!(strays[&Stray::Unknown].first, ["odd"]);
}

#[test]
fn an_unreadable_quantisation_is_named_in_the_hint() {
    let mut json: serde_json::Value =
        serde_json::from_str(&config_of("t1").to_checkpoint_json()).expect("parses");
    json["text_config"]["quantization_config"] = serde_json::json!({"quant_method": "gptq"});
    let mut tensors = tensors_of("t1");
    tensors.retain(|name, _| !name.ends_with("weight_packed"));
    let dir = folder(&json.to_string(), &tensors, 0);
    assert_says(&refusal(&dir), &["weight_packed", "stored as gptq"]);
}

/// A text-only member: no prefix, queries in one step, a tied head, f32 matrices, bf16 bias.
#[test]
fn text_only_members_load() {
    let mut config = config_of("t1_bf16");
    (config.vision, config.text.q_lora_rank) = (None, None);
    config.text.tie_word_embeddings = true;
    config.model_type = "deepseek_v3".to_owned();
    let mut tensors = Tensors::new();
    for (name, tensor) in tensors_of("t1_bf16") {
        let name = name.replace("language_model.", "");
        if name.ends_with("q_a_proj.weight") {
            let (width, name) = (tensor.shape[1], name.replace("q_a_proj", "q_proj"));
            tensors.insert(name, Loose::zeros(DType::BF16, &[4 * 24, width]));
        } else if name.ends_with("e_score_correction_bias") {
            tensors.insert(name, Loose::zeros(DType::BF16, &tensor.shape));
        } else if name.contains(".experts.0.") {
            let halves = tensor
                .bytes
                .chunks_exact(2)
                .flat_map(|half| [&[0, 0], half].concat());
            let (dtype, shape) = (DType::F32, tensor.shape.clone());
            tensors.insert(
                name,
                Loose {
                    dtype,
                    shape,
                    bytes: halves.collect(),
                },
            );
        } else if !name.contains(".q_") && name != "lm_head.weight" {
            tensors.insert(name, tensor);
        }
    }
    let dir = folder(&config.to_checkpoint_json(), &tensors, 0);
    let model = Model::open(dir.path()).expect("loads");
    assert!(model.vision.is_none());
    assert!(matches!(
        model.text.layers[0].attention.query,
        QueryWeights::Direct(_)
    ));
    assert_eq!(rows(&model.text.lm_head), rows(&model.text.embed));
    assert_eq!(expert(&model, 1, 0).up.storage(), "F32");
    let original = Model::open(fixture("t1_bf16")).expect("loads");
    assert_eq!(
        rows(&expert(&model, 1, 0).up),
        rows(&expert(&original, 1, 0).up)
    );
    assert!(survey(dir.path()).strays.is_empty());
}

#[test]
fn values_are_those_of_the_file() {
    let model = Model::open(fixture("t1")).expect("loads");
    let tensors = tensors_of("t1");
    let stored = |name: &str| -> Vec<f32> {
        let halves = tensors[name].bytes.chunks_exact(2);
        halves
            .map(|half| bf16::from_le_bytes([half[0], half[1]]).to_f32())
            .collect()
    };
    assert_eq!(
        model.text.norm.weight,
        stored("language_model.model.norm.weight")
    );
    let vision = model.vision.as_ref().expect("there");
    assert_eq!(
        vision.blocks[1].fc1.bias,
        stored("vision_tower.encoder.blocks.1.mlp.fc1.bias")
    );
    assert_eq!(
        vision.positions.values,
        stored("vision_tower.patch_embed.pos_emb.weight")
    );
    let patch = &vision.patch_embed.weight;
    assert_eq!((patch.out_features(), patch.in_features()), (64, 588));
    assert_eq!(rows(patch), stored("vision_tower.patch_embed.proj.weight"));
}
