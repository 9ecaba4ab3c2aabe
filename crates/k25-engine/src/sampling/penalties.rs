//! What was said before, and what that does to the logits.

use std::collections::{HashMap, HashSet};

use super::SamplingParams;

/// The tokens that the penalties of one sequence look at; empty where no penalty is set.
#[derive(Debug, Clone, Default)]
pub struct TokenHistory {
    /// Distinct tokens of the prompt; kept for the repetition penalty only.
    prompt: HashSet<u32>,
    /// How often each token was generated.
    generated: HashMap<u32, u32>,
    counts_generated: bool,
}

impl TokenHistory {
    /// The history of a sequence that begins after `prompt`.
    pub fn new(params: &SamplingParams, prompt: impl IntoIterator<Item = u32>) -> Self {
        let repetition = params.repetition_penalty != 1.0;
        let penalised = params.presence_penalty != 0.0 || params.frequency_penalty != 0.0;
        Self {
            prompt: if repetition {
                prompt.into_iter().collect()
            } else {
                HashSet::new()
            },
            generated: HashMap::new(),
            counts_generated: repetition || penalised,
        }
    }

    /// Remembers a generated token.
    pub fn accept(&mut self, token: u32) {
        if self.counts_generated {
            *self.generated.entry(token).or_default() += 1;
        }
    }

    /// Applies the three penalties; the repetition penalty first, as vLLM does.
    pub(super) fn penalise(&self, params: &SamplingParams, logits: &mut [f32]) {
        if params.repetition_penalty != 1.0 {
            let generated_only = self
                .generated
                .keys()
                .filter(|token| !self.prompt.contains(token));
            for &token in self.prompt.iter().chain(generated_only) {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = discouraged(*logit, params.repetition_penalty);
                }
            }
        }
        for (&token, &count) in &self.generated {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= params.frequency_penalty * count as f32 + params.presence_penalty;
            }
        }
    }
}

/// A logit moved towards less likely by a factor (Keskar et al. 2019, CTRL); a finite one stays so.
fn discouraged(logit: f32, penalty: f32) -> f32 {
    if logit > 0.0 {
        (logit / penalty).min(f32::MAX)
    } else if logit > f32::NEG_INFINITY {
        (logit * penalty).max(f32::MIN)
    } else {
        logit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_follow_their_formulas() {
        let params = SamplingParams {
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            repetition_penalty: 2.0,
            ..SamplingParams::default()
        };
        let mut history = TokenHistory::new(&params, [0, 1, 1]);
        for token in [1, 2, 2, 2, 99] {
            history.accept(token);
        }
        let mut logits = [4.0, -4.0, 4.0, 4.0];
        history.penalise(&params, &mut logits);
        assert_eq!(logits, [2.0, -8.0 - 0.25 - 0.5, 2.0 - 0.75 - 0.5, 4.0]);
    }

    #[test]
    fn nothing_is_remembered_without_a_penalty() {
        let params = SamplingParams::default();
        let mut history = TokenHistory::new(&params, 0..1000);
        history.accept(1);
        assert!(history.prompt.is_empty() && history.generated.is_empty());
    }

    #[test]
    fn an_extreme_penalty_leaves_no_infinity() {
        assert_eq!(discouraged(1e30, 1e-30), f32::MAX);
        assert_eq!(discouraged(-1e30, 1e30), f32::MIN);
        assert_eq!(discouraged(f32::NEG_INFINITY, 2.0), f32::NEG_INFINITY);
    }
}
