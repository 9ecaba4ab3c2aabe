//! A model larger than the memory it may take. One test, alone in its process: it measures it.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;

use k25_chat::Tokenizer;
use k25_local::{
    AnswerOptions, FastOptions, LocalError, LocalEvent, LocalModel, LocalOptions, SamplingParams,
};
use k25_model::synth::{Preset, SynthOptions, write};

const MIB: usize = 1 << 20;
/// Below what the experts alone take, 216 MiB.
const LIMIT: usize = 144 * MIB;
/// In the child that writes the model, the folder to write: the memory that writing takes is its own.
const WRITE: &str = "K25_TEST_WRITE_MODEL";

/// The most that was resident since [`forget_peak`].
fn peak_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse::<usize>().ok())
        .expect("kibibytes")
        * 1024
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("a process may forget its own peak");
}

fn options(tokenizer: &Path, memory_limit: Option<usize>) -> LocalOptions {
    LocalOptions {
        tokenizer: Some(tokenizer.to_owned()),
        context_tokens: Some(1024),
        fast: FastOptions {
            memory_limit,
            ..FastOptions::default()
        },
        ..LocalOptions::default()
    }
}

/// The text of a greedy answer, and the peak while it came.
fn answer(model: &LocalModel) -> (String, usize) {
    forget_peak();
    let prompt: String = (0..200).map(|number| format!("word {number} ")).collect();
    let prepared = model.prepare_raw(&prompt[..800]).expect("a good prompt");
    let sampling = SamplingParams {
        max_tokens: 24,
        ..SamplingParams::greedy()
    };
    let mut text = String::new();
    for event in model
        .answer(prepared, AnswerOptions::new(sampling))
        .expect("an engine")
    {
        if let LocalEvent::Delta(k25_chat::ParserEvent::ContentDelta(delta)) =
            event.expect("no error")
        {
            text.push_str(&delta);
        }
    }
    (text, peak_bytes())
}

#[test]
fn resident_memory_stays_below_the_limit_and_the_answer_is_the_same() {
    let synth = SynthOptions {
        preset: Preset::Small,
        seed: 1,
        sparse: false,
    };
    if let Some(dir) = std::env::var_os(WRITE) {
        write(Path::new(&dir), synth, &[], &mut |_| {}).expect("240 MB of room");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (weights, tokenizer) = (folder.path().join("model"), folder.path().join("tokenizer"));
    fs::create_dir(&tokenizer).expect("a folder");
    let made = Tokenizer::synthetic(1024).expect("a possible size");
    made.write(&tokenizer).expect("two files");
    let this_test = std::env::current_exe().expect("a path");
    let written = Command::new(this_test).env(WRITE, &weights).status();
    assert!(written.expect("a child").success());

    let limited = LocalModel::open(&weights, &options(&tokenizer, Some(LIMIT))).expect("it fits");
    let (text, peak) = answer(&limited);
    drop(limited);
    println!("limit {} MiB, peak {} MiB", LIMIT / MIB, peak / MIB);
    assert!(peak <= LIMIT, "peak {} MiB of {}", peak / MIB, LIMIT / MIB);

    let free = LocalModel::open(&weights, &options(&tokenizer, None)).expect("it opens");
    let (expected, peak) = answer(&free);
    println!("without a limit, peak {} MiB", peak / MIB);
    assert_eq!(text, expected);
    assert!(
        peak > LIMIT + LIMIT / 4,
        "the limit was felt: {} MiB",
        peak / MIB
    );
    drop(free);

    let refused = LocalModel::open(&weights, &options(&tokenizer, Some(20 * MIB)));
    let error = refused.err().expect("too little");
    assert!(matches!(error, LocalError::MemoryLimit { .. }), "{error}");
    assert!(error.to_string().contains("hint:"), "{error}");
    let huge = LocalOptions {
        context_tokens: Some(262_144),
        ..options(&tokenizer, Some(LIMIT))
    };
    let error = LocalModel::open(&weights, &huge).err().expect("too much");
    assert!(
        error.to_string().contains("262144 tokens") || error.to_string().contains("cache"),
        "{error}"
    );
}
