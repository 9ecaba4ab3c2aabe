//! First inputs, in the form that each target of `fuzz/targets` cuts its input into.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::targets::Target;
use crate::files::files_below;

/// Writes the seeds of `target` into the folder `corpus`; those of an earlier run are written over.
pub fn write(target: &Target, corpus: &Path) -> Result<()> {
    let seeds = (target.seeds)()?;
    // A longer one would be cut by the engine, which makes it another input.
    let short_enough: Vec<_> = seeds
        .iter()
        .filter(|seed| seed.len() <= target.longest_input)
        .collect();
    ensure!(!short_enough.is_empty(), "none is short enough");
    for (number, seed) in short_enough.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number:04}")), seed)?;
    }
    Ok(())
}

/// Real configuration files, as they are.
pub fn configurations() -> Result<Vec<Vec<u8>>> {
    let mut seeds = contents(&files("fixtures", "config.json")?)?;
    seeds.extend(contents(&files("crates/k25-config/tests/data", ".json")?)?);
    seeds.push(
        json!({"eos_token_id": [163_585, 163_586]})
            .to_string()
            .into(),
    );
    seeds.push(
        json!({"media_proc_cfg": {"patch_size": 14, "image_mean": [0.5, 0.5, 0.5]}})
            .to_string()
            .into(),
    );
    Ok(seeds)
}

/// Form 0: the start of a file. Form 1: a file length of eight bytes, then a header's JSON.
pub fn safetensors_headers() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for path in files("fixtures", ".safetensors")? {
        let file = fs::read(&path)?;
        let json = header_of(&file).with_context(|| format!("{} has no header", path.display()))?;
        seeds.push([&[1], &(file.len() as u64).to_le_bytes()[..], json].concat());
    }
    seeds.push([&[0], &shard(&json!({}), &[])[..]].concat());
    seeds.push([&[0], &two_tensors()[..]].concat());
    Ok(seeds)
}

fn header_of(file: &[u8]) -> Option<&[u8]> {
    let (length, rest) = file.split_first_chunk()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// The lengths of the index and the first shard in two bytes each, then index and both shards.
pub fn small_checkpoints() -> Result<Vec<Vec<u8>>> {
    let second = shard(
        &json!({"c": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}, "d": {"dtype": "I64", "shape": [], "data_offsets": [4, 12]}}),
        &[0; 12],
    );
    let (one, two) = (
        "model-00001-of-000002.safetensors",
        "model-00002-of-000002.safetensors",
    );
    let index = json!({"metadata": {"total_size": 24}, "weight_map": {"a": one, "b": one, "c": two, "d": two}}).to_string();
    let first = two_tensors();
    let mut seed = Vec::new();
    for part in [index.len(), first.len()] {
        seed.extend(u16::try_from(part)?.to_le_bytes());
    }
    seed.extend([index.as_bytes(), &first, &second].concat());
    Ok(vec![seed])
}

fn two_tensors() -> Vec<u8> {
    let header = json!({
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "I32", "shape": [1, 1], "data_offsets": [8, 12]},
    });
    shard(&header, &[7; 12])
}

fn shard(header: &Value, values: &[u8]) -> Vec<u8> {
    let json = header.to_string();
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), values].concat()
}

/// Both files with a zero byte between them: the fixtures', and the smallest that are valid.
pub fn tokenizer_files() -> Result<Vec<Vec<u8>>> {
    let whole = fs::read("fixtures/tokenizer/tiktoken.model")?;
    let config = fs::read("fixtures/tokenizer/tokenizer_config.json")?;
    let bytes_only: Vec<u8> = whole
        .split_inclusive(|&byte| byte == b'\n')
        .take(260)
        .flatten()
        .copied()
        .collect();
    let one_special =
        json!({"added_tokens_decoder": {"262": {"content": "<|im_end|>", "special": true}}})
            .to_string();
    Ok(vec![
        [&whole[..], b"\0", &config].concat(),
        [&bytes_only[..], b"\0{}"].concat(),
        [&bytes_only[..], b"\0", one_special.as_bytes()].concat(),
    ])
}

