use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

#[test]
fn a_sound_fixture() {
    let found = Inspection::of(fixture("t1")).expect("opens");
    assert!(
        found.is_sound() && found.unexpected.is_empty() && found.notes.is_empty(),
        "{found:#?}"
    );
    assert_eq!(
        (found.tensors, found.files.len(), found.bytes),
        (222, 3, 1_465_504)
    );
    let kinds: Vec<_> = found.kinds.iter().map(|kind| kind.kind).collect();
    assert_eq!(kinds, Kind::ALL);
    assert_eq!(
        found.kinds.iter().map(|kind| kind.tensors).sum::<usize>(),
        found.tensors
    );
    assert_eq!(
        found.kinds.iter().map(|kind| kind.bytes).sum::<u64>(),
        found.bytes
    );
    let parameters = found.kinds.iter().map(|kind| kind.parameters).sum::<u64>();
    assert_eq!(parameters, found.parameters.text + found.parameters.vision);
    // 2 layers × 8 experts × 3 matrices of 32 × 64, three tensors each, 4.5 bits a value and a shape.
    let experts = &found.kinds[0];
    assert_eq!((experts.tensors, experts.parameters), (144, 48 * 2048));
    assert_eq!(experts.bytes, 48 * (2048 / 2 + 2048 / 32 * 2 + 8));
    assert_eq!(experts.storage, ["INT4 g32"]);
    let router = found
        .kinds
        .iter()
        .find(|kind| kind.kind == Kind::Router)
        .expect("there");
    assert_eq!(router.storage, ["BF16", "F32"]);

    let text = found.to_string();
    for part in [
        "Kimi K2.5 architecture · ",
        "3 layers, 8 experts (2 + 1) · MLA 32+8 · 256K context · vision 2 layers",
        "222 tensors in 3 files, 1.5 MB, all shapes as expected",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let json = serde_json::to_value(&found).expect("serialises");
    assert_eq!(json["kinds"][0]["kind"], "routed experts");
    assert_eq!(json["missing"]["count"], 0);
}

#[test]
fn a_text_only_fixture_of_a_multimodal_configuration() {
    let found = Inspection::of(fixture("t1_bf16")).expect("opens");
    assert!(found.is_sound());
    assert_eq!(
        (found.parameters.vision, found.architecture.vision_layers),
        (0, None)
    );
    assert_eq!(
        found.notes,
        ["config.json describes a vision tower, the files hold none: text only"]
    );
}

#[test]
fn faults_are_told_and_do_not_end_the_inspection() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(fixture("t1")).expect("lists") {
        let entry = entry.expect("lists");
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copies");
    }
    let path = dir.path().join("config.json");
    let mut config = ModelConfig::from_file(&path).expect("parses");
    (config.text.num_hidden_layers, config.text.intermediate_size) = (4, 128);
    std::fs::write(&path, config.to_checkpoint_json()).expect("written");
    let found = Inspection::of(dir.path()).expect("opens");
    assert!(!found.is_sound());
    assert_eq!((found.wrong.count, found.unexpected.count), (3, 0));
    assert!(
        found
            .missing
            .first
            .contains(&"language_model.model.layers.3.input_layernorm.weight".to_owned())
    );
    let text = found.to_string();
    for part in [
        "missing ",
        "more",
        "wrong      language_model.model.layers.0.mlp",
        "expected BF16 or F32 [128, 64], found BF16 [160, 64] (model-0000",
        "hint",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }

    (config.text.num_hidden_layers, config.text.intermediate_size) = (2, 160);
    std::fs::write(&path, config.to_checkpoint_json()).expect("written");
    let found = Inspection::of(dir.path()).expect("opens");
    assert!(!found.is_sound());
    assert_eq!(
        found.faults,
        ["there are more layers than the 2 of config.json"]
    );
}
