//! The readable f32 execution: the oracle that every faster one is held to.
//!
//! It decodes a weight row at a time, keeps nothing but activations and the latent cache, and is
//! parallel only over independent outputs, so its results do not depend on the number of threads.

mod attention;
mod moe;
mod vision;

pub use vision::{VisionObserver, VisionReference};

use k25_config::TextConfig;
use rayon::prelude::*;

use crate::exec::{Exec, InputRow, Site};
use crate::linear::Linear;
use crate::rope::{Rotary, softmax_scale};
use crate::rows::Rows;
use crate::text;
use crate::weights::{MlaWeights, Mlp, MoeWeights, RmsNorm, TextWeights};

/// Which of the two equal forms of latent attention is computed (spec: architecture §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MlaForm {
    /// Queries are moved into the latent space; cached latents are used as they are.
    #[default]
    Absorbed,
    /// Keys and values of every cached row are expanded per head.
    Expanded,
}

/// Choices within the reference arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReferenceOptions {
    /// Form of the attention.
    pub mla: MlaForm,
    /// Rounds dequantised expert weights to bf16, as compressed-tensors' own decompression does.
    /// The product of integer and scale is exact in f32, so the default keeps it.
    pub round_experts_to_bf16: bool,
}

/// What was computed for the rows of one sequence so far: per layer one normed latent and one
/// rotated key per row, `latent_width` values together.
#[derive(Debug, Clone)]
pub struct LatentCache {
    width: usize,
    layers: Vec<Vec<f32>>,
}

/// Sees intermediate values of a forward pass.
pub type Observer<'a> = &'a mut dyn FnMut(Site, &Rows);

/// The reference execution of one call: rows of one sequence that follow the cache's content.
pub struct Reference<'a> {
    config: &'a TextConfig,
    options: ReferenceOptions,
    rotary: Rotary,
    softmax_scale: f32,
    cache: &'a mut LatentCache,
    positions: &'a [u32],
    observer: Option<Observer<'a>>,
}

impl LatentCache {
    /// An empty cache for a model of this configuration.
    pub fn new(config: &TextConfig) -> Self {
        Self {
            width: config.latent_width(),
            layers: vec![Vec::new(); config.num_hidden_layers],
        }
    }

    /// Rows in the cache.
    pub fn len(&self) -> usize {
        self.layers
            .first()
            .map_or(0, |layer| layer.len() / self.width)
    }

    /// Whether no row is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `index` of a layer: `latent_width` values.
    pub fn row(&self, layer: usize, index: usize) -> &[f32] {
        &self.layers[layer][index * self.width..(index + 1) * self.width]
    }

    /// Appends a row that was computed before to a layer.
    pub fn push(&mut self, layer: usize, row: &[f32]) {
        assert_eq!(row.len(), self.width, "values of a cached row");
        self.layers[layer].extend_from_slice(row);
    }

    fn rows(&self, layer: usize) -> impl Iterator<Item = &[f32]> + Clone {
        self.layers[layer].chunks_exact(self.width)
    }
}

impl<'a> Reference<'a> {
    /// An execution for rows at `positions` that follow what `cache` holds.
    pub fn new(
        config: &'a TextConfig,
        options: ReferenceOptions,
        cache: &'a mut LatentCache,
        positions: &'a [u32],
    ) -> Self {
        let (rotary, softmax_scale) = (Rotary::new(config), softmax_scale(config));
        Self {
            config,
            options,
            rotary,
            softmax_scale,
            cache,
            positions,
            observer: None,
        }
    }

