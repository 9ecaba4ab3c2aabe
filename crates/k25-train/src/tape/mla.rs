//! Multi-head latent attention over packed sequences, in its expanded form.

use std::sync::Arc;

use k25_config::TextConfig;
use k25_model::rope::{Rotary, softmax_scale};
use k25_model::weights::MlaWeights;
use rayon::prelude::*;

use super::attention::{self, HeadBackward, HeadForward, Prefix, Segment, Shape};
use super::norm::{ROWS, rms_backward, rms_forward};
use super::{Act, Backward, Operator, Tape};
use crate::arena::Arena;
use crate::matmul::{Mat, Store, par_multiply};
use crate::model::Norm;
use crate::params::Param;
use crate::simd::accumulate;

/// What latent attention needs beside its weights: widths, the scale, and the angles of every position.
#[derive(Debug, Clone)]
pub struct MlaGeometry {
    heads: usize,
    nope: usize,
    rope: usize,
    value: usize,
    rank: usize,
    scale: f32,
    /// Cosine and sine of every pair at every position, `[positions, rope / 2, 2]`.
    angles: Vec<f32>,
}

/// Rows that attend to each other, shared by all layers of a batch. They lie one after the other
/// from row 0 on without gaps.
pub type Segments = Arc<[Segment]>;

struct Mla {
    geometry: Arc<MlaGeometry>,
    segments: Segments,
    kv_a_norm: Norm,
    kv_b: Param,
    query: Act,
    kv: Act,
    y: Act,
    /// Packed `[segment][head][row][dim]`.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    context: Vec<f32>,
    log_sums: Vec<f32>,
    /// Normed latents, `[rows, rank]`.
    latent: Vec<f32>,
    scales: Vec<f32>,
}

impl MlaGeometry {
    /// The geometry of `config` for positions below `positions`.
    pub fn new(config: &TextConfig, positions: usize) -> Self {
        let rotary = Rotary::new(config);
        let angles = (0..positions)
            .flat_map(|position| {
                let angles = rotary.angles(position as u32);
                let pairs = angles.cos.into_iter().zip(angles.sin);
                pairs.flat_map(|(cos, sin)| [cos, sin]).collect::<Vec<_>>()
            })
            .collect();
        Self {
            heads: config.num_attention_heads,
            nope: config.qk_nope_head_dim,
            rope: config.qk_rope_head_dim,
            value: config.v_head_dim,
            rank: config.kv_lora_rank,
            scale: softmax_scale(config),
            angles,
        }
    }

    /// Positions that the angles reach.
    pub fn positions(&self) -> usize {
        self.angles.len() / self.rope.max(1)
    }

    fn shape(&self) -> Shape {
        Shape {
            heads: self.heads,
            key_dim: self.nope + self.rope,
            value_dim: self.value,
            scale: self.scale,
            causal: true,
        }
    }

    /// Turns a rotary part to `position`, or back.
    fn rotate(&self, position: usize, values: &mut [f32], back: bool) {
        let angles = &self.angles[position * self.rope..(position + 1) * self.rope];
        for (pair, angle) in values.chunks_exact_mut(2).zip(angles.chunks_exact(2)) {
            let (even, odd, cos) = (pair[0], pair[1], angle[0]);
            let sin = if back { -angle[1] } else { angle[1] };
            pair[0] = even * cos - odd * sin;
            pair[1] = odd * cos + even * sin;
        }
    }

    /// Fills the packed queries of one head of one segment.
    fn pack_queries(&self, head: usize, segment: Segment, query: &[f32], q: &mut [f32]) {
        let key_dim = self.nope + self.rope;
        for (index, q) in q.chunks_exact_mut(key_dim).enumerate() {
            let row = segment.start + index;
            q.copy_from_slice(&query[(row * self.heads + head) * key_dim..][..key_dim]);
            self.rotate(segment.first_position() + index, &mut q[self.nope..], false);
        }
    }

