//! Attention from queries, keys and values that lie side by side in a row: MoonViT's blocks (every row of an item sees
//! every other), and plain decoders (rows see those before them).

use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{self, HeadBackward, HeadForward, Segment, Shape};
use super::mla::Segments;
use super::{Act, Backward, Operator, Tape};
use crate::arena::Arena;

/// How rows attend.
#[derive(Debug, Clone)]
pub struct QkvGeometry {
    /// Attention heads.
    pub heads: usize,
    /// Whether a row sees only the rows up to itself.
    pub causal: bool,
    /// Cosine and sine by which each pair of neighbouring values of a head is turned, `[rows, head_dim / 2, 2]`.
    pub angles: Vec<f32>,
    /// Rows that attend to each other, without gaps from row 0 on.
    pub segments: Segments,
}

struct Qkv {
    geometry: Arc<QkvGeometry>,
    qkv: Act,
    y: Act,
    /// Packed `[segment][head][row][dim]`.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    context: Vec<f32>,
    log_sums: Vec<f32>,
}

impl QkvGeometry {
    fn shape(&self, hidden: usize) -> Shape {
        let dim = hidden / self.heads;
        Shape {
            heads: self.heads,
            key_dim: dim,
            value_dim: dim,
            scale: 1.0 / (dim as f32).sqrt(),
            causal: self.causal,
        }
    }

    fn rotate(&self, row: usize, values: &mut [f32], back: bool) {
        let width = values.len();
        let angles = &self.angles[row * width..(row + 1) * width];
        for (pair, angle) in values.chunks_exact_mut(2).zip(angles.chunks_exact(2)) {
            let (even, odd, cos) = (pair[0], pair[1], angle[0]);
            let sin = if back { -angle[1] } else { angle[1] };
            pair[0] = even * cos - odd * sin;
            pair[1] = odd * cos + even * sin;
        }
    }

    fn heads_of(&self) -> impl Iterator<Item = (Segment, usize)> + '_ {
        let heads = self.heads;
        let segments = self.segments.iter();
        segments.flat_map(move |segment| (0..heads).map(move |head| (*segment, head)))
    }
}

impl Tape<'_> {
    /// Softmax attention from `[rows, 3 · hidden]` (queries, keys, values, each head after head) to contexts
    /// `[rows, hidden]`, scores scaled by 1/√head_dim. Segments have no prefixes here.
    pub fn attention(&mut self, geometry: &Arc<QkvGeometry>, qkv: Act) -> Act {
        debug_assert!(
            geometry
                .segments
                .iter()
                .all(|segment| segment.prefix.is_none()),
            "segments of their own rows alone"
        );
        let (rows, width) = self.shape(qkv);
        let hidden = width / 3;
        let shape = geometry.shape(hidden);
        let [mut q, mut k, mut v, mut context] = [(); 4].map(|()| self.arena.take(rows * hidden));
        let mut log_sums = self.arena.take(rows * shape.heads);
        let (segments, data) = (&geometry.segments, &self.values[qkv.0].data);
        let tasks: Vec<_> = geometry
            .heads_of()
            .zip(shape.split_mut(&mut q, segments, shape.key_dim))
            .zip(shape.split_mut(&mut k, segments, shape.key_dim))
            .zip(shape.split_mut(&mut v, segments, shape.key_dim))
            .zip(shape.split_mut(&mut context, segments, shape.key_dim))
            .zip(shape.split_mut(&mut log_sums, segments, 1))
            .collect();
        attention::for_each_head(tasks, |task, scratch| {
            let (((((at, q), k), v), context), log_sums) = task;
            let (segment, head) = at;
            for (part, into) in [&mut *q, &mut *k, &mut *v].into_iter().enumerate() {
                for (position, into) in into.chunks_exact_mut(shape.key_dim).enumerate() {
                    let row = segment.start + position;
                    let from = row * width + part * hidden + head * shape.key_dim;
                    into.copy_from_slice(&data[from..from + shape.key_dim]);
                    if part < 2 {
                        geometry.rotate(row, into, false);
                    }
                }
            }
            let head = HeadForward {
                q,
                k,
                v,
                context,
                log_sums,
            };
            attention::forward(shape, head, scratch);
        });
        let mut y = self.arena.take(rows * hidden);
        for_each_row(geometry, &mut y, hidden, |at, into| {
            let head_rows = into.chunks_exact_mut(shape.key_dim);
            for (head, into) in head_rows.enumerate() {
                let from = at.packed(head, shape);
                into.copy_from_slice(&context[from..from + shape.key_dim]);
            }
        });
        let y = self.push(y, rows, hidden);
        let geometry = Arc::clone(geometry);
        self.record(Qkv {
            geometry,
            qkv,
            y,
            q,
            k,
            v,
            context,
            log_sums,
        });
        y
    }
}

