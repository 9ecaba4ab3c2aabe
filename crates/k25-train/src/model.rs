//! A model whose matrices are places in a [`ParamStore`]: the tree that the wiring walks over when
//! it trains.

use std::sync::Arc;

use k25_config::{ModelConfig, VisionConfig};
use k25_model::load::LATENT_NORM_EPS;
use k25_model::names::{Form, Kind, LayerNames, MlpParts, NameMap, Part, Prefix};
use k25_model::weights::{
    FeedForward, LayerWeights, MlaWeights, Mlp, Model, MoeWeights, QueryWeights, Router,
    TextWeights,
};

use crate::params::{Entry, Param, ParamStore, Storage};
use crate::random::Random;

mod vision;

pub use vision::TrainVision;
pub(crate) use vision::keep as keep_vision;

/// A trained root-mean-square norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Its weights, `[1, width]`.
    pub weight: Param,
    /// Added to the mean square.
    pub eps: f32,
}

/// A model in training.
#[derive(Debug)]
pub struct TrainModel {
    /// The shape.
    pub config: Arc<ModelConfig>,
    /// The language model's tree of parameters.
    pub text: TextWeights<Param, Norm>,
    /// The vision tower's; its values lie after all of the language model's.
    pub vision: Option<TrainVision>,
    /// Their values.
    pub params: ParamStore,
}

/// Deviation of fresh matrices (DeepSeek-V3's `initializer_range` at its width is 0.02).
const FRESH_DEVIATION: f32 = 0.02;

impl TrainModel {
    /// A model with fresh values: matrices normally distributed, norms one, biases zero.
    ///
    /// The deviation is that of the family at its own width, 0.02, or what keeps the size of a
    /// normed row in narrower models: `min(0.02 · √(7168 / width), 1 / √width)`.
    pub fn fresh(config: ModelConfig, seed: u64) -> Self {
        let mut model = Self::shaped(config);
        model.fill_fresh(0, seed);
        model
    }

    /// Gives parameter `first` and those after it fresh values.
    fn fill_fresh(&mut self, first: usize, seed: u64) {
        let entries = self.params.entries().to_vec();
        let values = self.params.values_mut();
        for (index, entry) in entries.iter().enumerate().skip(first) {
            let values = &mut values[entry.param.range()];
            match fresh_deviation(entry) {
                Some(deviation) => {
                    Random::new(seed, index as u64).fill_normal(values, deviation);
                }
                None if entry.part.name.ends_with(".bias") => values.fill(0.0),
                None => values.fill(1.0),
            }
        }
    }

    /// A model with the values of a checkpoint, INT4 experts dequantised. A tower that the checkpoint does not hold is
    /// left out, whatever its configuration says.
    pub fn from_checkpoint(model: &Model) -> Self {
        let mut config = (*model.config).clone();
        config.vision = config.vision.filter(|_| model.vision.is_some());
        let mut train = Self::shaped(config);
        let places = matrices(&train.text);
        let values = train.params.values_mut();
        for (param, linear) in places.into_iter().zip(matrices(&model.text)) {
            let values = &mut values[param.range()];
            for (row, into) in values.chunks_exact_mut(param.cols).enumerate() {
                linear.row_to_f32(row, into);
            }
        }
        for (norm, loaded) in norms(&train.text).into_iter().zip(norms(&model.text)) {
            values[norm.weight.range()].copy_from_slice(&loaded.weight);
        }
        for (layer, loaded) in train.text.layers.iter_mut().zip(&model.text.layers) {
            if let (FeedForward::Moe(moe), FeedForward::Moe(loaded)) =
                (&mut layer.feed_forward, &loaded.feed_forward)
            {
                moe.router
                    .correction_bias
                    .clone_from(&loaded.router.correction_bias);
            }
        }
        if let (Some(places), Some(loaded)) = (&train.vision, &model.vision) {
            vision::copy(places, loaded, train.params.values_mut());
        }
        train
    }

    /// Makes the vision tower one of this shape: the one that is there stays if it has it; else it goes, and a fresh one
    /// comes in its place.
    pub fn set_vision(&mut self, vision: Option<VisionConfig>, seed: u64) {
        if self.config.vision == vision {
            return;
        }
        let text = self.params.text_entries();
        self.params.truncate(text);
        Arc::make_mut(&mut self.config).vision = vision;
        let names = NameMap::new(&self.config, Prefix::LanguageModel, true).vision();
        let mut add = |part| self.params.add(part, Storage::Bf16);
        self.vision = names.map(|names| vision::shaped(&mut add, names));
        self.fill_fresh(text, seed);
    }

