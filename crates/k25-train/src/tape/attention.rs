//! Softmax attention of queries over keys and values of the same segment, in blocks of queries whose
//! probabilities are computed again for the gradient. A head may have more keys than queries: those of
//! a prefix come first.
//!
//! Buffers are packed `[segment][head][row][dim]`, so that a head of a segment is one matrix.
//! Suffixes: `q` rows of a block of queries, `k` rows of keys.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::matmul::{Mat, Store, multiply, multiply_strided};
use crate::simd::{dot, exp, max, sum, wide};

/// Rows that attend to each other: a document, a conversation, a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first row in the batch.
    pub start: usize,
    /// How many rows it has.
    pub len: usize,
    /// How it begins, if not with its own rows.
    pub prefix: Option<Prefix>,
}

/// The beginning that a segment shares with one before it: conversations with the same tools and system prompt compute
/// those rows once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Number of the other segment.
    pub of: usize,
    /// How many of its positions, from the first on.
    pub len: usize,
}

impl Segment {
    /// A segment of its own rows alone.
    pub fn whole(start: usize, len: usize) -> Self {
        Self {
            start,
            len,
            prefix: None,
        }
    }

    /// Position of its first own row.
    pub fn first_position(&self) -> usize {
        self.prefix.map_or(0, |prefix| prefix.len)
    }

    /// How many positions it has: those of its prefix and its own.
    pub fn positions(&self) -> usize {
        self.first_position() + self.len
    }

    /// The row at one of its positions, among `segments`.
    pub fn row(&self, position: usize, segments: &[Segment]) -> usize {
        let mut segment = self;
        while let Some(prefix) = segment.prefix.filter(|prefix| position < prefix.len) {
            segment = &segments[prefix.of];
        }
        segment.start + position - segment.first_position()
    }
}

/// What attention looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    /// Factor on the products of queries and keys.
    pub scale: f32,
    /// Whether a row sees only the rows up to itself.
    pub causal: bool,
}

/// Queries of a block.
const BLOCK: usize = 64;

/// One head of one segment.
pub(super) struct HeadForward<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    /// `[len, value_dim]`.
    pub context: &'a mut [f32],
    /// Logarithm of the sum of exponentials of every query's scores.
    pub log_sums: &'a mut [f32],
}

/// One head of one segment, on the way back.
pub(super) struct HeadBackward<'a> {
    /// Queries; their gradients afterwards.
    pub q: &'a mut [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub context: &'a [f32],
    pub log_sums: &'a [f32],
    pub d_context: &'a [f32],
    pub dk: &'a mut [f32],
    pub dv: &'a mut [f32],
}

/// Scores of one block, and their gradients; used again from block to block.
#[derive(Default)]
pub(super) struct Scratch {
    probabilities: Vec<f32>,
    gradients: Vec<f32>,
}

impl Shape {
    /// The heads of every segment in a packed buffer of `dim` values per own row and head: queries and what becomes of them.
    pub fn split<'a>(self, buffer: &'a [f32], segments: &[Segment], dim: usize) -> Vec<&'a [f32]> {
        pieces(buffer, self.lens(segments, dim, |segment| segment.len))
    }

    /// [`split`](Self::split) to write.
    pub fn split_mut<'a>(
        self,
        buffer: &'a mut [f32],
        segments: &[Segment],
        dim: usize,
    ) -> Vec<&'a mut [f32]> {
        pieces_mut(buffer, self.lens(segments, dim, |segment| segment.len))
    }

    /// The same with the rows of the prefix before a segment's own: keys and values.
    pub fn split_seen<'a>(
        self,
        buffer: &'a [f32],
        segments: &[Segment],
        dim: usize,
    ) -> Vec<&'a [f32]> {
        pieces(buffer, self.lens(segments, dim, Segment::positions))
    }

    /// [`split_seen`](Self::split_seen) to write.
    pub fn split_seen_mut<'a>(
        self,
        buffer: &'a mut [f32],
        segments: &[Segment],
        dim: usize,
    ) -> Vec<&'a mut [f32]> {
        pieces_mut(buffer, self.lens(segments, dim, Segment::positions))
    }

    /// Values of every head of every segment, in the order of a packed buffer.
    fn lens(
        self,
        segments: &[Segment],
        dim: usize,
        rows: fn(&Segment) -> usize,
    ) -> impl Iterator<Item = usize> + '_ {
        segments
            .iter()
            .flat_map(move |segment| std::iter::repeat_n(rows(segment) * dim, self.heads))
    }

    /// Of `keys`, those that a block of queries sees whose first one stands at position `first`.
    fn seen(self, first: usize, queries: usize, keys: usize) -> usize {
        if self.causal { first + queries } else { keys }
    }
}

