//! What a request may ask of the sampler, and the limits of it.

use thiserror::Error;

/// Most alternatives per token that [`SamplingParams::logprobs`] may ask for.
pub const MAX_LOGPROBS: usize = 20;

/// Most ids in [`SamplingParams::stop_ids`].
pub const MAX_STOP_IDS: usize = 256;

/// How the tokens of a request are chosen; the order of operations is in [`sampling`](super).
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 chooses the likeliest token.
    pub temperature: f32,
    /// Keeps the likeliest tokens until their probabilities reach this sum; in (0, 1], 1 keeps all.
    pub top_p: f32,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps tokens at least this likely relative to the likeliest; in [0, 1], 0 keeps all.
    pub min_p: f32,
    /// Subtracted from the logit of every token that was generated; in [-2, 2].
    pub presence_penalty: f32,
    /// Subtracted once per time that a token was generated; in [-2, 2].
    pub frequency_penalty: f32,
    /// Divides positive and multiplies negative logits of every token in prompt or output; > 0.
    pub repetition_penalty: f32,
    /// Added to the logits of single tokens; each in [-100, 100].
    pub logit_bias: Vec<(u32, f32)>,
    /// With a token's position, the only source of chance.
    pub seed: u64,
    /// Most tokens to generate; at least 1.
    pub max_tokens: usize,
    /// Tokens that end the output.
    pub stop_ids: Vec<u32>,
    /// Log-probability of each chosen token and of this many alternatives; `None` for neither.
    pub logprobs: Option<usize>,
}

/// A parameter that cannot be served. Each variant names the field.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SamplingError {
    /// A number outside its range, or not a number.
    #[error("`{field}` is {value}, but it must be {expected}\n  hint: {hint}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// What was given.
        value: f64,
        /// The range, in words.
        expected: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// A token id that the vocabulary does not have.
    #[error(
        "`{field}` names token {id}, but the vocabulary has {vocab_size} tokens\n  hint: token ids depend on \
         the model; tokenize with this model's tokenizer"
    )]
    UnknownToken {
        /// Name of the field.
        field: &'static str,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// A list that is too long.
    #[error(
        "`{field}` has {count} entries, but at most {limit} are served\n  hint: shorten the list"
    )]
    TooMany {
        /// Name of the field.
        field: &'static str,
        /// Entries given.
        count: usize,
        /// Entries allowed.
        limit: usize,
    },
}

impl Default for SamplingParams {
    /// The model's own distribution, nothing changed.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: 0,
            max_tokens: 32_768,
            stop_ids: Vec::new(),
            logprobs: None,
        }
    }
}

impl SamplingParams {
    /// The family's recommendation for thinking mode (spec: architecture §8).
    pub fn thinking() -> Self {
        Self {
            temperature: 1.0,
            top_p: 0.95,
            ..Self::default()
        }
    }

    /// The family's recommendation for instant mode (spec: architecture §8).
    pub fn instant() -> Self {
        Self {
            temperature: 0.6,
            top_p: 0.95,
            ..Self::default()
        }
    }

    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// The parameters of sample `index` of a request: sample 0 is what a request for one would get.
    pub fn for_sample(&self, index: usize) -> Self {
        Self {
            seed: super::random::sample_seed(self.seed, index as u64),
            ..self.clone()
        }
    }

    /// Checks every field against its range and ids against the vocabulary.
    pub fn validate(&self, vocab_size: usize) -> Result<(), SamplingError> {
        self.validate_ranges()?;
        if self.max_tokens == 0 {
            return Err(out_of_range(
                "max_tokens",
                0.0,
                "at least 1",
                "leave it out to use the default",
            ));
        }
        if self.logprobs.is_some_and(|count| count > MAX_LOGPROBS) {
            let count = self.logprobs.unwrap_or_default();
            return Err(SamplingError::TooMany {
                field: "logprobs",
                count,
                limit: MAX_LOGPROBS,
            });
        }
        let lists = [
            ("stop_ids", self.stop_ids.len(), MAX_STOP_IDS),
            ("logit_bias", self.logit_bias.len(), vocab_size),
        ];
        for (field, count, limit) in lists {
            if count > limit {
                return Err(SamplingError::TooMany {
                    field,
                    count,
                    limit,
                });
            }
        }
        self.validate_ids(vocab_size)
    }