    /// Takes over what a configuration says about positions, so that a model goes on with a longer context.
    pub fn set_positions(&mut self, config: &ModelConfig) {
        let text = &mut Arc::make_mut(&mut self.config).text;
        text.rope_scaling = config.text.rope_scaling;
        text.rope_theta = config.text.rope_theta;
        text.max_position_embeddings = config.text.max_position_embeddings;
    }

    /// A model of this shape, all values zero.
    fn shaped(config: ModelConfig) -> Self {
        Self::built(config, Prefix::LanguageModel, false)
    }

    /// A model of this shape that trains nothing, its values to be filled in.
    pub(crate) fn frozen(config: ModelConfig, prefix: Prefix) -> Self {
        Self::built(config, prefix, true)
    }

    fn built(config: ModelConfig, prefix: Prefix, is_frozen: bool) -> Self {
        let mut params = ParamStore::default();
        let names = NameMap::new(&config, prefix, true);
        let mut builder = Builder {
            params: &mut params,
            is_frozen,
            eps: config.text.rms_norm_eps,
        };
        let text = builder.text(names);
        let vision = names
            .vision()
            .map(|names| vision::shaped(&mut |part| builder.matrix(part), names));
        Self {
            config: Arc::new(config),
            text,
            vision,
            params,
        }
    }

    /// Values that are active for one token: everything but the experts that it does not visit
    /// and the rows of the embedding that are not its own. The vision tower sees no token.
    pub fn active_parameters(&self) -> usize {
        let text = &self.config.text;
        let fraction = |kind: Kind, len: usize| match kind {
            Kind::RoutedExperts => len * text.num_experts_per_tok / text.n_routed_experts.max(1),
            Kind::Embedding => text.hidden_size,
            _ if kind.is_vision() => 0,
            _ => len,
        };
        let entries = self.params.entries().iter();
        entries
            .map(|entry| fraction(entry.part.kind, entry.param.len()))
            .sum()
    }

    /// Every router's correction bias, layer by layer; layers without experts are left out.
    pub fn correction_biases_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.text
            .layers
            .iter_mut()
            .filter_map(|layer| match &mut layer.feed_forward {
                FeedForward::Moe(moe) => Some(&mut moe.router.correction_bias),
                FeedForward::Dense(_) => None,
            })
    }

    /// Makes this model the mean of itself, which counts `share` of 1, and of another. Runs that began alike, or one where another
    /// ended, are close enough for that: their mean is often better than both (Wortsman et al., "Model soups", 2022). Nothing is
    /// changed, and the answer is `false`, where the other has another shape.
    #[must_use]
    pub fn average(&mut self, other: &Self, share: f32) -> bool {
        if self.config != other.config || self.params.len() != other.params.len() {
            return false;
        }
        let mix = |own: &mut [f32], others: &[f32]| {
            for (own, other) in own.iter_mut().zip(others) {
                *own = share * *own + (1.0 - share) * other;
            }
        };
        mix(self.params.values_mut(), other.params.values());
        for (own, (_, others)) in self.correction_biases_mut().zip(other.correction_biases()) {
            mix(own, others);
        }
        true
    }

    /// Every router's correction bias with the index of its layer.
    pub fn correction_biases(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let layers = self.text.layers.iter().enumerate();
        layers.filter_map(|(index, layer)| match &layer.feed_forward {
            FeedForward::Moe(moe) => Some((index, moe.router.correction_bias.as_slice())),
            FeedForward::Dense(_) => None,
        })
    }
}

/// Deviation of a parameter's fresh values; `None` for norms and biases, which do not begin at random.
fn fresh_deviation(entry: &Entry) -> Option<f32> {
    let part = &entry.part;
    if part.shape.len() == 1 {
        return None;
    }
    let width = match part.form {
        Form::Matrix => entry.param.cols,
        // A table's cell.
        Form::Values => *part.shape.last().expect("more than one size"),
    } as f32;
    Some(match part.kind {
        Kind::Embedding => 1.0 / width.sqrt(),
        _ => (FRESH_DEVIATION * (7168.0 / width).sqrt()).min(1.0 / width.sqrt()),
    })
}

/// Makes room for every part in the order in which the operators want them side by side.
struct Builder<'a> {
    params: &'a mut ParamStore,
    is_frozen: bool,
    eps: f32,
}

