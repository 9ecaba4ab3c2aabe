//! A frame's components and their coefficients.

use super::Fault;
use super::segments::FrameHeader;

/// Values in a block.
pub(super) const BLOCK: usize = 64;

/// Pixels along a block's side.
pub(super) const SIDE: usize = 8;

/// A frame whose coefficients are being decoded.
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    /// Largest sampling factors of all components.
    pub(super) max_horizontal: usize,
    pub(super) max_vertical: usize,
    /// Minimal coded units across and down.
    pub(super) units_across: usize,
    pub(super) units_down: usize,
}

/// One component.
pub(super) struct Component {
    pub(super) id: u8,
    pub(super) horizontal: usize,
    pub(super) vertical: usize,
    /// Index of its quantisation table.
    pub(super) quantisation_index: usize,
    /// That table as it was when the component's first scan began.
    pub(super) quantisation: Option<[u16; BLOCK]>,
    /// Samples across and down.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Blocks in a stored row: whole minimal coded units.
    pub(super) stride_blocks: usize,
    /// Coefficients in natural order, block by block.
    pub(super) coefficients: Vec<i16>,
}

impl Frame {
    /// A frame with all coefficients zero. Its size has been checked.
    pub(super) fn new(header: &FrameHeader, progressive: bool) -> Result<Self, Fault> {
        let (width, height) = (usize::from(header.width), usize::from(header.height));
        let max = |factors: fn(&super::segments::ComponentHeader) -> usize| {
            header.components.iter().map(factors).max().unwrap_or(1)
        };
        let (max_horizontal, max_vertical) = (max(|c| c.horizontal), max(|c| c.vertical));
        let units_across = width.div_ceil(max_horizontal * SIDE);
        let units_down = height.div_ceil(max_vertical * SIDE);
        let mut components: Vec<Component> = Vec::new();
        for header in &header.components {
            if components.iter().any(|other| other.id == header.id) {
                return Err("two components have one name");
            }
            let (stride_blocks, rows) = (
                units_across * header.horizontal,
                units_down * header.vertical,
            );
            components.push(Component {
                id: header.id,
                horizontal: header.horizontal,
                vertical: header.vertical,
                quantisation_index: header.quantisation,
                quantisation: None,
                width: (width * header.horizontal).div_ceil(max_horizontal),
                height: (height * header.vertical).div_ceil(max_vertical),
                stride_blocks,
                coefficients: vec![0; stride_blocks * rows * BLOCK],
            });
        }
        Ok(Self {
            width,
            height,
            progressive,
            components,
            max_horizontal,
            max_vertical,
            units_across,
            units_down,
        })
    }
}

impl Component {
    /// The block at a column and a row of blocks.
    pub(super) fn block_mut(&mut self, column: usize, row: usize) -> &mut [i16] {
        let start = (row * self.stride_blocks + column) * BLOCK;
        &mut self.coefficients[start..start + BLOCK]
    }

    /// Blocks across and down that hold samples: what a scan of this component alone covers.
    pub(super) fn own_blocks(&self) -> (usize, usize) {
        (self.width.div_ceil(SIDE), self.height.div_ceil(SIDE))
    }
}
