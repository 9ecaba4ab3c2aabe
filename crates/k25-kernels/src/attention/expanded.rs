//! Attention with a key and a value per head: prefill in the expanded form, and the vision tower.

use super::flash::{GatherSplit, Gathered, Join, Queries};
use super::tiles::{RowsAt, Tiles};
use super::{QUERIES, SPLIT, TILE};
use crate::dispatch::dispatch;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::simd::{LANES, Simd};
use std::sync::{Mutex, PoisonError};

/// Rows of heads within a larger matrix: head h of row r begins at `offset + r · row_stride + h · head_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    /// The matrix.
    pub values: &'a [f32],
    /// Where head 0 of row 0 begins.
    pub offset: usize,
    /// From row to row.
    pub row_stride: usize,
    /// From head to head; 0 shares one head.
    pub head_stride: usize,
    /// Values per head.
    pub width: usize,
}

impl<'a> Strided<'a> {
    /// A plain `[rows, heads, width]`.
    pub fn plain(values: &'a [f32], heads: usize, width: usize) -> Strided<'a> {
        Strided {
            values,
            offset: 0,
            row_stride: heads * width,
            head_stride: width,
            width,
        }
    }

    /// From the first value of a head in row `first` to its last in the `count`-th row.
    fn rows_of_head(&self, first: usize, count: usize, head: usize) -> &'a [f32] {
        let at = self.offset + first * self.row_stride + head * self.head_stride;
        &self.values[at..at + (count - 1) * self.row_stride + self.width]
    }

    fn head(&self, row: usize, head: usize) -> &'a [f32] {
        let at = self.offset + row * self.row_stride + head * self.head_stride;
        &self.values[at..at + self.width]
    }
}

/// Query rows of one sequence, or one picture, against keys and values.
#[derive(Debug)]
pub struct Attention<'a> {
    /// Heads.
    pub heads: usize,
    /// Query rows.
    pub q_rows: usize,
    /// Key and value rows.
    pub kv_rows: usize,
    /// Queries.
    pub q: Strided<'a>,
    /// Keys, of the width of the queries.
    pub k: Strided<'a>,
    /// Values.
    pub v: Strided<'a>,
    /// Rows before the first query row, of which query row r sees `past + r + 1`; none if every query sees all rows.
    pub causal_past: Option<usize>,
    /// Contexts `[q_rows, heads, value width]`.
    pub out: &'a mut [f32],
}

/// Attention of all items in one parallel loop: `out[r, h] = Σ_t softmax_t(scale · q[r, h] · k[t, h]) · v[t, h]`.
///
/// # Panics
/// When a length does not fit.
pub fn attention(pool: &Pool, isa: Isa, scale: f32, items: &mut [Attention<'_>]) {
    let mut work = Vec::new();
    for item in items.iter_mut() {
        let (heads, width) = (item.heads, item.v.width);
        assert_eq!(item.q.width, item.k.width, "queries and keys of one width");
        assert_eq!(
            item.out.len(),
            item.q_rows * heads * width,
            "contexts [{}, {heads}, {width}]",
            item.q_rows
        );
        if let Some(past) = item.causal_past {
            assert!(
                past + item.q_rows <= item.kv_rows,
                "{} rows of keys for {} + {}",
                item.kv_rows,
                past,
                item.q_rows
            );
        }
        let mut of_heads: Vec<Vec<&mut [f32]>> = (0..heads)
            .map(|_| Vec::with_capacity(item.q_rows))
            .collect();
        for (i, out) in item.out.chunks_exact_mut(width.max(1)).enumerate() {
            of_heads[i % heads].push(out);
        }
        for (head, out) in of_heads.into_iter().enumerate() {
            let rows = (0..item.q_rows).map(|row| item.q.head(row, head)).collect();
            let seen = |row: usize| item.causal_past.map_or(item.kv_rows, |past| past + row + 1);
            let limits = (0..item.q_rows).map(seen).collect();
            let tiles = HeadTiles {
                k: item.k,
                v: item.v,
                head,
            };
            work.push(QuerySet {
                rows,
                limits,
                out,
                tiles,
                scale,
            });
        }
    }
    run_queries(pool, isa, work);
}

#[derive(Clone, Copy)]
struct HeadTiles<'a> {
    k: Strided<'a>,
    v: Strided<'a>,
    head: usize,
}

impl Tiles for HeadTiles<'_> {
    fn widths(&self) -> (usize, usize) {
        (self.k.width, self.v.width)
    }

    fn scalar_row(&self, t: usize, key: &mut [f32], value: &mut [f32]) {
        key.copy_from_slice(self.k.head(t, self.head));
        value.copy_from_slice(self.v.head(t, self.head));
    }

    /// Values are copied side by side: at their stride, often a power of two, they would fight for few cache sets.
    #[inline(always)]
    unsafe fn load<S: Simd>(
        &self,
        first: usize,
        count: usize,
        staging: &mut [f32],
    ) -> (RowsAt, RowsAt) {
        let stride = self.v.width.next_multiple_of(LANES);
        for i in 0..count {
            staging[i * stride..i * stride + self.v.width]
                .copy_from_slice(self.v.head(first + i, self.head));
        }
        let keys = self.k.rows_of_head(first, count, self.head);
        let keys = RowsAt {
            base: keys.as_ptr(),
            stride: self.k.row_stride,
        };
        (
            keys,
            RowsAt {
                base: staging.as_ptr(),
                stride,
            },
        )
    }

    fn staging(&self) -> usize {
        TILE * self.v.width.next_multiple_of(LANES)
    }
}

