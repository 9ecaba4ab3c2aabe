//! Adapters in PEFT's layout (LoRA): read from their folder, checked, and put on a model's matrices.
//!
//! A folder holds `adapter_config.json` and `adapter_model.safetensors`; the tensors are named
//! `base_model.model.<module>.lora_A.weight` `[rank, in]` and `….lora_B.weight` `[out, rank]`. A matrix `W` then computes
//! `W · x + scale · B · (A · x)`. The matrix itself stays as it is stored: nothing of the adapter is lost to its rounding.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::{CheckpointError, Facts, SafetensorsFile, first_few, shape_text, shown};
use crate::linear::{Adapted, Linear, LowRank};
use crate::names::{LayerNames, MlpParts, NameMap, Part, Prefix};
use crate::tensor::Tensor;
use crate::weights::{FeedForward, LayerWeights, Mlp, Model, QueryWeights, TextWeights};

/// PEFT's file of settings.
const CONFIG_FILE: &str = "adapter_config.json";

/// PEFT's file of values.
const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// The settings of real adapters take a few KB.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Why an adapter cannot be read, or does not fit a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The system refused.
    #[error("cannot read {}: {source}{}", path.display(), Facts::new()
        .with("hint", "give the folder of an adapter: it holds adapter_config.json and adapter_model.safetensors"))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The settings are none, or ask for what k25 does not compute.
    #[error("{problem}{}", Facts::new().with("file", path.display()).with("hint", hint))]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The file of values.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// A tensor is not what it should be.
    #[error("{problem}{}", Facts::new().with("tensor", shown(tensor)).with("file", path.display()).with("hint", hint))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The adapter is for matrices that the model does not have.
    #[error("the adapter is for {} matrices that the model does not have{}", modules.len(), Facts::new()
        .with("matrices", first_few(modules, modules.len()))
        .with("folder", dir.display())
        .with("made for", made_for.as_deref().map_or_else(|| "a model that it does not name".to_owned(), shown))
        .with("hint", "give the model that the adapter was trained for"))]
    Unknown {
        /// The adapter's folder.
        dir: PathBuf,
        /// Their names.
        modules: Vec<String>,
        /// `base_model_name_or_path`.
        made_for: Option<String>,
    },
}

/// An adapter of a model's matrices.
#[derive(Debug)]
pub struct LoraAdapter {
    dir: PathBuf,
    made_for: Option<String>,
    modules: BTreeMap<String, LowRank>,
}

