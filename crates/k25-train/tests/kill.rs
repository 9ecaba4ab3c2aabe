//! A run that is killed twenty times ends with the very bits of one that was not.
//!
//! That holds for a model from nothing, rounded to INT4 on the way, and for an adapter over its export. This program is parent and
//! child in one: with the argument `child` it trains and prints a line per step; without, it starts children and kills them
//! (SIGKILL on Unix) after a random number of lines.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use k25_chat::{SPECIAL_SLOTS, Tokenizer};
use k25_config::ModelConfig;
use k25_train::data::DataKind;
use k25_train::export::export;
use k25_train::random::Random;
use k25_train::run::{METRICS_FILE, Report, Run, trained};
use serde_json::Value;

const KILLS: usize = 20;

/// `quantize_from` of [`RUN`].
const QUANTIZED_FROM: u64 = 60;

const RUN: &str = r#"
[model]
config = "config.json"
tokenizer = "vocabulary"
seed = 7
[run]
steps = 130
batch_tokens = 96
passes = 2
context = 48
checkpoint_every = 3
evaluate_every = 20
quantize_from = 60
[schedule]
peak = 5e-3
warmup_steps = 10
decay_steps = 40
[optimizer]
qk_clip = 2.0
[[data]]
path = "a.jsonl"
weight = 2.0
[[data]]
path = "b.jsonl"
[[evaluation]]
name = "held out"
path = "b.jsonl"
tokens = 90
"#;

/// An adapter over what [`RUN`] made, experts among its targets.
const ADAPTER_RUN: &str = r#"
[model]
config = "base/config.json"
tokenizer = "vocabulary"
start_from = "base"
seed = 8
[run]
steps = 130
batch_tokens = 96
context = 48
checkpoint_every = 3
[schedule]
peak = 1e-2
warmup_steps = 10
[lora]
rank = 4
alpha = 8
targets = ["q_b_proj", "o_proj", "gate_proj", "down_proj"]
[[data]]
path = "a.jsonl"
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, config, out] = arguments.as_slice()
        && mode == "child"
    {
        return child(Path::new(config), Path::new(out));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    prepare(dir.path());
    let config = path("run.toml");
    let (whole, killed) = (path("whole"), path("killed"));
    train_and_kill(&config, &whole, &killed, 25);
    check_what_happened(&metrics(&whole));
    println!("test a_run_killed_{KILLS}_times_ends_with_the_same_bits ... ok");

    let (_, model) = trained(&whole).expect("a trained model");
    export(&model, Some(&path("vocabulary")), &path("base")).expect("an export");
    let config = path("adapter.toml");
    fs::write(&config, ADAPTER_RUN).expect("a file");
    train_and_kill(&config, &path("whole-adapter"), &path("killed-adapter"), 26);
    println!("test an_adapter_killed_{KILLS}_times_ends_with_the_same_bits ... ok");
}

/// Trains once without a stop and once with many, and compares metrics and weights.
fn train_and_kill(config: &Path, whole: &Path, killed: &Path, seed: u64) {
    child(config, whole);
    let mut random = Random::new(seed, 0);
    for _ in 0..KILLS {
        kill_after(config, killed, 4 + random.below(4));
    }
    let made = trained(killed).map(|_| fs::read_to_string(killed.join(METRICS_FILE)));
    assert!(made.is_ok(), "a killed run has a state");
    child(config, killed);
    let steps = metrics(whole);
    assert!(steps.len() >= 130, "{} lines", steps.len());
    assert_eq!(steps, metrics(killed));
    let bits = |dir: &Path| {
        let (_, model) = trained(dir).expect("a trained model");
        let values = model.params.values().iter();
        values.map(|value| value.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(whole), bits(killed));
}

/// Trains to the end on one thread, printing a line per step.
fn child(config: &Path, out: &Path) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a pool").install(|| {
        let mut run = Run::open(config, DataKind::Text, out).expect("a run opens");
        run.run(&mut |report| {
            if let Report::Step(metrics) = report {
                println!("step {}", metrics.step);
            }
            ControlFlow::Continue(())
        })
        .expect("a run goes on");
    });
}

fn kill_after(config: &Path, out: &Path, lines: usize) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .arg("child")
        .args([config, out])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child starts");
    let stdout = child.stdout.take().expect("piped");
    let seen = BufReader::new(stdout).lines().take(lines).count();
    assert_eq!(seen, lines, "the run is not at its end yet");
    child.kill().expect("the child is there");
    child.wait().expect("the child was there");
}

/// The run was rounded from its middle on, said what an export would lose before, and had heads to clip.
fn check_what_happened(lines: &[Value]) {
    let quantized = lines.iter().filter(|line| line["quantized"] == true);
    assert_eq!(quantized.count(), 70);
    for line in lines.iter().filter(|line| line["evaluation"].is_string()) {
        let step = line["step"].as_u64();
        let is_rounded = step.is_some_and(|step| step >= QUANTIZED_FROM);
        assert_eq!(line["loss"] == line["exported_loss"], is_rounded, "{line}");
    }
    let has_clipped = |line: &Value| {
        line["clipped_heads"]
            .as_u64()
            .is_some_and(|heads| heads > 0)
    };
    assert!(lines.iter().any(has_clipped), "QK-Clip had work");
}

/// All lines without the speed, which nobody repeats.
fn metrics(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join(METRICS_FILE)).expect("metrics");
    text.lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).expect("a line of JSON");
            value
                .as_object_mut()
                .expect("an object")
                .remove("tokens_per_second");
            value
        })
        .collect()
}

fn prepare(dir: &Path) {
    let tokenizer = Tokenizer::synthetic(300).expect("a tokenizer");
    let vocabulary = dir.join("vocabulary");
    fs::create_dir(&vocabulary).expect("a folder");
    tokenizer.write(&vocabulary).expect("a vocabulary");
    fs::write(
        dir.join("config.json"),
        config(tokenizer.vocab_size()).to_checkpoint_json(),
    )
    .expect("a file");
    fs::write(dir.join("run.toml"), RUN).expect("a file");
    let mut random = Random::new(1, 0);
    for name in ["a.jsonl", "b.jsonl"] {
        let lines: Vec<String> = (0..9)
            .map(|index| {
                let words: Vec<String> = (0..20 + 5 * index)
                    .map(|_| random.below(100).to_string())
                    .collect();
                serde_json::json!({ "text": words.join(" ") }).to_string()
            })
            .collect();
        fs::write(dir.join(name), lines.join("\n")).expect("a file");
    }
}

fn config(vocab_size: u32) -> ModelConfig {
    let mut config = ModelConfig::kimi_k25();
    config.vision = None;
    let specials = vocab_size - SPECIAL_SLOTS;
    config.bos_token_id = Some(specials);
    config.eos_token_ids = vec![specials + 1];
    config.media_placeholder_token_id = Some(specials + 21);
    config.pad_token_id = Some(specials + 255);
    let text = &mut config.text;
    (
        text.hidden_size,
        text.num_hidden_layers,
        text.intermediate_size,
    ) = (32, 2, 48);
    (
        text.moe_intermediate_size,
        text.n_routed_experts,
        text.num_experts_per_tok,
    ) = (32, 4, 2);
    (
        text.num_attention_heads,
        text.q_lora_rank,
        text.kv_lora_rank,
    ) = (2, Some(24), 16);
    (
        text.qk_nope_head_dim,
        text.qk_rope_head_dim,
        text.v_head_dim,
    ) = (12, 8, 10);
    text.vocab_size = vocab_size as usize;
    config
}
