//! What the scheduler was told it has, and what it therefore refuses.

use thiserror::Error;

use crate::paged_cache::Sharing;
use crate::prompt::PromptError;
use crate::request::Priority;
use crate::sampling::SamplingError;
use crate::speculation::PromptLookup;

/// Most samples of one request.
pub const MAX_SAMPLES: u32 = 128;

/// What the scheduler has to share out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Rows per block of the latent cache.
    pub block_rows: usize,
    /// Blocks of the latent cache.
    pub blocks: u32,
    /// Rows that the model can attend to: prompt and output together.
    pub context_rows: usize,
    /// Most rows computed in one step.
    pub step_rows: usize,
    /// Most sequences with rows in the cache at a time; fewer than `step_rows`.
    pub running_sequences: usize,
    /// Most sequences that wait for their turn.
    pub waiting_sequences: usize,
    /// Whether sequences share what they have in common.
    pub sharing: Sharing,
    /// Whether to guess tokens ahead from what was read and written before.
    pub speculation: Option<PromptLookup>,
    /// Most tokens guessed per step and sequence because a grammar leaves no other text; 0 for none.
    pub grammar_drafts: usize,
}

/// A configuration that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("`{field}` is {value}, but it must be {expected}\n  hint: {hint}")]
pub struct ConfigError {
    /// Name of the field.
    pub field: &'static str,
    /// What was given.
    pub value: usize,
    /// What would work.
    pub expected: &'static str,
    /// What to do.
    pub hint: &'static str,
}

/// A request that is not accepted.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AdmissionError {
    /// The prompt is not one.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A sampling parameter cannot be served.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The model cannot read a media item; the reason is the runner's.
    #[error("{0}")]
    Media(String),
    /// No sample, or too many.
    #[error(
        "`samples` is {samples}, but it must be between 1 and {MAX_SAMPLES}\n  hint: send several requests; they share the prompt's computation"
    )]
    Samples {
        /// What was asked for.
        samples: u32,
    },
    /// Longer than the model's context.
    #[error(
        "{prompt_rows} prompt rows and max_tokens {max_tokens} exceed the context of {context_rows} rows\n  \
         hint: shorten the prompt or lower max_tokens"
    )]
    BeyondContext {
        /// Rows of the prompt.
        prompt_rows: usize,
        /// Tokens to generate.
        max_tokens: usize,
        /// Rows of the context.
        context_rows: usize,
    },
    /// Longer than the whole latent cache.
    #[error(
        "{prompt_rows} prompt rows and max_tokens {max_tokens} exceed the latent cache of {cache_rows} rows\n  \
         hint: give the cache more memory, or lower max_tokens"
    )]
    BeyondCache {
        /// Rows of the prompt.
        prompt_rows: usize,
        /// Tokens to generate.
        max_tokens: usize,
        /// Rows of the cache.
        cache_rows: usize,
    },
    /// Too many wait already.
    #[error("{waiting} sequences are waiting, at most {limit} may\n  hint: try again later")]
    Busy {
        /// Sequences that wait.
        waiting: usize,
        /// Sequences that may.
        limit: usize,
    },
}

impl SchedulerConfig {
    /// A configuration for a cache of `blocks` blocks and a context of `context_rows` rows, with
    /// sharing and without speculation.
    pub fn new(blocks: u32, context_rows: usize) -> Self {
        Self {
            block_rows: 64,
            blocks,
            context_rows,
            step_rows: 512,
            running_sequences: 128,
            waiting_sequences: 4096,
            sharing: Sharing::On {
                worth_waiting_rows: 16,
            },
            speculation: None,
            grammar_drafts: 8,
        }
    }

