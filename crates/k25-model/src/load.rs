//! From a checkpoint folder to a [`Model`]: every part found, its storage told from its tensors, its
//! type and shape checked against the configuration. Matrices stay in the mapped files.

use std::path::Path;
use std::sync::Arc;

use k25_config::ModelConfig;
use rayon::prelude::*;

use crate::checkpoint::Checkpoint;
use crate::linear::Linear;
use crate::names::{BiasedParts, LayerNames, MlpParts, NameMap, Part, Prefix, VisionNames};
use crate::vision::weights::{
    BlockWeights, ENCODER_LN_EPS, LayerNorm, LinearBias, PositionTable, ProjectorWeights,
    VisionWeights,
};
use crate::weights::{
    FeedForward, LayerWeights, MlaWeights, Mlp, Model, MoeWeights, QueryWeights, RmsNorm, Router,
    TextWeights,
};

mod error;
mod stored;
mod survey;

pub use error::{LoadError, Mismatch, Shortlist, TensorFaults};

pub(crate) use stored::Finder;
pub(crate) use survey::{KindTotals, Survey};

use stored::PartFault;

/// Epsilon of the norms of the low-rank query and of the latent.
///
/// The configuration does not name it. The reference builds these two norms with its class default,
/// while some serving engines pass them `rms_norm_eps` (1e-5); the reference counts here, and the
/// fixtures come from it (spec: architecture §3).
pub const LATENT_NORM_EPS: f32 = 1e-6;

/// Misaligned tensors are copied into memory; no more than this many bytes of them.
const MAX_MISALIGNED_BYTES: u64 = 4 << 30;

impl Model {
    /// Opens the checkpoint in `dir`, with its `config.json`.
    ///
    /// # Errors
    /// Where the configuration, a file, or any tensor is not as it should be; each error names the
    /// thing, what was expected, what was found, and what to do.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let config = ModelConfig::from_file(dir.as_ref().join("config.json"))?;
        let checkpoint = Checkpoint::open(dir)?;
        Self::from_checkpoint(Arc::new(config), &checkpoint)
    }

    /// Loads from an open checkpoint. The model keeps the files mapped that it needs.
    ///
    /// # Errors
    /// As [`Model::open`], less those of opening.
    pub fn from_checkpoint(
        config: Arc<ModelConfig>,
        checkpoint: &Checkpoint,
    ) -> Result<Self, LoadError> {
        let (dir, names) = (checkpoint.dir(), name_map(&config, checkpoint));
        let bytes = checkpoint.misaligned_bytes();
        if bytes > MAX_MISALIGNED_BYTES {
            return Err(LoadError::Misaligned {
                dir: dir.to_owned(),
                bytes,
            });
        }
        if misses_layers(names, checkpoint) {
            let layers = config.text.num_hidden_layers;
            return Err(LoadError::MoreLayers {
                dir: dir.to_owned(),
                layers,
            });
        }
        let finder = Finder::new(checkpoint, &config);
        match (Loader { finder }).load(names) {
            Ok((text, vision)) => Ok(Self {
                config,
                text,
                vision,
            }),
            Err(PartFault::Read(error)) => Err(error.into()),
            // Loading ends at the first fault; the person wants to know of all.
            Err(_) => {
                let survey = Survey::of(finder, names)?;
                Err(TensorFaults::new(survey, checkpoint, &config).into())
            }
        }
    }
}

/// The names that a checkpoint uses for the parts of `config`. The vision tower counts where at
/// least one of its tensors is there.
pub(crate) fn name_map<'c>(config: &'c ModelConfig, checkpoint: &Checkpoint) -> NameMap<'c> {
    let prefix = Prefix::detect(|name| checkpoint.find(name).is_some());
    let with_vision = config.vision.is_some()
        && checkpoint
            .tensors()
            .any(|tensor| NameMap::is_vision(tensor.info.name));
    NameMap::new(config, prefix, with_vision)
}

/// Whether the checkpoint goes on with ordinary layers after the configuration's last, so that the
/// model would be computed without them.
pub(crate) fn misses_layers(names: NameMap<'_>, checkpoint: &Checkpoint) -> bool {
    let [decoder, prediction] = names.layer_past_the_last();
    checkpoint.find(&decoder).is_some() && checkpoint.find(&prediction).is_none()
}

/// Builds the tree of weights, part by part.
struct Loader<'a> {
    finder: Finder<'a>,
}