fn pieces(buffer: &[f32], lens: impl Iterator<Item = usize>) -> Vec<&[f32]> {
    let mut rest = buffer;
    let piece = |len| {
        let (piece, after) = rest.split_at(len);
        rest = after;
        piece
    };
    lens.map(piece).collect()
}

fn pieces_mut(buffer: &mut [f32], lens: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    let mut rest = buffer;
    let piece = |len| {
        let (piece, after) = std::mem::take(&mut rest).split_at_mut(len);
        rest = after;
        piece
    };
    lens.map(piece).collect()
}

/// Attention of one head; returns its largest score.
pub(super) fn forward(shape: Shape, head: HeadForward<'_>, scratch: &mut Scratch) -> f32 {
    let Shape {
        key_dim, value_dim, ..
    } = shape;
    let all_keys = head.k.len() / key_dim;
    let prefix = all_keys - head.log_sums.len();
    let mut largest = f32::NEG_INFINITY;
    let blocks = head
        .q
        .chunks(BLOCK * key_dim)
        .zip(head.context.chunks_mut(BLOCK * value_dim));
    for (index, ((q, context), log_sums)) in blocks.zip(head.log_sums.chunks_mut(BLOCK)).enumerate()
    {
        let (first, queries) = (prefix + index * BLOCK, log_sums.len());
        let keys = shape.seen(first, queries, all_keys);
        scratch.probabilities.resize(queries * keys, 0.0);
        let scores = &mut scratch.probabilities[..queries * keys];
        let k = Mat::new(&head.k[..keys * key_dim], keys, key_dim);
        multiply(scores, Store::Set, Mat::new(q, queries, key_dim), k.t());
        largest = largest.max(softmax_rows(scores, keys, first, shape, log_sums));
        let v = Mat::new(&head.v[..keys * value_dim], keys, value_dim);
        multiply(context, Store::Set, Mat::new(scores, queries, keys), v);
    }
    largest
}

wide! {
    /// Probabilities out of the scores of a block whose first query stands at position `first`; returns the largest score.
    fn softmax_rows<'a>(
        scores: &'a mut [f32],
        keys: usize,
        first: usize,
        shape: Shape,
        log_sums: &'a mut [f32],
    ) -> f32 {
        let mut largest = f32::NEG_INFINITY;
        for (row, (scores, log_sum)) in scores.chunks_exact_mut(keys).zip(log_sums).enumerate() {
            let seen = if shape.causal { first + row + 1 } else { keys };
            let (scores, unseen) = scores.split_at_mut(seen);
            let (row_max, row_log_sum) = softmax(scores, shape.scale);
            unseen.fill(0.0);
            *log_sum = row_log_sum;
            largest = if row_max > largest { row_max } else { largest };
        }
        largest
    }
}

/// Softmax of scaled scores in place; the largest of them, and the logarithm of the sum of their exponentials.
#[inline(always)]
fn softmax(scores: &mut [f32], scale: f32) -> (f32, f32) {
    let largest = max(scores) * scale;
    for score in scores.iter_mut() {
        *score = exp(score.mul_add(scale, -largest));
    }
    let total = sum(scores);
    let factor = 1.0 / total;
    for score in scores.iter_mut() {
        *score *= factor;
    }
    (largest, largest + total.ln())
}

