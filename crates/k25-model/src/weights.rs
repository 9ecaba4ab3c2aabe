//! The model's weights as plain data: what the wiring walks over. Nothing here computes.

use std::sync::Arc;

use k25_config::ModelConfig;

use crate::linear::Linear;
use crate::vision::weights::VisionWeights;

/// A checkpoint's weights, every shape checked against its configuration.
#[derive(Debug)]
pub struct Model {
    /// The configuration that the shapes were checked against.
    pub config: Arc<ModelConfig>,
    /// The language model.
    pub text: TextWeights,
    /// MoonViT-3D and its projector; absent in text-only members of the family.
    pub vision: Option<VisionWeights>,
}

/// Weights of the language model.
#[derive(Debug)]
pub struct TextWeights {
    /// `[vocab, hidden]`; row `i` embeds token `i`.
    pub embed: Linear,
    /// The decoder layers in order.
    pub layers: Vec<LayerWeights>,
    /// The norm before the head.
    pub norm: RmsNorm,
    /// `[vocab, hidden]`.
    pub lm_head: Linear,
}

/// One decoder layer.
#[derive(Debug)]
pub struct LayerWeights {
    /// Norm before attention.
    pub input_norm: RmsNorm,
    /// Multi-head latent attention.
    pub attention: MlaWeights,
    /// Norm before the feed-forward part.
    pub post_attention_norm: RmsNorm,
    /// Dense or mixture of experts.
    pub feed_forward: FeedForward,
}

/// Weights of one root-mean-square norm.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// `[width]`.
    pub weight: Vec<f32>,
    /// Added to the mean square.
    pub eps: f32,
}

/// Weights of multi-head latent attention (spec: architecture §3.1).
#[derive(Debug)]
pub struct MlaWeights {
    /// How queries are made.
    pub query: QueryWeights,
    /// `[kv_lora_rank + qk_rope_head_dim, hidden]`: latent, then the shared rotary key.
    pub kv_a: Linear,
    /// Norm of the latent.
    pub kv_a_norm: RmsNorm,
    /// `[heads · (qk_nope_head_dim + v_head_dim), kv_lora_rank]`, per head keys then values.
    pub kv_b: Linear,
    /// `[hidden, heads · v_head_dim]`.
    pub output: Linear,
}

/// The query path: through a low rank, or in one step where `q_lora_rank` is null.
#[derive(Debug)]
pub enum QueryWeights {
    /// `q_b · norm(q_a · x)`.
    LowRank {
        /// `[q_lora_rank, hidden]`.
        a: Linear,
        /// Norm of the low-rank query.
        norm: RmsNorm,
        /// `[heads · qk_head_dim, q_lora_rank]`.
        b: Linear,
    },
    /// `q · x` with `[heads · qk_head_dim, hidden]`.
    Direct(Linear),
}

/// The feed-forward part of a layer.
#[derive(Debug)]
pub enum FeedForward {
    /// One SwiGLU MLP (the first `first_k_dense_replace` layers).
    Dense(Mlp),
    /// Routed experts and a shared one.
    Moe(MoeWeights),
}

/// A SwiGLU MLP: `down · (silu(gate · x) ⊙ (up · x))`.
#[derive(Debug)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub gate: Linear,
    /// `[intermediate, hidden]`.
    pub up: Linear,
    /// `[hidden, intermediate]`.
    pub down: Linear,
}

/// Weights of one mixture-of-experts layer (spec: architecture §3.2).
#[derive(Debug)]
pub struct MoeWeights {
    /// Chooses the experts.
    pub router: Router,
    /// The routed experts by index.
    pub experts: Vec<Mlp>,
    /// Runs on every row, unweighted; absent where `n_shared_experts` is 0.
    pub shared: Option<Mlp>,
}

/// The router: a sigmoid score per expert, and a bias that counts for the choice alone.
#[derive(Debug)]
pub struct Router {
    /// `[n_routed_experts, hidden]`.
    pub weight: Linear,
    /// `e_score_correction_bias`, `[n_routed_experts]`.
    pub correction_bias: Vec<f32>,
}
