//! The typed configuration: only what the computation needs, already validated.

pub(crate) mod checkpoint_json;
pub(crate) mod parameters;
mod presets;

use crate::Quantization;

/// One member of the K2.5 family.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `model_type` as the file has it, for people to read.
    pub model_type: String,
    /// The language model.
    pub text: TextConfig,
    /// MoonViT-3D; `None` in text-only members.
    pub vision: Option<VisionConfig>,
    /// The id that stands for one media feature row in a prompt.
    pub media_placeholder_token_id: Option<u32>,
    /// Begin-of-sequence id; never inserted by itself.
    pub bos_token_id: Option<u32>,
    /// Ids named as end of sequence (one or several).
    pub eos_token_ids: Vec<u32>,
    /// Padding id.
    pub pad_token_id: Option<u32>,
    /// How the file says that weights are stored; the tensors themselves decide.
    pub quantization: Quantization,
}

/// The language model's numbers (spec: architecture §1; names as in the file).
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// The first layers, which have a dense feed-forward part.
    pub first_k_dense_replace: usize,
    /// From there on, every n-th layer has experts.
    pub moe_layer_freq: usize,
    /// Inner width of a dense feed-forward part.
    pub intermediate_size: usize,
    /// Inner width of one expert.
    pub moe_intermediate_size: usize,
    /// Routed experts per layer; 0 in a model without experts.
    pub n_routed_experts: usize,
    /// Experts that each row visits.
    pub num_experts_per_tok: usize,
    /// Shared experts, stored as one of that many widths.
    pub n_shared_experts: usize,
    /// Groups that the experts are divided into for the choice.
    pub n_group: usize,
    /// Groups that stay in the choice.
    pub topk_group: usize,
    /// Whether the chosen weights are divided by their sum.
    pub norm_topk_prob: bool,
    /// Factor on the chosen weights.
    pub routed_scaling_factor: f32,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Rank of the query path; `None` where queries are projected in one step.
    pub q_lora_rank: Option<usize>,
    /// Width of the cached latent.
    pub kv_lora_rank: usize,
    /// Width of a head's unrotated part.
    pub qk_nope_head_dim: usize,
    /// Width of a head's rotated part; even.
    pub qk_rope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// Epsilon of the layer norms and the last norm. (The two latent norms have their own.)
    pub rms_norm_eps: f32,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Positions that the model was trained for.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// YaRN extension of the rotary frequencies; `None` for plain rotary embedding.
    pub rope_scaling: Option<Yarn>,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Layers after the last that only predict further tokens in training (DeepSeek-V3 has one);
    /// their tensors are not part of the forward pass.
    pub num_nextn_predict_layers: usize,
}

/// YaRN's numbers (`rope_scaling` of type `yarn`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// How far the context was extended.
    pub factor: f64,
    /// Context length before the extension.
    pub original_max_position_embeddings: usize,
    /// Rotations above which a frequency stays as it is.
    pub beta_fast: f64,
    /// Rotations below which a frequency is divided by the factor.
    pub beta_slow: f64,
    /// Numerator of the cos/sin multiplier.
    pub mscale: f64,
    /// Denominator of the cos/sin multiplier, and the softmax scale's correction.
    pub mscale_all_dim: f64,
}

/// MoonViT-3D and its projector (spec: architecture §1, §4).
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Side of a square patch in pixels.
    pub patch_size: usize,
    /// Width of the encoder.
    pub hidden_size: usize,
    /// Encoder blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; the head width is a multiple of 4.
    pub num_attention_heads: usize,
    /// Inner width of a block's MLP.
    pub intermediate_size: usize,
    /// Patches merged into one token, `[height, width]`.
    pub merge_kernel_size: [usize; 2],
    /// Rows of the learned position table.
    pub init_pos_emb_height: usize,
    /// Columns of the learned position table.
    pub init_pos_emb_width: usize,
    /// Most frames in one item.
    pub init_pos_emb_time: usize,
    /// Width of one merged patch at the projector; equals the encoder's width.
    pub mm_hidden_size: usize,
    /// Width that the projector writes; equals the language model's.
    pub text_hidden_size: usize,
    /// Epsilon of the projector's layer norm.
    pub projector_ln_eps: f32,
}

impl TextConfig {
    /// Whether layer `index` has experts.
    pub fn is_moe_layer(&self, index: usize) -> bool {
        self.n_routed_experts > 0
            && index >= self.first_k_dense_replace
            && index.is_multiple_of(self.moe_layer_freq)
    }

    /// Width of a query or key head: unrotated and rotated part.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Values that the cache keeps per row and layer: the latent and the rotated key.
    pub fn latent_width(&self) -> usize {
        self.kv_lora_rank + self.qk_rope_head_dim
    }
}

impl VisionConfig {
    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}