/// Queries that read one cache.
pub(crate) struct QuerySet<'a, T> {
    pub(crate) rows: Vec<&'a [f32]>,
    /// Cache rows that each query sees.
    pub(crate) limits: Vec<usize>,
    pub(crate) out: Vec<&'a mut [f32]>,
    pub(crate) tiles: T,
    pub(crate) scale: f32,
}

/// Up to [`QUERIES`] queries of a set, and their share of the output.
struct Chunk<'a, 'b, T> {
    queries: Queries<'b>,
    tiles: &'b T,
    splits: usize,
    out: Mutex<&'b mut [&'a mut [f32]]>,
}

/// When there are fewer chunks than this per thread, their splits are shared out too.
const CHUNKS_PER_THREAD: usize = 4;

/// Runs all queries of all sets.
pub(crate) fn run_queries<T: Tiles>(pool: &Pool, isa: Isa, mut sets: Vec<QuerySet<'_, T>>) {
    let mut chunks = Vec::new();
    for set in &mut sets {
        let parts = set
            .rows
            .chunks(QUERIES)
            .zip(set.limits.chunks(QUERIES))
            .zip(set.out.chunks_mut(QUERIES));
        for ((rows, limits), out) in parts {
            let splits = limits.iter().copied().max().unwrap_or(0).div_ceil(SPLIT);
            let queries = Queries {
                rows,
                limits,
                scale: set.scale,
            };
            chunks.push(Chunk {
                queries,
                tiles: &set.tiles,
                splits,
                out: Mutex::new(out),
            });
        }
    }
    if chunks.len() >= CHUNKS_PER_THREAD * pool.threads() || pool.threads() == 1 {
        // The longest first, so that the last tasks are short.
        chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.splits));
        pool.run(chunks.len(), |task| chunks[task].run_whole(isa));
    } else {
        run_split(pool, isa, &chunks);
    }
}

/// Computes every split of every chunk as a task of its own, then joins them.
fn run_split<T: Tiles>(pool: &Pool, isa: Isa, chunks: &[Chunk<'_, '_, T>]) {
    let parts: Vec<(usize, usize, Mutex<Gathered>)> = chunks
        .iter()
        .enumerate()
        .flat_map(|(chunk, of)| (0..of.splits).map(move |split| (chunk, split)))
        .map(|(chunk, split)| {
            let of = &chunks[chunk];
            (
                chunk,
                split,
                Mutex::new(Gathered::take(of.queries.rows.len(), of.tiles.widths().1)),
            )
        })
        .collect();
    pool.run(parts.len(), |task| {
        let (chunk, split, gathered) = &parts[task];
        let Chunk { queries, tiles, .. } = &chunks[*chunk];
        let into = &mut *gathered.lock().unwrap_or_else(PoisonError::into_inner);
        dispatch(
            isa,
            GatherSplit {
                queries,
                tiles: *tiles,
                split: *split,
                into,
            },
        );
    });
    let firsts: Vec<usize> = (0..chunks.len())
        .map(|i| chunks[..i].iter().map(|chunk| chunk.splits).sum())
        .collect();
    pool.run(chunks.len(), |task| {
        let chunk = &chunks[task];
        let Some((first, rest)) = parts[firsts[task]..firsts[task] + chunk.splits].split_first()
        else {
            chunk.finish_nothing();
            return;
        };
        let mut total = first.2.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, _, next) in rest {
            let next = next.lock().unwrap_or_else(PoisonError::into_inner);
            dispatch(
                isa,
                Join {
                    queries: chunk.queries.rows.len(),
                    total: &mut total,
                    next: &next,
                },
            );
        }
        chunk.finish(&total);
    });
    for (_, _, gathered) in parts {
        gathered
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .give_back();
    }
}

impl<T: Tiles> Chunk<'_, '_, T> {
    /// Computes all splits, one after the other.
    fn run_whole(&self, isa: Isa) {
        if self.splits == 0 {
            self.finish_nothing();
            return;
        }
        let width = self.tiles.widths().1;
        let count = self.queries.rows.len();
        let (mut total, mut next) = (Gathered::take(count, width), Gathered::take(count, width));
        let (queries, tiles) = (&self.queries, self.tiles);
        dispatch(
            isa,
            GatherSplit {
                queries,
                tiles,
                split: 0,
                into: &mut total,
            },
        );
        for split in 1..self.splits {
            dispatch(
                isa,
                GatherSplit {
                    queries,
                    tiles,
                    split,
                    into: &mut next,
                },
            );
            dispatch(
                isa,
                Join {
                    queries: count,
                    total: &mut total,
                    next: &next,
                },
            );
        }
        self.finish(&total);
        total.give_back();
        next.give_back();
    }

    /// Divides by the sums of the weights.
    fn finish(&self, total: &Gathered) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for (i, out) in out.iter_mut().enumerate() {
            let inverse = 1.0 / total.sum[i];
            for (out, value) in out.iter_mut().zip(total.row(i)) {
                *out = value * inverse;
            }
        }
    }

    /// Queries that see nothing get zeros.
    fn finish_nothing(&self) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for out in out.iter_mut() {
            out.fill(0.0);
        }
    }
}