/// `adapter_config.json`, as far as it bears on what is computed.
#[derive(Debug, Deserialize)]
struct Settings {
    peft_type: String,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    alpha_pattern: Option<Value>,
    #[serde(default)]
    modules_to_save: Option<Value>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self, AdapterError> {
        let io = |source| AdapterError::Io {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(io)?;
        file.take(MAX_CONFIG_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(io)?;
        let fault = |problem: String, hint| AdapterError::Config {
            path: path.to_owned(),
            problem,
            hint,
        };
        if text.len() as u64 > MAX_CONFIG_BYTES {
            let problem = "the settings take more than 1 MiB".to_owned();
            return Err(fault(
                problem,
                "give the adapter_config.json that PEFT wrote",
            ));
        }
        let settings: Self = serde_json::from_slice(&text).map_err(|error| {
            let problem = format!("the settings of the adapter cannot be read: {error}");
            fault(problem, "give the adapter_config.json that PEFT wrote")
        })?;
        match settings.unsupported() {
            None => Ok(settings),
            Some(problem) => Err(fault(
                problem,
                "merge it into its model with PEFT (merge_and_unload), and give that model",
            )),
        }
    }

    /// What in the settings k25 does not compute.
    fn unsupported(&self) -> Option<String> {
        let is_set = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::Object(fields)) => !fields.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        let has_bias = self.bias.as_deref().is_some_and(|bias| bias != "none");
        let found = [
            (self.peft_type != "LORA", "its peft_type is not LORA"),
            (self.use_dora, "use_dora"),
            (self.fan_in_fan_out, "fan_in_fan_out"),
            (has_bias, "it trains biases (`bias`)"),
            (is_set(&self.alpha_pattern), "alpha_pattern"),
            (is_set(&self.modules_to_save), "modules_to_save"),
        ];
        let first = found.into_iter().find(|(is_asked, _)| *is_asked);
        let is_too_large = self.lora_alpha.abs() > f64::from(f32::MAX);
        match first {
            Some((_, what)) => Some(format!(
                "the adapter is of a kind that k25 does not compute: {what}"
            )),
            None => is_too_large.then(|| "lora_alpha is too large".to_owned()),
        }
    }

    fn scale(&self, rank: usize) -> f32 {
        let rank = rank as f32;
        let divisor = if self.use_rslora { rank.sqrt() } else { rank };
        self.lora_alpha as f32 / divisor
    }
}

/// The two matrices of a module, as far as they were found.
#[derive(Default)]
struct Pair {
    a: Option<Tensor>,
    b: Option<Tensor>,
}

impl LoraAdapter {
    /// Reads the adapter in `dir`.
    ///
    /// # Errors
    /// Where a file is not as it should be, or the adapter is of a kind that k25 does not compute.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, AdapterError> {
        let dir = dir.as_ref();
        let settings = Settings::read(&dir.join(CONFIG_FILE))?;
        let path = dir.join(WEIGHTS_FILE);
        let file = SafetensorsFile::open(&path)?;
        let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
        for info in file.header().tensors() {
            let (module, is_a) = module_of(info.name).ok_or_else(|| AdapterError::Tensor {
                path: path.clone(),
                tensor: info.name.to_owned(),
                problem: "the adapter holds a tensor that is no half of one".to_owned(),
                hint: "names are base_model.model.<module>.lora_A.weight and ….lora_B.weight",
            })?;
            let pair = pairs.entry(module.to_owned()).or_default();
            let tensor = file.tensor(info.name);
            if is_a {
                pair.a = tensor;
            } else {
                pair.b = tensor;
            }
        }
        let modules = pairs.into_iter().map(|(module, pair)| {
            let low_rank = pair.low_rank(&path, &module, &settings)?;
            Ok((module, low_rank))
        });
        Ok(Self {
            dir: dir.to_owned(),
            made_for: settings.base_model_name_or_path.clone(),
            modules: modules.collect::<Result<_, AdapterError>>()?,
        })
    }

    /// How many matrices it changes.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// Bytes that it takes in memory.
    pub fn byte_len(&self) -> usize {
        self.modules.values().map(LowRank::byte_len).sum()
    }

    fn prefix(&self) -> Prefix {
        let is_prefixed = |module: &String| module.starts_with("language_model.");
        match self.modules.keys().any(is_prefixed) {
            true => Prefix::LanguageModel,
            false => Prefix::None,
        }
    }
}

/// The module that a tensor belongs to, and whether it is its `A`.
fn module_of(name: &str) -> Option<(&str, bool)> {
    let name = name.strip_prefix(PREFIX)?;
    let a = name
        .strip_suffix(".lora_A.weight")
        .map(|module| (module, true));
    a.or_else(|| Some((name.strip_suffix(".lora_B.weight")?, false)))
}

impl Pair {
    fn low_rank(
        self,
        path: &Path,
        module: &str,
        settings: &Settings,
    ) -> Result<LowRank, AdapterError> {
        let fault = |letter: char, problem: String| AdapterError::Tensor {
            path: path.to_owned(),
            tensor: format!("{PREFIX}{module}.lora_{letter}.weight"),
            problem,
            hint: "the file is damaged or not whole: fetch or export it again",
        };
        let missing = || "half of an adapter is missing".to_owned();
        let a = self.a.ok_or_else(|| fault('A', missing()))?;
        let b = self.b.ok_or_else(|| fault('B', missing()))?;
        let (&[rank, _], &[_, inner]) = (a.shape(), b.shape()) else {
            let shapes = [a.shape(), b.shape()].map(shape_text).join(" and ");
            return Err(fault(
                'A',
                format!("the halves of an adapter have the shapes {shapes}"),
            ));
        };
        if rank != inner || rank == 0 {
            let problem = format!("the halves of an adapter have the ranks {rank} and {inner}");
            return Err(fault('A', problem));
        }
        let values = |letter, tensor: &Tensor| {
            let problem = || format!("the adapter is stored as {}", tensor.dtype());
            tensor.to_f32_vec().ok_or_else(|| fault(letter, problem()))
        };
        let scale = settings.scale(rank);
        let mut scaled = values('B', &b)?;
        scaled.iter_mut().for_each(|value| *value *= scale);
        Ok(LowRank::new(rank, values('A', &a)?, scaled))
    }
}

