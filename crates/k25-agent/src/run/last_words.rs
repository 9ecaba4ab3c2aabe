//! What is kept of a budget so that the main agent can say what it has when the rest is spent.

use std::sync::PoisonError;

use super::{Run, RunState, TaskState};
use crate::budget::{Budget, Prices};
use crate::event::MAIN;

/// Tokens of the last answer.
const ANSWER_TOKENS: u64 = 2_048;
/// Most seconds that are kept for it.
const SECONDS: u64 = 60;
/// No more than this part of a limit is kept: most of it is for the work.
const PART: u64 = 4;

/// Who may spend what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Share {
    /// What is left beside the main agent's last words.
    #[default]
    Open,
    /// All that is left: these are the last words.
    All,
}

/// What the last words take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastWords {
    /// The price of the main agent's model.
    pub prices: Prices,
    /// Calls that it may make with them.
    pub tool_calls: u64,
}

impl LastWords {
    /// What is left of the limits for everything else.
    fn open(self, budget: &Budget, state: &RunState) -> Budget {
        // What nobody has begun, or what is over, needs no end.
        let is_at_work = |main: &&TaskState| main.steps() > 0 && main.end.is_none();
        let Some(main) = state.tasks.get(MAIN).filter(is_at_work) else {
            return budget.clone();
        };
        let prompt_tokens = main.shown_tokens();
        let tokens = prompt_tokens + ANSWER_TOKENS;
        let money = self.prices.most(prompt_tokens, ANSWER_TOKENS);
        let without = |limit: Option<u64>, kept: u64| limit.map(|all| all - kept.min(all / PART));
        Budget {
            tokens: without(budget.tokens, tokens),
            money: budget.money.map(|all| all - money.min(all / PART as f64)),
            seconds: without(budget.seconds, SECONDS),
            critical_steps: without(budget.critical_steps, 1),
            tool_calls: without(budget.tool_calls, self.tool_calls),
            tasks: budget.tasks,
        }
    }
}

impl Run {
    /// Keeps a part of the budget for the main agent's last words.
    pub fn keep_for_last_words(&self, words: LastWords) {
        *self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(words);
    }

    /// The limits of a share.
    pub(super) fn budget_of(&self, share: Share, state: &RunState) -> Budget {
        match share {
            Share::Open => self.open_budget(state),
            Share::All => self.budget(),
        }
    }

    /// The limits of whatever are no last words.
    pub(super) fn open_budget(&self, state: &RunState) -> Budget {
        let budget = self.budget();
        let words = *self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match words {
            Some(words) => words.open(&budget, state),
            None => budget,
        }
    }

    /// The smallest part that is left of a limited sum, 0 … 1.
    pub(crate) fn part_left(&self) -> f64 {
        self.with_state(|state| {
            let budget = self.open_budget(state);
            let part = |all: f64, used: f64| ((all - used) / all.max(f64::MIN_POSITIVE)).max(0.0);
            let spent = &state.spent;
            let ms = spent.ms + self.clock.elapsed_ms();
            let parts = [
                budget
                    .tokens
                    .map(|all| part(all as f64, spent.tokens() as f64)),
                budget.money.map(|all| part(all, spent.money)),
                budget.seconds.map(|all| part(all as f64 * 1e3, ms as f64)),
            ];
            parts.into_iter().flatten().fold(1.0, f64::min)
        })
    }
}
