//! Reservations: what is at work is counted before its price is known, so that agents side by side
//! cannot spend the same rest of a budget twice.
//!
//! An answer reserves its prompt and the longest answer it may have, and that length is what the model
//! is told; when it is settled, what it really cost stands in the run's state and the reservation goes.
//! A reservation can only be too low by what the guess at the prompt's tokens is too low.

use std::collections::BTreeMap;

use super::{Budget, CriticalSteps, Limit, Prices, Spent};

/// Tokens below which an answer is not worth beginning.
const LEAST_ANSWER: u64 = 256;
/// An answer is rarely longer than so many times the run's mean …
const USUAL_FACTOR: u64 = 4;
/// … nor shorter than this is worth reserving.
const USUAL_LEAST: u64 = 512;
/// Answers after which the run's mean says something.
const USUAL_AFTER: u64 = 4;

/// Whose step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The main agent's: it begins a stage.
    Main,
    /// A sub-agent's: stage and branch, see [`CriticalSteps::branch`].
    Branch(usize, usize),
}

/// An answer that somebody wants to ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerWish {
    /// Whose step.
    pub place: Place,
    /// Tokens of the prompt, rather too many than too few.
    pub prompt_tokens: u64,
    /// Most tokens of the answer.
    pub answer_tokens: u64,
    /// What the model costs.
    pub prices: Prices,
}

/// What is said to a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Reserved under this number, for an answer of at most so many tokens.
    Granted {
        /// For [`Ledger::release`].
        id: u64,
        /// Most tokens of the answer.
        answer_tokens: u64,
    },
    /// What is at work may leave enough; ask again when some of it is settled.
    Wait,
    /// There is not enough left, whatever becomes of what is at work.
    Exhausted(Limit),
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    tokens: u64,
    money: f64,
    step: Option<Place>,
    calls: u64,
    tasks: u64,
}

/// What is reserved now.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    last: u64,
    held: BTreeMap<u64, Held>,
}

impl Ledger {
    /// Reserves an answer.
    pub fn ask_answer(
        &mut self,
        budget: &Budget,
        spent: &Spent,
        critical: &CriticalSteps,
        wish: &AnswerWish,
    ) -> Verdict {
        if let Some(limit) = budget.critical_steps {
            let mut steps: Vec<Place> = self.held.values().filter_map(|held| held.step).collect();
            let is_held = !steps.is_empty();
            steps.push(wish.place);
            if critical.total_with(&[wish.place]) > limit {
                return Verdict::Exhausted(Limit::CriticalSteps);
            }
            if critical.total_with(&steps) > limit {
                debug_assert!(is_held, "alone it fits");
                return Verdict::Wait;
            }
        }
        match self.answer_tokens(budget, spent, wish) {
            Ok(answer_tokens) => {
                let id = self.hold(Held {
                    tokens: wish.prompt_tokens + answer_tokens,
                    money: wish.prices.most(wish.prompt_tokens, answer_tokens),
                    step: Some(wish.place),
                    ..Held::default()
                });
                Verdict::Granted { id, answer_tokens }
            }
            Err(verdict) => verdict,
        }
    }

    /// How long the answer may be.
    fn answer_tokens(
        &self,
        budget: &Budget,
        spent: &Spent,
        wish: &AnswerWish,
    ) -> Result<u64, Verdict> {
        let least = LEAST_ANSWER.min(wish.answer_tokens);
        let (held_tokens, held_money) =
            self.held.values().fold((0, 0.0), |(tokens, money), held| {
                (tokens + held.tokens, money + held.money)
            });
        let room = |tokens: u64, money: f64| {
            let by_tokens = budget.tokens.map(|limit| {
                let used = spent.tokens() + tokens + wish.prompt_tokens;
                (Limit::Tokens, limit.saturating_sub(used))
            });
            let by_money = budget.money.map(|limit| {
                let used = spent.money + money + wish.prices.most(wish.prompt_tokens, 0);
                (Limit::Money, affordable(limit - used, wish.prices.output))
            });
            let rooms = by_tokens.into_iter().chain(by_money);
            rooms.min_by_key(|(_, room)| *room)
        };
        let Some((limit, room_alone)) = room(0, 0.0) else {
            return Ok(wish.answer_tokens);
        };
        if room_alone < least {
            return Err(Verdict::Exhausted(limit));
        }
        let now = room(held_tokens, held_money).map_or(0, |(_, room)| room);
        if now >= wish.answer_tokens {
            return Ok(wish.answer_tokens);
        }
        let usual = usual_answer(spent).min(wish.answer_tokens);
        let is_alone = held_tokens == 0;
        match (usual >= least && now >= usual, is_alone) {
            (_, true) => Ok(now),
            (true, false) => Ok(usual),
            (false, false) => Err(Verdict::Wait),
        }
    }

