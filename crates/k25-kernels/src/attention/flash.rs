//! The kernel: a few dozen queries against a range of cache rows.

use super::tiles::{RowsAt, Tiles, transpose_keys};
use super::{NOTHING, QUERIES, SPLIT, TILE};
use crate::aligned::Aligned;
use crate::dispatch::Kernel;
use crate::math;
use crate::scalar;
use crate::simd::{LANES, Simd};
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// Queries that see the same cache rows, each up to a limit of its own.
pub(crate) struct Queries<'a> {
    /// Where each query of the key width lies.
    pub(crate) rows: &'a [&'a [f32]],
    /// How many cache rows, from the first, each query sees.
    pub(crate) limits: &'a [usize],
    /// Factor of the scores.
    pub(crate) scale: f32,
}

/// What queries have gathered from some cache rows.
pub(crate) struct Gathered {
    /// Largest score per query.
    pub(crate) max: [f32; QUERIES],
    /// Sum of e^(score − max) per query.
    pub(crate) sum: [f32; QUERIES],
    /// Sum of values with those weights, `[query][value width, padded]`.
    pub(crate) values: Aligned<f32>,
    /// The value width, padded to whole vectors.
    pub(crate) stride: usize,
}

/// Buffers that were given back, for the next to take: fresh ones would cost more page faults than arithmetic.
static SPARE: Mutex<Vec<Aligned<f32>>> = Mutex::new(Vec::new());

/// Buffers kept at most.
const SPARE_LIMIT: usize = 256;

impl Gathered {
    /// Room for `queries` contexts, which hold anything until a split is gathered.
    pub(crate) fn take(queries: usize, value_width: usize) -> Gathered {
        let stride = value_width.next_multiple_of(LANES);
        let len = queries * stride;
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = spare
            .iter()
            .position(|buffer| buffer.len() >= len && buffer.len() <= 4 * len);
        let values = fitting.map(|i| spare.swap_remove(i));
        drop(spare);
        let values = values.unwrap_or_else(|| Aligned::zeros(len));
        Gathered {
            max: [NOTHING; QUERIES],
            sum: [0.0; QUERIES],
            values,
            stride,
        }
    }

    pub(crate) fn give_back(self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_LIMIT {
            spare.push(self.values);
        }
    }

    fn reset(&mut self, queries: usize) {
        self.max = [NOTHING; QUERIES];
        self.sum = [0.0; QUERIES];
        self.values[..queries * self.stride].fill(0.0);
    }

    pub(crate) fn row(&self, query: usize) -> &[f32] {
        &self.values[query * self.stride..(query + 1) * self.stride]
    }
}

/// Buffers of a thread.
struct Scratch {
    panels: Aligned<f32>,
    staging: Aligned<f32>,
    scores: Aligned<f32>,
}

impl Scratch {
    const fn new() -> Scratch {
        Scratch {
            panels: Aligned::empty(),
            staging: Aligned::empty(),
            scores: Aligned::empty(),
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

fn grow(buffer: &mut Aligned<f32>, len: usize) {
    if buffer.len() < len {
        *buffer = Aligned::zeros(len);
    }
}

/// Gathers what the queries see of one split of the cache, from scratch.
pub(crate) struct GatherSplit<'a, T> {
    pub(crate) queries: &'a Queries<'a>,
    pub(crate) tiles: &'a T,
    /// Number of the split.
    pub(crate) split: usize,
    pub(crate) into: &'a mut Gathered,
}

impl<T: Tiles> GatherSplit<'_, T> {
    /// The split's rows that any query sees.
    fn rows(&self) -> std::ops::Range<usize> {
        let seen = self.queries.limits.iter().copied().max().unwrap_or(0);
        self.split * SPLIT..((self.split + 1) * SPLIT).min(seen)
    }
}

impl<T: Tiles> Kernel for GatherSplit<'_, T> {
    type Output = ();

