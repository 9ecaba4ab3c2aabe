//! Weights of MoonViT-3D and its projector as plain data. Nothing here computes.
//!
//! As the language model's, the tree is generic over what a matrix `M` is, and over what a few values
//! `V` are (norms, biases, the position table): values where it serves, places of parameters where it
//! trains.
//!
//! Widths in the shapes below are fields of [`VisionConfig`](k25_config::VisionConfig): `hidden` is
//! the encoder's width, `merged` is `hidden · merge_kernel_size[0] · merge_kernel_size[1]`.

use crate::linear::Linear;

/// Everything that turns patches into features.
#[derive(Debug)]
pub struct VisionWeights<M = Linear, V = Vec<f32>> {
    /// `vision_tower.patch_embed.proj`: the convolution `[hidden, 3, patch, patch]` read as the
    /// matrix `[hidden, 3 · patch · patch]`, with bias.
    pub patch_embed: LinearBias<M, V>,
    /// `vision_tower.patch_embed.pos_emb.weight`.
    pub positions: PositionTable<V>,
    /// `vision_tower.encoder.blocks.*` in order.
    pub blocks: Vec<BlockWeights<M, V>>,
    /// `vision_tower.encoder.final_layernorm`, epsilon 1e-5.
    pub final_norm: LayerNorm<V>,
    /// `mm_projector.*`.
    pub projector: ProjectorWeights<M, V>,
}

/// The learned table of patch positions, resampled to the size of each item.
#[derive(Debug, Clone)]
pub struct PositionTable<V = Vec<f32>> {
    /// `[height, width, hidden]`, row-major.
    pub values: V,
    /// Rows: `init_pos_emb_height`.
    pub height: usize,
    /// Columns: `init_pos_emb_width`.
    pub width: usize,
}

/// One encoder block: attention and an MLP, each behind a layer norm.
#[derive(Debug)]
pub struct BlockWeights<M = Linear, V = Vec<f32>> {
    /// `norm0`: before attention.
    pub norm0: LayerNorm<V>,
    /// `wqkv`: `[3 · hidden, hidden]`, queries, then keys, then values.
    pub wqkv: LinearBias<M, V>,
    /// `wo`: `[hidden, hidden]`.
    pub wo: LinearBias<M, V>,
    /// `norm1`: before the MLP.
    pub norm1: LayerNorm<V>,
    /// `mlp.fc0`: `[intermediate, hidden]`.
    pub fc0: LinearBias<M, V>,
    /// `mlp.fc1`: `[hidden, intermediate]`.
    pub fc1: LinearBias<M, V>,
}

/// The projector from merged patches to the language model's width.
#[derive(Debug)]
pub struct ProjectorWeights<M = Linear, V = Vec<f32>> {
    /// `pre_norm`: over each patch of a merged window by itself, width `hidden`, epsilon
    /// `projector_ln_eps`.
    pub pre_norm: LayerNorm<V>,
    /// `proj.0`: `[merged, merged]`.
    pub proj0: LinearBias<M, V>,
    /// `proj.2`: `[text_hidden_size, merged]`.
    pub proj2: LinearBias<M, V>,
}

/// A linear map with a bias: `y = W·x + b`.
#[derive(Debug, Clone)]
pub struct LinearBias<M = Linear, V = Vec<f32>> {
    /// `[out, in]`.
    pub weight: M,
    /// `[out]`.
    pub bias: V,
}

/// Weights of one layer norm: mean and variance over the row, then scale and shift.
#[derive(Debug, Clone)]
pub struct LayerNorm<V = Vec<f32>> {
    /// `[width]`.
    pub weight: V,
    /// `[width]`.
    pub bias: V,
    /// Added to the variance.
    pub eps: f32,
}

/// Epsilon of the encoder's layer norms, which no configuration field names.
pub const ENCODER_LN_EPS: f32 = 1e-5;
