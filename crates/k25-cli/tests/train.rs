//! `k25 tokenizer train`, `k25 train …` and what comes of them, as people run them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const RUN: &str = r#"
[model]
config = "shape/config.json"
tokenizer = "vocabulary"
[run]
steps = 12
batch_tokens = 256
context = 128
checkpoint_every = 5
quantize_from = 6
[schedule]
peak = 1e-2
[[data]]
path = "DATA"
[[evaluation]]
name = "again"
path = "DATA"
tokens = 200
"#;

fn k25(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_k25"))
        .current_dir(dir)
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = k25(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

fn prepare(dir: &Path) {
    let texts: Vec<String> = (0..40)
        .map(|i| serde_json::json!({ "text": format!("the value of key {i} is {} and that is all", i * 7) }).to_string())
        .collect();
    fs::write(dir.join("text.jsonl"), texts.join("\n")).expect("a file");
    let talks: Vec<String> = (0..20)
        .map(|i| {
            serde_json::json!({ "messages": [
                { "role": "user", "content": format!("what is the value of key {i}?") },
                { "role": "assistant", "content": format!("the value is {}", i * 7) },
            ] })
            .to_string()
        })
        .collect();
    fs::write(dir.join("talks.jsonl"), talks.join("\n")).expect("a file");
    for (file, data) in [("base.toml", "text.jsonl"), ("sft.toml", "talks.jsonl")] {
        fs::write(dir.join(file), RUN.replace("DATA", data)).expect("a file");
    }
}

#[test]
fn a_model_is_trained_exported_and_answers() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    prepare(dir);
    succeeds(dir, &["synth", "tiny", "shape"]);
    let made = succeeds(
        dir,
        &[
            "tokenizer",
            "train",
            "--out",
            "vocabulary",
            "--vocab-size",
            "640",
            "text.jsonl",
            "talks.jsonl",
            "--json",
        ],
    );
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert!(
        made["vocab_size"]
            .as_u64()
            .is_some_and(|size| (512..=640).contains(&size)),
        "{made}"
    );

    let lines = succeeds(
        dir,
        &[
            "train",
            "pretrain",
            "base.toml",
            "--out",
            "base",
            "--threads",
            "1",
            "--json",
        ],
    );
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 13, "12 steps and an evaluation");
    let loss = |line: &Value| line["loss"].as_f64().expect("a loss");
    assert!(loss(&lines[11]) < loss(&lines[0]), "it learns");
    assert!(
        fs::read_to_string(dir.join("base/curves.svg"))
            .expect("curves")
            .contains("polyline")
    );

    fs::write(
        dir.join("sft.toml"),
        RUN.replace("DATA", "talks.jsonl")
            .replace("[run]", "continue_run = \"base\"\n[run]"),
    )
    .expect("a file");
    let text = succeeds(dir, &["train", "sft", "sft.toml", "--out", "sft"]);
    assert!(
        text.contains("12 of 12 steps") && text.contains("k25 train export sft"),
        "{text}"
    );
    let exported = succeeds(dir, &["train", "export", "sft", "model"]);
    assert!(exported.contains("k25 generate model"), "{exported}");
    let inspected = succeeds(dir, &["inspect", "model"]);
    assert!(inspected.contains("INT4"), "{inspected}");
    let answer = succeeds(
        dir,
        &[
            "generate",
            "model",
            "--instant",
            "--max-tokens",
            "8",
            "--temperature",
            "0",
            "--json",
            "what is the value of key 3?",
        ],
    );
    assert!(serde_json::from_str::<Value>(&answer).is_ok(), "{answer}");
    adapters_are_trained_exported_and_computed(dir);
}