/// A row of a segment.
struct At {
    segment: Segment,
    position: usize,
}

impl At {
    /// Where the row of a head begins in a packed buffer.
    fn packed(&self, head: usize, shape: Shape) -> usize {
        (self.segment.start * shape.heads + head * self.segment.len + self.position) * shape.key_dim
    }
}

/// Runs `work` on every row of `rows`, segment by segment on all threads.
fn for_each_row(
    geometry: &QkvGeometry,
    rows: &mut [f32],
    width: usize,
    work: impl Fn(At, &mut [f32]) + Sync,
) {
    let mut rest = rows;
    let mut parts = Vec::with_capacity(geometry.segments.len());
    for segment in geometry.segments.iter() {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(segment.len * width);
        rest = after;
        parts.push((*segment, part));
    }
    parts.into_par_iter().for_each(|(segment, part)| {
        for (position, row) in part.chunks_exact_mut(width).enumerate() {
            work(At { segment, position }, row);
        }
    });
}

impl Operator for Qkv {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let dy = grads.take(self.y);
        let (rows, width) = grads.shape(self.qkv);
        let hidden = width / 3;
        let geometry = Arc::clone(&self.geometry);
        let shape = geometry.shape(hidden);
        let [mut dk, mut dv, mut d_context] = [(); 3].map(|()| grads.arena.take(rows * hidden));
        let segments = &geometry.segments;
        let tasks: Vec<_> = geometry
            .heads_of()
            .zip(shape.split_mut(&mut self.q, segments, shape.key_dim))
            .zip(shape.split(&self.k, segments, shape.key_dim))
            .zip(shape.split(&self.v, segments, shape.key_dim))
            .zip(shape.split(&self.context, segments, shape.key_dim))
            .zip(shape.split(&self.log_sums, segments, 1))
            .zip(shape.split_mut(&mut d_context, segments, shape.key_dim))
            .zip(shape.split_mut(&mut dk, segments, shape.key_dim))
            .zip(shape.split_mut(&mut dv, segments, shape.key_dim))
            .collect();
        attention::for_each_head(tasks, |task, scratch| {
            let ((((((((at, q), k), v), context), log_sums), d_context), dk), dv) = task;
            for (position, into) in d_context.chunks_exact_mut(shape.key_dim).enumerate() {
                let from = (at.0.start + position) * hidden + at.1 * shape.key_dim;
                into.copy_from_slice(&dy[from..from + shape.key_dim]);
            }
            dk.fill(0.0);
            dv.fill(0.0);
            let head = HeadBackward {
                q,
                k,
                v,
                context,
                log_sums,
                d_context,
                dk,
                dv,
            };
            attention::backward(shape, head, scratch);
        });
        let mut dx = grads.arena.take(rows * width);
        let packed = [&self.q, &dk, &dv];
        for_each_row(&geometry, &mut dx, width, |at, row| {
            for (index, into) in row.chunks_exact_mut(shape.key_dim).enumerate() {
                let (part, head) = (index / shape.heads, index % shape.heads);
                let from = at.packed(head, shape);
                into.copy_from_slice(&packed[part][from..from + shape.key_dim]);
                if part < 2 {
                    geometry.rotate(at.segment.start + at.position, into, true);
                }
            }
        });
        grads.add(self.qkv, dx);
        for buffer in [dy, dk, dv, d_context] {
            grads.arena.give(buffer);
        }
    }

    fn output(&self) -> Act {
        self.y
    }

    fn release(&mut self, arena: &mut Arena) {
        let buffers = [
            &mut self.q,
            &mut self.k,
            &mut self.v,
            &mut self.context,
            &mut self.log_sums,
        ];
        for buffer in buffers {
            arena.give(std::mem::take(buffer));
        }
    }
}