    /// Checks that the scheduler can work with this.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("block_rows", self.block_rows),
            ("blocks", self.blocks as usize),
            ("context_rows", self.context_rows),
            ("running_sequences", self.running_sequences),
            ("waiting_sequences", self.waiting_sequences),
            (
                "speculation.ngram",
                self.speculation.map_or(1, |lookup| lookup.ngram),
            ),
            (
                "speculation.max_drafts",
                self.speculation.map_or(1, |lookup| lookup.max_drafts),
            ),
            (
                "sharing.worth_waiting_rows",
                match self.sharing {
                    Sharing::Off => 1,
                    Sharing::On { worth_waiting_rows } => worth_waiting_rows,
                },
            ),
        ];
        if let Some(&(field, value)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            let hint = "leave it at its default";
            return Err(ConfigError {
                field,
                value,
                expected: "at least 1",
                hint,
            });
        }
        if self.step_rows <= self.running_sequences {
            return Err(ConfigError {
                field: "step_rows",
                value: self.step_rows,
                expected: "more than `running_sequences`",
                hint: "every running sequence needs a row per step, and prompts need some, too",
            });
        }
        Ok(())
    }

    /// Rows that the cache holds in all.
    pub fn cache_rows(&self) -> usize {
        self.blocks as usize * self.block_rows
    }

    /// Refuses what could never be served.
    pub(super) fn check_size(
        &self,
        prompt_rows: usize,
        max_tokens: usize,
    ) -> Result<(), AdmissionError> {
        let rows = prompt_rows.saturating_add(max_tokens);
        if rows > self.context_rows {
            let context_rows = self.context_rows;
            return Err(AdmissionError::BeyondContext {
                prompt_rows,
                max_tokens,
                context_rows,
            });
        }
        // The last token is never computed on.
        if rows - 1 > self.cache_rows() {
            let cache_rows = self.cache_rows();
            return Err(AdmissionError::BeyondCache {
                prompt_rows,
                max_tokens,
                cache_rows,
            });
        }
        Ok(())
    }
}

impl Priority {
    /// How much later than an interactive request this one may be served, in rows of work.
    pub(super) fn delay_rows(self) -> u64 {
        match self {
            Self::Interactive => 0,
            Self::Normal => 1 << 13,
            Self::Background => 1 << 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_configurations_name_the_field() {
        type Damage = fn(&mut SchedulerConfig);
        let cases: &[(&str, Damage)] = &[
            ("block_rows", |c| c.block_rows = 0),
            ("blocks", |c| c.blocks = 0),
            ("context_rows", |c| c.context_rows = 0),
            ("step_rows", |c| c.step_rows = 128),
            ("running_sequences", |c| c.running_sequences = 0),
            ("waiting_sequences", |c| c.waiting_sequences = 0),
            ("speculation.ngram", |c| {
                c.speculation = Some(PromptLookup {
                    ngram: 0,
                    max_drafts: 1,
                });
            }),
            ("speculation.max_drafts", |c| {
                c.speculation = Some(PromptLookup {
                    ngram: 1,
                    max_drafts: 0,
                });
            }),
            ("sharing.worth_waiting_rows", |c| {
                c.sharing = Sharing::On {
                    worth_waiting_rows: 0,
                };
            }),
        ];
        for (field, damage) in cases {
            let mut config = SchedulerConfig::new(100, 4096);
            assert_eq!(config.validate(), Ok(()));
            damage(&mut config);
            assert_eq!(config.validate().map_err(|error| error.field), Err(*field));
        }
    }

    #[test]
    fn what_never_fits_is_refused_with_the_reason() {
        let config = SchedulerConfig::new(2, 200);
        assert_eq!(
            config.check_size(100, 29),
            Ok(()),
            "128 rows, and one token that is not computed on"
        );
        assert!(matches!(
            config.check_size(100, 30),
            Err(AdmissionError::BeyondCache { .. })
        ));
        assert!(matches!(
            config.check_size(100, 101),
            Err(AdmissionError::BeyondContext { .. })
        ));
        assert!(matches!(
            config.check_size(1, usize::MAX),
            Err(AdmissionError::BeyondContext { .. })
        ));
    }
}
