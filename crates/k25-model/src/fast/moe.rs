//! Mixture of experts for a batch: rows sorted by expert, all experts of a layer in two loops.
//!
//! Each (row, choice) pair has a slot; the slots of one expert lie together. A row's result adds its
//! choices in the order of the choice, so it does not depend on the rest of the batch.

use k25_kernels::Rows as RowSet;

use super::act::Act;
use super::products::Products;
use super::residency::Residency;
use super::{Fast, all_rows};
use crate::router::{self, Choice};
use crate::rows::Rows;
use crate::weights::{Mlp, MoeWeights};

/// Which rows visit which experts.
struct Visits {
    /// Row of each slot.
    rows: Vec<u32>,
    /// Experts that have visitors, with their slots.
    experts: Vec<(usize, std::ops::Range<usize>)>,
    /// Slot of each choice, `[rows, choices]`.
    slots: Vec<usize>,
}

impl Visits {
    /// Sorts the choices of all rows by expert; `choices` holds as many per row.
    fn sort(choices: &[Vec<Choice>], expert_count: usize) -> Self {
        let mut next = vec![0; expert_count + 1];
        for choice in choices.iter().flatten() {
            next[choice.expert + 1] += 1;
        }
        for expert in 0..expert_count {
            next[expert + 1] += next[expert];
        }
        let experts = (0..expert_count)
            .map(|expert| (expert, next[expert]..next[expert + 1]))
            .filter(|(_, slots)| !slots.is_empty())
            .collect();
        let (mut rows, mut slots) = (
            vec![0; next[expert_count]],
            Vec::with_capacity(next[expert_count]),
        );
        for (row, chosen) in choices.iter().enumerate() {
            for choice in chosen {
                let slot = next[choice.expert];
                next[choice.expert] += 1;
                rows[slot] = row as u32;
                slots.push(slot);
            }
        }
        Self {
            rows,
            experts,
            slots,
        }
    }
}

impl Visits {
    /// The visits of some neighbouring experts alone; choices have no slots in it.
    fn part(&self, experts: &[(usize, std::ops::Range<usize>)]) -> Self {
        let first = experts.first().map_or(0, |(_, slots)| slots.start);
        let end = experts.last().map_or(0, |(_, slots)| slots.end);
        let moved = |(expert, slots): &(usize, std::ops::Range<usize>)| {
            (*expert, slots.start - first..slots.end - first)
        };
        Self {
            rows: self.rows[first..end].to_vec(),
            experts: experts.iter().map(moved).collect(),
            slots: Vec::new(),
        }
    }
}

/// The inner activations of one set of MLPs: `gate` becomes silu(gate) ⊙ up.
struct Inner {
    gate: Rows,
    up: Rows,
}

impl Inner {
    fn new(rows: usize, width: usize) -> Self {
        Self {
            gate: Rows::zeros(rows, width),
            up: Rows::zeros(rows, width),
        }
    }
}

