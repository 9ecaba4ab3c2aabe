//! A run's adapters on disk: in PEFT's layout, or merged into a copy of the checkpoint that they belong to.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use half::bf16;
use k25_chat::{TIKTOKEN_FILE, TOKENIZER_CONFIG_FILE};
use k25_model::checkpoint::Located;
use k25_model::linear::Linear;
use k25_model::{Checkpoint, Tensor};
use rayon::prelude::*;
use serde_json::{Number, Value, json};

use crate::error::TrainError;
use crate::export::{Exported, create_empty, write_text};
use crate::frozen::{FrozenEntry, Kept};
use crate::lora::LoraSection;
use crate::model::TrainModel;
use crate::quantize::{Packed, pack};
use crate::safetensors::{self, Stored};

/// PEFT's file of settings.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";

/// PEFT's file of values.
pub const ADAPTER_WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Endings of the files that stand beside a checkpoint's shards: configurations, vocabulary, template, code, notes.
const SIDE_FILES: [&str; 7] = ["json", "model", "jinja", "txt", "py", "md", "tiktoken"];

/// Writes the adapters of `model` into `dir`, which is new or empty, as PEFT's `save_pretrained` lays them out; `base` is the
/// checkpoint that they were trained for. The configuration comes last: a folder without it was not finished.
///
/// # Errors
/// Where the folder holds anything, or the system refuses.
pub fn write(
    model: &TrainModel,
    lora: &LoraSection,
    base: &Path,
    dir: &Path,
) -> Result<Exported, TrainError> {
    create_empty(dir)?;
    let values = model.params.values();
    let tensors: Vec<Stored<'_>> = model
        .params
        .entries()
        .iter()
        .map(|entry| Stored {
            name: entry.part.name.clone(),
            dtype: "F32",
            shape: entry.part.shape.clone(),
            bytes: Cow::Borrowed(bytemuck::cast_slice(&values[entry.param.range()])),
        })
        .collect();
    safetensors::write(&dir.join(ADAPTER_WEIGHTS_FILE), &tensors)?;
    let config = peft_config(lora, base);
    write_text(&dir.join(ADAPTER_CONFIG_FILE), &format!("{config:#}\n"))?;
    Ok(Exported::of(&tensors))
}

/// `adapter_config.json`, by the names of PEFT's `LoraConfig`.
fn peft_config(lora: &LoraSection, base: &Path) -> Value {
    let alpha = match lora.alpha.fract() == 0.0 && lora.alpha < 1e9 {
        true => Number::from(lora.alpha as u64),
        false => Number::from_f64(f64::from(lora.alpha)).expect("alpha is finite"),
    };
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.to_string_lossy(),
        "inference_mode": true,
        "r": lora.rank,
        "lora_alpha": alpha,
        "target_modules": lora.targets,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": null,
        "layers_to_transform": null,
        "layers_pattern": null,
        "auto_mapping": null,
        "revision": null,
    })
}

/// What merging did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// What was written.
    pub exported: Exported,
    /// Matrices that an adapter was added to.
    pub matrices: usize,
    /// Those of them that were rounded to INT4 again.
    pub requantized: usize,
}

