//! The wiring of MoonViT-3D and its projector, written once over [`VisionExec`].

use k25_config::VisionConfig;

use super::weights::{
    BlockWeights, LayerNorm, LinearBias, PositionTable, ProjectorWeights, VisionWeights,
};
use super::{Packing, RotaryAngles, VisionError, VisionItem};
use crate::linear::Linear;

/// A place in the vision tower whose value an observer may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VisionSite {
    /// Embedded patches with their positions, `[rows, hidden]`.
    Embedding,
    /// The residual stream after a block, `[rows, hidden]`.
    BlockOut(usize),
    /// After the encoder's last norm, `[rows, hidden]`.
    EncoderOut,
    /// Windows averaged over time, `[tokens · window, hidden]`.
    Merged,
    /// The projector's result, `[tokens, text_hidden_size]`.
    Features,
}

/// The two forms of GELU that the model uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, in the blocks.
    Tanh,
    /// `x/2 · (1 + erf(x/√2))`, in the projector.
    Erf,
}

/// One way of computing the vision tower's operators. Activations are matrices `[rows, width]`.
///
/// `M` and `V` are what the execution takes as a matrix and as a few values: values where it serves,
/// places of parameters where it trains.
pub trait VisionExec<M = Linear, V = Vec<f32>> {
    /// A matrix of activations, or a handle to one.
    type Act;

    /// Takes in values from outside: the parts one after the other, in rows of `width`.
    fn input(&mut self, parts: &[&[f32]], width: usize) -> Self::Act;

    /// The learned positions at the size of each item, and fixed ones in time, `[rows, hidden]`
    /// (see [`position_rows`](super::position_rows)).
    fn positions(&mut self, table: &PositionTable<V>, packing: &Packing) -> Self::Act;

    /// `x · Wᵀ + b`.
    fn linear(&mut self, linear: &LinearBias<M, V>, x: &Self::Act) -> Self::Act;

    /// Layer norm of each row, statistics in f32.
    fn layer_norm(&mut self, norm: &LayerNorm<V>, x: &Self::Act) -> Self::Act;

    /// `x + y`.
    fn add(&mut self, x: Self::Act, y: &Self::Act) -> Self::Act;

    /// GELU of each value.
    fn gelu(&mut self, form: Gelu, x: Self::Act) -> Self::Act;

    /// Full attention within each item: from `[rows, 3 · hidden]` (queries, keys, values; each
    /// head after head) to contexts `[rows, hidden]`. Queries and keys are turned by `angles`
    /// first; scores are scaled by `1/√head_dim`.
    fn attention(
        &mut self,
        heads: usize,
        packing: &Packing,
        angles: &RotaryAngles,
        qkv: &Self::Act,
    ) -> Self::Act;

    /// Averages each item over its frames and orders rows by merged window: from
    /// `[rows, hidden]` to `[tokens · window, hidden]`, a window's patches row by row.
    fn pool(&mut self, packing: &Packing, x: &Self::Act) -> Self::Act;

    /// Joins every `count` neighbouring rows into one: `[rows, width]` to
    /// `[rows / count, count · width]`.
    fn join_rows(&mut self, count: usize, x: Self::Act) -> Self::Act;

    /// Shows an intermediate value to whoever watches; most executions have nobody.
    fn observe(&mut self, _site: VisionSite, _value: &Self::Act) {}
}

/// Encodes a batch: the features `[tokens, text_hidden_size]` of all items in order, each item as
/// many rows as [`Packing::tokens`] says.
///
/// # Errors
/// As [`Packing::new`].
pub fn encode<M, V, E: VisionExec<M, V>>(
    exec: &mut E,
    config: &VisionConfig,
    weights: &VisionWeights<M, V>,
    items: &[VisionItem],
) -> Result<E::Act, VisionError> {
    let packing = Packing::new(items, config)?;
    let angles = RotaryAngles::new(&packing, config);

    let mut residual = embed(exec, config, weights, items, &packing);
    exec.observe(VisionSite::Embedding, &residual);
    for (index, block) in weights.blocks.iter().enumerate() {
        residual = encoder_block(
            exec,
            config.num_attention_heads,
            block,
            &packing,
            &angles,
            residual,
        );
        exec.observe(VisionSite::BlockOut(index), &residual);
    }
    let encoded = exec.layer_norm(&weights.final_norm, &residual);
    exec.observe(VisionSite::EncoderOut, &encoded);

    let merged = exec.pool(&packing, &encoded);
    exec.observe(VisionSite::Merged, &merged);
    let features = project(exec, config, &weights.projector, &merged);
    exec.observe(VisionSite::Features, &features);
    Ok(features)
}

fn embed<M, V, E: VisionExec<M, V>>(
    exec: &mut E,
    config: &VisionConfig,
    weights: &VisionWeights<M, V>,
    items: &[VisionItem],
    packing: &Packing,
) -> E::Act {
    let parts: Vec<&[f32]> = items.iter().map(|item| item.patches.as_slice()).collect();
    let patches = exec.input(&parts, 3 * config.patch_size * config.patch_size);
    let embedded = exec.linear(&weights.patch_embed, &patches);
    let positions = exec.positions(&weights.positions, packing);
    exec.add(embedded, &positions)
}

fn encoder_block<M, V, E: VisionExec<M, V>>(
    exec: &mut E,
    heads: usize,
    block: &BlockWeights<M, V>,
    packing: &Packing,
    angles: &RotaryAngles,
    residual: E::Act,
) -> E::Act {
    let normed = exec.layer_norm(&block.norm0, &residual);
    let qkv = exec.linear(&block.wqkv, &normed);
    let context = exec.attention(heads, packing, angles, &qkv);
    let attended = exec.linear(&block.wo, &context);
    let residual = exec.add(residual, &attended);

    let normed = exec.layer_norm(&block.norm1, &residual);
    let inner = exec.linear(&block.fc0, &normed);
    let inner = exec.gelu(Gelu::Tanh, inner);
    let transformed = exec.linear(&block.fc1, &inner);
    exec.add(residual, &transformed)
}

/// Norms each patch of a window by itself, joins the window, and projects it.
fn project<M, V, E: VisionExec<M, V>>(
    exec: &mut E,
    config: &VisionConfig,
    projector: &ProjectorWeights<M, V>,
    merged: &E::Act,
) -> E::Act {
    let normed = exec.layer_norm(&projector.pre_norm, merged);
    let joined = exec.join_rows(config.merge_kernel_size.iter().product(), normed);
    let inner = exec.linear(&projector.proj0, &joined);
    let inner = exec.gelu(Gelu::Erf, inner);
    exec.linear(&projector.proj2, &inner)
}
