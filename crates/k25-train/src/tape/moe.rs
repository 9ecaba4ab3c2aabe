//! Mixture of experts: the router, the chosen experts as grouped products, and the shared expert.

use std::cell::RefCell;

use k25_kernels::{RouterShape, route};
use k25_model::weights::MoeWeights;
use rayon::prelude::*;

use super::norm::ROWS;
use super::swiglu::{self, Projections};
use super::{Act, Backward, Operator, Tape};
use crate::arena::Arena;
use crate::matmul::{Mat, Store, multiply, par_multiply};
use crate::params::Param;
use crate::simd::{accumulate_scaled, dot, sigmoid, wide};
use crate::values::{Gradients, Values};

/// Visits of an expert that one task of the forward pass handles.
const VISITS: usize = 256;

/// Which rows visit which expert. A *visit* is one row at one of its experts; visits are numbered
/// expert by expert, and by row within an expert.
struct Visits {
    per_row: usize,
    /// The row of every visit.
    rows: Vec<u32>,
    /// First visit of every expert, and the end of the last.
    first: Vec<usize>,
    /// The visit of every row's choices, `[rows, per_row]`.
    of_row: Vec<u32>,
    /// The weight of every visit.
    weights: Vec<f32>,
    /// The router's score of every visit, before weights are made of scores.
    scores: Vec<f32>,
}

/// The routed experts as they lie in the parameters: one after the other, each gate, up, down.
#[derive(Debug, Clone, Copy)]
struct Experts {
    start: usize,
    count: usize,
    hidden: usize,
    inner: usize,
}

struct Moe {
    router: Param,
    shape: RouterShape,
    experts: Experts,
    shared: Option<(Projections, Vec<f32>)>,
    visits: Visits,
    /// Inner values of every visit before the activation, `[visits, 2 · inner]`.
    before: Vec<f32>,
    x: Act,
    y: Act,
}

impl Visits {
    fn new(choices: Vec<Vec<(u32, f32)>>, logits: &[f32], experts: usize) -> Self {
        let per_row = choices.first().map_or(1, Vec::len).max(1);
        let mut first = vec![0; experts + 1];
        for (expert, _) in choices.iter().flatten() {
            first[*expert as usize + 1] += 1;
        }
        for expert in 0..experts {
            first[expert + 1] += first[expert];
        }
        let total = first[experts];
        let mut next = first.clone();
        let mut visits = Self {
            per_row,
            rows: vec![0; total],
            first,
            of_row: Vec::with_capacity(total),
            weights: vec![0.0; total],
            scores: vec![0.0; total],
        };
        for (row, chosen) in choices.iter().enumerate() {
            for (expert, weight) in chosen {
                let visit = next[*expert as usize];
                next[*expert as usize] += 1;
                visits.rows[visit] = row as u32;
                visits.weights[visit] = *weight;
                let logit = logits[row * experts + *expert as usize];
                visits.scores[visit] = 1.0 / (1.0 + (-logit).exp());
                visits.of_row.push(visit as u32);
            }
        }
        visits
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn of_expert(&self, expert: usize) -> std::ops::Range<usize> {
        self.first[expert]..self.first[expert + 1]
    }

    fn loads(&self) -> Vec<u32> {
        self.first
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as u32)
            .collect()
    }

    /// Copies the rows of some visits out of `x`.
    fn gather(&self, visits: std::ops::Range<usize>, x: &[f32], into: &mut [f32]) {
        let width = into.len() / visits.len().max(1);
        for (into, row) in into.chunks_exact_mut(width.max(1)).zip(&self.rows[visits]) {
            let start = *row as usize * width;
            into.copy_from_slice(&x[start..start + width]);
        }
    }

    /// Adds to every row of `into` what its visits brought, in the order of the row's choices.
    fn scatter(&self, brought: &[f32], width: usize, weighted: bool, into: &mut [f32]) {
        into.par_chunks_mut(ROWS * width)
            .zip(self.of_row.par_chunks(ROWS * self.per_row))
            .for_each(|(into, visits)| {
                for (row, visits) in into
                    .chunks_exact_mut(width)
                    .zip(visits.chunks_exact(self.per_row))
                {
                    for visit in visits {
                        let visit = *visit as usize;
                        let brought = &brought[visit * width..(visit + 1) * width];
                        let weight = if weighted { self.weights[visit] } else { 1.0 };
                        accumulate_scaled(row, weight, brought);
                    }
                }
            });
    }
}

