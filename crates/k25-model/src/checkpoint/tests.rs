use std::fs;

use tempfile::TempDir;

use super::*;
use crate::tensor::DType;

/// A safetensors file of U8 tensors with these names and sizes.
fn shard_bytes(tensors: &[(&str, usize)]) -> Vec<u8> {
    let mut begin = 0;
    let mut entries = Vec::new();
    for (name, size) in tensors {
        let end = begin + size;
        entries.push(format!(
            r#""{name}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{begin},{end}]}}"#
        ));
        begin = end;
    }
    let json = format!("{{{}}}", entries.join(","));
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend((0..begin).map(|i| i as u8));
    bytes
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).expect("written");
    }
    dir
}

fn index(tensors: &[(&str, &str)]) -> String {
    let entries: Vec<_> = tensors
        .iter()
        .map(|(t, s)| format!(r#""{t}": "{s}""#))
        .collect();
    format!(
        r#"{{"metadata": {{"total_size": 6}}, "weight_map": {{{}}}}}"#,
        entries.join(", ")
    )
}

const ONE: &str = "model-00001-of-000002.safetensors";
const TWO: &str = "model-00002-of-000002.safetensors";

/// Two shards with `a` (1 byte) and `c` (3 bytes), and `b` (2 bytes).
fn two_shards(index: &str) -> TempDir {
    folder(&[
        (ONE, &shard_bytes(&[("a", 1), ("c", 3)])),
        (TWO, &shard_bytes(&[("b", 2)])),
        (INDEX_FILE, index.as_bytes()),
    ])
}

fn message(dir: &TempDir) -> String {
    Checkpoint::open(dir.path())
        .expect_err("refused")
        .to_string()
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

#[test]
fn an_indexed_checkpoint_finds_its_tensors() {
    let dir = two_shards(&index(&[("a", ONE), ("b", TWO), ("c", ONE)]));
    let checkpoint = Checkpoint::open(dir.path()).expect("opens");
    let names: Vec<_> = checkpoint
        .tensors()
        .map(|located| located.info.name.to_owned())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(checkpoint.notes(), &Notes::default());
    let c = checkpoint.tensor("c").expect("there");
    assert_eq!(
        (c.dtype(), c.shape(), c.bytes()),
        (DType::U8, &[3][..], &[1, 2, 3][..])
    );
    assert_eq!(checkpoint.find("b").expect("there").file_name(), TWO);
    assert!(checkpoint.tensor("d").is_none());
    // A tensor keeps its file alive.
    drop(checkpoint);
    assert_eq!(c.as_u8(), [1, 2, 3]);
}

#[test]
fn shards_need_no_index() {
    let dir = two_shards("");
    fs::remove_file(dir.path().join(INDEX_FILE)).expect("removed");
    fs::write(
        dir.path().join("expected_text.safetensors"),
        b"something else",
    )
    .expect("written");
    assert_eq!(Checkpoint::open(dir.path()).expect("opens").len(), 3);

    fs::remove_file(dir.path().join(ONE)).expect("removed");
    assert_says(&message(&dir), &["1 of 2 shards are missing", ONE, "hint"]);

    fs::write(dir.path().join("other-00001-of-00001.safetensors"), b"").expect("written");
    assert_says(&message(&dir), &["several models"]);
}

#[test]
fn a_single_file_is_a_checkpoint() {
    let dir = folder(&[("model.safetensors", &shard_bytes(&[("a", 4)]))]);
    assert_eq!(Checkpoint::open(dir.path()).expect("opens").len(), 1);
}

#[test]
fn a_folder_without_a_model() {
    let dir = folder(&[("config.json", b"{}")]);
    assert_says(&message(&dir), &["no checkpoint in", "looked for", "hint"]);
    let error = Checkpoint::open(dir.path().join("config.json")).expect_err("refused");
    assert_says(&error.to_string(), &["not a file"]);
    let error = Checkpoint::open(dir.path().join("nowhere")).expect_err("refused");
    assert_says(&error.to_string(), &["cannot open", "nowhere", "hint"]);
}

#[test]
fn a_cut_shard_is_named_with_its_place() {
    let dir = two_shards(&index(&[("a", ONE), ("b", TWO), ("c", ONE)]));
    let whole = fs::read(dir.path().join(ONE)).expect("read");
    fs::write(dir.path().join(ONE), &whole[..whole.len() - 1]).expect("written");
    let found = message(&dir);
    let (len, short) = (whole.len(), whole.len() - 1);
    assert_eq!(
        found,
        format!(
            "shard 1 of 2 is cut short\n  file     {ONE}, {short} bytes of {len} bytes\n  tensor   c\n  \
             hint     the download stopped early: fetch this one file again (the other one is whole)"
        )
    );
    fs::write(dir.path().join(TWO), b"").expect("written");
    assert_says(
        &message(&dir),
        &[
            "shard 1 of 2 is cut short",
            "one other shard is damaged, too",
        ],
    );
}

#[test]
fn a_damaged_header_is_named_with_its_file() {
    let dir = two_shards(&index(&[("a", ONE), ("b", TWO), ("c", ONE)]));
    let mut bytes = fs::read(dir.path().join(TWO)).expect("read");
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(dir.path().join(TWO), &bytes).expect("written");
    assert_says(
        &message(&dir),
        &[
            "shard 2 of 2 claims a header of 18446744073709551615 bytes",
            TWO,
            "hint",
        ],
    );
}

#[test]
fn index_and_shards_must_agree() {
    let missing_shard = two_shards(&index(&[("a", ONE), ("b", TWO), ("c", "gone.safetensors")]));
    assert_says(
        &message(&missing_shard),
        &["1 of 3 shards are missing", "gone.safetensors", "hint"],
    );

    let missing_tensor = two_shards(&index(&[
        ("a", ONE),
        ("aa", ONE),
        ("b", TWO),
        ("c", ONE),
        ("d", TWO),
    ]));
    assert_says(
        &message(&missing_tensor),
        &[
            "2 of the index's 5 tensors",
            "aa (model-00001",
            "d (model-00002",
        ],
    );

    let wrong_shard = two_shards(&index(&[("a", ONE), ("b", ONE), ("c", ONE), ("x", TWO)]));
    assert_says(
        &message(&wrong_shard),
        &["another shard", "tensor   b", ONE, TWO],
    );

    let outside = two_shards(&index(&[("a", "../evil.safetensors")]));
    assert_says(
        &message(&outside),
        &["outside the folder", "../evil.safetensors", INDEX_FILE],
    );

    let damaged = two_shards("{\"weight_map\": {\"a\": ");
    assert_says(
        &message(&damaged),
        &["the index is not what it should be", INDEX_FILE, "EOF"],
    );
}

#[test]
fn a_tensor_has_one_place() {
    let dir = folder(&[
        (ONE, &shard_bytes(&[("a", 1), ("b", 1)])),
        (TWO, &shard_bytes(&[("b", 1)])),
        (INDEX_FILE, index(&[("a", ONE), ("b", TWO)]).as_bytes()),
    ]);
    assert_says(&message(&dir), &["in two shards", "tensor   b", ONE, TWO]);
}

#[test]
fn odd_but_harmless_things_are_noted() {
    let dir = two_shards(&index(&[("b", TWO), ("c", ONE)]).replace('6', "7"));
    let checkpoint = Checkpoint::open(dir.path()).expect("opens");
    assert_eq!(checkpoint.notes().not_in_index, ["a"]);
    assert_eq!(checkpoint.notes().total_size, Some((7, 6)));
}

#[test]
fn a_folder_in_place_of_a_shard_is_refused() {
    let dir = two_shards(&index(&[("a", ONE), ("b", TWO), ("c", ONE)]));
    fs::remove_file(dir.path().join(TWO)).expect("removed");
    fs::create_dir(dir.path().join(TWO)).expect("made");
    assert_says(&message(&dir), &["not a regular file", TWO]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_pipes_do_not_hang() {
    let dir = two_shards(&index(&[("a", ONE), ("b", TWO), ("c", ONE)]));
    let blob = dir.path().join("blob");
    fs::rename(dir.path().join(TWO), &blob).expect("moved");
    std::os::unix::fs::symlink(&blob, dir.path().join(TWO)).expect("linked");
    assert_eq!(Checkpoint::open(dir.path()).expect("opens").len(), 3);

    fs::remove_file(&blob).expect("removed");
    assert_says(&message(&dir), &["1 of 2 shards are missing", TWO]);

    let made = std::process::Command::new("mkfifo")
        .arg(&blob)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    assert_says(&message(&dir), &["not a regular file", TWO]);
}

#[test]
fn shard_names_read_back() {
    for name in [
        "model-00012-of-000064.safetensors",
        "a-b-7-of-9.safetensors",
    ] {
        let parsed = ShardName::parse(name).expect("parses");
        assert_eq!(parsed.with_number(parsed.number), name);
    }
    for name in [
        "model.safetensors",
        "m-1-of-2.bin",
        "m-+1-of-2.safetensors",
        "1-of-2.safetensors",
        "m-x-of-2.safetensors",
    ] {
        assert_eq!(ShardName::parse(name), None, "{name}");
    }
}

#[test]
fn the_fixtures_open() {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"));
    for (name, tensors) in [("t1", 222), ("t2", 524), ("t3g", 331), ("t1_bf16", 91)] {
        let checkpoint = Checkpoint::open(fixtures.join(name)).expect("opens");
        assert_eq!(checkpoint.len(), tensors, "{name}");
        assert_eq!(checkpoint.notes(), &Notes::default(), "{name}");
    }
    let expected =
        SafetensorsFile::open(fixtures.join("t1/expected_text.safetensors")).expect("opens");
    assert!(!expected.header().is_empty());
}