    fn scalar(self) {
        let (key_width, value_width) = self.tiles.widths();
        let count = self.queries.rows.len();
        self.into.reset(count);
        let rows = self.rows();
        let mut keys = vec![0.0; TILE * key_width];
        let mut values = vec![0.0; TILE * value_width];
        for first in rows.clone().step_by(TILE) {
            let tile_rows = TILE.min(rows.end - first);
            for t in 0..tile_rows {
                let key = &mut keys[t * key_width..(t + 1) * key_width];
                self.tiles.scalar_row(
                    first + t,
                    key,
                    &mut values[t * value_width..(t + 1) * value_width],
                );
            }
            for i in 0..count {
                let visible = self.queries.limits[i].saturating_sub(first).min(tile_rows);
                scalar::attention::gather_tile(
                    (self.queries.rows[i], self.queries.scale),
                    (
                        &keys[..visible * key_width],
                        &values[..visible * value_width],
                    ),
                    &mut self.into.max[i],
                    &mut self.into.sum[i],
                    &mut self.into.values[i * self.into.stride..][..value_width],
                );
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        // Taken out and put back rather than borrowed in a closure, which would not be compiled for this level.
        let mut scratch = SCRATCH.replace(Scratch::new());
        let (key_width, value_width) = self.tiles.widths();
        grow(&mut scratch.panels, TILE * key_width);
        grow(&mut scratch.staging, self.tiles.staging());
        grow(&mut scratch.scores, QUERIES * TILE);
        let rows = self.rows();
        self.into.reset(self.queries.rows.len());
        for first in rows.clone().step_by(TILE) {
            let count = TILE.min(rows.end - first);
            let (keys, values) = self.tiles.load::<S>(first, count, &mut scratch.staging);
            transpose_keys::<S>(keys, count, key_width, scratch.panels.as_mut_ptr());
            let scores = scratch.scores.as_mut_ptr();
            score::<S>(
                self.queries.rows,
                scratch.panels.as_ptr(),
                key_width,
                scores,
            );
            for i in 0..self.queries.rows.len() {
                let visible = self.queries.limits[i].saturating_sub(first).min(count);
                weigh::<S>(
                    scores.add(i * TILE),
                    visible,
                    self.queries.scale,
                    i,
                    self.into,
                );
            }
            let panels = value_width.div_ceil(LANES);
            add_values::<S>(
                scores,
                self.queries.rows.len(),
                (values, count),
                panels,
                self.into,
            );
        }
        SCRATCH.set(scratch);
    }
}

/// `MR` rows of sixteen sums: `sums[m] += Σ_i a[m][i] · b[i]`, i in order.
///
/// # Safety
/// `a[m]` has `count` values, `b` as many rows of sixteen, `stride` apart.
#[inline(always)]
unsafe fn outer<S: Simd, const MR: usize>(
    a: &[*const f32; MR],
    b: *const f32,
    stride: usize,
    count: usize,
    sums: &mut [S::F; MR],
) {
    for i in 0..count {
        let row = S::load(b.add(i * stride));
        for m in 0..MR {
            sums[m] = S::fma(S::splat(*a[m].add(i)), row, sums[m]);
        }
    }
}

/// Calls `$step::<$S, MR>(first, …)` for `$count` rows, as many at a time as the level's registers hold.
macro_rules! in_register_rows {
    ($S:ident, $count:expr, $step:ident($($argument:expr),*)) => {{
        let (count, mut first) = ($count, 0);
        if $S::WIDE {
            while first + 12 <= count {
                $step::<$S, 12>(first, $($argument),*);
                first += 12;
            }
        }
        while first + 6 <= count {
            $step::<$S, 6>(first, $($argument),*);
            first += 6;
        }
        while first + 4 <= count {
            $step::<$S, 4>(first, $($argument),*);
            first += 4;
        }
        while first < count {
            $step::<$S, 1>(first, $($argument),*);
            first += 1;
        }
    }};
}

/// Scores (unscaled) of all queries with a tile of transposed keys: `[query][TILE]`.
#[inline(always)]
unsafe fn score<S: Simd>(queries: &[&[f32]], panels: *const f32, width: usize, scores: *mut f32) {
    in_register_rows!(S, queries.len(), score_rows(queries, panels, width, scores));
}

#[inline(always)]
unsafe fn score_rows<S: Simd, const MR: usize>(
    first: usize,
    queries: &[&[f32]],
    panels: *const f32,
    width: usize,
    scores: *mut f32,
) {
    let mut rows = [queries[first].as_ptr(); MR];
    for m in 0..MR {
        rows[m] = queries[first + m].as_ptr();
    }
    for panel in 0..TILE / LANES {
        let mut sums = [S::splat(0.0); MR];
        outer::<S, MR>(
            &rows,
            panels.add(panel * LANES * width),
            LANES,
            width,
            &mut sums,
        );
        for m in 0..MR {
            S::store(scores.add((first + m) * TILE + panel * LANES), sums[m]);
        }
    }
}

/// Turns a query's scores into weights relative to the new maximum, and brings what was gathered before to the same.
#[inline(always)]
unsafe fn weigh<S: Simd>(
    scores: *mut f32,
    visible: usize,
    scale: f32,
    query: usize,
    into: &mut Gathered,
) {
    for t in visible..TILE {
        *scores.add(t) = 0.0;
    }
    if visible == 0 {
        return;
    }
    let mut largest = S::splat(NOTHING);
    for panel in 0..TILE / LANES {
        let at = scores.add(panel * LANES);
        S::store(at, S::mul(S::load(at), S::splat(scale)));
    }
    for t in visible..TILE {
        *scores.add(t) = NOTHING;
    }
    for panel in 0..TILE / LANES {
        largest = S::max(S::load(scores.add(panel * LANES)), largest);
    }
    let before = into.max[query];
    let now = scalar::math::max(S::reduce_max(largest), before);
    let mut sums = S::splat(0.0);
    for panel in 0..TILE / LANES {
        let at = scores.add(panel * LANES);
        S::store(at, math::exp::<S>(S::sub(S::load(at), S::splat(now))));
    }
    for t in visible..TILE {
        *scores.add(t) = 0.0;
    }
    for panel in 0..TILE / LANES {
        sums = S::add(sums, S::load(scores.add(panel * LANES)));
    }
    let kept = scalar::math::exp(before - now);
    into.sum[query] = into.sum[query].mul_add(kept, S::reduce_add(sums));
    into.max[query] = now;
    if kept != 1.0 {
        let row = into.values.as_mut_ptr().add(query * into.stride);
        for v in (0..into.stride).step_by(LANES) {
            S::store(row.add(v), S::mul(S::load(row.add(v)), S::splat(kept)));
        }
    }
}

/// Adds a tile's values with the queries' weights.
#[inline(always)]
unsafe fn add_values<S: Simd>(
    weights: *const f32,
    queries: usize,
    values: (RowsAt, usize),
    panels: usize,
    into: &mut Gathered,
) {
    let stride = into.stride;
    let sums = into.values.as_mut_ptr();
    in_register_rows!(
        S,
        queries,
        add_value_rows(weights, values, panels, sums, stride)
    );
}

#[inline(always)]
unsafe fn add_value_rows<S: Simd, const MR: usize>(
    first: usize,
    weights: *const f32,
    (values, count): (RowsAt, usize),
    panels: usize,
    into: *mut f32,
    stride: usize,
) {
    let mut rows = [weights; MR];
    for m in 0..MR {
        rows[m] = weights.add((first + m) * TILE);
    }
    for panel in 0..panels {
        let to = into.add(first * stride + panel * LANES);
        let mut sums = [S::splat(0.0); MR];
        for m in 0..MR {
            sums[m] = S::load(to.add(m * stride));
        }
        outer::<S, MR>(
            &rows,
            values.base.add(panel * LANES),
            values.stride,
            count,
            &mut sums,
        );
        for m in 0..MR {
            S::store(to.add(m * stride), sums[m]);
        }
    }
}

/// Joins `next` to `total`, which holds what the queries gathered from earlier splits.
pub(crate) struct Join<'a> {
    pub(crate) queries: usize,
    pub(crate) total: &'a mut Gathered,
    pub(crate) next: &'a Gathered,
}

impl Join<'_> {
    /// New maximum, and the factors of the old and the new values; none where `next` saw nothing.
    fn factors(&mut self, query: usize) -> Option<(f32, f32)> {
        if self.next.sum[query] == 0.0 {
            return None;
        }
        let now = scalar::math::max(self.next.max[query], self.total.max[query]);
        let kept = scalar::math::exp(self.total.max[query] - now);
        let added = scalar::math::exp(self.next.max[query] - now);
        self.total.sum[query] = self.next.sum[query].mul_add(added, self.total.sum[query] * kept);
        self.total.max[query] = now;
        Some((kept, added))
    }
}

impl Kernel for Join<'_> {
    type Output = ();

    fn scalar(mut self) {
        for query in 0..self.queries {
            if let Some((kept, added)) = self.factors(query) {
                let at = query * self.total.stride;
                for v in at..at + self.total.stride {
                    self.total.values[v] =
                        self.next.values[v].mul_add(added, self.total.values[v] * kept);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(mut self) {
        for query in 0..self.queries {
            if let Some((kept, added)) = self.factors(query) {
                let at = query * self.total.stride;
                let (to, from) = (
                    self.total.values.as_mut_ptr().add(at),
                    self.next.values.as_ptr().add(at),
                );
                for v in (0..self.total.stride).step_by(LANES) {
                    let old = S::mul(S::load(to.add(v)), S::splat(kept));
                    S::store(
                        to.add(v),
                        S::fma(S::load(from.add(v)), S::splat(added), old),
                    );
                }
            }
        }
    }
}