    /// Fills the packed keys and values of one head of one segment, those of its prefix first.
    fn pack_keys(
        &self,
        head: usize,
        segment: Segment,
        inputs: &Inputs<'_>,
        k: &mut [f32],
        v: &mut [f32],
    ) {
        let expanded_width = self.heads * (self.nope + self.value);
        let keys = k.chunks_exact_mut(self.nope + self.rope);
        for (position, (k, v)) in keys.zip(v.chunks_exact_mut(self.value)).enumerate() {
            let row = segment.row(position, inputs.segments);
            let expanded =
                &inputs.expanded[row * expanded_width + head * (self.nope + self.value)..];
            k[..self.nope].copy_from_slice(&expanded[..self.nope]);
            let raw = (row + 1) * (self.rank + self.rope) - self.rope;
            k[self.nope..].copy_from_slice(&inputs.kv[raw..raw + self.rope]);
            self.rotate(position, &mut k[self.nope..], false);
            v.copy_from_slice(&expanded[self.nope..self.nope + self.value]);
        }
    }
}

/// Where packed heads come from.
struct Inputs<'a> {
    segments: &'a [Segment],
    /// `[rows, heads · (nope + rope)]`.
    query: &'a [f32],
    /// `[rows, rank + rope]`.
    kv: &'a [f32],
    /// `[rows, heads · (nope + value)]`: keys and values out of the latent.
    expanded: &'a [f32],
}

/// The tasks of a batch: every head of every segment.
fn heads_of(segments: &[Segment], heads: usize) -> impl Iterator<Item = (Segment, usize)> + '_ {
    segments
        .iter()
        .flat_map(move |segment| (0..heads).map(move |head| (*segment, head)))
}

impl Tape<'_> {
    /// Latent attention within each of `segments`; positions count from 0 in every segment. Returns the
    /// contexts `[rows, heads · value]` and the largest score of every head.
    ///
    /// # Panics
    /// Where the segments do not cover the rows, or reach beyond the geometry's positions.
    pub fn mla(
        &mut self,
        geometry: &Arc<MlaGeometry>,
        segments: &Segments,
        weights: &MlaWeights<Param, Norm>,
        query: Act,
        kv: Act,
    ) -> (Act, Vec<f32>) {
        let (rows, _) = self.shape(query);
        check_segments(segments, rows, geometry.positions());
        let g = geometry.as_ref();
        let mut latent = self.arena.take(rows * g.rank);
        let mut scales = self.arena.take(rows);
        let norm = &self.params[weights.kv_a_norm.weight.range()];
        let (eps, kv_width) = (weights.kv_a_norm.eps, g.rank + g.rope);
        rms_forward(
            norm,
            eps,
            &self.values[kv.0].data,
            kv_width,
            g.rank,
            &mut latent,
            &mut scales,
        );
        let mut expanded = self.arena.take(rows * weights.kv_b.rows);
        let mut scratch = self.arena.take(self.params.scratch_len(weights.kv_b));
        let matrix = self.params.par_matrix(weights.kv_b, &mut scratch);
        par_multiply(
            &mut expanded,
            Store::Set,
            Mat::new(&latent, rows, g.rank),
            matrix.t(),
        );
        self.arena.give(scratch);

        let shape = g.shape();
        let seen: usize = segments.iter().map(Segment::positions).sum();
        let mut q = self.arena.take(rows * g.heads * shape.key_dim);
        let mut k = self.arena.take(seen * g.heads * shape.key_dim);
        let mut v = self.arena.take(seen * g.heads * g.value);
        let mut context = self.arena.take(rows * g.heads * g.value);
        let mut log_sums = self.arena.take(rows * g.heads);
        let inputs = Inputs {
            segments,
            query: &self.values[query.0].data,
            kv: &self.values[kv.0].data,
            expanded: &expanded,
        };
        let tasks: Vec<_> = heads_of(segments, g.heads)
            .zip(shape.split_mut(&mut q, segments, shape.key_dim))
            .zip(shape.split_seen_mut(&mut k, segments, shape.key_dim))
            .zip(shape.split_seen_mut(&mut v, segments, g.value))
            .zip(shape.split_mut(&mut context, segments, g.value))
            .zip(shape.split_mut(&mut log_sums, segments, 1))
            .collect();
        let maxima = attention::for_each_head(tasks, |task, scratch| {
            let ((((((segment, head), q), k), v), context), log_sums) = task;
            g.pack_queries(head, segment, inputs.query, q);
            g.pack_keys(head, segment, &inputs, k, v);
            let head = HeadForward {
                q,
                k,
                v,
                context,
                log_sums,
            };
            attention::forward(shape, head, scratch)
        });
        let mut y = self.arena.take(rows * g.heads * g.value);
        unpack(g, segments, &context, &mut y);
        self.arena.give(expanded);
        let y = self.push(y, rows, g.heads * g.value);
        self.record(Mla {
            geometry: Arc::clone(geometry),
            segments: Arc::clone(segments),
            kv_a_norm: weights.kv_a_norm,
            kv_b: weights.kv_b,
            query,
            kv,
            y,
            q,
            k,
            v,
            context,
            log_sums,
            latent,
            scales,
        });
        (y, largest_per_head(&maxima, g.heads))
    }
}