impl Model {
    /// Puts an adapter on the matrices that it names; one that was there before is replaced.
    ///
    /// # Errors
    /// Where the model does not have such matrices, or they have other shapes. The model is then as it was.
    pub fn adapt(&mut self, adapter: &LoraAdapter) -> Result<(), AdapterError> {
        let config = Arc::clone(&self.config);
        let names = NameMap::new(&config, adapter.prefix(), false);
        let matrices = matrices_mut(&mut self.text, names);
        let places: HashMap<&str, usize> = matrices
            .iter()
            .enumerate()
            .map(|(index, (part, _))| {
                (
                    part.name.strip_suffix(".weight").unwrap_or(&part.name),
                    index,
                )
            })
            .collect();
        let place = |module: &String| places.get(module.as_str()).copied();
        let unknown: Vec<String> = adapter
            .modules
            .keys()
            .filter(|module| place(module).is_none())
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(AdapterError::Unknown {
                dir: adapter.dir.clone(),
                modules: unknown,
                made_for: adapter.made_for.clone(),
            });
        }
        let mut by_place: HashMap<usize, &LowRank> = HashMap::new();
        for (module, low_rank) in &adapter.modules {
            if let Some(index) = place(module) {
                check_shape(adapter, module, low_rank, &matrices[index].0)?;
                by_place.insert(index, low_rank);
            }
        }
        drop(places);
        for (index, (_, matrix)) in matrices.into_iter().enumerate() {
            if let Some(low_rank) = by_place.get(&index) {
                let base = matrix.stored().clone();
                let low_rank = (*low_rank).clone();
                *matrix = Linear::Adapted(Arc::new(Adapted { base, low_rank }));
            }
        }
        Ok(())
    }
}

fn check_shape(
    adapter: &LoraAdapter,
    module: &str,
    low_rank: &LowRank,
    part: &Part,
) -> Result<(), AdapterError> {
    let (found, expected) = (
        [low_rank.out_features(), low_rank.in_features()],
        &part.shape,
    );
    if found[..] == expected[..] {
        return Ok(());
    }
    let (found, expected) = (shape_text(&found), shape_text(expected));
    Err(AdapterError::Tensor {
        path: adapter.dir.join(WEIGHTS_FILE),
        tensor: format!("{PREFIX}{module}"),
        problem: format!("the adapter is for a matrix {found}, the model's is {expected}"),
        hint: "give the model that the adapter was trained for",
    })
}

/// Every matrix that an adapter may name.
fn matrices_mut<'m>(text: &'m mut TextWeights, names: NameMap<'_>) -> Vec<(Part, &'m mut Linear)> {
    let mut all: Vec<_> = names
        .lm_head()
        .map(|part| (part, &mut text.lm_head))
        .into_iter()
        .collect();
    for (index, layer) in text.layers.iter_mut().enumerate() {
        of_layer(layer, &names.layer(index), &mut all);
    }
    all
}

fn of_layer<'m>(
    layer: &'m mut LayerWeights,
    names: &LayerNames<'_>,
    all: &mut Vec<(Part, &'m mut Linear)>,
) {
    let attention = &mut layer.attention;
    match &mut attention.query {
        QueryWeights::LowRank { a, b, .. } => {
            let rank = a.out_features();
            all.extend([(names.q_a(rank), a), (names.q_b(rank), b)]);
        }
        QueryWeights::Direct(query) => all.push((names.q(), query)),
    }
    all.extend([
        (names.kv_a(), &mut attention.kv_a),
        (names.kv_b(), &mut attention.kv_b),
        (names.output(), &mut attention.output),
    ]);
    match &mut layer.feed_forward {
        FeedForward::Dense(mlp) => all.extend(of_mlp(mlp, names.dense_mlp())),
        FeedForward::Moe(moe) => {
            for (index, expert) in moe.experts.iter_mut().enumerate() {
                all.extend(of_mlp(expert, names.expert(index)));
            }
            if let (Some(shared), Some(parts)) = (&mut moe.shared, names.shared_experts()) {
                all.extend(of_mlp(shared, parts));
            }
        }
    }
}

fn of_mlp(mlp: &mut Mlp, parts: MlpParts) -> [(Part, &mut Linear); 3] {
    [
        (parts.gate, &mut mlp.gate),
        (parts.up, &mut mlp.up),
        (parts.down, &mut mlp.down),
    ]
}

#[cfg(test)]
mod tests;
