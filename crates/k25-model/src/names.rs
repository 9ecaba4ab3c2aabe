//! Every tensor name of the family, with its kind and its shape (spec: architecture §2).
//!
//! Loading, inspecting and writing checkpoints all walk over the [`Part`]s listed here; no other
//! file knows a name. Shapes are `[out, in]` for matrices.

use k25_config::{ModelConfig, TextConfig, VisionConfig};

mod part;

pub use part::{Form, Kind, Part};

/// The three projections of a SwiGLU MLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlpParts {
    /// `[inner, hidden]`.
    pub gate: Part,
    /// `[inner, hidden]`.
    pub up: Part,
    /// `[hidden, inner]`.
    pub down: Part,
}

impl MlpParts {
    fn each(self) -> [Part; 3] {
        [self.gate, self.up, self.down]
    }
}

/// A part with a weight and a bias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BiasedParts {
    /// A matrix, or the scale of a norm.
    pub weight: Part,
    /// `[out]`.
    pub bias: Part,
}

impl BiasedParts {
    fn each(self) -> [Part; 2] {
        [self.weight, self.bias]
    }
}

/// What stands before the names of the language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// `language_model.`, beside a vision tower (Kimi K2.5).
    LanguageModel,
    /// Nothing, in text-only members (Kimi K2, Moonlight, DeepSeek-V3).
    None,
}

impl Prefix {
    /// Finds which one a checkpoint uses, even where a tensor or two are missing.
    pub fn detect(has_tensor: impl Fn(&str) -> bool) -> Self {
        let unprefixed = [
            "model.embed_tokens.weight",
            "model.norm.weight",
            "model.layers.0.input_layernorm.weight",
        ];
        match unprefixed.into_iter().any(has_tensor) {
            true => Self::None,
            false => Self::LanguageModel,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::LanguageModel => "language_model.",
            Self::None => "",
        }
    }
}

/// The names of one model's tensors.
#[derive(Debug, Clone, Copy)]
pub struct NameMap<'c> {
    text: &'c TextConfig,
    vision: Option<&'c VisionConfig>,
    prefix: Prefix,
}

impl<'c> NameMap<'c> {
    /// The names of `config`'s tensors under `prefix`, with or without those of its vision tower.
    pub fn new(config: &'c ModelConfig, prefix: Prefix, with_vision: bool) -> Self {
        let vision = config.vision.as_ref().filter(|_| with_vision);
        Self {
            text: &config.text,
            vision,
            prefix,
        }
    }

    /// The configuration of the language model.
    pub fn text(self) -> &'c TextConfig {
        self.text
    }

    /// Whether a name belongs to the vision tower or its projector.
    pub fn is_vision(name: &str) -> bool {
        name.starts_with("vision_tower.") || name.starts_with("mm_projector.")
    }

    /// Every part of the model.
    pub fn parts(self) -> impl Iterator<Item = Part> + 'c {
        let outer = [Some(self.embed()), Some(self.final_norm()), self.lm_head()];
        let layers = (0..self.text.num_hidden_layers).flat_map(move |i| self.layer(i).parts());
        let vision = self.vision().into_iter().flat_map(VisionNames::parts);
        outer.into_iter().flatten().chain(layers).chain(vision)
    }

    /// The embedding, `[vocab, hidden]`.
    pub fn embed(self) -> Part {
        let shape = [self.text.vocab_size, self.text.hidden_size];
        self.part(
            "model.embed_tokens.weight",
            Kind::Embedding,
            Form::Matrix,
            &shape,
        )
    }

    /// The head, `[vocab, hidden]`; `None` where the embedding serves as head.
    pub fn lm_head(self) -> Option<Part> {
        let shape = [self.text.vocab_size, self.text.hidden_size];
        let head = || self.part("lm_head.weight", Kind::Head, Form::Matrix, &shape);
        (!self.text.tie_word_embeddings).then(head)
    }

    /// The norm before the head.
    pub fn final_norm(self) -> Part {
        self.part(
            "model.norm.weight",
            Kind::Norms,
            Form::Values,
            &[self.text.hidden_size],
        )
    }

    /// The names of decoder layer `index`.
    pub fn layer(self, index: usize) -> LayerNames<'c> {
        let prefix = format!("{}model.layers.{index}.", self.prefix.text());
        LayerNames {
            config: self.text,
            index,
            prefix,
        }
    }

    /// The names of the vision tower and the projector, where the model has them.
    pub fn vision(self) -> Option<VisionNames<'c>> {
        self.vision.map(|config| VisionNames { config })
    }

    /// What a tensor is that is no part of the model.
    pub fn stray(self, name: &str) -> Stray {
        if name.ends_with(".rotary_emb.inv_freq") {
            return Stray::RotaryBuffer;
        }
        match self.layer_of(name) {
            Some(layer) if layer >= self.text.num_hidden_layers => Stray::LayerPastTheLast,
            _ if name.strip_prefix(self.prefix.text()) == Some("lm_head.weight") => Stray::TiedHead,
            _ => Stray::Unknown,
        }
    }

    fn layer_of(self, name: &str) -> Option<usize> {
        let rest = name
            .strip_prefix(self.prefix.text())?
            .strip_prefix("model.layers.")?;
        rest.split_once('.')?.0.parse().ok()
    }

    /// Two names of the layer after the last: one that any decoder layer has, and one that only a
    /// layer for predicting further tokens has.
    pub fn layer_past_the_last(self) -> [String; 2] {
        let prefix = self.layer(self.text.num_hidden_layers).prefix;
        [
            format!("{prefix}input_layernorm.weight"),
            format!("{prefix}eh_proj.weight"),
        ]
    }

    fn part(self, name: &str, kind: Kind, form: Form, shape: &[usize]) -> Part {
        let name = format!("{}{name}", self.prefix.text());
        Part {
            name,
            kind,
            form,
            shape: shape.into(),
        }
    }
}