/// Gradients of one head: of queries in their place, of keys and values added to.
pub(super) fn backward(shape: Shape, head: HeadBackward<'_>, scratch: &mut Scratch) {
    let Shape {
        key_dim, value_dim, ..
    } = shape;
    let all_keys = head.k.len() / key_dim;
    let prefix = all_keys - head.log_sums.len();
    let rows = head
        .q
        .chunks_mut(BLOCK * key_dim)
        .zip(head.log_sums.chunks(BLOCK));
    for (index, (q, log_sums)) in rows.enumerate() {
        let (at, queries) = (index * BLOCK, log_sums.len());
        let first = prefix + at;
        let keys = shape.seen(first, queries, all_keys);
        let (k, v) = (&head.k[..keys * key_dim], &head.v[..keys * value_dim]);
        let (k, v) = (Mat::new(k, keys, key_dim), Mat::new(v, keys, value_dim));
        let contexts = at * value_dim..(at + queries) * value_dim;
        let (context, d_context) = (&head.context[contexts.clone()], &head.d_context[contexts]);
        let d_context_matrix = Mat::new(d_context, queries, value_dim);

        scratch.probabilities.resize(queries * keys, 0.0);
        scratch.gradients.resize(queries * keys, 0.0);
        let (p, ds) = (
            &mut scratch.probabilities[..queries * keys],
            &mut scratch.gradients[..queries * keys],
        );
        multiply(p, Store::Set, Mat::new(q, queries, key_dim), k.t());
        multiply(ds, Store::Set, d_context_matrix, v.t());
        gradient_rows(p, ds, keys, first, shape, log_sums, context, d_context);
        let (p, ds) = (Mat::new(p, queries, keys), Mat::new(ds, queries, keys));
        multiply(
            &mut head.dv[..keys * value_dim],
            Store::Add,
            p.t(),
            d_context_matrix,
        );
        multiply(
            &mut head.dk[..keys * key_dim],
            Store::Add,
            ds.t(),
            Mat::new(q, queries, key_dim),
        );
        multiply_strided(q, key_dim, Store::Set, ds, k);
    }
}

wide! {
    fn gradient_rows<'a>(
        p: &'a mut [f32],
        ds: &'a mut [f32],
        keys: usize,
        first: usize,
        shape: Shape,
        log_sums: &'a [f32],
        context: &'a [f32],
        d_context: &'a [f32],
    ) -> () {
        let contexts = context.chunks_exact(shape.value_dim).zip(d_context.chunks_exact(shape.value_dim));
        let rows = p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys));
        for (row, ((p, ds), (context, d_context))) in rows.zip(contexts).enumerate() {
            let seen = if shape.causal { first + row + 1 } else { keys };
            let along = dot(context, d_context);
            score_gradients(p, ds, seen, shape.scale, log_sums[row], along);
        }
    }
}

/// From scores and gradients of probabilities to probabilities and gradients of scores.
#[inline(always)]
fn score_gradients(
    p: &mut [f32],
    ds: &mut [f32],
    seen: usize,
    scale: f32,
    log_sum: f32,
    along: f32,
) {
    let (p, p_unseen) = p.split_at_mut(seen);
    let (ds, ds_unseen) = ds.split_at_mut(seen);
    for (p, ds) in p.iter_mut().zip(ds) {
        *p = exp(p.mul_add(scale, -log_sum));
        *ds = *p * (*ds - along) * scale;
    }
    p_unseen.fill(0.0);
    ds_unseen.fill(0.0);
}

thread_local! {
    /// A thread's scratch stays from task to task: fresh memory costs more than the arithmetic of a short head.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs `work` on every task with a scratch of its thread, and collects the results in order.
pub(super) fn for_each_head<T: Send, R: Send>(
    tasks: Vec<T>,
    work: impl Fn(T, &mut Scratch) -> R + Sync,
) -> Vec<R> {
    tasks
        .into_par_iter()
        .with_max_len(1)
        .map(|task| SCRATCH.with_borrow_mut(|scratch| work(task, scratch)))
        .collect()
}
