//! What a run may cost, what it has cost, and how long its longest branch was.

mod ledger;

use serde::{Deserialize, Serialize};

use k25_chat::ChatUsage;

pub use ledger::{AnswerWish, Ledger, Place, Verdict};

/// Limits of a run; `None` is no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Prompt and answer tokens of all agents together.
    pub tokens: Option<u64>,
    /// Money, in the unit of the price table.
    pub money: Option<f64>,
    /// Seconds on the clock.
    pub seconds: Option<u64>,
    /// Critical steps, see [`CriticalSteps`].
    pub critical_steps: Option<u64>,
    /// Tool calls of all agents together.
    pub tool_calls: Option<u64>,
    /// Sub-agent tasks.
    pub tasks: Option<u64>,
}

impl Default for Budget {
    /// What the product of the family allows: 100 sub-agents' worth of work and 1,500 tool calls. The
    /// number of tasks is wider, since a task here is often one document.
    fn default() -> Self {
        Budget {
            tokens: None,
            money: None,
            seconds: None,
            critical_steps: None,
            tool_calls: Some(1_500),
            tasks: Some(500),
        }
    }
}

/// Prices per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Prices {
    /// Prompt tokens that were computed.
    pub input: f64,
    /// Prompt tokens that were in the provider's cache.
    pub cached: f64,
    /// Answer tokens, reasoning included.
    pub output: f64,
}

impl Prices {
    /// What an answer cost.
    pub fn cost(&self, usage: &ChatUsage) -> f64 {
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        let sum = computed as f64 * self.input
            + usage.cached_tokens as f64 * self.cached
            + usage.completion_tokens as f64 * self.output;
        sum / 1e6
    }

    /// The most that a prompt and an answer of these lengths can cost: nothing of it is cached.
    pub fn most(&self, prompt_tokens: u64, answer_tokens: u64) -> f64 {
        let input = self.input.max(self.cached);
        (prompt_tokens as f64 * input + answer_tokens as f64 * self.output) / 1e6
    }
}

/// What a budget limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Prompt and answer tokens.
    Tokens,
    /// Money.
    Money,
    /// Seconds on the clock.
    Time,
    /// Critical steps.
    CriticalSteps,
    /// Tool calls.
    ToolCalls,
    /// Sub-agent tasks.
    Tasks,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Limit::Tokens => "tokens",
            Limit::Money => "money",
            Limit::Time => "time",
            Limit::CriticalSteps => "critical steps",
            Limit::ToolCalls => "tool calls",
            Limit::Tasks => "tasks",
        })
    }
}

/// What a run has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
    /// Answer tokens.
    pub completion_tokens: u64,
    /// Those of them that were reasoning.
    pub reasoning_tokens: u64,
    /// Money.
    pub money: f64,
    /// Milliseconds of work, breaks between resumes not counted.
    pub ms: u64,
    /// Tokens of answers that could not be used: empty, stuttering, broken off. Part of the sums.
    #[serde(default)]
    pub wasted_tokens: u64,
    /// Tool calls that came to an end of their own.
    pub tool_calls: u64,
    /// Tool calls that failed, were refused or cancelled.
    pub failed_calls: u64,
    /// Sub-agent tasks.
    pub tasks: u64,
    /// Steps of all agents.
    pub steps: u64,
}

impl Spent {
    /// Adds an answer.
    pub fn add(&mut self, usage: &ChatUsage, money: f64) {
        self.prompt_tokens += usage.prompt_tokens;
        self.cached_tokens += usage.cached_tokens;
        self.completion_tokens += usage.completion_tokens;
        self.reasoning_tokens += usage.reasoning_tokens;
        self.money += money;
    }

    /// Prompt and answer tokens.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }
}

impl Budget {
    /// Whether what an answer costs must be known before it is asked for.
    pub fn limits_answers(&self) -> bool {
        self.tokens.is_some() || self.money.is_some()
    }

    /// Why nothing more may begin; `None` while there is room.
    pub fn exhausted(&self, spent: &Spent, critical_steps: u64) -> Option<Limit> {
        let over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
        if self.money.is_some_and(|limit| spent.money >= limit) {
            return Some(Limit::Money);
        }
        if over(self.tokens, spent.tokens()) {
            return Some(Limit::Tokens);
        }
        if over(self.seconds.map(|seconds| seconds * 1000), spent.ms) {
            return Some(Limit::Time);
        }
        if over(self.critical_steps, critical_steps) {
            return Some(Limit::CriticalSteps);
        }
        if over(self.tool_calls, spent.tool_calls) {
            return Some(Limit::ToolCalls);
        }
        None
    }
}

/// `Σ_t (S_main(t) + max_i S_sub,i(t))`: the steps that nothing could have run beside.
///
/// A stage is one turn of the main agent with the sub-agents that it launches; a step is one answer
/// of a model. Source: Kimi K2.5 report, section 3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CriticalSteps {
    stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Stage {
    /// Steps of the main agent.
    main: u64,
    /// Steps of each sub-agent.
    branches: Vec<u64>,
}

