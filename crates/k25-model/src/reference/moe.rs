//! Mixture of experts in the reference.

use half::bf16;

use super::{Reference, matmul, swiglu};
use crate::exec::{Exec, Site};
use crate::router::{self, Choice};
use crate::rows::Rows;
use crate::weights::MoeWeights;

impl Reference<'_> {
    pub(super) fn mixture_of_experts(
        &mut self,
        layer: usize,
        weights: &MoeWeights,
        x: &Rows,
    ) -> Rows {
        let logits = matmul(&weights.router.weight, x, |_| ());
        let choices: Vec<Vec<Choice>> = logits
            .iter()
            .map(|row| router::choose(self.config, row, &weights.router.correction_bias))
            .collect();
        self.observe_routing(layer, &logits, &choices);

        let mut mixed = Rows::zeros(x.len(), x.width());
        for (expert, mlp) in weights.experts.iter().enumerate() {
            let visitors = visitors_of(expert, &choices);
            if visitors.is_empty() {
                continue;
            }
            let rows: Vec<usize> = visitors.iter().map(|(row, _)| *row).collect();
            let results = swiglu(mlp, &x.select(&rows), self.expert_rounding());
            for ((row, weight), result) in visitors.into_iter().zip(results.iter()) {
                for (into, value) in mixed.row_mut(row).iter_mut().zip(result) {
                    *into += weight * value;
                }
            }
        }
        match &weights.shared {
            Some(shared) => {
                let shared = swiglu(shared, x, |_| ());
                self.add(mixed, &shared)
            }
            None => mixed,
        }
    }

    fn expert_rounding(&self) -> fn(&mut [f32]) {
        if self.options.round_experts_to_bf16 {
            |row| {
                row.iter_mut()
                    .for_each(|value| *value = bf16::from_f32(*value).to_f32());
            }
        } else {
            |_| ()
        }
    }

    fn observe_routing(&mut self, layer: usize, logits: &Rows, choices: &[Vec<Choice>]) {
        if self.observer.is_none() {
            return;
        }
        let collect = |value: fn(&Choice) -> f32| {
            Rows::from_values(
                choices.iter().flatten().map(value).collect(),
                self.config.num_experts_per_tok,
            )
        };
        let (ids, weights) = (
            collect(|choice| choice.expert as f32),
            collect(|choice| choice.weight),
        );
        self.observe(Site::RouterLogits(layer), logits);
        self.observe(Site::RouterChoice(layer), &ids);
        self.observe(Site::RouterWeights(layer), &weights);
    }
}

/// The rows that chose `expert`, with their weights.
fn visitors_of(expert: usize, choices: &[Vec<Choice>]) -> Vec<(usize, f32)> {
    choices
        .iter()
        .enumerate()
        .flat_map(|(row, chosen)| chosen.iter().map(move |choice| (row, choice)))
        .filter(|(_, choice)| choice.expert == expert)
        .map(|(row, choice)| (row, choice.weight))
        .collect()
}