impl Experts {
    fn new(weights: &MoeWeights<Param>) -> Self {
        let (first, last) = (&weights.experts[0], weights.experts.last());
        let experts = Self {
            start: first.gate.start,
            count: weights.experts.len(),
            hidden: first.gate.cols,
            inner: first.gate.rows,
        };
        let end = last.map(|mlp| mlp.down.range().end);
        assert_eq!(end, Some(experts.range().end), "experts side by side");
        experts
    }

    /// Values of one expert.
    fn len(self) -> usize {
        3 * self.hidden * self.inner
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start..self.start + self.count * self.len()
    }

    /// Addresses of one expert.
    fn range_of(self, expert: usize) -> std::ops::Range<usize> {
        let start = self.start + expert * self.len();
        start..start + self.len()
    }

    /// One expert's gate and up as one matrix `[2 · inner, hidden]`, and its down `[hidden, inner]`.
    fn projections(self, expert: usize) -> Projections {
        let gate_up = Param {
            start: self.range_of(expert).start,
            rows: 2 * self.inner,
            cols: self.hidden,
        };
        let down = Param {
            start: gate_up.range().end,
            rows: self.hidden,
            cols: self.inner,
        };
        Projections { gate_up, down }
    }
}

impl Tape<'_> {
    /// Router, chosen experts and shared expert on every row of `x`. Returns the result and how many
    /// rows visited each expert.
    pub fn moe(
        &mut self,
        shape: RouterShape,
        weights: &MoeWeights<Param>,
        x: Act,
    ) -> (Act, Vec<u32>) {
        let (rows, cols) = self.shape(x);
        let router = weights.router.weight;
        let visits = self.choose(shape, router, &weights.router.correction_bias, x);
        let experts = Experts::new(weights);
        let (mut before, mut brought) = (
            self.arena.take(visits.len() * 2 * experts.inner),
            self.arena.take(visits.len() * cols),
        );
        let data = &self.values[x.0].data;
        run_experts(
            self.params,
            experts,
            &visits,
            data,
            &mut before,
            &mut brought,
        );

        let mut y = self.arena.take(rows * cols);
        let shared = weights.shared.as_ref().map(|mlp| {
            let projections = Projections::new(mlp);
            let before = swiglu::forward(self.params, projections, data, &mut y, self.arena);
            (projections, before)
        });
        if shared.is_none() {
            y.fill(0.0);
        }
        visits.scatter(&brought, cols, true, &mut y);
        self.arena.give(brought);
        let y = self.push(y, rows, cols);
        let loads = visits.loads();
        self.record(Moe {
            router,
            shape,
            experts,
            shared,
            visits,
            before,
            x,
            y,
        });
        (y, loads)
    }

    fn choose(&mut self, shape: RouterShape, router: Param, bias: &[f32], x: Act) -> Visits {
        let (rows, cols) = self.shape(x);
        let mut logits = self.arena.take(rows * router.rows);
        let mut scratch = self.arena.take(self.params.scratch_len(router));
        let matrix = self.params.par_matrix(router, &mut scratch);
        par_multiply(
            &mut logits,
            Store::Set,
            Mat::new(self.data(x), rows, cols),
            matrix.t(),
        );
        let choices: Vec<_> = logits
            .par_chunks_exact(router.rows)
            .with_min_len(ROWS)
            .map(|logits| route(&shape, logits, bias))
            .collect();
        let visits = Visits::new(choices, &logits, router.rows);
        self.arena.give(scratch);
        self.arena.give(logits);
        visits
    }
}

fn run_experts(
    params: Values<'_>,
    experts: Experts,
    visits: &Visits,
    x: &[f32],
    mut before: &mut [f32],
    mut brought: &mut [f32],
) {
    let mut tasks = Vec::new();
    for expert in 0..experts.count {
        let all = visits.of_expert(expert);
        for first in all.clone().step_by(VISITS) {
            let part = first..(first + VISITS).min(all.end);
            let (b, rest) = before.split_at_mut(part.len() * 2 * experts.inner);
            before = rest;
            let (y, rest) = brought.split_at_mut(part.len() * experts.hidden);
            brought = rest;
            tasks.push((expert, part, b, y));
        }
    }
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(|(expert, part, before, y)| {
            SCRATCH.with_borrow_mut(|scratch| {
                let Projections { gate_up, down } = experts.projections(expert);
                let count = part.len();
                scratch.x.resize(count * experts.hidden, 0.0);
                scratch.hidden.resize(count * experts.inner, 0.0);
                let (rows, hidden) = (&mut scratch.x, &mut scratch.hidden);
                visits.gather(part, x, rows);
                let rows = Mat::new(rows, count, experts.hidden);
                let gate_up = params.matrix(gate_up, &mut scratch.weights);
                multiply(before, Store::Set, rows, gate_up.t());
                swiglu::activate(before, experts.inner, hidden);
                let hidden = Mat::new(hidden, count, experts.inner);
                let down = params.matrix(down, &mut scratch.weights);
                multiply(y, Store::Set, hidden, down.t());
            });
        });
}

