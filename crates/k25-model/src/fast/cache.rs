//! The paged latent cache: blocks of 64 rows, in every layer the same blocks.
//!
//! Which sequence owns which block is the scheduler's knowledge; here are only the values.

use k25_config::TextConfig;
use k25_kernels::{
    INT8_LATENT_COLS, LATENT_BLOCK_ROWS, LatentBlock, f32_to_bf16, quantize_latent_row,
};

/// How cached rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LatentFormat {
    /// As computed.
    #[default]
    F32,
    /// Rounded to bf16: half the memory.
    Bf16,
    /// int8 with a scale per 64 values: a quarter of the memory.
    Int8,
}

/// Rows to copy from one block to another, in every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCopy {
    /// Block to read.
    pub from: u32,
    /// Block to write.
    pub to: u32,
    /// Number of rows, from the first.
    pub rows: usize,
}

/// Latents and rotated keys of all sequences and layers.
#[derive(Debug)]
pub struct PagedLatents {
    width: usize,
    blocks: usize,
    layers: Vec<LayerRows>,
}

/// The blocks of one layer, one after the other.
#[derive(Debug)]
enum LayerRows {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    Int8 { values: Vec<i8>, scales: Vec<f32> },
}

impl PagedLatents {
    /// Rows of one block.
    pub const BLOCK_ROWS: usize = LATENT_BLOCK_ROWS;

    /// A cache of `blocks` blocks. Memory is taken as blocks are first written.
    pub fn new(config: &TextConfig, format: LatentFormat, blocks: usize) -> Self {
        let width = config.latent_width();
        let rows = blocks * Self::BLOCK_ROWS;
        let layer = |_| match format {
            LatentFormat::F32 => LayerRows::F32(vec![0.0; rows * width]),
            LatentFormat::Bf16 => LayerRows::Bf16(vec![0; rows * width]),
            LatentFormat::Int8 => LayerRows::Int8 {
                values: vec![0; rows * width],
                scales: vec![0.0; rows * scales_per_row(width)],
            },
        };
        Self {
            width,
            blocks,
            layers: (0..config.num_hidden_layers).map(layer).collect(),
        }
    }

    /// Bytes of one block over all layers.
    pub fn block_bytes(config: &TextConfig, format: LatentFormat) -> usize {
        let width = config.latent_width();
        let row = match format {
            LatentFormat::F32 => 4 * width,
            LatentFormat::Bf16 => 2 * width,
            LatentFormat::Int8 => width + 4 * scales_per_row(width),
        };
        row * Self::BLOCK_ROWS * config.num_hidden_layers
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Copies rows between blocks in every layer.
    pub fn copy_rows(&mut self, copy: RowCopy) {
        let range = |per_row: usize, block: u32| {
            let start = block as usize * Self::BLOCK_ROWS * per_row;
            start..start + copy.rows * per_row
        };
        let to = |per_row: usize| range(per_row, copy.to).start;
        let (width, scales) = (self.width, scales_per_row(self.width));
        for layer in &mut self.layers {
            match layer {
                LayerRows::F32(values) => values.copy_within(range(width, copy.from), to(width)),
                LayerRows::Bf16(values) => values.copy_within(range(width, copy.from), to(width)),
                LayerRows::Int8 {
                    values,
                    scales: row_scales,
                } => {
                    values.copy_within(range(width, copy.from), to(width));
                    row_scales.copy_within(range(scales, copy.from), to(scales));
                }
            }
        }
    }

    /// Stores a row in row `offset` of block `block` of `layer`.
    pub fn write(&mut self, layer: usize, block: u32, offset: usize, row: &[f32]) {
        let index = block as usize * Self::BLOCK_ROWS + offset;
        let (width, scales) = (self.width, scales_per_row(self.width));
        match &mut self.layers[layer] {
            LayerRows::F32(values) => {
                values[index * width..(index + 1) * width].copy_from_slice(row);
            }
            LayerRows::Bf16(values) => {
                let into = &mut values[index * width..(index + 1) * width];
                into.iter_mut()
                    .zip(row)
                    .for_each(|(into, value)| *into = f32_to_bf16(*value));
            }
            LayerRows::Int8 {
                values,
                scales: row_scales,
            } => quantize_latent_row(
                row,
                &mut values[index * width..(index + 1) * width],
                &mut row_scales[index * scales..(index + 1) * scales],
            ),
        }
    }

    /// A block as the attention kernel reads it.
    pub(super) fn block(&self, layer: usize, block: u32) -> LatentBlock<'_> {
        let rows = |per_row: usize| {
            let start = block as usize * Self::BLOCK_ROWS * per_row;
            start..start + Self::BLOCK_ROWS * per_row
        };
        match &self.layers[layer] {
            LayerRows::F32(values) => LatentBlock::F32(&values[rows(self.width)]),
            LayerRows::Bf16(values) => LatentBlock::Bf16(&values[rows(self.width)]),
            LayerRows::Int8 { values, scales } => LatentBlock::Int8 {
                values: &values[rows(self.width)],
                scales: &scales[rows(scales_per_row(self.width))],
            },
        }
    }
}

fn scales_per_row(width: usize) -> usize {
    width.div_ceil(INT8_LATENT_COLS)
}