    /// Shows every observed value to `observer`.
    pub fn with_observer(mut self, observer: Observer<'a>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Logits `[wanted.len(), vocab]`; `rows` and the positions given to [`new`](Self::new) are of
    /// one length, and `wanted` are indices into them.
    pub fn logits(&mut self, model: &TextWeights, rows: &[InputRow<'_>], wanted: &[usize]) -> Rows {
        assert_eq!(
            rows.len(),
            self.positions.len(),
            "one position per input row"
        );
        text::forward(self, model, rows, wanted)
    }

    /// States after the last norm `[wanted.len(), hidden]`; see [`logits`](Self::logits).
    pub fn hidden_states(
        &mut self,
        model: &TextWeights,
        rows: &[InputRow<'_>],
        wanted: &[usize],
    ) -> Rows {
        assert_eq!(
            rows.len(),
            self.positions.len(),
            "one position per input row"
        );
        text::hidden_states(self, model, rows, wanted)
    }
}

impl Exec for Reference<'_> {
    type Act = Rows;

    fn embed(&mut self, table: &Linear, rows: &[InputRow<'_>]) -> Rows {
        let mut embedded = Rows::zeros(rows.len(), table.in_features());
        for (into, row) in embedded.iter_mut().zip(rows) {
            match row {
                InputRow::Token(id) => table.row_to_f32(*id as usize, into),
                InputRow::Feature(values) => into.copy_from_slice(values),
            }
        }
        embedded
    }

    fn linear(&mut self, weight: &Linear, x: &Rows) -> Rows {
        matmul(weight, x, |_| ())
    }

    fn rms_norm(&mut self, norm: &RmsNorm, x: &Rows) -> Rows {
        let mut normed = x.clone();
        for row in normed.iter_mut() {
            rms_norm_row(norm, row);
        }
        normed
    }

    fn add(&mut self, mut x: Rows, y: &Rows) -> Rows {
        for (x, y) in x.values_mut().iter_mut().zip(y.values()) {
            *x += y;
        }
        x
    }

    fn mla(&mut self, layer: usize, weights: &MlaWeights, query: &Rows, kv: &Rows) -> Rows {
        self.latent_attention(layer, weights, query, kv)
    }

    fn mlp(&mut self, mlp: &Mlp, x: &Rows) -> Rows {
        swiglu(mlp, x, |_| ())
    }

    fn moe(&mut self, layer: usize, weights: &MoeWeights, x: &Rows) -> Rows {
        self.mixture_of_experts(layer, weights, x)
    }

    fn select_rows(&mut self, x: &Rows, rows: &[usize]) -> Rows {
        x.select(rows)
    }

    fn observe(&mut self, site: Site, value: &Rows) {
        if let Some(observer) = &mut self.observer {
            observer(site, value);
        }
    }
}

/// `x · Wᵀ`, each decoded weight row passed through `round` first.
fn matmul(weight: &Linear, x: &Rows, round: impl Fn(&mut [f32]) + Sync) -> Rows {
    let (out_features, in_features) = (weight.out_features(), weight.in_features());
    assert_eq!(x.width(), in_features, "input width of a linear operator");
    let mut by_output = vec![0.0; out_features * x.len()];
    by_output
        .par_chunks_mut(x.len().max(1))
        .with_min_len(16)
        .enumerate()
        .for_each_init(
            || vec![0.0; in_features],
            |decoded, (output, results)| {
                weight.row_to_f32(output, decoded);
                round(decoded);
                for (result, row) in results.iter_mut().zip(x.iter()) {
                    *result = dot(decoded, row);
                }
            },
        );
    Rows::from_columns(x.len(), out_features, &by_output)
}

/// `down · (silu(gate · x) ⊙ (up · x))`.
fn swiglu(mlp: &Mlp, x: &Rows, round: impl Fn(&mut [f32]) + Sync + Copy) -> Rows {
    let mut gated = matmul(&mlp.gate, x, round);
    let up = matmul(&mlp.up, x, round);
    for (gate, up) in gated.values_mut().iter_mut().zip(up.values()) {
        *gate = *gate / (1.0 + (-*gate).exp()) * up;
    }
    matmul(&mlp.down, &gated, round)
}

fn rms_norm_row(norm: &RmsNorm, row: &mut [f32]) {
    let mean_square = dot(row, row) / row.len() as f32;
    let scale = 1.0 / (mean_square + norm.eps).sqrt();
    for (value, weight) in row.iter_mut().zip(&norm.weight) {
        *value = weight * (*value * scale);
    }
}

/// Dot product in sixteen interleaved partial sums: one fixed order, whatever the machine, and a
/// rounding error that grows with a sixteenth of the length.
fn dot(x: &[f32], y: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (x_chunks, y_chunks) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let tail: f32 = x_chunks
        .remainder()
        .iter()
        .zip(y_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    let mut partial = [0.0f32; LANES];
    for (x, y) in x_chunks.zip(y_chunks) {
        for lane in 0..LANES {
            partial[lane] += x[lane] * y[lane];
        }
    }
    partial.iter().sum::<f32>() + tail
}
