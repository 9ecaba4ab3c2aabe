//! The repository's fixtures hold, and a wrong value is found.

use std::fs;
use std::path::{Path, PathBuf};

use k25_verify::{Outcome, Report, verify};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn shortfalls(report: &Report) -> Vec<String> {
    let short = report
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::Short(_)));
    short
        .map(|check| format!("{} {}: {:?}", check.part, check.item, check.outcome))
        .collect()
}

#[test]
fn every_expectation_of_the_fixtures_holds() {
    let report = verify(&fixtures(), &mut |_| ()).unwrap();
    assert_eq!(shortfalls(&report), Vec::<String>::new());
    assert!(report.passed());
    // What cannot be checked is known by name: one model's unquantised twin is not in the fixtures.
    let not_checked: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::NotChecked(_)))
        .map(|check| check.item.as_str())
        .collect();
    assert_eq!(not_checked, ["bf16_unquantized.p40.logits"]);
    let values: usize = report.checks.iter().map(|check| check.compared).sum();
    assert!(values > 1_000_000, "{values} values compared");
}

#[test]
fn a_single_model_folder_finds_its_media_beside_it() {
    let report = verify(&fixtures().join("t1"), &mut |_| ()).unwrap();
    assert_eq!(shortfalls(&report), Vec::<String>::new());
    assert!(report.checks.iter().all(|check| check.part == "t1"));
    assert!(
        report
            .checks
            .iter()
            .any(|check| check.item.starts_with("mm."))
    );
}

/// Copies a model folder and the tokenizer under other names, then changes one byte of the weights.
#[test]
fn a_changed_weight_falls_short() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("another name");
    fs::create_dir(&model).unwrap();
    for entry in fs::read_dir(fixtures().join("t3g")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let intact = verify(root.path(), &mut |_| ()).unwrap();
    assert_eq!(shortfalls(&intact), Vec::<String>::new());

    let shard = model.join("model-00001-of-000003.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    // Bytes near the end are weights of the last tensors of this shard.
    let at = bytes.len() - 1_001;
    bytes[at] ^= 0x40;
    fs::write(&shard, bytes).unwrap();
    let changed = verify(root.path(), &mut |_| ()).unwrap();
    assert!(!changed.passed());
}

#[test]
fn a_folder_without_expectations_is_an_error_with_a_hint() {
    let root = tempfile::tempdir().unwrap();
    let error = verify(root.path(), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("hint"), "{error}");
}
