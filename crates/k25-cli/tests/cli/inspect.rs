//! `k25 inspect`.

use std::fs;

use crate::command::{Folder, fixture, k25};

#[test]
fn a_sound_checkpoint() {
    let text = k25(["inspect", &fixture("t1")]).success();
    for part in [
        "3 layers, 8 experts (2 + 1)",
        "routed experts",
        "222 tensors in 3 files",
        "all shapes as expected",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let json = k25(["inspect", &fixture("t2"), "--json"]).json();
    assert_eq!(json["architecture"]["layers"], 4);
    assert_eq!(json["missing"]["count"], 0);
    assert!(json["parameters"]["active"].as_u64() < json["parameters"]["text"].as_u64());
}

#[test]
fn what_is_missing_is_listed_and_falls_short() {
    let folder = Folder::copy_of("t1");
    let config = fs::read_to_string(folder.path("config.json")).expect("a file");
    let config = config.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    folder.with("config.json", config);
    let run = k25(["inspect", &folder.arg("")]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stdout.contains("model.layers.3.") && run.stdout.contains("missing"),
        "{}",
        run.stdout
    );
}

#[test]
fn what_is_no_checkpoint_is_named() {
    k25(["inspect", "/no/such/folder"]).fails(&["/no/such/folder", "config.json"]);
    let folder = Folder::empty();
    k25(["inspect", &folder.arg("")]).fails(&["config.json"]);
    folder.with("config.json", "{\"model_type\": ");
    k25(["inspect", &folder.arg("")]).fails(&["config.json is not valid JSON"]);
    let file = folder.with("a file", "");
    k25(["inspect", &file]).fails(&["a file"]);
}

#[test]
fn damage_is_named_with_its_file() {
    const SHARD: &str = "model-00002-of-000003.safetensors";
    let folder = Folder::copy_of("t1");
    let whole = fs::read(folder.path(SHARD)).expect("a shard");

    folder.with(SHARD, &whole[..whole.len() - 100]);
    k25(["inspect", &folder.arg("")]).fails(&[
        "shard 2 of 3 is cut short",
        SHARD,
        "the other 2 are whole",
    ]);

    folder.with(SHARD, [&[0xFF; 8], &whole[8..]].concat());
    k25(["inspect", &folder.arg("")]).fails(&["shard 2 of 3 claims a header of", SHARD]);

    fs::remove_file(folder.path(SHARD)).expect("removed");
    k25(["inspect", &folder.arg("")]).fails(&["1 of 3 shards are missing", SHARD]);
}
