//! A run that is killed twenty times ends with the very bits of one that was not.
//!
//! This program is parent and child in one: with the argument `child` it trains and prints a line per step; without, it starts
//! children and kills them (SIGKILL on Unix) after a random number of lines.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use k25_chat::{SPECIAL_SLOTS, Tokenizer};
use k25_config::ModelConfig;
use k25_train::data::DataKind;
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

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, base, out] = arguments.as_slice()
        && mode == "child"
    {
        return child(Path::new(base), Path::new(out));
    }
    let dir = tempfile::tempdir().expect("a folder");
    prepare(dir.path());
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    child(dir.path(), &whole);
    let mut random = Random::new(25, 0);
    for _ in 0..KILLS {
        kill_after(dir.path(), &killed, 4 + random.below(4));
    }
    let made = trained(&killed).map(|_| fs::read_to_string(killed.join(METRICS_FILE)));
    assert!(made.is_ok(), "a killed run has a state");
    child(dir.path(), &killed);
    compare(&whole, &killed);
    println!("test a_run_killed_{KILLS}_times_ends_with_the_same_bits ... ok");
}

/// Trains to the end on one thread, printing a line per step.
fn child(base: &Path, out: &Path) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a pool").install(|| {
        let mut run = Run::open(&base.join("run.toml"), DataKind::Text, out).expect("a run opens");
        run.run(&mut |report| {
            if let Report::Step(metrics) = report {
                println!("step {}", metrics.step);
            }
            ControlFlow::Continue(())
        })
        .expect("a run goes on");
    });
}

fn kill_after(base: &Path, out: &Path, lines: usize) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .arg("child")
        .args([base, out])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child starts");
    let stdout = child.stdout.take().expect("piped");
    let seen = BufReader::new(stdout).lines().take(lines).count();
    assert_eq!(seen, lines, "the run is not at its end yet");
    child.kill().expect("the child is there");
    child.wait().expect("the child was there");
}

fn compare(whole: &Path, killed: &Path) {
    let (whole_metrics, killed_metrics) = (metrics(whole), metrics(killed));
    assert!(whole_metrics.len() >= 130, "{} lines", whole_metrics.len());
    assert_eq!(whole_metrics, killed_metrics);
    let quantized = whole_metrics
        .iter()
        .filter(|line| line["quantized"] == true)
        .count();
    assert_eq!(quantized, 70);
    for line in whole_metrics
        .iter()
        .filter(|line| line["evaluation"].is_string())
    {
        let is_rounded = line["step"]
            .as_u64()
            .is_some_and(|step| step >= QUANTIZED_FROM);
        assert_eq!(line["loss"] == line["exported_loss"], is_rounded, "{line}");
    }
    let clipped = |line: &&Value| {
        line["clipped_heads"]
            .as_u64()
            .is_some_and(|heads| heads > 0)
    };
    assert!(
        whole_metrics.iter().any(|line| clipped(&line)),
        "QK-Clip had work"
    );
    let [(_, whole), (_, killed)] =
        [whole, killed].map(|dir| trained(dir).expect("a trained model"));
    let bits = |values: &[f32]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(whole.params.values()), bits(killed.params.values()));
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
