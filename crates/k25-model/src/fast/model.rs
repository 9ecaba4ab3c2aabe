//! What the fast execution prepares once per model.

use k25_kernels::{Dense, Int8Matrix, Isa, Weights, bf16_to_f32, f32_to_bf16};
use rayon::prelude::*;
use thiserror::Error;

use super::residency::Residency;
use crate::linear::Linear;
use crate::rope::{Rotary, softmax_scale};
use crate::rows::Rows;
use crate::weights::{FeedForward, MlaWeights, Mlp, Model, QueryWeights};

/// How dense matrices (all but routed experts, embedding and router) are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DenseFormat {
    /// As stored, read in place.
    #[default]
    Stored,
    /// Quantised at load to int8, one scale per row and 128 columns: half the bytes of bf16.
    Int8,
}

/// What the experts' INT4 weights are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActivationFormat {
    /// f32: exact products.
    #[default]
    F32,
    /// int8 in groups of 32 (W4A8).
    Int8,
}

/// Choices between exact and fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FastOptions {
    /// Dense matrices.
    pub dense: DenseFormat,
    /// Activations.
    pub activations: ActivationFormat,
    /// Ask the system for an expert's pages as soon as it is chosen: for models that are larger than
    /// memory.
    pub fetch_ahead: bool,
    /// Bytes of resident memory, mapped weights among them, that the process is to stay below: cold
    /// experts are given back.
    pub memory_limit: Option<usize>,
}

/// Options that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FastOptionsError {
    /// int8 weights have no kernel for f32 activations.
    #[error(
        "int8 dense weights need int8 activations\n  hint: use --activations int8, or --dense bf16"
    )]
    Int8DenseNeedsInt8Activations,
}

/// A model with what the fast execution prepares.
#[derive(Debug)]
pub struct FastModel {
    model: Model,
    options: FastOptions,
    pub(super) residency: Option<Residency>,
    pub(super) rotary: Rotary,
    pub(super) softmax_scale: f32,
    pub(super) absorbed: Vec<AbsorbedKv>,
}

/// The two halves of one layer's `kv_b`, per head, for queries and contexts in the latent space.
#[derive(Debug)]
pub(super) struct AbsorbedKv {
    /// Per head `[kv_lora_rank, qk_nope_head_dim]`: the key projection transposed.
    pub key: Vec<HeadMatrix>,
    /// Per head `[v_head_dim, kv_lora_rank]`.
    pub value: Vec<HeadMatrix>,
}

/// One head's half of `kv_b`.
#[derive(Debug)]
pub(super) enum HeadMatrix {
    /// bf16 values, where `kv_b` holds such.
    Bf16 {
        values: Vec<u16>,
        rows: usize,
        cols: usize,
    },
    F32 {
        values: Vec<f32>,
        rows: usize,
        cols: usize,
    },
    Int8(Int8Matrix),
}

impl FastModel {
    /// Prepares `model`: time and memory in proportion to its dense matrices where they are
    /// quantised, else to its `kv_b` matrices.
    ///
    /// # Errors
    /// Where the options contradict each other.
    pub fn new(mut model: Model, options: FastOptions) -> Result<Self, FastOptionsError> {
        if options.dense == DenseFormat::Int8 && options.activations != ActivationFormat::Int8 {
            return Err(FastOptionsError::Int8DenseNeedsInt8Activations);
        }
        let config = model.config.clone();
        let absorbed = model
            .text
            .layers
            .par_iter()
            .map(|layer| AbsorbedKv::new(&layer.attention, &config.text, options.dense))
            .collect();
        if options.dense == DenseFormat::Int8 {
            quantise_dense(&mut model);
        }
        let (rotary, softmax_scale) = (Rotary::new(&config.text), softmax_scale(&config.text));
        Ok(Self {
            model,
            options,
            residency: options.memory_limit.map(Residency::new),
            rotary,
            softmax_scale,
            absorbed,
        })
    }

