//! The choosing half of a sequence: parameters, history and grammar.

use crate::grammar::{Allowed, Grammar, TokenMask};
use crate::prompt::Prompt;
use crate::request::FinishReason;
use crate::sampling::{Sampled, Sampler, SamplingParams, TokenHistory};

pub(super) struct Generation {
    params: SamplingParams,
    history: TokenHistory,
    grammar: Option<Box<dyn Grammar>>,
    tokens: usize,
}

impl Generation {
    pub fn new(params: SamplingParams, prompt: &Prompt, grammar: Option<Box<dyn Grammar>>) -> Self {
        let history = TokenHistory::new(&params, prompt.text_tokens());
        Self {
            params,
            history,
            grammar,
            tokens: 0,
        }
    }

    /// Samples from logits rows, one after another, for as long as the guesses agree: row `i` follows
    /// the `known_rows` rows and the first `i` guesses. Returns the tokens and, after the last, why
    /// the sequence ends.
    pub fn advance<'a>(
        &mut self,
        sampler: &mut Sampler,
        rows: impl Iterator<Item = &'a [f32]>,
        known_rows: usize,
        mut drafts: impl Iterator<Item = u32>,
    ) -> (Vec<Sampled>, Option<FinishReason>) {
        let mut sampled = Vec::new();
        for (logits, position) in rows.zip(known_rows as u64..) {
            match self.choose(sampler, logits, position) {
                Ok(choice) => {
                    let token = choice.token;
                    sampled.push(choice);
                    if let Err(reason) = self.accept(token) {
                        return (sampled, Some(reason));
                    }
                    if drafts.next() != Some(token) {
                        break;
                    }
                }
                Err(reason) => return (sampled, Some(reason)),
            }
        }
        (sampled, None)
    }

    /// At most `most` guesses at what follows, from the grammar.
    pub fn forced(&mut self, most: usize) -> Vec<u32> {
        match &mut self.grammar {
            Some(grammar) if most > 0 => grammar.forced(most),
            _ => Vec::new(),
        }
    }

    fn choose(
        &mut self,
        sampler: &mut Sampler,
        logits: &[f32],
        position: u64,
    ) -> Result<Sampled, FinishReason> {
        let mask = self.mask(logits.len())?;
        sampler
            .sample(logits, &self.params, &self.history, mask.as_ref(), position)
            .ok_or(FinishReason::NoCandidate)
    }

    fn mask(&mut self, vocab_size: usize) -> Result<Option<TokenMask>, FinishReason> {
        let Some(grammar) = &mut self.grammar else {
            return Ok(None);
        };
        let mut mask = TokenMask::none(vocab_size);
        match grammar.allowed(&mut mask) {
            Ok(Allowed::Masked) => Ok(Some(mask)),
            Ok(Allowed::Any) => Ok(None),
            Err(error) => Err(FinishReason::Failed(error.to_string())),
        }
    }

    /// Takes a token; the error is why it was the last.
    fn accept(&mut self, token: u32) -> Result<(), FinishReason> {
        self.tokens += 1;
        self.history.accept(token);
        if self.params.stop_ids.contains(&token) {
            return Err(FinishReason::Stop(token));
        }
        if self.tokens >= self.params.max_tokens {
            return Err(FinishReason::Length);
        }
        match &mut self.grammar {
            Some(grammar) => grammar
                .accept(token)
                .map_err(|error| FinishReason::Failed(error.to_string())),
            None => Ok(()),
        }
    }
}