/// What one expert's gradient needs.
struct ExpertTask<'a> {
    expert: usize,
    before: &'a [f32],
    /// Gradient of the rows that visited it, `[visits, hidden]`.
    dx: &'a mut [f32],
    /// Gradient of the visits' weights.
    d_weights: &'a mut [f32],
    param_grads: Gradients<'a>,
}

/// Buffers of a thread, kept from task to task.
#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    dy: Vec<f32>,
    hidden: Vec<f32>,
    d_before: Vec<f32>,
    /// A frozen matrix.
    weights: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Moe {
    /// One expert's gradients.
    fn expert_backward(
        &self,
        params: Values<'_>,
        x: &[f32],
        dy: &[f32],
        mut task: ExpertTask<'_>,
        scratch: &mut Scratch,
    ) {
        let (e, visits) = (self.experts, self.visits.of_expert(task.expert));
        let (count, weights) = (visits.len(), &self.visits.weights[visits.clone()]);
        if count == 0 {
            return;
        }
        scratch.x.resize(count * e.hidden, 0.0);
        scratch.dy.resize(count * e.hidden, 0.0);
        scratch.hidden.resize(count * e.inner, 0.0);
        scratch.d_before.resize(count * 2 * e.inner, 0.0);
        self.visits.gather(visits.clone(), x, &mut scratch.x);
        self.visits.gather(visits, dy, &mut scratch.dy);
        let Projections { gate_up, down } = e.projections(task.expert);
        let dy = Mat::new(&scratch.dy, count, e.hidden);
        // The gradient of the unweighted hidden values; weights come in below.
        let matrix = params.matrix(down, &mut scratch.weights);
        multiply(&mut scratch.hidden, Store::Set, dy, matrix);
        let (hidden, d_before) = (&mut scratch.hidden, &mut scratch.d_before);
        visits_backward(
            task.before,
            e.inner,
            weights,
            hidden,
            d_before,
            task.d_weights,
        );
        let hidden = Mat::new(&scratch.hidden, count, e.inner);
        let d_before = Mat::new(&scratch.d_before, count, 2 * e.inner);
        task.param_grads.add(down, dy, hidden);
        let x = Mat::new(&scratch.x, count, e.hidden);
        task.param_grads.add(gate_up, d_before, x);
        let matrix = params.matrix(gate_up, &mut scratch.weights);
        multiply(task.dx, Store::Set, d_before, matrix);
    }

    /// Gradients of all experts; returns those of the visits' rows and of the visits' weights.
    fn experts_backward(&self, grads: &mut Backward<'_>, dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (e, visits) = (self.experts, &self.visits);
        let mut dx = grads.arena.take(visits.len() * e.hidden);
        let mut d_weights = grads.arena.take(visits.len());
        let mut tasks = Vec::with_capacity(e.count);
        let (mut dx_rest, mut dw_rest, mut before_rest) =
            (&mut dx[..], &mut d_weights[..], &self.before[..]);
        let ranges = (0..e.count).map(|expert| e.range_of(expert));
        let pieces = grads.param_grads.split(ranges);
        for (expert, param_grads) in pieces.into_iter().enumerate() {
            let count = visits.of_expert(expert).len();
            let (dx, rest) = dx_rest.split_at_mut(count * e.hidden);
            dx_rest = rest;
            let (d_weights, rest) = dw_rest.split_at_mut(count);
            dw_rest = rest;
            let (before, rest) = before_rest.split_at(count * 2 * e.inner);
            before_rest = rest;
            tasks.push(ExpertTask {
                expert,
                before,
                dx,
                d_weights,
                param_grads,
            });
        }
        // Busy experts first, so that no thread ends with the largest.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.d_weights.len()));
        let (params, x) = (grads.params, &grads.values[self.x.0].data);
        tasks.into_par_iter().with_max_len(1).for_each(|task| {
            SCRATCH.with_borrow_mut(|scratch| self.expert_backward(params, x, dy, task, scratch));
        });
        (dx, d_weights)
    }

    /// From gradients of weights to those of the router's logits, `[rows, experts]`.
    fn logit_gradients(&self, d_weights: &[f32], d_logits: &mut [f32]) {
        let experts = self.experts.count;
        let expert_of =
            |visit: usize| self.visits.first.partition_point(|first| *first <= visit) - 1;
        d_logits.fill(0.0);
        for (row, visits) in self
            .visits
            .of_row
            .chunks_exact(self.visits.per_row)
            .enumerate()
        {
            let score = |visit: &u32| self.visits.scores[*visit as usize];
            let total: f32 = visits.iter().map(score).sum::<f32>() + 1e-20;
            let along: f32 = visits
                .iter()
                .map(|visit| d_weights[*visit as usize] * score(visit))
                .sum();
            for visit in visits {
                let s = score(visit);
                let d_weight = d_weights[*visit as usize];
                let d_score = match self.shape.normalize {
                    true => self.shape.scale / total * (d_weight - along / total),
                    false => self.shape.scale * d_weight,
                };
                d_logits[row * experts + expert_of(*visit as usize)] = d_score * s * (1.0 - s);
            }
        }
    }
}