/// On top of the folder's exported model.
fn adapters_are_trained_exported_and_computed(dir: &Path) {
    let lora = RUN
        .replace("DATA", "talks.jsonl")
        .replace("shape/config.json", "model/config.json")
        .replace("quantize_from = 6\n", "")
        .replace("[run]", "start_from = \"model\"\n[lora]\nrank = 4\n[run]");
    fs::write(dir.join("lora.toml"), lora).expect("a file");
    let text = succeeds(dir, &["train", "sft", "lora.toml", "--out", "lora"]);
    assert!(text.contains("parameters in adapters over"), "{text}");
    let exported = succeeds(dir, &["train", "export", "lora", "adapter"]);
    assert!(exported.contains("--adapter adapter"), "{exported}");
    let merged = succeeds(
        dir,
        &["train", "export", "lora", "merged", "--merge", "--json"],
    );
    let merged: Value = serde_json::from_str(&merged).expect("JSON");
    assert!(merged["merged_matrices"].as_u64() > Some(0), "{merged}");
    assert_eq!(merged["requantized_matrices"], 0, "attention is bf16");
    let question = [
        "--instant",
        "--max-tokens",
        "8",
        "--temperature",
        "0",
        "--json",
        "what is the value of key 3?",
    ];
    for model in [
        ["generate", "merged"].as_slice(),
        &["generate", "model", "--adapter", "adapter"],
    ] {
        let answer = succeeds(dir, &[model, &question].concat());
        assert!(serde_json::from_str::<Value>(&answer).is_ok(), "{answer}");
    }
    let plain = k25(dir, &["train", "export", "sft", "plain", "--merge"]);
    assert!(String::from_utf8_lossy(&plain.stderr).contains("[lora]"));
    let missing = k25(dir, &["generate", "model", "--adapter", "nowhere", "hello"]);
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(
        !missing.status.success() && stderr.contains("adapter_config.json"),
        "{stderr}"
    );
}

#[test]
fn lessons_are_conversations_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    succeeds(
        dir,
        &["train", "lessons", "a.jsonl", "--count", "50", "--held-out"],
    );
    let text = fs::read_to_string(dir.join("a.jsonl")).expect("lessons");
    assert_eq!(text.lines().count(), 50);
    assert!(text.lines().all(|line| line.contains("\"assistant\"")));
    assert_eq!(
        k25(dir, &["train", "lessons", "a.jsonl"]).status.code(),
        Some(1)
    );
}

#[test]
fn faults_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    prepare(dir);
    let cases = [
        (
            ["train", "pretrain", "none.toml", "--out", "run"].as_slice(),
            "none.toml",
        ),
        (
            &["train", "pretrain", "base.toml", "--out", "run"],
            "vocabulary",
        ),
        (&["train", "export", "nowhere", "model"], "nowhere"),
    ];
    for (arguments, expected) in cases {
        let output = k25(dir, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

/// A folder of another recipe is left as it is.
#[test]
fn a_recipe_does_not_go_on_with_the_runs_of_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let shape = dir.path().join("out/config.json");
    fs::create_dir_all(dir.path().join("out")).expect("a folder");
    fs::write(&shape, "{}").expect("a file");
    let output = k25(dir.path(), &["train", "reproduce", "nano", "--out", "out"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("belongs to another recipe of nano"),
        "{stderr}"
    );
    assert!(stderr.contains("give a new folder"), "{stderr}");
    assert_eq!(fs::read_to_string(&shape).expect("the file"), "{}");
}

/// The recipe from nothing to a model, with a step or two of each phase; called again, nothing is made again.
#[test]
fn a_recipe_makes_a_model_from_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let arguments = [
        "train",
        "reproduce",
        "nano",
        "--out",
        "out",
        "--share",
        "0.001",
    ];
    let first = succeeds(dir.path(), &arguments);
    assert!(first.contains("training long"), "{first}");
    let weights = dir
        .path()
        .join("out/model/model-00001-of-000001.safetensors");
    let written = fs::metadata(&weights).expect("weights").modified();
    succeeds(dir.path(), &arguments);
    let again = fs::metadata(&weights).expect("weights").modified();
    assert_eq!(written.expect("a time"), again.expect("a time"));
    // It is read and run; what it says after a step or two may well be nothing.
    succeeds(
        dir.path(),
        &["generate", "out/model", "Hello", "--max-tokens", "4"],
    );
}

#[test]
fn a_share_of_nothing_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    for share in ["0", "1.5", "-1", "NaN", "half"] {
        let share = format!("--share={share}");
        let output = k25(
            dir.path(),
            &["train", "reproduce", "nano", "--out", "out", &share],
        );
        assert_eq!(output.status.code(), Some(2), "{share}");
    }
}