    /// The model, its dense matrices in the format that was asked for.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Bytes of mapped weights that every pass reads, the routed experts and the embedding left out,
    /// and the bytes of the experts that one row reads in the layer that needs most.
    pub fn working_bytes(&self) -> [usize; 2] {
        let mut always = self.model.text.lm_head.mapped_bytes();
        let mut experts = 0;
        for layer in &self.model.text.layers {
            let all: usize = layer.matrices().map(Linear::mapped_bytes).sum();
            let routed = match &layer.feed_forward {
                FeedForward::Moe(moe) => moe.experts.as_slice(),
                FeedForward::Dense(_) => &[],
            };
            let bytes = |mlp: &Mlp| -> usize {
                mlp.matrices()
                    .map(|matrix| matrix.mapped_bytes())
                    .iter()
                    .sum()
            };
            always += all - routed.iter().map(bytes).sum::<usize>();
            let largest = routed.iter().map(bytes).max().unwrap_or(0);
            experts = experts.max(largest * self.model.config.text.num_experts_per_tok);
        }
        [always, experts]
    }

    /// The choices made.
    pub fn options(&self) -> FastOptions {
        self.options
    }
}

/// Replaces every dense matrix but embedding, router and `kv_b` by its int8 form.
fn quantise_dense(model: &mut Model) {
    let mut matrices: Vec<&mut Linear> = vec![&mut model.text.lm_head];
    for layer in &mut model.text.layers {
        let MlaWeights {
            query,
            kv_a,
            output,
            ..
        } = &mut layer.attention;
        matrices.extend([kv_a, output]);
        match query {
            QueryWeights::LowRank { a, b, .. } => matrices.extend([a, b]),
            QueryWeights::Direct(projection) => matrices.push(projection),
        }
        match &mut layer.feed_forward {
            FeedForward::Dense(mlp) => matrices.extend(parts(mlp)),
            FeedForward::Moe(moe) => matrices.extend(moe.shared.iter_mut().flat_map(parts)),
        }
    }
    matrices
        .into_par_iter()
        .for_each(|matrix| *matrix = matrix.to_int8());
}

fn parts(mlp: &mut Mlp) -> [&mut Linear; 3] {
    [&mut mlp.gate, &mut mlp.up, &mut mlp.down]
}

impl AbsorbedKv {
    fn new(weights: &MlaWeights, config: &k25_config::TextConfig, dense: DenseFormat) -> Self {
        let (nope, value, rank) = (
            config.qk_nope_head_dim,
            config.v_head_dim,
            config.kv_lora_rank,
        );
        let head = |first: usize, count: usize| {
            let mut rows = Rows::zeros(count, rank);
            for (offset, row) in rows.iter_mut().enumerate() {
                weights.kv_b.row_to_f32(first + offset, row);
            }
            rows
        };
        let first_row = |head: usize| head * (nope + value);
        let heads = 0..config.num_attention_heads;
        Self {
            key: heads
                .clone()
                .map(|h| HeadMatrix::new(&head(first_row(h), nope).transposed(), dense))
                .collect(),
            value: heads
                .map(|h| HeadMatrix::new(&head(first_row(h) + nope, value), dense))
                .collect(),
        }
    }
}

impl HeadMatrix {
    fn new(rows: &Rows, dense: DenseFormat) -> Self {
        match dense {
            DenseFormat::Stored => Self::stored(rows),
            DenseFormat::Int8 => {
                let fill = |row: usize, into: &mut [f32]| into.copy_from_slice(rows.row(row));
                Self::Int8(Int8Matrix::quantize(
                    Isa::active(),
                    rows.len(),
                    rows.width(),
                    fill,
                ))
            }
        }
    }

    /// In bf16 if that loses nothing: true of every checkpoint of the family.
    fn stored(rows: &Rows) -> Self {
        let bf16: Vec<u16> = rows
            .values()
            .iter()
            .map(|value| f32_to_bf16(*value))
            .collect();
        let exact = bf16
            .iter()
            .zip(rows.values())
            .all(|(bits, value)| bf16_to_f32(*bits) == *value);
        let (rows, cols, values) = (rows.len(), rows.width(), rows.values());
        if exact {
            Self::Bf16 {
                values: bf16,
                rows,
                cols,
            }
        } else {
            Self::F32 {
                values: values.to_vec(),
                rows,
                cols,
            }
        }
    }

    /// The matrix as the kernels read it.
    pub fn kernel_view(&self) -> Weights<'_> {
        let built_so = "built with this shape";
        match self {
            Self::Bf16 { values, rows, cols } => Weights::Dense(
                Dense::bf16(bytemuck::cast_slice(values), *rows, *cols).expect(built_so),
            ),
            Self::F32 { values, rows, cols } => {
                Weights::Dense(Dense::f32(values, *rows, *cols).expect(built_so))
            }
            Self::Int8(matrix) => Weights::Int8(matrix),
        }
    }
}
