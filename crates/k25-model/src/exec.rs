//! The operators that the wiring is written over: one trait, several executions.
//!
//! [`text::forward`](crate::text::forward) says which norm stands before which projection and what is
//! added where. An execution says how an operator is computed: [`Reference`](crate::Reference) in
//! readable f32, `Fast` with SIMD kernels, `Train` by recording a tape. What attends to what
//! (positions, caches, sequences) belongs to the execution, not to the wiring.

use crate::linear::Linear;
use crate::weights::{MlaWeights, Mlp, MoeWeights, RmsNorm};

/// What one row of the input is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InputRow<'a> {
    /// A vocabulary id, less than the vocabulary's size.
    Token(u32),
    /// A feature row of the vision projector, `hidden` values, in place of a media pad.
    Feature(&'a [f32]),
}

/// A place in the forward pass whose value an observer may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// The rows that enter the first layer.
    Embedding,
    /// A layer's attention after its output projection, before the residual sum.
    AttentionOut(usize),
    /// A layer's feed-forward part before the residual sum.
    FeedForwardOut(usize),
    /// The residual stream after a layer.
    LayerOut(usize),
    /// The residual stream after the last norm.
    FinalNorm,
    /// The low-rank query after its norm.
    QueryLatent(usize),
    /// Queries before rotation, `[rows, heads · qk_head_dim]`.
    Query(usize),
    /// Raw latent and rotary key, `[rows, kv_lora_rank + qk_rope_head_dim]`.
    KvLatentRaw(usize),
    /// Rotated part of the queries, `[rows, heads · qk_rope_head_dim]`, pairs interleaved.
    QueryRotary(usize),
    /// Latents after their norm, as cached.
    Latent(usize),
    /// Rotated shared key, as cached, pairs interleaved.
    KeyRotary(usize),
    /// Per-head context, concatenated: the input of the output projection.
    AttentionContext(usize),
    /// Router logits, `[rows, n_routed_experts]`.
    RouterLogits(usize),
    /// Chosen experts as whole numbers, best weight first, `[rows, num_experts_per_tok]`.
    RouterChoice(usize),
    /// Weights of the chosen experts, in the same order.
    RouterWeights(usize),
}

/// One way of computing the model's operators. Activations are matrices `[rows, width]`.
///
/// `M` and `N` are what the execution takes as a matrix and as a norm: values where it serves,
/// places of parameters where it trains.
pub trait Exec<M = Linear, N = RmsNorm> {
    /// A matrix of activations, or a handle to one.
    type Act;

    /// The input rows: embeddings of tokens, and features as they are.
    fn embed(&mut self, table: &M, rows: &[InputRow<'_>]) -> Self::Act;

    /// `x · Wᵀ`.
    fn linear(&mut self, weight: &M, x: &Self::Act) -> Self::Act;

    /// Root-mean-square norm of each row, statistics in f32.
    fn rms_norm(&mut self, norm: &N, x: &Self::Act) -> Self::Act;

    /// `x + y`: the residual sum.
    fn add(&mut self, x: Self::Act, y: &Self::Act) -> Self::Act;

    /// Rotation, latent norm, cache and causal attention of layer `layer`: from queries
    /// `[rows, heads · qk_head_dim]` and raw latents `[rows, kv_lora_rank + qk_rope_head_dim]` to
    /// contexts `[rows, heads · v_head_dim]`.
    fn mla(
        &mut self,
        layer: usize,
        weights: &MlaWeights<M, N>,
        query: &Self::Act,
        kv: &Self::Act,
    ) -> Self::Act;

    /// A SwiGLU MLP.
    fn mlp(&mut self, mlp: &Mlp<M>, x: &Self::Act) -> Self::Act;

    /// Router, chosen experts and shared expert of layer `layer`.
    fn moe(&mut self, layer: usize, weights: &MoeWeights<M>, x: &Self::Act) -> Self::Act;

    /// The rows whose logits are wanted, in the given order.
    fn select_rows(&mut self, x: &Self::Act, rows: &[usize]) -> Self::Act;

    /// Shows an intermediate value to whoever watches; most executions have nobody.
    fn observe(&mut self, _site: Site, _value: &Self::Act) {}
}