impl Builder<'_> {
    fn text(&mut self, names: NameMap<'_>) -> TextWeights<Param, Norm> {
        let embed = self.matrix(names.embed());
        let layers = (0..names.text().num_hidden_layers)
            .map(|index| self.layer(&names.layer(index)))
            .collect();
        let norm = self.norm(names.final_norm(), self.eps);
        TextWeights {
            embed,
            layers,
            norm,
            lm_head: names.lm_head().map_or(embed, |part| self.matrix(part)),
        }
    }

    fn layer(&mut self, names: &LayerNames<'_>) -> LayerWeights<Param, Norm> {
        LayerWeights {
            input_norm: self.norm(names.input_norm(), self.eps),
            attention: self.attention(names),
            post_attention_norm: self.norm(names.post_attention_norm(), self.eps),
            feed_forward: match names.is_moe() {
                true => FeedForward::Moe(self.moe(names)),
                false => FeedForward::Dense(self.mlp(names.dense_mlp(), Storage::Bf16)),
            },
        }
    }

    fn attention(&mut self, names: &LayerNames<'_>) -> MlaWeights<Param, Norm> {
        let query = match names.config().q_lora_rank {
            Some(rank) => QueryWeights::LowRank {
                a: self.matrix(names.q_a(rank)),
                norm: self.norm(names.q_a_norm(rank), LATENT_NORM_EPS),
                b: self.matrix(names.q_b(rank)),
            },
            None => QueryWeights::Direct(self.matrix(names.q())),
        };
        MlaWeights {
            query,
            kv_a: self.matrix(names.kv_a()),
            kv_a_norm: self.norm(names.kv_a_norm(), LATENT_NORM_EPS),
            kv_b: self.matrix(names.kv_b()),
            output: self.matrix(names.output()),
        }
    }

    fn moe(&mut self, names: &LayerNames<'_>) -> MoeWeights<Param> {
        let experts = names.config().n_routed_experts;
        // INT4 needs whole groups of 32 in both directions.
        let (hidden, inner) = (
            names.config().hidden_size,
            names.config().moe_intermediate_size,
        );
        let storage = match hidden.is_multiple_of(32) && inner.is_multiple_of(32) {
            true => Storage::Int4,
            false => Storage::Bf16,
        };
        MoeWeights {
            router: Router {
                weight: self.matrix(names.router()),
                correction_bias: vec![0.0; experts],
            },
            experts: (0..experts)
                .map(|index| self.mlp(names.expert(index), storage))
                .collect(),
            shared: names
                .shared_experts()
                .map(|parts| self.mlp(parts, Storage::Bf16)),
        }
    }

    fn mlp(&mut self, parts: MlpParts, storage: Storage) -> Mlp<Param> {
        Mlp {
            gate: self.place(parts.gate, storage),
            up: self.place(parts.up, storage),
            down: self.place(parts.down, storage),
        }
    }

    fn place(&mut self, part: Part, storage: Storage) -> Param {
        match self.is_frozen {
            true => self.params.frozen_mut().add(part),
            false => self.params.add(part, storage),
        }
    }

    fn matrix(&mut self, part: Part) -> Param {
        self.place(part, Storage::Bf16)
    }

    fn norm(&mut self, part: Part, eps: f32) -> Norm {
        Norm {
            weight: self.place(part, Storage::Bf16),
            eps,
        }
    }
}

/// Every matrix of a tree, in one order whatever a matrix is.
pub(crate) fn matrices<M: Clone, N>(text: &TextWeights<M, N>) -> Vec<M> {
    let mut all = vec![text.embed.clone(), text.lm_head.clone()];
    let mlp = |mlp: &Mlp<M>| [mlp.gate.clone(), mlp.up.clone(), mlp.down.clone()];
    for layer in &text.layers {
        let attention = &layer.attention;
        match &attention.query {
            QueryWeights::LowRank { a, b, .. } => all.extend([a.clone(), b.clone()]),
            QueryWeights::Direct(query) => all.push(query.clone()),
        }
        all.extend([&attention.kv_a, &attention.kv_b, &attention.output].map(M::clone));
        match &layer.feed_forward {
            FeedForward::Dense(dense) => all.extend(mlp(dense)),
            FeedForward::Moe(moe) => {
                all.push(moe.router.weight.clone());
                all.extend(moe.experts.iter().chain(&moe.shared).flat_map(mlp));
            }
        }
    }
    all
}

/// Every norm of a tree, in one order whatever a norm is.
pub(crate) fn norms<M, N: Clone>(text: &TextWeights<M, N>) -> Vec<N> {
    let mut all = vec![text.norm.clone()];
    for layer in &text.layers {
        all.extend([layer.input_norm.clone(), layer.post_attention_norm.clone()]);
        if let QueryWeights::LowRank { norm, .. } = &layer.attention.query {
            all.push(norm.clone());
        }
        all.push(layer.attention.kv_a_norm.clone());
    }
    all
}
