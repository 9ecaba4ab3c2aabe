//! A trained model as a checkpoint in the published layout.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use half::bf16;
use k25_chat::{TIKTOKEN_FILE, TOKENIZER_CONFIG_FILE};
use k25_config::Quantization;
use k25_model::names::{NameMap, Prefix};
use serde_json::{Map, Value, json};

use crate::error::TrainError;
use crate::model::TrainModel;
use crate::params::{Entry, Storage};
use crate::quantize::pack;
use crate::safetensors::{self, Stored};

/// The file that holds all weights.
const SHARD: &str = "model-00001-of-000001.safetensors";

/// The index that says so.
const INDEX: &str = "model.safetensors.index.json";

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Tensors.
    pub tensors: usize,
    /// Bytes of their values.
    pub bytes: usize,
}

impl Exported {
    pub(crate) fn of(tensors: &[Stored<'_>]) -> Self {
        Self {
            tensors: tensors.len(),
            bytes: tensors.iter().map(|tensor| tensor.bytes.len()).sum(),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.tensors += other.tensors;
        self.bytes += other.bytes;
    }
}

/// Writes `model` into `dir`, which is new or empty: routed experts as INT4 in groups of 32, the rest as bf16, with the tokenizer's
/// files where `tokenizer` names their folder. `config.json` comes last: a folder without it was not finished.
///
/// # Errors
/// Where the folder holds anything, or the system refuses.
pub fn export(
    model: &TrainModel,
    tokenizer: Option<&Path>,
    dir: &Path,
) -> Result<Exported, TrainError> {
    create_empty(dir)?;
    let tensors = tensors(model);
    let exported = Exported::of(&tensors);
    safetensors::write(&dir.join(SHARD), &tensors)?;
    let map: Map<String, Value> = tensors
        .iter()
        .map(|tensor| (tensor.name.clone(), json!(SHARD)))
        .collect();
    let index = json!({ "metadata": { "total_size": exported.bytes }, "weight_map": map });
    write_text(&dir.join(INDEX), &format!("{index:#}\n"))?;
    if let Some(from) = tokenizer {
        for name in [TIKTOKEN_FILE, TOKENIZER_CONFIG_FILE] {
            let path = from.join(name);
            fs::copy(&path, dir.join(name)).map_err(TrainError::io("copy", &path))?;
        }
    }
    let mut config = (*model.config).clone();
    let has_int4 = model
        .params
        .entries()
        .iter()
        .any(|entry| entry.storage == Storage::Int4);
    config.quantization = if has_int4 {
        Quantization::PackedInt4
    } else {
        Quantization::None
    };
    write_text(&dir.join("config.json"), &config.to_checkpoint_json())?;
    Ok(exported)
}

pub(crate) fn create_empty(dir: &Path) -> Result<(), TrainError> {
    fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
    match fs::read_dir(dir)
        .map_err(TrainError::io("list", dir))?
        .next()
    {
        None => Ok(()),
        Some(_) => Err(TrainError::NotEmpty {
            dir: dir.to_owned(),
        }),
    }
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), TrainError> {
    fs::write(path, text).map_err(TrainError::io("write", path))
}

fn tensors(model: &TrainModel) -> Vec<Stored<'static>> {
    let entries = model.params.entries().iter();
    let mut tensors: Vec<_> = entries.flat_map(|entry| parameter(model, entry)).collect();
    let names = NameMap::new(&model.config, Prefix::LanguageModel, false);
    for (layer, bias) in model.correction_biases() {
        let part = names.layer(layer).correction_bias();
        tensors.push(Stored {
            name: part.name,
            dtype: "F32",
            shape: part.shape,
            bytes: Cow::Owned(bytemuck::cast_slice(bias).to_vec()),
        });
    }
    tensors
}

fn parameter(model: &TrainModel, entry: &Entry) -> Vec<Stored<'static>> {
    let values = &model.params.values()[entry.param.range()];
    let (rows, cols) = (entry.param.rows, entry.param.cols);
    let stored = |name: String, dtype, shape: &[usize], bytes: Vec<u8>| Stored {
        name,
        dtype,
        shape: shape.to_vec(),
        bytes: Cow::Owned(bytes),
    };
    match entry.storage {
        Storage::F32 => {
            let bytes = bytemuck::cast_slice(values).to_vec();
            vec![stored(
                entry.part.name.clone(),
                "F32",
                &entry.part.shape,
                bytes,
            )]
        }
        Storage::Bf16 => {
            let bits: Vec<u16> = values
                .iter()
                .map(|value| bf16::from_f32(*value).to_bits())
                .collect();
            let bytes = bytemuck::cast_slice(&bits).to_vec();
            vec![stored(
                entry.part.name.clone(),
                "BF16",
                &entry.part.shape,
                bytes,
            )]
        }
        Storage::Int4 => {
            let [words, scales, shape] = entry.part.packed_names();
            let packed = pack(values);
            let declared = [rows as i32, cols as i32];
            vec![
                stored(
                    words,
                    "I32",
                    &[rows, cols / 8],
                    bytemuck::cast_slice(&packed.words).to_vec(),
                ),
                stored(
                    scales,
                    "BF16",
                    &[rows, cols / 32],
                    bytemuck::cast_slice(&packed.scales).to_vec(),
                ),
                stored(shape, "I32", &[2], bytemuck::cast_slice(&declared).to_vec()),
            ]
        }
    }
}