    /// Reserves a tool call.
    ///
    /// # Errors
    /// The limit. Waiting would not help: a call at work is counted when it is done.
    pub fn ask_call(&mut self, budget: &Budget, spent: &Spent) -> Result<u64, Limit> {
        let held: u64 = self.held.values().map(|held| held.calls).sum();
        match budget.tool_calls {
            Some(limit) if spent.tool_calls + held >= limit => Err(Limit::ToolCalls),
            _ => Ok(self.hold(Held {
                calls: 1,
                ..Held::default()
            })),
        }
    }

    /// Reserves a sub-agent's task.
    ///
    /// # Errors
    /// The limit.
    pub fn ask_task(&mut self, budget: &Budget, spent: &Spent) -> Result<u64, Limit> {
        let held: u64 = self.held.values().map(|held| held.tasks).sum();
        match budget.tasks {
            Some(limit) if spent.tasks + held >= limit => Err(Limit::Tasks),
            _ => Ok(self.hold(Held {
                tasks: 1,
                ..Held::default()
            })),
        }
    }

    /// Gives a reservation back; call it when what it stood for is in the run's state.
    pub fn release(&mut self, id: u64) {
        self.held.remove(&id);
    }

    /// Whether nothing is reserved.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn hold(&mut self, held: Held) -> u64 {
        self.last += 1;
        self.held.insert(self.last, held);
        self.last
    }
}

/// Answer tokens that a sum pays for.
fn affordable(money: f64, price_per_million: f64) -> u64 {
    if money < 0.0 {
        return 0;
    }
    if price_per_million <= 0.0 {
        return u64::MAX;
    }
    // A float beyond the range becomes the range's end.
    (money / price_per_million * 1e6).floor() as u64
}