impl Fast<'_> {
    pub(super) fn mixture_of_experts(
        &mut self,
        layer: usize,
        weights: &MoeWeights,
        x: &Act,
    ) -> Rows {
        let choices = self.choose_experts(weights, x);
        let visits = Visits::sort(&choices, weights.experts.len());
        let (routed, shared) = match &self.model.residency {
            Some(residency) => self.visit_in_groups(residency, layer, weights, &visits, x),
            None => {
                self.fetch_experts(weights, &visits);
                self.visit(weights, weights.shared.as_ref(), &visits, x)
            }
        };
        self.mix(&choices, &visits, &routed, shared)
    }

    /// Results of all visits, and of the shared expert.
    fn visit(
        &self,
        weights: &MoeWeights,
        shared: Option<&Mlp>,
        visits: &Visits,
        x: &Act,
    ) -> (Rows, Option<Rows>) {
        let (routed, inner) = self.expert_inner(weights, shared, visits, x);
        self.expert_outputs(weights, shared, visits, routed, inner, x.rows().width())
    }

    /// Likewise, but only as many experts at a time as there is memory for.
    fn visit_in_groups(
        &self,
        residency: &Residency,
        layer: usize,
        weights: &MoeWeights,
        visits: &Visits,
        x: &Act,
    ) -> (Rows, Option<Rows>) {
        let (mut routed, mut shared_out) = (Vec::new(), None);
        let (mut shared, mut rest) = (weights.shared.as_ref(), visits.experts.as_slice());
        while !rest.is_empty() {
            let numbers = || rest.iter().map(|(expert, _)| *expert);
            let len = residency.group_len(&weights.experts, numbers());
            let group: Vec<usize> = numbers().take(len).collect();
            residency.admit(self.model.model(), layer, &group);
            let part = visits.part(&rest[..len]);
            let (outputs, out) = self.visit(weights, shared.take(), &part, x);
            routed.extend_from_slice(outputs.values());
            shared_out = shared_out.or(out);
            rest = &rest[len..];
        }
        (Rows::from_values(routed, x.rows().width()), shared_out)
    }

    fn choose_experts(&self, weights: &MoeWeights, x: &Act) -> Vec<Vec<Choice>> {
        let logits = self.product(&weights.router.weight, x);
        let mut choices = vec![Vec::new(); logits.len()];
        self.pool.run_chunks(&mut choices, 1, |row, chosen| {
            chosen[0] = router::choose(
                self.config,
                logits.row(row),
                &weights.router.correction_bias,
            );
        });
        choices
    }

    /// Asks for the pages of the chosen experts, so that they come while others are computed.
    fn fetch_experts(&self, weights: &MoeWeights, visits: &Visits) {
        if self.model.options().fetch_ahead {
            for (expert, _) in &visits.experts {
                for matrix in weights.experts[*expert].matrices() {
                    matrix.advise(crate::Advice::WillNeed);
                }
            }
        }
    }

    /// Gate and up projections of all visited experts and of the shared one.
    fn expert_inner(
        &self,
        weights: &MoeWeights,
        shared_mlp: Option<&Mlp>,
        visits: &Visits,
        x: &Act,
    ) -> (Inner, Option<Inner>) {
        let width = weights
            .experts
            .first()
            .map_or(0, |expert| expert.gate.out_features());
        let mut routed = Inner::new(visits.rows.len(), width);
        let mut shared =
            shared_mlp.map(|shared| Inner::new(x.rows().len(), shared.gate.out_features()));
        let mut products = Products::default();
        if let (Some(mlp), Some(inner)) = (shared_mlp, &mut shared) {
            products.push(self, &mlp.gate, x, all_rows(x), inner.gate.values_mut());
            products.push(self, &mlp.up, x, all_rows(x), inner.up.values_mut());
        }
        let (mut gate, mut up) = (routed.gate.values_mut(), routed.up.values_mut());
        for (expert, slots) in &visits.experts {
            let rows = || RowSet::Index(&visits.rows[slots.clone()]);
            let mlp = &weights.experts[*expert];
            let (into_gate, into_up) = (
                take(&mut gate, slots.len() * width),
                take(&mut up, slots.len() * width),
            );
            products.push(self, &mlp.gate, x, rows(), into_gate);
            products.push(self, &mlp.up, x, rows(), into_up);
        }
        products.run(self);
        for inner in std::iter::once(&mut routed).chain(&mut shared) {
            self.silu_mul(&mut inner.gate, &inner.up);
        }
        (routed, shared)
    }

    /// Down projections: one row per slot, and one per row for the shared expert.
    fn expert_outputs(
        &self,
        weights: &MoeWeights,
        shared_mlp: Option<&Mlp>,
        visits: &Visits,
        routed: Inner,
        shared: Option<Inner>,
        hidden: usize,
    ) -> (Rows, Option<Rows>) {
        let routed = Act::new(routed.gate);
        let shared = shared.map(|inner| Act::new(inner.gate));
        let mut routed_out = Rows::zeros(routed.rows().len(), hidden);
        let mut shared_out = shared
            .as_ref()
            .map(|shared| Rows::zeros(shared.rows().len(), hidden));
        let mut products = Products::default();
        if let (Some(mlp), Some(inner), Some(out)) = (shared_mlp, &shared, &mut shared_out) {
            products.push(self, &mlp.down, inner, all_rows(inner), out.values_mut());
        }
        let mut out = routed_out.values_mut();
        for (expert, slots) in &visits.experts {
            let (down, rows) = (&weights.experts[*expert].down, RowSet::Range(slots.clone()));
            let into = take(&mut out, slots.len() * hidden);
            products.push(self, down, &routed, rows, into);
        }
        products.run(self);
        (routed_out, shared_out)
    }

    /// Adds each row's weighted expert results to the shared expert's.
    fn mix(
        &self,
        choices: &[Vec<Choice>],
        visits: &Visits,
        routed: &Rows,
        shared: Option<Rows>,
    ) -> Rows {
        let mut mixed = shared.unwrap_or_else(|| Rows::zeros(choices.len(), routed.width()));
        let per_row = visits.slots.len() / choices.len().max(1);
        self.pool
            .run_chunks(mixed.values_mut(), routed.width(), |row, into| {
                let slots = &visits.slots[row * per_row..(row + 1) * per_row];
                for (choice, slot) in choices[row].iter().zip(slots) {
                    for (into, value) in into.iter_mut().zip(routed.row(*slot)) {
                        *into += choice.weight * value;
                    }
                }
            });
        mixed
    }
}

/// Cuts the first `len` values off.
fn take<'a>(values: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, rest) = std::mem::take(values).split_at_mut(len);
    *values = rest;
    first
}
