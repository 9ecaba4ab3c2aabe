//! Items of different sizes in one batch, without padding between them (NaViT packing).

use k25_config::VisionConfig;

use super::{VisionError, VisionItem};

/// Where each item of a batch lies, every grid checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    items: Vec<PackedItem>,
    kernel: [usize; 2],
}

/// One item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedItem {
    /// Frames, patch rows and patch columns, `[t, h, w]`.
    pub grid: [usize; 3],
    /// Row of the batch that holds its first patch.
    pub first_row: usize,
}

impl PackedItem {
    /// The item's rows in the batch: one per patch, in the order frame, patch row, patch column.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.first_row..self.first_row + self.grid.iter().product::<usize>()
    }
}

impl Packing {
    /// Lays the items out one after the other.
    ///
    /// # Errors
    /// Where an item is empty, is no whole number of merged windows, has more frames than the
    /// model knows, or does not hold the values that its grid needs.
    pub fn new(items: &[VisionItem], config: &VisionConfig) -> Result<Self, VisionError> {
        let kernel = config.merge_kernel_size;
        let per_patch = 3 * config.patch_size * config.patch_size;
        let mut packed = Vec::with_capacity(items.len());
        let mut first_row = 0;
        for (index, item) in items.iter().enumerate() {
            let patches = checked_patches(index, item.grid, config)?;
            let expected = patches.saturating_mul(per_patch);
            if item.patches.len() != expected {
                let (grid, found) = (item.grid, item.patches.len());
                return Err(VisionError::WrongLength {
                    item: index,
                    grid,
                    per_patch,
                    expected,
                    found,
                });
            }
            packed.push(PackedItem {
                grid: item.grid,
                first_row,
            });
            first_row += patches;
        }
        Ok(Self {
            items: packed,
            kernel,
        })
    }

    /// The items in order.
    pub fn items(&self) -> &[PackedItem] {
        &self.items
    }

    /// Patches merged into one token, `[height, width]`.
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }

    /// Patches of all items: the rows of the batch.
    pub fn rows(&self) -> usize {
        self.items.last().map_or(0, |item| item.rows().end)
    }

    /// First rows of the items, and the end of the last: attention never crosses these.
    pub fn cu_seqlens(&self) -> Vec<usize> {
        std::iter::once(0)
            .chain(self.items.iter().map(|item| item.rows().end))
            .collect()
    }

    /// Feature rows of each item, whatever its number of frames.
    pub fn tokens(&self) -> impl Iterator<Item = usize> + '_ {
        self.items
            .iter()
            .map(|item| (item.grid[1] / self.kernel[0]) * (item.grid[2] / self.kernel[1]))
    }
}

/// Patches of a grid that the model can read.
fn checked_patches(
    item: usize,
    grid: [usize; 3],
    config: &VisionConfig,
) -> Result<usize, VisionError> {
    let ([frames, height, width], kernel) = (grid, config.merge_kernel_size);
    if grid.contains(&0) {
        return Err(VisionError::EmptyGrid { item, grid });
    }
    if !height.is_multiple_of(kernel[0]) || !width.is_multiple_of(kernel[1]) {
        return Err(VisionError::UnmergeableGrid { item, grid, kernel });
    }
    if frames > config.init_pos_emb_time {
        return Err(VisionError::TooManyFrames {
            item,
            frames,
            limit: config.init_pos_emb_time,
        });
    }
    // An impossible product cannot be the length of a vector, which is compared next.
    Ok(frames.saturating_mul(height).saturating_mul(width))
}
