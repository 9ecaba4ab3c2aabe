//! What is in a checkpoint folder: architecture, parameters, tensors by kind, what is missing or odd.
//!
//! Unlike loading, inspecting goes on where tensors are missing or wrong, and tells of all of them.

use std::path::Path;

use k25_config::ModelConfig;
use serde::Serialize;

use crate::checkpoint::{Checkpoint, file_name};
use crate::load::{Finder, LoadError, Mismatch, Shortlist, Survey, misses_layers, name_map};
use crate::names::{Kind, Stray};

mod family;
mod text;

/// A checkpoint as a person wants to see it. Prints as text and serialises as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The member of the family that the numbers suggest, such as "Kimi K2.5".
    pub family: String,
    /// `model_type` of the configuration.
    pub model_type: String,
    /// The numbers that a person asks for first.
    pub architecture: Architecture,
    /// Parameters as the configuration has them.
    pub parameters: ParameterCounts,
    /// Sound tensors by kind, each kind that the checkpoint has.
    pub kinds: Vec<KindSummary>,
    /// The files, in order.
    pub files: Vec<FileSummary>,
    /// How many tensors there are, of whatever kind.
    pub tensors: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Tensors that should be there.
    pub missing: Shortlist<String>,
    /// Tensors whose type, shape or values are not as the configuration asks.
    pub wrong: Shortlist<Mismatch>,
    /// Tensors that belong to no part of the model.
    pub unexpected: Shortlist<String>,
    /// Faults that are no single tensor's.
    pub faults: Vec<String>,
    /// What is odd though harmless.
    pub notes: Vec<String>,
}

/// The numbers that a person asks for first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Architecture {
    /// Decoder layers.
    pub layers: usize,
    /// Of these, layers with experts.
    pub moe_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Routed experts per layer.
    pub experts: usize,
    /// Routed experts that each token visits.
    pub experts_per_token: usize,
    /// Shared experts.
    pub shared_experts: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the cached latent.
    pub kv_lora_rank: usize,
    /// Width of the cached rotary key.
    pub qk_rope_head_dim: usize,
    /// Positions.
    pub context: usize,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Encoder blocks of the vision tower, where the checkpoint has one.
    pub vision_layers: Option<usize>,
}

/// Parameter counts; a quantised weight counts as what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParameterCounts {
    /// The language model.
    pub text: u64,
    /// What a token of text passes through, embedding and head counted whole.
    pub active: u64,
    /// Vision tower and projector, 0 where the checkpoint has none.
    pub vision: u64,
}

/// The tensors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindSummary {
    /// The kind.
    #[serde(serialize_with = "label")]
    pub kind: Kind,
    /// How they are stored, the most frequent first.
    pub storage: Vec<String>,
    /// How many there are.
    pub tensors: usize,
    /// Parameters that they stand for.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One file of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSummary {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// How many tensors it holds.
    pub tensors: usize,
}

fn label<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.label())
}

impl Inspection {
    /// Inspects the checkpoint in `dir`. Reads headers, and of the values only some of the declared
    /// shapes.
    ///
    /// # Errors
    /// Where the configuration or the files cannot be read at all; tensors that are missing or
    /// wrong are part of the result.
    pub fn of(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let config = ModelConfig::from_file(dir.as_ref().join("config.json"))?;
        let checkpoint = Checkpoint::open(dir)?;
        let names = name_map(&config, &checkpoint);
        let survey = Survey::of(Finder::new(&checkpoint, &config), names)?;
        let with_vision = names.vision().is_some();
        let mut faults = Vec::new();
        if misses_layers(names, &checkpoint) {
            let layers = config.text.num_hidden_layers;
            faults.push(format!(
                "there are more layers than the {layers} of config.json"
            ));
        }
        let notes = notes(&config, &checkpoint, &survey, with_vision);
        Ok(Self {
            family: family::guess(&config),
            model_type: config.model_type.clone(),
            architecture: Architecture::of(&config, with_vision),
            parameters: ParameterCounts::of(&config, with_vision),
            kinds: kinds(&survey),
            files: files(&checkpoint),
            tensors: checkpoint.len(),
            bytes: checkpoint
                .tensors()
                .map(|tensor| tensor.info.byte_len)
                .sum(),
            missing: survey.missing,
            wrong: survey.mismatches,
            unexpected: survey
                .strays
                .get(&Stray::Unknown)
                .cloned()
                .unwrap_or_default(),
            faults,
            notes,
        })
    }

