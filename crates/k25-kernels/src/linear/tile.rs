//! The integer kernel: sixteen rows of weights, unpacked and interleaved, times a few rows of activations.

use crate::activations::QuantRows;
use crate::simd::{GROUP, LANES, Simd};

/// Words of four values in a group.
pub(crate) const QUADS: usize = GROUP / 4;

/// Bytes of one quad of sixteen rows.
pub(crate) const QUAD_BYTES: usize = 4 * LANES;

/// Bytes of one group of sixteen rows, unpacked.
pub(crate) const GROUP_BYTES: usize = QUADS * QUAD_BYTES;

/// How wide the unpacked weights are: decides which sums can be kept how long.
pub(crate) trait Width {
    /// Groups that share a weight scale.
    const GROUPS_PER_SCALE: usize;
    /// Sums of products over one group.
    type Sums<S: Simd>: Copy;
    unsafe fn start<S: Simd>(correction: i32) -> Self::Sums<S>;
    unsafe fn dot<S: Simd>(sums: Self::Sums<S>, w: S::I, a: S::I) -> Self::Sums<S>;
    unsafe fn finish<S: Simd>(sums: Self::Sums<S>) -> S::F;
}

/// Values 0..=15, which stand for −8..=7.
pub(crate) struct Nibbles;

impl Width for Nibbles {
    const GROUPS_PER_SCALE: usize = 1;
    type Sums<S: Simd> = S::Acc4;
    #[inline(always)]
    unsafe fn start<S: Simd>(correction: i32) -> S::Acc4 {
        S::acc4(correction)
    }
    #[inline(always)]
    unsafe fn dot<S: Simd>(sums: S::Acc4, w: S::I, a: S::I) -> S::Acc4 {
        S::dot4(sums, w, a)
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(sums: S::Acc4) -> S::F {
        S::acc4_sum(sums)
    }
}

/// Values 1..=255, which stand for −127..=127.
pub(crate) struct Bytes;

impl Width for Bytes {
    const GROUPS_PER_SCALE: usize = crate::weights::INT8_SCALE_COLS / GROUP;
    type Sums<S: Simd> = S::Acc8;
    #[inline(always)]
    unsafe fn start<S: Simd>(correction: i32) -> S::Acc8 {
        S::acc8(correction)
    }
    #[inline(always)]
    unsafe fn dot<S: Simd>(sums: S::Acc8, w: S::I, a: S::I) -> S::Acc8 {
        S::dot8(sums, w, a)
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(sums: S::Acc8) -> S::F {
        S::acc8_sum(sums)
    }
}

/// One row of quantised activations, from some group on.
#[derive(Clone, Copy)]
pub(crate) struct RowPointers {
    pub(crate) values: *const i8,
    pub(crate) scales: *const f32,
    pub(crate) corrections: *const i32,
}

impl RowPointers {
    /// # Safety
    /// `row` is a row of `x`, and `group` a group of it or its end.
    #[inline(always)]
    pub(crate) unsafe fn new(x: &QuantRows, row: usize, group: usize) -> RowPointers {
        let at = row * x.groups() + group;
        RowPointers {
            values: x.values.as_ptr().add(at * GROUP),
            scales: x.scales.as_ptr().add(at),
            corrections: x.corrections.as_ptr().add(at),
        }
    }

    /// Word `quad` of group `group` in every lane.
    #[inline(always)]
    pub(crate) unsafe fn word<S: Simd>(&self, group: usize, quad: usize) -> S::I {
        S::splat_i32(
            self.values
                .add(group * GROUP + quad * 4)
                .cast::<i32>()
                .read_unaligned(),
        )
    }
}

/// Groups that `AHEAD` of [`multiply_tile`] looks forward.
const GROUPS_AHEAD: usize = 12;

/// Scales of sixteen rows that it looks forward.
const SCALES_AHEAD: usize = 2;

/// Adds `groups` groups of `tile` times `M` rows to `totals` (`M` rows of sixteen); `AHEAD` asks for memory beyond them.
///
/// # Safety
/// `tile` holds `groups · GROUP_BYTES` bytes, `scales` sixteen values per scale group, the rows `groups` groups.
#[inline(always)]
pub(crate) unsafe fn multiply_tile<S: Simd, W: Width, const M: usize, const AHEAD: bool>(
    tile: *const u8,
    scales: *const f32,
    groups: usize,
    rows: [RowPointers; M],
    totals: *mut f32,
) {
    // A count that the compiler does not know keeps this loop rolled: unrolled, it would compute one row after the other
    // and keep the weights on the stack.
    let quads = std::hint::black_box(QUADS);
    for g in 0..groups {
        let mut sums = [W::start::<S>(0); M];
        for m in 0..M {
            sums[m] = W::start::<S>(*rows[m].corrections.add(g));
        }
        for quad in 0..quads {
            if AHEAD {
                S::prefetch(
                    tile.wrapping_add((g + GROUPS_AHEAD) * GROUP_BYTES + quad * QUAD_BYTES),
                );
            }
            let w = S::load_i32(tile.add(g * GROUP_BYTES + quad * QUAD_BYTES));
            for m in 0..M {
                sums[m] = W::dot::<S>(sums[m], w, rows[m].word::<S>(g, quad));
            }
        }
        let scale = scales.add(g / W::GROUPS_PER_SCALE * LANES);
        if AHEAD {
            S::prefetch(scale.wrapping_add(SCALES_AHEAD * LANES).cast());
        }
        let scale = S::load(scale);
        for m in 0..M {
            let total = totals.add(m * LANES);
            let scale = S::mul(scale, S::splat(*rows[m].scales.add(g)));
            S::store(
                total,
                S::fma(W::finish::<S>(sums[m]), scale, S::load(total)),
            );
        }
    }
}

/// [`multiply_tile`] for any number of rows: row i is `x`'s row `row(i)`, its totals are at `totals + 16 i`. With `AHEAD` the
/// first of them, for which the tile comes from memory, ask for what is behind it.
///
/// # Safety
/// As for [`multiply_tile`], for all rows, from group `first_group` of the activations on.
#[inline(always)]
pub(crate) unsafe fn multiply_rows<S: Simd, W: Width, const M: usize, const AHEAD: bool>(
    tile: *const u8,
    scales: *const f32,
    groups: usize,
    (x, first_group): (&QuantRows, usize),
    rows: &[usize],
    totals: *mut f32,
) {
    let whole = rows.len() / M * M;
    for i in (0..whole).step_by(M) {
        let mut pointers = [RowPointers::new(x, rows[i], first_group); M];
        for m in 1..M {
            pointers[m] = RowPointers::new(x, rows[i + m], first_group);
        }
        let totals = totals.add(i * LANES);
        if AHEAD && i == 0 {
            multiply_tile::<S, W, M, true>(tile, scales, groups, pointers, totals);
        } else {
            multiply_tile::<S, W, M, false>(tile, scales, groups, pointers, totals);
        }
    }
    for i in whole..rows.len() {
        let pointers = [RowPointers::new(x, rows[i], first_group)];
        multiply_tile::<S, W, 1, false>(tile, scales, groups, pointers, totals.add(i * LANES));
    }
}