/// Tensors that a checkpoint may hold beside the model's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stray {
    /// Rotary frequencies that older tools stored; they are computed.
    RotaryBuffer,
    /// A layer for multi-token prediction in training (DeepSeek-V3), which inference leaves out.
    LayerPastTheLast,
    /// A head although the configuration says that the embedding serves as head.
    TiedHead,
    /// Nothing that the family has.
    Unknown,
}

/// The names of one decoder layer.
#[derive(Debug, Clone)]
pub struct LayerNames<'c> {
    config: &'c TextConfig,
    index: usize,
    prefix: String,
}

impl<'c> LayerNames<'c> {
    /// The configuration of the language model.
    pub fn config(&self) -> &'c TextConfig {
        self.config
    }

    /// Whether the layer has experts.
    pub fn is_moe(&self) -> bool {
        self.config.is_moe_layer(self.index)
    }

    /// Every part of the layer.
    fn parts(self) -> impl Iterator<Item = Part> + 'c {
        let mut parts = vec![self.input_norm(), self.post_attention_norm()];
        match self.config.q_lora_rank {
            Some(rank) => parts.extend([self.q_a(rank), self.q_a_norm(rank), self.q_b(rank)]),
            None => parts.push(self.q()),
        }
        parts.extend([self.kv_a(), self.kv_a_norm(), self.kv_b(), self.output()]);
        let mut experts = 0;
        if self.is_moe() {
            parts.extend([self.router(), self.correction_bias()]);
            parts.extend(self.shared_experts().into_iter().flat_map(MlpParts::each));
            experts = self.config.n_routed_experts;
        } else {
            parts.extend(self.dense_mlp().each());
        }
        parts
            .into_iter()
            .chain((0..experts).flat_map(move |e| self.expert(e).each()))
    }

    /// The norm before attention.
    pub fn input_norm(&self) -> Part {
        self.norm("input_layernorm.weight", self.config.hidden_size)
    }

    /// The norm before the feed-forward part.
    pub fn post_attention_norm(&self) -> Part {
        self.norm("post_attention_layernorm.weight", self.config.hidden_size)
    }

    /// The first half of the low-rank query, `[rank, hidden]`.
    pub fn q_a(&self, rank: usize) -> Part {
        self.attention("q_a_proj", rank, self.config.hidden_size)
    }

    /// The norm of the low-rank query.
    pub fn q_a_norm(&self, rank: usize) -> Part {
        self.norm("self_attn.q_a_layernorm.weight", rank)
    }

    /// The second half of the low-rank query, `[heads · qk_head_dim, rank]`.
    pub fn q_b(&self, rank: usize) -> Part {
        let c = self.config;
        self.attention("q_b_proj", c.num_attention_heads * c.qk_head_dim(), rank)
    }

    /// The query in one step, `[heads · qk_head_dim, hidden]`.
    pub fn q(&self) -> Part {
        let c = self.config;
        self.attention(
            "q_proj",
            c.num_attention_heads * c.qk_head_dim(),
            c.hidden_size,
        )
    }

    /// Latent and shared rotary key, `[kv_lora_rank + qk_rope_head_dim, hidden]`.
    pub fn kv_a(&self) -> Part {
        self.attention(
            "kv_a_proj_with_mqa",
            self.config.latent_width(),
            self.config.hidden_size,
        )
    }

    /// The norm of the latent.
    pub fn kv_a_norm(&self) -> Part {
        self.norm("self_attn.kv_a_layernorm.weight", self.config.kv_lora_rank)
    }

    /// Keys and values out of the latent, `[heads · (qk_nope + v), kv_lora_rank]`.
    pub fn kv_b(&self) -> Part {
        let c = self.config;
        let width = c.qk_nope_head_dim + c.v_head_dim;
        self.attention("kv_b_proj", c.num_attention_heads * width, c.kv_lora_rank)
    }

    /// The output projection, `[hidden, heads · v]`.
    pub fn output(&self) -> Part {
        let c = self.config;
        self.attention(
            "o_proj",
            c.hidden_size,
            c.num_attention_heads * c.v_head_dim,
        )
    }

    /// The dense feed-forward part.
    pub fn dense_mlp(&self) -> MlpParts {
        self.mlp("mlp", Kind::DenseMlp, self.config.intermediate_size)
    }

    /// The router, `[n_routed_experts, hidden]`.
    pub fn router(&self) -> Part {
        let shape = [self.config.n_routed_experts, self.config.hidden_size];
        self.part("mlp.gate.weight", Kind::Router, Form::Matrix, &shape)
    }

    /// The router's correction bias, stored in f32.
    pub fn correction_bias(&self) -> Part {
        let shape = [self.config.n_routed_experts];
        self.part(
            "mlp.gate.e_score_correction_bias",
            Kind::Router,
            Form::Values,
            &shape,
        )
    }

    /// The shared experts, stored as one; `None` where there are none.
    pub fn shared_experts(&self) -> Option<MlpParts> {
        let width = self.config.n_shared_experts * self.config.moe_intermediate_size;
        (width > 0).then(|| self.mlp("mlp.shared_experts", Kind::SharedExperts, width))
    }

    /// Routed expert `index`.
    pub fn expert(&self, index: usize) -> MlpParts {
        let stem = format!("mlp.experts.{index}");
        self.mlp(
            &stem,
            Kind::RoutedExperts,
            self.config.moe_intermediate_size,
        )
    }

    fn mlp(&self, stem: &str, kind: Kind, inner: usize) -> MlpParts {
        let hidden = self.config.hidden_size;
        let part = |name: &str, shape: [usize; 2]| {
            self.part(&format!("{stem}.{name}.weight"), kind, Form::Matrix, &shape)
        };
        MlpParts {
            gate: part("gate_proj", [inner, hidden]),
            up: part("up_proj", [inner, hidden]),
            down: part("down_proj", [hidden, inner]),
        }
    }

    fn attention(&self, name: &str, out: usize, width: usize) -> Part {
        let name = format!("self_attn.{name}.weight");
        self.part(&name, Kind::Attention, Form::Matrix, &[out, width])
    }

    fn norm(&self, name: &str, width: usize) -> Part {
        self.part(name, Kind::Norms, Form::Values, &[width])
    }

    fn part(&self, name: &str, kind: Kind, form: Form, shape: &[usize]) -> Part {
        Part {
            name: format!("{}{name}", self.prefix),
            kind,
            form,
            shape: shape.into(),
        }
    }
}

