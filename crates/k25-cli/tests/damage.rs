//! Every damage of the test kit, through the real program: an error that names the thing and what
//! to do, no panic, bounded memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use k25_testkit::damage::{self, Damage};
use k25_testkit::{fixtures, media, write_sound_checkpoint};

/// Address space that a run may take, in KiB: far above what the small model needs, far below what
/// any lying size asks for.
const ADDRESS_SPACE_KIB: u32 = 6 << 20;

/// Runs `k25` within the memory limit.
fn k25(arguments: &[&str]) -> Output {
    let limited = format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_k25")])
        .args(arguments)
        .env("TERM", "dumb")
        .output()
        .unwrap()
}

/// What is wrong with how a run ended, if anything.
fn complaint(output: &Output, named: &[String]) -> Option<String> {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let missing: Vec<&String> = named.iter().filter(|word| !text.contains(*word)).collect();
    let fault = match output.status.code() {
        _ if text.contains("panicked") => "panicked".to_owned(),
        Some(1) if missing.is_empty() => return None,
        Some(1) => format!("does not say {missing:?}"),
        Some(code) => format!("exit code {code}"),
        None => format!("ended by a signal: {}", output.status),
    };
    Some(format!("{fault}:\n{}", text.trim_end()))
}

/// Does each damage to a fresh checkpoint and runs `k25 COMMAND FOLDER REST…`.
#[track_caller]
fn each_is_named(damages: &[Damage], command: &str, rest: &[&str]) {
    let mut complaints = Vec::new();
    for damage in damages {
        let folder = tempfile::tempdir().unwrap();
        write_sound_checkpoint(folder.path()).unwrap();
        damage.apply(folder.path()).unwrap();
        let arguments = [&[command, folder.path().to_str().unwrap()], rest].concat();
        if let Some(complaint) = complaint(&k25(&arguments), &damage.named) {
            complaints.push(format!("{command}, {}: {complaint}", damage.what));
        }
    }
    assert!(
        damages.len() > 5 && complaints.is_empty(),
        "{}",
        complaints.join("\n\n")
    );
}

const GENERATE: &[&str] = &["Hello", "--instant", "--max-tokens", "1"];

#[test]
fn a_sound_checkpoint_passes() {
    let folder = tempfile::tempdir().unwrap();
    write_sound_checkpoint(folder.path()).unwrap();
    let dir = folder.path().to_str().unwrap();
    for arguments in [
        [&["generate", dir], GENERATE].concat(),
        vec!["inspect", dir],
    ] {
        let output = k25(&arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn damaged_configurations() {
    each_is_named(&damage::of_config(), "generate", GENERATE);
    each_is_named(&damage::of_config(), "inspect", &[]);
}

#[test]
fn damaged_shards() {
    each_is_named(&damage::of_shards(), "generate", GENERATE);
    each_is_named(&damage::of_shards(), "inspect", &[]);
}

#[test]
fn damaged_tokenizers() {
    each_is_named(&damage::of_tokenizer(), "generate", GENERATE);
    each_is_named(&damage::of_tokenizer(), "tokenize", &["Hello"]);
}

#[test]
fn broken_pictures_and_films() {
    let folder = tempfile::tempdir().unwrap();
    write_sound_checkpoint(folder.path()).unwrap();
    let sound = fs::read(fixtures().join("images/rgb_100x37.png")).unwrap();
    let mut complaints = media_complaints(folder.path(), "--image", media::broken_pictures(&sound));
    complaints.extend(media_complaints(
        folder.path(),
        "--video",
        media::broken_films(),
    ));
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

fn media_complaints(dir: &Path, flag: &str, files: Vec<media::BrokenFile>) -> Vec<String> {
    assert!(files.len() > 5);
    let run = |file: &media::BrokenFile| {
        let path = dir.join(file.name);
        fs::write(&path, &file.bytes).unwrap();
        let arguments = [
            &[
                "generate",
                dir.to_str().unwrap(),
                flag,
                path.to_str().unwrap(),
            ],
            GENERATE,
        ]
        .concat();
        complaint(&k25(&arguments), &[file.name.to_owned()])
            .map(|text| format!("{}: {text}", file.name))
    };
    files.iter().filter_map(run).collect()
}