    fn validate_ranges(&self) -> Result<(), SamplingError> {
        let bounded = |field, value: f32, limit: f32, expected, hint| {
            if value.abs() <= limit {
                Ok(())
            } else {
                Err(out_of_range(field, value, expected, hint))
            }
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            let hint = "0 is greedy; the family recommends 1.0 thinking, 0.6 instant";
            return Err(out_of_range(
                "temperature",
                self.temperature,
                "finite and at least 0",
                hint,
            ));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(out_of_range(
                "top_p",
                self.top_p,
                "above 0 and at most 1",
                "1 keeps every token",
            ));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(out_of_range(
                "min_p",
                self.min_p,
                "between 0 and 1",
                "0 keeps every token",
            ));
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            let hint = "1 changes nothing; above 1 discourages repetition";
            return Err(out_of_range(
                "repetition_penalty",
                self.repetition_penalty,
                "finite and above 0",
                hint,
            ));
        }
        let hint = "0 changes nothing; above 0 discourages repetition";
        bounded(
            "presence_penalty",
            self.presence_penalty,
            2.0,
            "between -2 and 2",
            hint,
        )?;
        bounded(
            "frequency_penalty",
            self.frequency_penalty,
            2.0,
            "between -2 and 2",
            hint,
        )?;
        self.logit_bias.iter().try_for_each(|&(_, bias)| {
            bounded(
                "logit_bias",
                bias,
                100.0,
                "between -100 and 100",
                "-100 bans a token, 100 forces it",
            )
        })
    }

    fn validate_ids(&self, vocab_size: usize) -> Result<(), SamplingError> {
        let stops = self.stop_ids.iter().map(|&id| ("stop_ids", id));
        let biased = self.logit_bias.iter().map(|&(id, _)| ("logit_bias", id));
        match stops
            .chain(biased)
            .find(|&(_, id)| id as usize >= vocab_size)
        {
            Some((field, id)) => Err(SamplingError::UnknownToken {
                field,
                id,
                vocab_size,
            }),
            None => Ok(()),
        }
    }
}

fn out_of_range(
    field: &'static str,
    value: impl Into<f64>,
    expected: &'static str,
    hint: &'static str,
) -> SamplingError {
    SamplingError::OutOfRange {
        field,
        value: value.into(),
        expected,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every damaged field is refused, and the message names it.
    #[test]
    fn refusals_name_the_field() {
        type Damage = fn(&mut SamplingParams);
        let cases: &[(&str, Damage)] = &[
            ("temperature", |p| p.temperature = -0.1),
            ("temperature", |p| p.temperature = f32::NAN),
            ("temperature", |p| p.temperature = f32::INFINITY),
            ("top_p", |p| p.top_p = 0.0),
            ("top_p", |p| p.top_p = 1.1),
            ("top_p", |p| p.top_p = f32::NAN),
            ("min_p", |p| p.min_p = -0.1),
            ("min_p", |p| p.min_p = f32::NAN),
            ("presence_penalty", |p| p.presence_penalty = 2.1),
            ("presence_penalty", |p| p.presence_penalty = f32::NAN),
            ("frequency_penalty", |p| p.frequency_penalty = -2.1),
            ("repetition_penalty", |p| p.repetition_penalty = 0.0),
            ("repetition_penalty", |p| {
                p.repetition_penalty = f32::INFINITY;
            }),
            ("logit_bias", |p| p.logit_bias = vec![(1, 101.0)]),
            ("logit_bias", |p| p.logit_bias = vec![(1, f32::NAN)]),
            ("logit_bias", |p| p.logit_bias = vec![(1000, 1.0)]),
            ("logit_bias", |p| p.logit_bias = vec![(1, 1.0); 1001]),
            ("max_tokens", |p| p.max_tokens = 0),
            ("stop_ids", |p| p.stop_ids = vec![1000]),
            ("stop_ids", |p| p.stop_ids = vec![1; 257]),
            ("logprobs", |p| p.logprobs = Some(21)),
        ];
        for (field, damage) in cases {
            let mut params = SamplingParams::thinking();
            assert_eq!(params.validate(1000), Ok(()));
            damage(&mut params);
            let message = params.validate(1000).expect_err(field).to_string();
            assert!(
                message.contains(&format!("`{field}`")) && message.contains("hint:"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_first_sample_is_what_a_request_for_one_gets() {
        let params = SamplingParams {
            seed: 7,
            ..SamplingParams::thinking()
        };
        assert_eq!(params.for_sample(0), params);
        assert_ne!(params.for_sample(1).seed, params.for_sample(2).seed);
    }
}
