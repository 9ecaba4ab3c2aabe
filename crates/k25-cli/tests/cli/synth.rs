//! `k25 synth`, and what it writes.

use std::fs;

use crate::command::{Folder, k25};

#[test]
fn a_written_checkpoint_is_sound_and_answers() {
    let folder = Folder::empty();
    let dir = folder.arg("tiny");
    let said = k25(["synth", "tiny", &dir, "--seed", "5"]).success();
    assert!(
        said.contains("seed 5") && said.contains(&format!("k25 inspect {dir}")),
        "{said}"
    );
    assert!(
        k25(["inspect", &dir])
            .success()
            .contains("all shapes as expected")
    );

    let arguments = [
        "generate",
        &dir,
        "Hello",
        "--max-tokens",
        "4",
        "--temperature",
        "0",
        "--json",
    ];
    let reply = k25(arguments).json();
    assert_eq!(reply["usage"]["completion_tokens"], 4);

    // The same seed writes the same bytes, another seed others.
    let shard = "model-00001-of-000003.safetensors";
    let bytes = |name: &str, seed: &str| {
        k25(["synth", "tiny", &folder.arg(name), "--seed", seed]).success();
        fs::read(folder.path(name).join(shard)).expect("a shard")
    };
    let first = fs::read(folder.path("tiny").join(shard)).expect("a shard");
    assert!(bytes("same", "5") == first);
    assert!(bytes("other", "6") != first);
}

#[test]
fn nothing_is_overwritten() {
    let folder = Folder::empty();
    folder.with("thesis.txt", "years of work");
    k25(["synth", "tiny", &folder.arg("")]).fails(&["is not empty"]);
    assert_eq!(
        fs::read_dir(folder.path("")).expect("the folder").count(),
        1
    );
}

#[test]
fn the_real_shape_can_be_looked_at_on_a_small_disk() {
    let folder = Folder::empty();
    let dir = folder.arg("k25");
    k25(["synth", "kimi-k2.5", &dir, "--sparse"]).success();
    let json = k25(["inspect", &dir, "--json"]).json();
    assert_eq!(
        (json["family"].as_str(), json["tensors"].as_u64()),
        (Some("Kimi K2.5"), Some(208_550))
    );
    // Specification: 554.3 GB in the binary sense, 64 shards.
    let bytes = json["bytes"].as_u64().expect("a number");
    assert_eq!((bytes as f64 / (1u64 << 30) as f64 * 10.0).round(), 5543.0);
    assert_eq!(json["files"].as_array().map(Vec::len), Some(64));
}