/// The texts of the tokenizer's reference vectors.
pub fn tokenizer_texts() -> Result<Vec<Vec<u8>>> {
    let vectors = json_file("fixtures/tokenizer/vectors.json")?;
    Ok(list(&vectors["vectors"])?
        .iter()
        .filter_map(|vector| Some(vector["text"].as_str()?.into()))
        .collect())
}

/// A byte whose lowest bit says whether the model thinks, then its output.
pub fn model_outputs() -> Result<Vec<Vec<u8>>> {
    let cases = json_file("fixtures/parser_cases.json")?;
    let outputs = list(&cases["cases"])?
        .iter()
        .filter_map(|case| case["model_output"].as_str());
    Ok(outputs
        .flat_map(|output| [0, 1].map(|thinking| [&[thinking], output.as_bytes()].concat()))
        .collect())
}

/// A byte of choices, then a conversation.
pub fn conversations() -> Result<Vec<Vec<u8>>> {
    // Reading as a service with every option, and as the reference.
    const CHOICES: [u8; 3] = [0b0011_0100, 0b0001_1000, 0b0000_0110];
    let cases = json_file("fixtures/chat_renderings.json")?;
    let mut seeds = Vec::new();
    for case in list(&cases)? {
        let conversation =
            json!({"messages": case["messages"], "tools": case["tools"]}).to_string();
        seeds.extend(CHOICES.map(|choices| [&[choices], conversation.as_bytes()].concat()));
    }
    Ok(seeds)
}

/// Lists of tools.
pub fn tools() -> Result<Vec<Vec<u8>>> {
    let cases = json_file("fixtures/tool_declarations.json")?;
    Ok(list(&cases)?
        .iter()
        .map(|case| case["tools"].to_string().into())
        .collect())
}

/// Encoded images of every form.
pub fn images() -> Result<Vec<Vec<u8>>> {
    let mut seeds = contents(&files("fixtures/images", ".png")?)?;
    for ending in [".png", ".jpg", ".webp", ".gif", ".bmp"] {
        seeds.extend(contents(&files("fuzz/seeds/image", ending)?)?);
    }
    Ok(seeds)
}

/// Form 0: a GIF. Form 1: frames, rate, width and height in 4, 8, 4 and 4 bytes.
pub fn films() -> Result<Vec<Vec<u8>>> {
    let gifs = contents(&files("fuzz/seeds/image", ".gif")?)?;
    let mut seeds: Vec<Vec<u8>> = gifs.iter().map(|gif| [&[0], &gif[..]].concat()).collect();
    for (frames, fps, width, height) in [(1_u32, 25.0_f64, 28_u32, 28_u32), (300, 29.97, 640, 480)]
    {
        let numbers = [&frames.to_le_bytes()[..], &fps.to_le_bytes()].concat();
        let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
        seeds.push([&[1], &numbers[..], &sides].concat());
    }
    Ok(seeds)
}

/// One of each kind.
pub fn media_addresses() -> Result<Vec<Vec<u8>>> {
    let addresses = [
        "data:image/png;base64,iVBORw0KGgo=",
        "data:,a%20b",
        "data:text/plain;charset=utf-8;base64,YQ",
        "file:///tmp/a%20b.png",
        "file://localhost/a.png",
        "https://example.org/cat.png",
        "pictures/cat.png",
        "C:/cat.png",
    ];
    Ok(addresses
        .map(|address| address.as_bytes().to_vec())
        .to_vec())
}

fn json_file(path: &str) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.to_owned())?;
    serde_json::from_slice(&text).with_context(|| path.to_owned())
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .context("the fixture has another form than expected")
}

/// A printed page, and small files with each kind of font.
pub fn pdfs() -> Result<Vec<Vec<u8>>> {
    let mut seeds = contents(&files("fuzz/seeds/pdf", ".pdf")?)?;
    seeds.extend(contents(&files("crates/k25-pdf/tests/data", ".pdf")?)?);
    Ok(seeds)
}

fn contents(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    paths
        .iter()
        .map(|path| fs::read(path).with_context(|| path.display().to_string()))
        .collect()
}

/// The files below `folder` whose paths end in `ending`; there is at least one.
fn files(folder: &str, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = files_below(&[folder])?;
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    ensure!(!found.is_empty(), "no file below {folder} ends in {ending}");
    Ok(found)
}
