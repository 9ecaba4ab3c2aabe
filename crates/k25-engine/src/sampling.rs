//! From a logits row to a token.
//!
//! Order of operations on a row; each step sees what the one before left:
//!
//! 1. NaN becomes −∞, and +∞ the largest finite number.
//! 2. Repetition penalty over prompt and output, then frequency and presence penalty over the output.
//! 3. Logit bias.
//! 4. The grammar's mask.
//! 5. Temperature 0: the largest logit, the lowest id among equals. Otherwise division by it.
//! 6. Top-k, then top-p of what top-k left (renormalised), then min-p relative to the likeliest token.
//! 7. One draw from what is left, in proportion to probability, by inverse distribution in id order.
//!
//! Penalties are those of vLLM (the OpenAI API's for frequency and presence); the order of step 5 and
//! 6 is that of Hugging Face transformers. Ties at a cut go to the lower id.
//!
//! Chance enters only through [`uniform`]`(seed, position)`. A sequence therefore gets the same
//! tokens alone or in any batch, after a preemption, and with or without speculation.
//!
//! Log-probabilities are of the model's own distribution: before steps 2 to 6 (vLLM's `raw_logprobs`).

mod filter;
mod params;
mod penalties;
mod random;
mod softmax;

pub use params::{MAX_LOGPROBS, MAX_STOP_IDS, SamplingError, SamplingParams};
pub use penalties::TokenHistory;
pub use random::uniform;

use crate::grammar::TokenMask;
use filter::Filter;

/// A chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Present where [`SamplingParams::logprobs`] asked for it.
    pub logprobs: Option<TokenLogprobs>,
}

/// Natural logarithms of probabilities under the model's own distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// Of the chosen token.
    pub chosen: f32,
    /// The likeliest tokens, best first; they may or may not include the chosen one.
    pub top: Vec<(u32, f32)>,
}

/// Chooses tokens. Keeps its buffers between rows; holds no state that a result depends on.
#[derive(Debug, Default)]
pub struct Sampler {
    weights: Vec<f32>,
    filter: Filter,
    sums: Vec<f64>,
}

impl Sampler {
    /// A sampler; its buffers grow with the first row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the token at `position` of a sequence from its logits `[vocab]`.
    ///
    /// `position` counts all tokens before it, prompt included. `None` where no token is left: the
    /// mask forbids all, or the row holds no number above −∞.
    pub fn sample(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        history: &TokenHistory,
        mask: Option<&TokenMask>,
        position: u64,
    ) -> Option<Sampled> {
        self.weights.clear();
        self.weights
            .extend(logits.iter().map(|&logit| finite_or_least(logit)));
        let raw = params
            .logprobs
            .map(|count| RawLogprobs::of(&self.weights, count));

        history.penalise(params, &mut self.weights);
        for &(id, bias) in &params.logit_bias {
            if let Some(logit) = self.weights.get_mut(id as usize) {
                *logit += bias;
            }
        }
        if let Some(mask) = mask {
            mask.apply(&mut self.weights);
        }
        let token = if params.temperature == 0.0 {
            likeliest(&self.weights)
        } else {
            self.draw(params, uniform(params.seed, position))
        }?;
        let logprobs = raw.map(|raw| raw.with_chosen(finite_or_least(logits[token as usize])));
        Some(Sampled { token, logprobs })
    }

    /// Draws from the logits in `self.weights`, which become weights.
    fn draw(&mut self, params: &SamplingParams, chance: f64) -> Option<u32> {
        let max = softmax::max(&self.weights);
        if max == f32::NEG_INFINITY {
            return None;
        }
        softmax::exponentiate(
            &mut self.weights,
            max,
            params.temperature.recip().min(f32::MAX),
        );
        if params.top_k > 0 {
            self.filter.top_k(&mut self.weights, params.top_k);
        }
        if params.top_p < 1.0 {
            self.filter.top_p(&mut self.weights, params.top_p);
        }
        if params.min_p > 0.0 {
            filter::min_p(&mut self.weights, params.min_p);
        }
        self.draw_by_weight(chance)
    }

    /// Draws in proportion to the weights: first the chunk, then the token within it.
    fn draw_by_weight(&mut self, chance: f64) -> Option<u32> {
        let Self { weights, sums, .. } = self;
        let mut target = chance * softmax::chunk_sums(weights, sums);
        let last = sums.iter().rposition(|&sum| sum > 0.0)?;
        let mut chunk = 0;
        while chunk < last && target >= sums[chunk] {
            target -= sums[chunk];
            chunk += 1;
        }
        let first = chunk * softmax::CHUNK;
        let ids = (first as u32..).zip(weights[first..].iter().take(softmax::CHUNK).copied());
        walk(ids, target)
    }
}

/// The first token at which the running sum of weights exceeds `target`; where rounding lets the sum
/// end below it, the last token with any weight.
fn walk(tokens: impl Iterator<Item = (u32, f32)>, target: f64) -> Option<u32> {
    let (mut reached, mut last) = (0.0, None);
    for (id, weight) in tokens.filter(|&(_, weight)| weight > 0.0) {
        reached += f64::from(weight);
        last = Some(id);
        if reached > target {
            break;
        }
    }
    last
}

fn likeliest(logits: &[f32]) -> Option<u32> {
    let max = softmax::max(logits);
    let first = logits.iter().position(|&logit| logit == max)?;
    (max > f32::NEG_INFINITY).then_some(first as u32)
}

fn finite_or_least(logit: f32) -> f32 {
    if logit.is_nan() {
        f32::NEG_INFINITY
    } else {
        logit.min(f32::MAX)
    }
}

/// The model's own log-probabilities, before the chosen token is known.
struct RawLogprobs {
    log_sum_exp: f32,
    top: Vec<(u32, f32)>,
}

impl RawLogprobs {
    fn of(logits: &[f32], count: usize) -> Self {
        let log_sum_exp = softmax::log_sum_exp(logits);
        let mut top: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
        for (id, &logit) in (0u32..).zip(logits) {
            let full = top.len() == count;
            if count == 0 || full && logit <= top[count - 1].1 {
                continue;
            }
            let place = top.partition_point(|&(_, better)| better >= logit);
            top.insert(place, (id, logit));
            top.truncate(count);
        }
        for (_, logit) in &mut top {
            *logit -= log_sum_exp;
        }
        Self { log_sum_exp, top }
    }

    fn with_chosen(self, logit: f32) -> TokenLogprobs {
        TokenLogprobs {
            chosen: logit - self.log_sum_exp,
            top: self.top,
        }
    }
}

#[cfg(test)]
mod tests;