impl CriticalSteps {
    /// A step of the main agent begins a stage.
    pub fn main_step(&mut self) {
        self.stages.push(Stage {
            main: 1,
            branches: Vec::new(),
        });
    }

    /// A sub-agent is launched in the last stage; the result names it.
    pub fn branch(&mut self) -> (usize, usize) {
        if self.stages.is_empty() {
            self.stages.push(Stage::default());
        }
        let stage = self.stages.len() - 1;
        self.stages[stage].branches.push(0);
        (stage, self.stages[stage].branches.len() - 1)
    }

    /// A step of a sub-agent.
    pub fn branch_step(&mut self, (stage, branch): (usize, usize)) {
        if let Some(steps) = self
            .stages
            .get_mut(stage)
            .and_then(|s| s.branches.get_mut(branch))
        {
            *steps += 1;
        }
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.total_with(&[])
    }

    /// The sum, if these steps were taken too.
    pub fn total_with(&self, more: &[Place]) -> u64 {
        let count = |place: Place| more.iter().filter(|other| **other == place).count() as u64;
        let longest = |(at, stage): (usize, &Stage)| {
            let steps = stage.branches.iter().enumerate();
            let steps = steps.map(|(branch, steps)| match more {
                [] => *steps,
                _ => steps + count(Place::Branch(at, branch)),
            });
            stage.main + steps.max().unwrap_or(0)
        };
        self.stages.iter().enumerate().map(longest).sum::<u64>() + count(Place::Main)
    }

    /// All steps of all agents.
    pub fn all_steps(&self) -> u64 {
        let sum = |stage: &Stage| stage.main + stage.branches.iter().sum::<u64>();
        self.stages.iter().map(sum).sum()
    }

    /// The most sub-agents that worked side by side.
    pub fn peak_width(&self) -> u64 {
        let width = |stage: &Stage| stage.branches.len().max(1) as u64;
        self.stages.iter().map(width).max().unwrap_or(1)
    }

    /// All steps over critical steps times peak width: 1 if no one ever waited.
    pub fn efficiency(&self) -> f64 {
        let most = self.total() * self.peak_width();
        if most == 0 {
            1.0
        } else {
            self.all_steps() as f64 / most as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_steps_follow_the_formula() {
        let mut steps = CriticalSteps::default();
        steps.main_step();
        steps.main_step();
        let branches = [steps.branch(), steps.branch()];
        for _ in 0..3 {
            steps.branch_step(branches[0]);
        }
        steps.branch_step(branches[1]);
        steps.main_step();
        // 1 + (1 + max(3, 1)) + 1
        assert_eq!(steps.total(), 6);
        assert_eq!(steps.all_steps(), 7);
        assert_eq!(steps.peak_width(), 2);
        assert!((steps.efficiency() - 7.0 / 12.0).abs() < 1e-12);
    }

    #[test]
    fn each_limit_is_named_when_it_is_reached() {
        let spent = Spent {
            prompt_tokens: 60,
            completion_tokens: 40,
            money: 1.0,
            ms: 5_000,
            tool_calls: 7,
            ..Spent::default()
        };
        let none = Budget {
            tool_calls: None,
            tasks: None,
            ..Budget::default()
        };
        let cases = [
            (none.clone(), None),
            (
                Budget {
                    tokens: Some(100),
                    ..none.clone()
                },
                Some(Limit::Tokens),
            ),
            (
                Budget {
                    tokens: Some(101),
                    ..none.clone()
                },
                None,
            ),
            (
                Budget {
                    money: Some(0.5),
                    ..none.clone()
                },
                Some(Limit::Money),
            ),
            (
                Budget {
                    seconds: Some(5),
                    ..none.clone()
                },
                Some(Limit::Time),
            ),
            (
                Budget {
                    critical_steps: Some(3),
                    ..none.clone()
                },
                Some(Limit::CriticalSteps),
            ),
            (
                Budget {
                    tool_calls: Some(7),
                    ..none
                },
                Some(Limit::ToolCalls),
            ),
        ];
        for (budget, expected) in cases {
            assert_eq!(budget.exhausted(&spent, 3), expected);
        }
    }

    #[test]
    fn money_counts_cached_tokens_at_their_own_price() {
        let prices = Prices {
            input: 0.6,
            cached: 0.1,
            output: 3.0,
        };
        let usage = ChatUsage {
            prompt_tokens: 1_000_000,
            cached_tokens: 500_000,
            completion_tokens: 100_000,
            reasoning_tokens: 0,
        };
        assert!((prices.cost(&usage) - (0.3 + 0.05 + 0.3)).abs() < 1e-9);
    }
}
