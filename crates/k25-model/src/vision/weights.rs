//! Weights of MoonViT-3D and its projector as plain data. Nothing here computes.
//!
//! Widths in the shapes below are fields of [`VisionConfig`](k25_config::VisionConfig): `hidden` is
//! the encoder's width, `merged` is `hidden · merge_kernel_size[0] · merge_kernel_size[1]`.

use crate::linear::Linear;

/// Everything that turns patches into features.
#[derive(Debug)]
pub struct VisionWeights {
    /// `vision_tower.patch_embed.proj`: the convolution `[hidden, 3, patch, patch]` read as the
    /// matrix `[hidden, 3 · patch · patch]`, with bias.
    pub patch_embed: LinearBias,
    /// `vision_tower.patch_embed.pos_emb.weight`.
    pub positions: PositionTable,
    /// `vision_tower.encoder.blocks.*` in order.
    pub blocks: Vec<BlockWeights>,
    /// `vision_tower.encoder.final_layernorm`, epsilon 1e-5.
    pub final_norm: LayerNorm,
    /// `mm_projector.*`.
    pub projector: ProjectorWeights,
}

/// The learned table of patch positions, resampled to the size of each item.
#[derive(Debug, Clone)]
pub struct PositionTable {
    /// `[height, width, hidden]`, row-major.
    pub values: Vec<f32>,
    /// Rows: `init_pos_emb_height`.
    pub height: usize,
    /// Columns: `init_pos_emb_width`.
    pub width: usize,
}

impl PositionTable {
    /// Values of one cell: the encoder's width.
    pub fn hidden(&self) -> usize {
        self.values.len() / (self.height * self.width)
    }
}

/// One encoder block: attention and an MLP, each behind a layer norm.
#[derive(Debug)]
pub struct BlockWeights {
    /// `norm0`: before attention.
    pub norm0: LayerNorm,
    /// `wqkv`: `[3 · hidden, hidden]`, queries, then keys, then values.
    pub wqkv: LinearBias,
    /// `wo`: `[hidden, hidden]`.
    pub wo: LinearBias,
    /// `norm1`: before the MLP.
    pub norm1: LayerNorm,
    /// `mlp.fc0`: `[intermediate, hidden]`.
    pub fc0: LinearBias,
    /// `mlp.fc1`: `[hidden, intermediate]`.
    pub fc1: LinearBias,
}

/// The projector from merged patches to the language model's width.
#[derive(Debug)]
pub struct ProjectorWeights {
    /// `pre_norm`: over each patch of a merged window by itself, width `hidden`, epsilon
    /// `projector_ln_eps`.
    pub pre_norm: LayerNorm,
    /// `proj.0`: `[merged, merged]`.
    pub proj0: LinearBias,
    /// `proj.2`: `[text_hidden_size, merged]`.
    pub proj2: LinearBias,
}

/// A linear map with a bias: `y = W·x + b`.
#[derive(Debug, Clone)]
pub struct LinearBias {
    /// `[out, in]`.
    pub weight: Linear,
    /// `[out]`.
    pub bias: Vec<f32>,
}

/// Weights of one layer norm: mean and variance over the row, then scale and shift.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: Vec<f32>,
    /// `[width]`.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

/// Epsilon of the encoder's layer norms, which no configuration field names.
pub const ENCODER_LN_EPS: f32 = 1e-5;