/// A length that most answers of this run stay below; nothing where there were too few of them.
fn usual_answer(spent: &Spent) -> u64 {
    if spent.steps < USUAL_AFTER {
        return 0;
    }
    (spent.completion_tokens / spent.steps * USUAL_FACTOR).max(USUAL_LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRICES: Prices = Prices {
        input: 1.0,
        cached: 0.25,
        output: 4.0,
    };

    fn wish(prompt_tokens: u64, answer_tokens: u64) -> AnswerWish {
        AnswerWish {
            place: Place::Main,
            prompt_tokens,
            answer_tokens,
            prices: PRICES,
        }
    }

    fn tokens(limit: u64) -> Budget {
        Budget {
            tokens: Some(limit),
            tool_calls: None,
            tasks: None,
            ..Budget::default()
        }
    }

    #[test]
    fn the_rest_of_a_budget_is_given_once() {
        let (mut ledger, spent, critical) = (
            Ledger::default(),
            Spent::default(),
            CriticalSteps::default(),
        );
        let budget = tokens(10_000);
        let mut ask = |wish: AnswerWish| ledger.ask_answer(&budget, &spent, &critical, &wish);
        assert_eq!(
            ask(wish(1_000, 8_000)),
            Verdict::Granted {
                id: 1,
                answer_tokens: 8_000
            }
        );
        assert_eq!(
            ask(wish(1_000, 8_000)),
            Verdict::Wait,
            "it may leave enough"
        );
        assert_eq!(ask(wish(9_900, 8_000)), Verdict::Exhausted(Limit::Tokens));
        ledger.release(1);
        assert_eq!(
            ledger.ask_answer(&budget, &spent, &critical, &wish(4_000, 8_000)),
            Verdict::Granted {
                id: 2,
                answer_tokens: 6_000
            },
            "alone it gets what is left"
        );
    }

    #[test]
    fn where_answers_are_short_less_is_reserved() {
        let mut ledger = Ledger::default();
        let spent = Spent {
            steps: 10,
            completion_tokens: 2_000,
            ..Spent::default()
        };
        let budget = tokens(16_000);
        let critical = CriticalSteps::default();
        let mut lengths = Vec::new();
        while let Verdict::Granted { answer_tokens, .. } =
            ledger.ask_answer(&budget, &spent, &critical, &wish(1_000, 8_000))
        {
            lengths.push(answer_tokens);
        }
        assert_eq!(
            lengths,
            [8_000, 800, 800],
            "four times the mean, while it lasts"
        );
    }

    #[test]
    fn a_branch_may_go_on_until_it_is_as_long_as_the_longest() {
        let mut critical = CriticalSteps::default();
        critical.main_step();
        let (long, short) = (critical.branch(), critical.branch());
        for _ in 0..3 {
            critical.branch_step(long);
        }
        let budget = Budget {
            critical_steps: Some(4),
            ..tokens(1_000_000)
        };
        let mut ledger = Ledger::default();
        let spent = Spent::default();
        let at = |(stage, branch): (usize, usize)| AnswerWish {
            place: Place::Branch(stage, branch),
            ..wish(10, 500)
        };
        let mut ask = |wish: AnswerWish| ledger.ask_answer(&budget, &spent, &critical, &wish);
        assert_eq!(ask(at(long)), Verdict::Exhausted(Limit::CriticalSteps));
        assert_eq!(ask(wish(10, 500)), Verdict::Exhausted(Limit::CriticalSteps));
        for _ in 0..3 {
            assert!(matches!(ask(at(short)), Verdict::Granted { .. }));
        }
        assert_eq!(ask(at(short)), Verdict::Wait, "one of the three may fail");
    }

    /// What a run does with its budget: begin things, end them in any order, at any price up to what
    /// was reserved.
    #[derive(Debug, Clone)]
    enum Doing {
        Answer {
            branch: usize,
            prompt: u64,
            answer: u64,
        },
        Call,
        Task,
        /// Ends what was begun as this one of those at work; of what was reserved this part was needed.
        End {
            which: usize,
            part: f64,
            fails: bool,
        },
    }

    fn doing() -> impl Strategy<Value = Doing> {
        prop_oneof![
            3 => (0_usize..5, 1_u64..3_000, 1_u64..9_000)
                .prop_map(|(branch, prompt, answer)| Doing::Answer { branch, prompt, answer }),
            2 => Just(Doing::Call),
            1 => Just(Doing::Task),
            5 => (any::<usize>(), 0.0_f64..=1.0, any::<bool>())
                .prop_map(|(which, part, fails)| Doing::End { which, part, fails }),
        ]
    }

    enum Begun {
        Answer {
            place: Place,
            prompt: u64,
            answer: u64,
        },
        Call,
        Task,
    }

    /// A run in small: its budget, what it spent, what is at work.
    struct Small {
        budget: Budget,
        spent: Spent,
        critical: CriticalSteps,
        ledger: Ledger,
        branches: Vec<Place>,
        at_work: Vec<(u64, Begun)>,
    }

    impl Small {
        fn begin(&mut self, doing: &Doing) {
            match *doing {
                Doing::Answer {
                    branch,
                    prompt,
                    answer,
                } => {
                    let place = self.branches.get(branch).copied().unwrap_or(Place::Main);
                    let wish = AnswerWish {
                        place,
                        ..wish(prompt, answer)
                    };
                    let (budget, spent) = (&self.budget, &self.spent);
                    match self.ledger.ask_answer(budget, spent, &self.critical, &wish) {
                        Verdict::Granted { id, answer_tokens } => {
                            assert!(answer_tokens <= answer);
                            let answer = answer_tokens;
                            self.at_work.push((
                                id,
                                Begun::Answer {
                                    place,
                                    prompt,
                                    answer,
                                },
                            ));
                        }
                        Verdict::Wait => {
                            assert!(!self.at_work.is_empty(), "waits for nobody");
                        }
                        Verdict::Exhausted(_) => {}
                    }
                }
                Doing::Call => {
                    if let Ok(id) = self.ledger.ask_call(&self.budget, &self.spent) {
                        self.at_work.push((id, Begun::Call));
                    }
                }
                Doing::Task => {
                    if let Ok(id) = self.ledger.ask_task(&self.budget, &self.spent) {
                        self.at_work.push((id, Begun::Task));
                    }
                }
                Doing::End { which, part, fails } => self.end(which, part, fails),
            }
        }

        fn end(&mut self, which: usize, part: f64, fails: bool) {
            if self.at_work.is_empty() {
                return;
            }
            let (id, begun) = self.at_work.swap_remove(which % self.at_work.len());
            match begun {
                Begun::Answer { .. } if fails => {}
                Begun::Answer {
                    place,
                    prompt,
                    answer,
                } => {
                    let usage = k25_chat::ChatUsage {
                        prompt_tokens: prompt,
                        cached_tokens: (prompt as f64 * part) as u64,
                        completion_tokens: (answer as f64 * part) as u64,
                        reasoning_tokens: 0,
                    };
                    self.spent.add(&usage, PRICES.cost(&usage));
                    self.spent.steps += 1;
                    match place {
                        Place::Main => self.critical.main_step(),
                        Place::Branch(stage, branch) => self.critical.branch_step((stage, branch)),
                    }
                }
                Begun::Call => self.spent.tool_calls += 1,
                Begun::Task => self.spent.tasks += 1,
            }
            self.ledger.release(id);
        }

        fn check(&self) {
            let within = |limit: Option<u64>, used: u64| limit.is_none_or(|limit| used <= limit);
            assert!(within(self.budget.tokens, self.spent.tokens()));
            assert!(within(self.budget.tool_calls, self.spent.tool_calls));
            assert!(within(self.budget.tasks, self.spent.tasks));
            assert!(within(self.budget.critical_steps, self.critical.total()));
            // Sums of floats in another order.
            let limit = self.budget.money.unwrap_or(f64::MAX);
            assert!(
                self.spent.money <= limit + 1e-9,
                "{} of {limit}",
                self.spent.money
            );
        }
    }

    proptest! {
        #[test]
        fn no_limit_is_ever_passed(
            limits in (
                proptest::option::of(0_u64..60_000),
                proptest::option::of(0.0_f64..0.1),
                proptest::option::of(0_u64..20),
                proptest::option::of(0_u64..12),
                proptest::option::of(0_u64..6),
            ),
            doings in proptest::collection::vec(doing(), 1..120),
        ) {
            let (tokens, money, critical_steps, tool_calls, tasks) = limits;
            let mut critical = CriticalSteps::default();
            critical.main_step();
            let branches = (0..3).map(|_| critical.branch());
            let branches: Vec<Place> =
                branches.map(|(stage, branch)| Place::Branch(stage, branch)).collect();
            let mut small = Small {
                budget: Budget { tokens, money, seconds: None,
                    // One step is taken already.
                    critical_steps: critical_steps.map(|steps| steps + 1), tool_calls, tasks },
                spent: Spent::default(),
                critical,
                ledger: Ledger::default(),
                branches,
                at_work: Vec::new(),
            };
            for doing in &doings {
                small.begin(doing);
                small.check();
            }
            while !small.at_work.is_empty() {
                small.end(0, 1.0, false);
                small.check();
            }
            prop_assert!(small.ledger.is_empty());
        }
    }
}