impl Loader<'_> {
    fn load(&self, names: NameMap<'_>) -> Result<(TextWeights, Option<VisionWeights>), PartFault> {
        let text = names.text();
        let embed = self.matrix(&names.embed())?;
        let lm_head = match names.lm_head() {
            Some(part) => self.matrix(&part)?,
            None => embed.clone(),
        };
        let norm = self.rms_norm(&names.final_norm(), text.rms_norm_eps)?;
        let layers = (0..text.num_hidden_layers)
            .into_par_iter()
            .map(|index| self.layer(&names.layer(index)))
            .collect::<Result<_, _>>()?;
        let vision = names.vision().map(|names| self.vision(names)).transpose()?;
        Ok((
            TextWeights {
                embed,
                layers,
                norm,
                lm_head,
            },
            vision,
        ))
    }

    fn layer(&self, names: &LayerNames<'_>) -> Result<LayerWeights, PartFault> {
        let eps = names.config().rms_norm_eps;
        let feed_forward = match names.is_moe() {
            true => FeedForward::Moe(self.moe(names)?),
            false => FeedForward::Dense(self.mlp(&names.dense_mlp())?),
        };
        Ok(LayerWeights {
            input_norm: self.rms_norm(&names.input_norm(), eps)?,
            attention: self.attention(names)?,
            post_attention_norm: self.rms_norm(&names.post_attention_norm(), eps)?,
            feed_forward,
        })
    }

    fn attention(&self, names: &LayerNames<'_>) -> Result<MlaWeights, PartFault> {
        let query = match names.config().q_lora_rank {
            Some(rank) => QueryWeights::LowRank {
                a: self.matrix(&names.q_a(rank))?,
                norm: self.rms_norm(&names.q_a_norm(rank), LATENT_NORM_EPS)?,
                b: self.matrix(&names.q_b(rank))?,
            },
            None => QueryWeights::Direct(self.matrix(&names.q())?),
        };
        Ok(MlaWeights {
            query,
            kv_a: self.matrix(&names.kv_a())?,
            kv_a_norm: self.rms_norm(&names.kv_a_norm(), LATENT_NORM_EPS)?,
            kv_b: self.matrix(&names.kv_b())?,
            output: self.matrix(&names.output())?,
        })
    }

    fn moe(&self, names: &LayerNames<'_>) -> Result<MoeWeights, PartFault> {
        let router = Router {
            weight: self.matrix(&names.router())?,
            correction_bias: self.values(&names.correction_bias())?,
        };
        let experts = (0..names.config().n_routed_experts).map(|i| self.mlp(&names.expert(i)));
        Ok(MoeWeights {
            router,
            experts: experts.collect::<Result<_, _>>()?,
            shared: names
                .shared_experts()
                .map(|parts| self.mlp(&parts))
                .transpose()?,
        })
    }

    fn mlp(&self, parts: &MlpParts) -> Result<Mlp, PartFault> {
        Ok(Mlp {
            gate: self.matrix(&parts.gate)?,
            up: self.matrix(&parts.up)?,
            down: self.matrix(&parts.down)?,
        })
    }

    fn vision(&self, names: VisionNames<'_>) -> Result<VisionWeights, PartFault> {
        let config = names.config();
        let blocks = (0..config.num_hidden_layers).map(|index| {
            let parts = names.block(index);
            Ok(BlockWeights {
                norm0: self.layer_norm(&parts.norm0, ENCODER_LN_EPS)?,
                wqkv: self.biased(&parts.wqkv)?,
                wo: self.biased(&parts.wo)?,
                norm1: self.layer_norm(&parts.norm1, ENCODER_LN_EPS)?,
                fc0: self.biased(&parts.fc0)?,
                fc1: self.biased(&parts.fc1)?,
            })
        });
        Ok(VisionWeights {
            patch_embed: self.biased(&names.patch_embed())?,
            positions: PositionTable {
                values: self.values(&names.positions())?,
                height: config.init_pos_emb_height,
                width: config.init_pos_emb_width,
            },
            blocks: blocks.collect::<Result<_, _>>()?,
            final_norm: self.layer_norm(&names.final_norm(), ENCODER_LN_EPS)?,
            projector: ProjectorWeights {
                pre_norm: self.layer_norm(&names.projector_norm(), config.projector_ln_eps)?,
                proj0: self.biased(&names.projector_in())?,
                proj2: self.biased(&names.projector_out())?,
            },
        })
    }

    fn matrix(&self, part: &Part) -> Result<Linear, PartFault> {
        Ok(self.finder.find(part)?.linear(part))
    }

    fn values(&self, part: &Part) -> Result<Vec<f32>, PartFault> {
        self.finder.find(part)?.values(part)
    }

    fn rms_norm(&self, part: &Part, eps: f32) -> Result<RmsNorm, PartFault> {
        Ok(RmsNorm {
            weight: self.values(part)?,
            eps,
        })
    }

    fn layer_norm(&self, parts: &BiasedParts, eps: f32) -> Result<LayerNorm, PartFault> {
        Ok(LayerNorm {
            weight: self.values(&parts.weight)?,
            bias: self.values(&parts.bias)?,
            eps,
        })
    }

    fn biased(&self, parts: &BiasedParts) -> Result<LinearBias, PartFault> {
        Ok(LinearBias {
            weight: self.matrix(&parts.weight)?,
            bias: self.values(&parts.bias)?,
        })
    }
}

#[cfg(test)]
mod tests;