    /// Whether the model can be loaded.
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.wrong.is_empty() && self.faults.is_empty()
    }
}

impl Architecture {
    fn of(config: &ModelConfig, with_vision: bool) -> Self {
        let text = &config.text;
        let vision = config.vision.as_ref().filter(|_| with_vision);
        Self {
            layers: text.num_hidden_layers,
            moe_layers: (0..text.num_hidden_layers)
                .filter(|&i| text.is_moe_layer(i))
                .count(),
            hidden_size: text.hidden_size,
            experts: text.n_routed_experts,
            experts_per_token: text.num_experts_per_tok,
            shared_experts: text.n_shared_experts,
            heads: text.num_attention_heads,
            kv_lora_rank: text.kv_lora_rank,
            qk_rope_head_dim: text.qk_rope_head_dim,
            context: text.max_position_embeddings,
            vocabulary: text.vocab_size,
            vision_layers: vision.map(|vision| vision.num_hidden_layers),
        }
    }
}

impl ParameterCounts {
    fn of(config: &ModelConfig, with_vision: bool) -> Self {
        let counts = config.parameters();
        let vision = if with_vision { counts.vision } else { 0 };
        Self {
            text: counts.text,
            active: counts.active,
            vision,
        }
    }
}

fn kinds(survey: &Survey) -> Vec<KindSummary> {
    let summary = |(&kind, totals): (&Kind, &crate::load::KindTotals)| {
        let mut storage: Vec<_> = totals.storage.iter().collect();
        storage.sort_by_key(|&(_, parameters)| std::cmp::Reverse(parameters));
        KindSummary {
            kind,
            storage: storage
                .into_iter()
                .map(|(label, _)| (*label).to_owned())
                .collect(),
            tensors: totals.tensors,
            parameters: totals.parameters,
            bytes: totals.bytes,
        }
    };
    survey.kinds.iter().map(summary).collect()
}

fn files(checkpoint: &Checkpoint) -> Vec<FileSummary> {
    let summary = |shard: &crate::SafetensorsFile| FileSummary {
        name: file_name(shard.path()),
        bytes: shard.byte_len(),
        tensors: shard.header().len(),
    };
    checkpoint.shards().iter().map(summary).collect()
}

/// What is odd though harmless, one sentence each.
fn notes(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    survey: &Survey,
    with_vision: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    if config.vision.is_some() && !with_vision {
        notes.push(
            "config.json describes a vision tower, the files hold none: text only".to_owned(),
        );
    }
    for (stray, list) in &survey.strays {
        let what = match stray {
            Stray::Unknown => continue,
            Stray::RotaryBuffer => "rotary buffers, which are computed instead",
            Stray::LayerPastTheLast => {
                "tensors of layers past the last (multi-token prediction), which are left out"
            }
            Stray::TiedHead => "head although config.json ties it to the embedding; left out",
        };
        notes.push(format!("{} {what}", list.count));
    }
    let own = checkpoint.notes();
    if !own.not_in_index.is_empty() {
        notes.push(format!(
            "{} tensors are not in the index",
            own.not_in_index.len()
        ));
    }
    if let Some((said, there)) = own.total_size {
        notes.push(format!(
            "the index says {said} bytes in total, the tensors have {there}"
        ));
    }
    let misaligned = checkpoint.misaligned_bytes();
    if misaligned > 0 {
        notes.push(format!(
            "{misaligned} bytes are misaligned and will be copied when loaded"
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
