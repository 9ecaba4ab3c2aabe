//! Where cache rows come from.

use super::TILE;
use crate::simd::{LANES, Simd};

/// A cache of keys and values, in f32 or to be converted.
pub(crate) trait Tiles: Sync {
    /// Key width and value width.
    fn widths(&self) -> (usize, usize);

    /// A key of the reference implementation, and the value that belongs to it.
    fn scalar_row(&self, t: usize, key: &mut [f32], value: &mut [f32]);

    /// Rows `first..first + count` (of one tile) as f32: where the keys lie and where the values lie. Values may be read
    /// up to the next multiple of sixteen.
    ///
    /// # Safety
    /// The rows exist; `staging` is used for rows that must be converted and stays borrowed while the pointers are used.
    unsafe fn load<S: Simd>(
        &self,
        first: usize,
        count: usize,
        staging: &mut [f32],
    ) -> (RowsAt, RowsAt);

    /// Floats of staging that a tile needs.
    fn staging(&self) -> usize;
}

/// Rows of f32 in memory.
#[derive(Clone, Copy)]
pub(crate) struct RowsAt {
    pub(crate) base: *const f32,
    pub(crate) stride: usize,
}

impl RowsAt {
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> *const f32 {
        self.base.wrapping_add(i * self.stride)
    }
}

/// Writes `count` keys of width `width` as panels of sixteen: value w of key t goes to `[t / 16][w][t % 16]`; the rest of
/// the last panel is zero.
///
/// # Safety
/// The keys exist, and `panels` has room for `TILE · width` values.
#[inline(always)]
pub(crate) unsafe fn transpose_keys<S: Simd>(
    keys: RowsAt,
    count: usize,
    width: usize,
    panels: *mut f32,
) {
    for panel in 0..count.div_ceil(LANES) {
        let first = panel * LANES;
        let to = panels.add(first * width);
        let whole = if count - first >= LANES {
            width / LANES * LANES
        } else {
            0
        };
        for w in (0..whole).step_by(LANES) {
            let mut block = [S::splat(0.0); LANES];
            for (t, row) in block.iter_mut().enumerate() {
                *row = S::load(keys.row(first + t).add(w));
            }
            S::transpose(&mut block);
            for (i, column) in block.into_iter().enumerate() {
                S::store(to.add((w + i) * LANES), column);
            }
        }
        for t in 0..LANES {
            for w in whole..width {
                let value = if first + t < count {
                    *keys.row(first + t).add(w)
                } else {
                    0.0
                };
                *to.add(w * LANES + t) = value;
            }
        }
    }
}

const _: () = assert!(TILE.is_multiple_of(LANES));