fn check_segments(segments: &[Segment], rows: usize, positions: usize) {
    let mut next = 0;
    for (index, segment) in segments.iter().enumerate() {
        assert_eq!(segment.start, next, "segments without gaps");
        assert!(
            segment.positions() <= positions,
            "a segment of {} positions, angles for {positions}",
            segment.positions()
        );
        if let Some(Prefix { of, len }) = segment.prefix {
            assert!(
                of < index && len <= segments[of].positions(),
                "a prefix is of a segment before, and no longer than that"
            );
        }
        next += segment.len;
    }
    assert_eq!(next, rows, "segments cover the batch");
}

fn largest_per_head(maxima: &[f32], heads: usize) -> Vec<f32> {
    let mut largest = vec![f32::NEG_INFINITY; heads];
    for segment in maxima.chunks_exact(heads) {
        for (largest, max) in largest.iter_mut().zip(segment) {
            *largest = largest.max(*max);
        }
    }
    largest
}

/// From packed contexts to rows.
fn unpack(g: &MlaGeometry, segments: &[Segment], packed: &[f32], rows: &mut [f32]) {
    let width = g.heads * g.value;
    let mut rest = rows;
    let mut parts = Vec::with_capacity(segments.len());
    for segment in segments {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(segment.len * width);
        rest = after;
        parts.push((
            part,
            &packed[segment.start * width..(segment.start + segment.len) * width],
        ));
    }
    parts.into_par_iter().for_each(|(part, packed)| {
        for (head, packed) in packed
            .chunks_exact(packed.len().max(g.heads) / g.heads)
            .enumerate()
        {
            for (row, values) in part
                .chunks_exact_mut(width)
                .zip(packed.chunks_exact(g.value))
            {
                row[head * g.value..(head + 1) * g.value].copy_from_slice(values);
            }
        }
    });
}

