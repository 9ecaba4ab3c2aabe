//! Adapters instead of whole matrices (LoRA): which matrices get one, how large they are, and the model that trains them.

use std::collections::BTreeSet;

use k25_model::names::{Form, Kind, Part, Prefix};
use k25_model::weights::{FeedForward, Model};
use serde::{Deserialize, Serialize};

use crate::frozen::{Adapter, FrozenEntry, Kept};
use crate::model::{TrainModel, keep_vision, matrices, norms};
use crate::params::{ParamStore, Storage};
use crate::random::Random;

/// What PEFT puts before the name of a module.
pub const PEFT_PREFIX: &str = "base_model.model.";

/// Largest rank; LoRA's are 4 to 256.
pub const MAX_RANK: usize = 4_096;

/// `[lora]`: the base model stays as `start_from` has it, and adapters are trained on top.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraSection {
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// The product of `B` and `A` counts alpha / rank.
    pub alpha: f32,
    /// Which matrices have an adapter: names of modules, or their ends from a dot on.
    pub targets: Vec<String>,
}

impl Default for LoraSection {
    fn default() -> Self {
        let attention = [
            "q_proj",
            "q_a_proj",
            "q_b_proj",
            "kv_a_proj_with_mqa",
            "kv_b_proj",
            "o_proj",
        ];
        Self {
            rank: 16,
            alpha: 32.0,
            targets: attention.map(str::to_owned).to_vec(),
        }
    }
}

impl LoraSection {
    /// Whether a module has an adapter; the rule is PEFT's for `target_modules`.
    fn wants(&self, module: &str) -> bool {
        self.targets.iter().any(|target| meets(target, module))
    }
}

fn meets(target: &str, module: &str) -> bool {
    let before = module.strip_suffix(target);
    !target.is_empty() && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A target that no matrix of the model answers to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("lora.targets: no matrix is named {target}; there are {}", known.join(", "))]
pub struct UnknownTarget {
    /// The name that was given.
    pub target: String,
    /// Last parts of the names that there are.
    pub known: Vec<String>,
}

impl TrainModel {
    /// The model of a checkpoint, frozen, with fresh adapters: `A` random, `B` zero, so that it computes what the checkpoint does.
    /// Matrices stay in the checkpoint's mapped files. `prefix` is that of the checkpoint's names.
    ///
    /// # Errors
    /// Where a target names no matrix.
    pub fn adapted(
        base: &Model,
        prefix: Prefix,
        lora: &LoraSection,
        seed: u64,
    ) -> Result<Self, UnknownTarget> {
        let mut config = (*base.config).clone();
        config.vision = config.vision.filter(|_| base.vision.is_some());
        let mut model = Self::frozen(config, prefix);
        let frozen = model.params.frozen_mut();
        for (param, linear) in matrices(&model.text).into_iter().zip(matrices(&base.text)) {
            frozen.keep(param, Kept::Matrix(linear));
        }
        for (norm, loaded) in norms(&model.text).into_iter().zip(norms(&base.text)) {
            frozen.keep(norm.weight, Kept::Values(loaded.weight));
        }
        if let (Some(places), Some(loaded)) = (&model.vision, &base.vision) {
            keep_vision(places, loaded, frozen);
        }
        for (layer, loaded) in model.text.layers.iter_mut().zip(&base.text.layers) {
            if let (FeedForward::Moe(moe), FeedForward::Moe(loaded)) =
                (&mut layer.feed_forward, &loaded.feed_forward)
            {
                let bias = &loaded.router.correction_bias;
                moe.router.correction_bias.clone_from(bias);
            }
        }
        add_adapters(&mut model.params, lora, seed)?;
        Ok(model)
    }

    /// Whether only adapters are trained.
    pub fn is_adapted(&self) -> bool {
        !self.params.frozen().is_empty()
    }
}

/// The name of a part's module: without `.weight`.
pub fn module(part: &Part) -> &str {
    part.name.strip_suffix(".weight").unwrap_or(&part.name)
}

/// Matrices that may have an adapter: those of the language model but the embedding, which is read by rows, and the routers.
fn is_adaptable(entry: &FrozenEntry) -> bool {
    let Part { form, kind, .. } = entry.part;
    let is_other = kind.is_vision() || matches!(kind, Kind::Embedding | Kind::Router);
    form == Form::Matrix && !is_other
}

fn add_adapters(
    params: &mut ParamStore,
    lora: &LoraSection,
    seed: u64,
) -> Result<(), UnknownTarget> {
    let entries = params.frozen().entries();
    let modules: Vec<Option<Part>> = entries
        .iter()
        .map(|entry| is_adaptable(entry).then(|| entry.part.clone()))
        .collect();
    check_targets(lora, modules.iter().flatten())?;
    for (index, part) in modules.into_iter().enumerate() {
        let Some(part) = part.filter(|part| lora.wants(module(part))) else {
            continue;
        };
        let (rows, cols) = (part.shape[0], part.shape[1]);
        let mut add = |letter: char, shape: [usize; 2]| {
            let name = format!("{PEFT_PREFIX}{}.lora_{letter}.weight", module(&part));
            let shape = shape.to_vec();
            let part = Part {
                name,
                shape,
                ..part.clone()
            };
            params.add(part, Storage::F32)
        };
        let (a, b) = (add('A', [lora.rank, cols]), add('B', [rows, lora.rank]));
        // Uniform, with the deviation of Kaiming's rule at a slope of √5: PEFT's own choice.
        let bound = 1.0 / (cols as f64).sqrt();
        let mut random = Random::new(seed, index as u64);
        for value in &mut params.values_mut()[a.range()] {
            *value = ((2.0 * random.unit() - 1.0) * bound) as f32;
        }
        let scale = lora.alpha / lora.rank as f32;
        params.frozen_mut().entries_mut()[index].adapter = Some(Adapter { a, b, scale });
    }
    Ok(())
}

/// Every target must be there, but the default ones for queries: a model has either `q_proj` or the other two.
fn check_targets<'a>(
    lora: &LoraSection,
    parts: impl Iterator<Item = &'a Part> + Clone,
) -> Result<(), UnknownTarget> {
    if lora.targets == LoraSection::default().targets {
        return Ok(());
    }
    let is_there = |target: &String| parts.clone().any(|part| meets(target, module(part)));
    let Some(target) = lora.targets.iter().find(|target| !is_there(target)) else {
        return Ok(());
    };
    let last = |part: &'a Part| module(part).rsplit('.').next().unwrap_or_default();
    let known: BTreeSet<&str> = parts.clone().map(last).collect();
    Err(UnknownTarget {
        target: target.clone(),
        known: known.into_iter().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_or_its_end_from_a_dot_on() {
        let module = "model.layers.3.mlp.shared_experts.gate_proj";
        for target in ["gate_proj", "shared_experts.gate_proj", module] {
            assert!(meets(target, module), "{target}");
        }
        for target in ["proj", "mlp.gate_proj", "gate", "", ".gate_proj"] {
            assert!(!meets(target, module), "{target}");
        }
    }
}