/// Writes a copy of the checkpoint in `base` into `dir`, which is new or empty, with the adapters of `model` added to its matrices.
/// Every tensor keeps its type, shape and file: bf16 matrices are rounded to bf16, INT4 experts to INT4 by new scales; what has no
/// adapter is copied byte by byte. `config.json` comes last: a folder without it was not finished.
///
/// # Errors
/// Where the folder holds anything, or the system refuses.
pub fn merge(
    model: &TrainModel,
    base: &Path,
    tokenizer: &Path,
    dir: &Path,
) -> Result<Merged, TrainError> {
    create_empty(dir)?;
    let checkpoint = Checkpoint::open(base)?;
    let changed = Changed::of(model);
    let mut shards: BTreeMap<&Path, Vec<Located<'_>>> = BTreeMap::new();
    for located in checkpoint.tensors() {
        shards
            .entry(located.shard.path())
            .or_default()
            .push(located);
    }
    let mut exported = Exported::default();
    for (path, tensors) in shards {
        let Some(name) = path.file_name() else {
            continue;
        };
        let kept: Vec<Tensor> = tensors.iter().map(Located::tensor).collect();
        let stored: Vec<Stored<'_>> = tensors
            .par_iter()
            .zip(&kept)
            .map(|(located, kept)| Stored {
                name: located.info.name.to_owned(),
                dtype: located.info.dtype.name(),
                shape: located.info.shape.to_vec(),
                bytes: changed
                    .bytes(located.info.name)
                    .map_or(Cow::Borrowed(kept.bytes()), Cow::Owned),
            })
            .collect();
        safetensors::write(&dir.join(name), &stored)?;
        exported.add(Exported::of(&stored));
    }
    copy_side_files(base, dir)?;
    for name in [TIKTOKEN_FILE, TOKENIZER_CONFIG_FILE] {
        if !dir.join(name).exists() {
            copy(&tokenizer.join(name), &dir.join(name))?;
        }
    }
    copy(&base.join("config.json"), &dir.join("config.json"))?;
    Ok(Merged {
        exported,
        ..changed.merged()
    })
}

fn copy_side_files(base: &Path, dir: &Path) -> Result<(), TrainError> {
    let list = fs::read_dir(base).map_err(TrainError::io("list", base))?;
    for file in list {
        let path = file.map_err(TrainError::io("list", base))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let is_side_file = ending.is_some_and(|ending| SIDE_FILES.contains(&ending));
        match path.file_name() {
            Some(name) if is_side_file && path.is_file() && name != "config.json" => {
                copy(&path, &dir.join(name))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), TrainError> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(TrainError::io("copy", from))
}

/// One of the tensors that a matrix is stored in.
#[derive(Debug, Clone, Copy)]
enum Piece {
    F32,
    Bf16,
    Words,
    Scales,
}

/// The tensors that adapters change, by name.
struct Changed<'a> {
    model: &'a TrainModel,
    pieces: HashMap<String, (&'a FrozenEntry, Piece)>,
}

impl<'a> Changed<'a> {
    fn of(model: &'a TrainModel) -> Self {
        let mut pieces = HashMap::new();
        let entries = model.params.frozen().entries().iter();
        for entry in entries.filter(|entry| entry.adapter.is_some()) {
            let name = entry.part.name.clone();
            match &entry.values {
                Kept::Matrix(Linear::Int4(_)) => {
                    let [words, scales, _] = entry.part.packed_names();
                    pieces.insert(words, (entry, Piece::Words));
                    pieces.insert(scales, (entry, Piece::Scales));
                }
                Kept::Matrix(Linear::F32(_)) => {
                    pieces.insert(name, (entry, Piece::F32));
                }
                _ => {
                    pieces.insert(name, (entry, Piece::Bf16));
                }
            }
        }
        Self { model, pieces }
    }

    /// The new bytes of a tensor; `None` where it stays as it is.
    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let (entry, piece) = self.pieces.get(name)?;
        let mut scratch = Vec::new();
        let values = self.model.params.read();
        let merged = values.matrix(entry.param, &mut scratch).values();
        Some(match piece {
            Piece::F32 => bytemuck::cast_slice(merged).to_vec(),
            Piece::Bf16 => {
                let bits = merged.iter().map(|value| bf16::from_f32(*value).to_bits());
                bytemuck::cast_slice(&bits.collect::<Vec<u16>>()).to_vec()
            }
            Piece::Words | Piece::Scales => {
                let Packed { words, scales } = pack(merged);
                match piece {
                    Piece::Words => bytemuck::cast_slice(&words).to_vec(),
                    _ => bytemuck::cast_slice(&scales).to_vec(),
                }
            }
        })
    }

    fn merged(&self) -> Merged {
        let count = |wanted: fn(&Piece) -> bool| {
            let pieces = self.pieces.values();
            pieces.filter(|(_, piece)| wanted(piece)).count()
        };
        Merged {
            exported: Exported::default(),
            matrices: count(|piece| !matches!(piece, Piece::Scales)),
            requantized: count(|piece| matches!(piece, Piece::Words)),
        }
    }
}
