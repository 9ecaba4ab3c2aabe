//! The model's weights as plain data: what the wiring walks over. Nothing here computes.
//!
//! The tree is generic over what a matrix `M` and a norm `N` are. Serving keeps values
//! ([`Linear`], [`RmsNorm`]); training keeps places in its parameter store.

use std::sync::Arc;

use k25_config::ModelConfig;
use rayon::prelude::*;

use crate::linear::Linear;
use crate::tensor::Advice;
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

impl Model {
    /// Tells the system how the language model's matrices will be read; the embedding is left out, of which a pass reads a
    /// few rows. With [`Advice::Populate`] this takes about a tenth of a second per GB that is in memory already, and
    /// spares the first passes the page faults.
    pub fn advise(&self, advice: Advice) {
        self.text
            .layers
            .par_iter()
            .flat_map_iter(LayerWeights::matrices)
            .chain([&self.text.lm_head])
            .for_each(|matrix| matrix.advise(advice));
    }
}

impl<M, N> LayerWeights<M, N> {
    /// Every matrix of the layer.
    pub fn matrices(&self) -> impl Iterator<Item = &M> {
        let MlaWeights {
            query,
            kv_a,
            kv_b,
            output,
            ..
        } = &self.attention;
        let (first, second) = match query {
            QueryWeights::LowRank { a, b, .. } => (a, Some(b)),
            QueryWeights::Direct(projection) => (projection, None),
        };
        let (router, dense, experts): (_, _, &[Mlp<M>]) = match &self.feed_forward {
            FeedForward::Dense(mlp) => (None, Some(mlp), &[]),
            FeedForward::Moe(moe) => (Some(&moe.router.weight), moe.shared.as_ref(), &moe.experts),
        };
        let mlps = dense.into_iter().chain(experts).flat_map(Mlp::matrices);
        [first, kv_a, kv_b, output]
            .into_iter()
            .chain(second)
            .chain(router)
            .chain(mlps)
    }
}

impl<M> Mlp<M> {
    /// Gate, up and down.
    pub fn matrices(&self) -> [&M; 3] {
        [&self.gate, &self.up, &self.down]
    }
}

/// Weights of the language model.
#[derive(Debug)]
pub struct TextWeights<M = Linear, N = RmsNorm> {
    /// `[vocab, hidden]`; row `i` embeds token `i`.
    pub embed: M,
    /// The decoder layers in order.
    pub layers: Vec<LayerWeights<M, N>>,
    /// The norm before the head.
    pub norm: N,
    /// `[vocab, hidden]`.
    pub lm_head: M,
}

/// One decoder layer.
#[derive(Debug)]
pub struct LayerWeights<M = Linear, N = RmsNorm> {
    /// Norm before attention.
    pub input_norm: N,
    /// Multi-head latent attention.
    pub attention: MlaWeights<M, N>,
    /// Norm before the feed-forward part.
    pub post_attention_norm: N,
    /// Dense or mixture of experts.
    pub feed_forward: FeedForward<M>,
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
pub struct MlaWeights<M = Linear, N = RmsNorm> {
    /// How queries are made.
    pub query: QueryWeights<M, N>,
    /// `[kv_lora_rank + qk_rope_head_dim, hidden]`: latent, then the shared rotary key.
    pub kv_a: M,
    /// Norm of the latent.
    pub kv_a_norm: N,
    /// `[heads · (qk_nope_head_dim + v_head_dim), kv_lora_rank]`, per head keys then values.
    pub kv_b: M,
    /// `[hidden, heads · v_head_dim]`.
    pub output: M,
}

/// The query path: through a low rank, or in one step where `q_lora_rank` is null.
#[derive(Debug)]
pub enum QueryWeights<M = Linear, N = RmsNorm> {
    /// `q_b · norm(q_a · x)`.
    LowRank {
        /// `[q_lora_rank, hidden]`.
        a: M,
        /// Norm of the low-rank query.
        norm: N,
        /// `[heads · qk_head_dim, q_lora_rank]`.
        b: M,
    },
    /// `q · x` with `[heads · qk_head_dim, hidden]`.
    Direct(M),
}

/// The feed-forward part of a layer.
#[derive(Debug)]
pub enum FeedForward<M = Linear> {
    /// One SwiGLU MLP (the first `first_k_dense_replace` layers).
    Dense(Mlp<M>),
    /// Routed experts and a shared one.
    Moe(MoeWeights<M>),
}

/// A SwiGLU MLP: `down · (silu(gate · x) ⊙ (up · x))`.
#[derive(Debug)]
pub struct Mlp<M = Linear> {
    /// `[intermediate, hidden]`.
    pub gate: M,
    /// `[intermediate, hidden]`.
    pub up: M,
    /// `[hidden, intermediate]`.
    pub down: M,
}

/// Weights of one mixture-of-experts layer (spec: architecture §3.2).
#[derive(Debug)]
pub struct MoeWeights<M = Linear> {
    /// Chooses the experts.
    pub router: Router<M>,
    /// The routed experts by index.
    pub experts: Vec<Mlp<M>>,
    /// Runs on every row, unweighted; absent where `n_shared_experts` is 0.
    pub shared: Option<Mlp<M>>,
}

/// The router: a sigmoid score per expert, and a bias that counts for the choice alone.
#[derive(Debug)]
pub struct Router<M = Linear> {
    /// `[n_routed_experts, hidden]`.
    pub weight: M,
    /// `e_score_correction_bias`, `[n_routed_experts]`.
    pub correction_bias: Vec<f32>,
}