/// The names of the vision tower and the projector; they have no prefix.
#[derive(Debug, Clone, Copy)]
pub struct VisionNames<'c> {
    config: &'c VisionConfig,
}

impl<'c> VisionNames<'c> {
    /// The configuration of the vision tower.
    pub fn config(self) -> &'c VisionConfig {
        self.config
    }

    fn parts(self) -> impl Iterator<Item = Part> + 'c {
        let ends = [
            self.patch_embed(),
            self.final_norm(),
            self.projector_norm(),
            self.projector_in(),
            self.projector_out(),
        ];
        let blocks = (0..self.config.num_hidden_layers).flat_map(move |index| {
            let block = self.block(index);
            [
                block.norm0,
                block.wqkv,
                block.wo,
                block.norm1,
                block.fc0,
                block.fc1,
            ]
        });
        let biased = ends.into_iter().chain(blocks).flat_map(BiasedParts::each);
        std::iter::once(self.positions()).chain(biased)
    }

    /// The patch convolution, `[hidden, 3, patch, patch]`.
    pub fn patch_embed(self) -> BiasedParts {
        let (hidden, patch) = (self.config.hidden_size, self.config.patch_size);
        let shape = [hidden, 3, patch, patch];
        biased(
            "vision_tower.patch_embed.proj",
            Kind::Vision,
            Form::Matrix,
            &shape,
        )
    }

    /// The learned positions, `[height, width, hidden]`.
    pub fn positions(self) -> Part {
        let c = self.config;
        Part {
            name: "vision_tower.patch_embed.pos_emb.weight".to_owned(),
            kind: Kind::Vision,
            form: Form::Values,
            shape: vec![c.init_pos_emb_height, c.init_pos_emb_width, c.hidden_size],
        }
    }

    /// Encoder block `index`.
    pub fn block(self, index: usize) -> BlockParts {
        let (hidden, inner) = (self.config.hidden_size, self.config.intermediate_size);
        let part = |name: &str, form, shape: &[usize]| {
            let stem = format!("vision_tower.encoder.blocks.{index}.{name}");
            biased(&stem, Kind::Vision, form, shape)
        };
        BlockParts {
            norm0: part("norm0", Form::Values, &[hidden]),
            wqkv: part("wqkv", Form::Matrix, &[3 * hidden, hidden]),
            wo: part("wo", Form::Matrix, &[hidden, hidden]),
            norm1: part("norm1", Form::Values, &[hidden]),
            fc0: part("mlp.fc0", Form::Matrix, &[inner, hidden]),
            fc1: part("mlp.fc1", Form::Matrix, &[hidden, inner]),
        }
    }

    /// The norm after the last block.
    pub fn final_norm(self) -> BiasedParts {
        let shape = [self.config.hidden_size];
        biased(
            "vision_tower.encoder.final_layernorm",
            Kind::Vision,
            Form::Values,
            &shape,
        )
    }

    /// The projector's norm, over one patch.
    pub fn projector_norm(self) -> BiasedParts {
        let shape = [self.config.mm_hidden_size];
        biased(
            "mm_projector.pre_norm",
            Kind::Projector,
            Form::Values,
            &shape,
        )
    }

    /// The projector's first matrix, `[merged, merged]`.
    pub fn projector_in(self) -> BiasedParts {
        let merged = self.merged_width();
        biased(
            "mm_projector.proj.0",
            Kind::Projector,
            Form::Matrix,
            &[merged, merged],
        )
    }

    /// The projector's second matrix, `[text_hidden_size, merged]`.
    pub fn projector_out(self) -> BiasedParts {
        let shape = [self.config.text_hidden_size, self.merged_width()];
        biased("mm_projector.proj.2", Kind::Projector, Form::Matrix, &shape)
    }

    fn merged_width(self) -> usize {
        self.config.mm_hidden_size * self.config.merge_kernel_size.iter().product::<usize>()
    }
}

/// The parts of one encoder block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockParts {
    /// Norm before attention.
    pub norm0: BiasedParts,
    /// Queries, keys and values, `[3 · hidden, hidden]`.
    pub wqkv: BiasedParts,
    /// Output of attention, `[hidden, hidden]`.
    pub wo: BiasedParts,
    /// Norm before the MLP.
    pub norm1: BiasedParts,
    /// `[intermediate, hidden]`.
    pub fc0: BiasedParts,
    /// `[hidden, intermediate]`.
    pub fc1: BiasedParts,
}

fn biased(stem: &str, kind: Kind, form: Form, shape: &[usize]) -> BiasedParts {
    let weight = Part {
        name: format!("{stem}.weight"),
        kind,
        form,
        shape: shape.into(),
    };
    let bias = Part {
        name: format!("{stem}.bias"),
        kind,
        form: Form::Values,
        shape: vec![shape[0]],
    };
    BiasedParts { weight, bias }
}

#[cfg(test)]
mod tests;