impl Mla {
    /// Gradients of packed keys and values; those of queries end in `self.q`.
    fn heads_backward(&mut self, dy: &[f32], dk: &mut [f32], dv: &mut [f32], arena: &mut Arena) {
        let g = Arc::clone(&self.geometry);
        let shape = g.shape();
        let segments = &self.segments;
        let mut d_context = arena.take(self.context.len());
        let tasks: Vec<_> = heads_of(segments, g.heads)
            .zip(shape.split_mut(&mut self.q, segments, shape.key_dim))
            .zip(shape.split_seen(&self.k, segments, shape.key_dim))
            .zip(shape.split_seen(&self.v, segments, g.value))
            .zip(shape.split(&self.context, segments, g.value))
            .zip(shape.split(&self.log_sums, segments, 1))
            .zip(shape.split_mut(&mut d_context, segments, g.value))
            .zip(shape.split_seen_mut(dk, segments, shape.key_dim))
            .zip(shape.split_seen_mut(dv, segments, g.value))
            .collect();
        attention::for_each_head(tasks, |task, scratch| {
            let ((((((((at, q), k), v), context), log_sums), d_context), dk), dv) = task;
            let (segment, index) = at;
            for (position, into) in d_context.chunks_exact_mut(g.value).enumerate() {
                let from = ((segment.start + position) * g.heads + index) * g.value;
                into.copy_from_slice(&dy[from..from + g.value]);
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
        arena.give(d_context);
    }

    /// From packed gradients to those of one segment's own query rows, expanded rows and rotary keys.
    fn unpack_own(&self, at: Place, packed: &PackedGradients<'_>, rows: &mut RowGradients<'_>) {
        let g = &self.geometry;
        let key_dim = g.nope + g.rope;
        let (segment, first) = (at.segment, at.segment.first_position());
        for head in 0..g.heads {
            for index in 0..segment.len {
                let from = segment.start * g.heads + head * segment.len + index;
                let query = &mut rows.query[(index * g.heads + head) * key_dim..][..key_dim];
                query.copy_from_slice(&packed.query[from * key_dim..][..key_dim]);
                g.rotate(first + index, &mut query[g.nope..], true);
            }
        }
        rows.expanded.fill(0.0);
        for index in 0..segment.len {
            let rotary = &mut rows.kv[index * (g.rank + g.rope) + g.rank..][..g.rope];
            rotary.fill(0.0);
            self.add_key(at, first + index, index, packed, rows);
        }
    }

    /// Adds the gradients of the key and value at a segment's `position` to those of row `index` of `rows`.
    fn add_key(
        &self,
        at: Place,
        position: usize,
        index: usize,
        packed: &PackedGradients<'_>,
        rows: &mut RowGradients<'_>,
    ) {
        let g = &self.geometry;
        let key_dim = g.nope + g.rope;
        let expanded_dim = g.nope + g.value;
        let mut rotary = vec![0.0; g.rope];
        for head in 0..g.heads {
            let from = at.seen * g.heads + head * at.segment.positions() + position;
            let dk = &packed.k[from * key_dim..][..key_dim];
            let dv = &packed.v[from * g.value..][..g.value];
            let expanded =
                &mut rows.expanded[(index * g.heads + head) * expanded_dim..][..expanded_dim];
            accumulate(&mut expanded[..g.nope], &dk[..g.nope]);
            accumulate(&mut expanded[g.nope..], dv);
            accumulate(&mut rotary, &dk[g.nope..]);
        }
        g.rotate(position, &mut rotary, true);
        let into = &mut rows.kv[index * (g.rank + g.rope) + g.rank..][..g.rope];
        accumulate(into, &rotary);
    }
}

/// A segment, and how many packed keys lie before its own.
#[derive(Debug, Clone, Copy)]
struct Place {
    segment: Segment,
    seen: usize,
}

fn places(segments: &[Segment]) -> Vec<Place> {
    let mut seen = 0;
    let place = |segment: &Segment| {
        let place = Place {
            segment: *segment,
            seen,
        };
        seen += segment.positions();
        place
    };
    segments.iter().map(place).collect()
}

/// Gradients as attention leaves them, packed `[segment][head][row][dim]`.
struct PackedGradients<'a> {
    query: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

/// Gradients of the rows of one segment.
struct RowGradients<'a> {
    query: &'a mut [f32],
    kv: &'a mut [f32],
    expanded: &'a mut [f32],
}

impl Operator for Mla {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let dy = grads.take(self.y);
        let (rows, query_width) = grads.shape(self.query);
        let (_, kv_width) = grads.shape(self.kv);
        let mut dk = grads.arena.take(self.k.len());
        let mut dv = grads.arena.take(self.v.len());
        self.heads_backward(&dy, &mut dk, &mut dv, grads.arena);

        let mut d_query = grads.arena.take(rows * query_width);
        let mut d_kv = grads.arena.take(rows * kv_width);
        let mut d_expanded = grads.arena.take(rows * self.kv_b.rows);
        let packed = PackedGradients {
            query: &self.q,
            k: &dk,
            v: &dv,
        };
        let places = places(&self.segments);
        let split = |buffer, width| split_rows(buffer, &self.segments, width);
        let tasks: Vec<_> = places
            .iter()
            .zip(split(&mut d_query, query_width))
            .zip(split(&mut d_kv, kv_width))
            .zip(split(&mut d_expanded, self.kv_b.rows))
            .collect();
        tasks
            .into_par_iter()
            .for_each(|(((place, query), kv), expanded)| {
                let mut rows = RowGradients {
                    query,
                    kv,
                    expanded,
                };
                self.unpack_own(*place, &packed, &mut rows);
            });
        // Rows that several segments see get the gradients of all of them, one segment after the other.
        let mut rows = RowGradients {
            query: &mut d_query,
            kv: &mut d_kv,
            expanded: &mut d_expanded,
        };
        for place in &places {
            for position in 0..place.segment.first_position() {
                let row = place.segment.row(position, &self.segments);
                self.add_key(*place, position, row, &packed, &mut rows);
            }
        }
        self.latent_backward(grads, &d_expanded, &mut d_kv);
        grads.add(self.query, d_query);
        grads.add(self.kv, d_kv);
        for buffer in [dy, dk, dv, d_expanded] {
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
            &mut self.latent,
            &mut self.scales,
        ];
        for buffer in buffers {
            arena.give(std::mem::take(buffer));
        }
    }
}

impl Mla {
    /// From the gradient of expanded keys and values to that of `kv_b`, of the latent's norm and of the latent part of `d_kv`.
    fn latent_backward(&self, grads: &mut Backward<'_>, d_expanded: &[f32], d_kv: &mut [f32]) {
        let (rows, kv_width) = grads.shape(self.kv);
        let rank = self.geometry.rank;
        let d_expanded = Mat::new(d_expanded, rows, self.kv_b.rows);
        let mut scratch = grads.arena.take(grads.params.scratch_len(self.kv_b));
        let matrix = grads.params.par_matrix(self.kv_b, &mut scratch);
        let mut d_latent = grads.arena.take(rows * rank);
        par_multiply(&mut d_latent, Store::Set, d_expanded, matrix);
        let latent = Mat::new(&self.latent, rows, rank);
        grads.param_grads.par_add(self.kv_b, d_expanded, latent);
        grads.arena.give(scratch);
        let norm = self.kv_a_norm.weight;
        rms_backward(
            &grads.params[norm.range()],
            &grads.values[self.kv.0].data,
            kv_width,
            &self.scales,
            &mut d_latent,
            grads.param_grads.get_mut(norm),
        );
        d_kv.par_chunks_mut(ROWS * kv_width)
            .zip(d_latent.par_chunks(ROWS * rank))
            .for_each(|(d_kv, d_latent)| {
                for (row, latent) in d_kv
                    .chunks_exact_mut(kv_width)
                    .zip(d_latent.chunks_exact(rank))
                {
                    row[..rank].copy_from_slice(latent);
                }
            });
        grads.arena.give(d_latent);
    }
}

/// The rows of every segment.
fn split_rows<'a>(buffer: &'a mut [f32], segments: &[Segment], width: usize) -> Vec<&'a mut [f32]> {
    let mut rest = buffer;
    let split = |segment: &Segment| {
        let (rows, after) = std::mem::take(&mut rest).split_at_mut(segment.len * width);
        rest = after;
        rows
    };
    segments.iter().map(split).collect()
}