wide! {
    fn visits_backward<'a>(
        before: &'a [f32],
        inner: usize,
        weights: &'a [f32],
        hidden: &'a mut [f32],
        d_before: &'a mut [f32],
        d_weights: &'a mut [f32],
    ) -> () {
        let rows = hidden.chunks_exact_mut(inner).zip(before.chunks_exact(2 * inner));
        let rows = rows.zip(d_before.chunks_exact_mut(2 * inner));
        for (((hidden, before), d_before), (weight, d_weight)) in rows.zip(weights.iter().zip(d_weights)) {
            *d_weight = weighted_backward(before, *weight, hidden, d_before);
        }
    }
}

/// As [`swiglu::activate_backward`] for a visit with a weight: leaves the weighted hidden values in `hidden`, and
/// returns the gradient of the weight.
#[inline(always)]
fn weighted_backward(before: &[f32], weight: f32, hidden: &mut [f32], d_before: &mut [f32]) -> f32 {
    let inner = hidden.len();
    let (gate, up) = before.split_at(inner);
    let (d_gate, d_up) = d_before.split_at_mut(inner);
    let (gate, up) = (&gate[..inner], &up[..inner]);
    let (d_gate, d_up) = (&mut d_gate[..inner], &mut d_up[..inner]);
    // First the sigmoids and the hidden values, in the places of what is made from them.
    for i in 0..inner {
        d_gate[i] = sigmoid(gate[i]);
        d_up[i] = gate[i] * d_gate[i] * up[i];
    }
    let d_weight = dot(hidden, d_up);
    for i in 0..inner {
        let (g, s, value, grad) = (gate[i], d_gate[i], d_up[i], hidden[i] * weight);
        d_gate[i] = grad * up[i] * s * (1.0 + g * (1.0 - s));
        d_up[i] = grad * (g * s);
        hidden[i] = value * weight;
    }
    d_weight
}

impl Operator for Moe {
    fn backward(&mut self, grads: &mut Backward<'_>) {
        let dy = grads.take(self.y);
        let (rows, cols) = grads.shape(self.x);
        let (brought, d_weights) = self.experts_backward(grads, &dy);
        let mut dx = grads.arena.take(rows * cols);
        match &self.shared {
            Some((projections, before)) => {
                swiglu::backward(grads, *projections, self.x, before, &dy, &mut dx);
            }
            None => dx.fill(0.0),
        }
        self.visits.scatter(&brought, cols, false, &mut dx);

        let mut d_logits = grads.arena.take(rows * self.experts.count);
        self.logit_gradients(&d_weights, &mut d_logits);
        let d_matrix = Mat::new(&d_logits, rows, self.experts.count);
        let mut scratch = grads.arena.take(grads.params.scratch_len(self.router));
        let matrix = grads.params.par_matrix(self.router, &mut scratch);
        par_multiply(&mut dx, Store::Add, d_matrix, matrix);
        let x = Mat::new(&grads.values[self.x.0].data, rows, cols);
        grads.param_grads.par_add(self.router, d_matrix, x);
        grads.add(self.x, dx);
        for buffer in [dy, brought, d_weights, d_logits, scratch] {
            grads.arena.give(buffer);
        }
    }

    fn output(&self) -> Act {
        self.y
    }

    fn release(&mut self, arena: &mut Arena) {
        arena.give(std::mem::take(&mut self.before));
        if let Some((_, before)) = self.shared.take() {
            arena.give(before);
        }
    }
}
