//! Which sequences compute which rows in the next step.
//!
//! [`schedule`](Scheduler::schedule) returns a plain [`Batch`]; whoever runs it reports the new tokens
//! with [`update`](Scheduler::update). In between, the scheduler expects no other call but
//! [`remove`](Scheduler::remove).
//!
//! Everything follows from one fixed order of sequences: by arrival, where lower classes count as
//! having arrived later by a fixed amount of work. In that order
//!
//! - waiting sequences get a place among the running ones,
//! - running sequences get rows: first those that generate, one row each; then prompts, each a part of
//!   the step at first and then what is left; guesses only in steps without prompts;
//! - whoever lacks a block takes those of the last sequence in order (which starts again later, from
//!   what the prefix tree still has), so the first one always moves on and nobody starves.

mod limits;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use limits::{AdmissionError, ConfigError, MAX_SAMPLES, SchedulerConfig};

use crate::batch::{Batch, Span};
use crate::paged_cache::{Adoption, BlockTable, PagedCache};
use crate::prompt::{Prompt, SequenceRows};
use crate::request::{Priority, RequestId, SequenceId, Usage};
use crate::speculation::{DraftLength, PromptLookup};

/// Shares out rows and blocks among sequences.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    cache: PagedCache,
    waiting: BTreeMap<Order, Sequence>,
    running: BTreeMap<Order, Sequence>,
    orders: HashMap<SequenceId, Order>,
    arrivals: u64,
    counters: Counters,
}

/// What a request needs from the scheduler.
#[derive(Debug, Clone)]
pub struct Job {
    /// The request.
    pub id: RequestId,
    /// Its prompt.
    pub prompt: Arc<Prompt>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Samples of it.
    pub samples: u32,
    /// Its class.
    pub priority: Priority,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Steps with something to compute.
    pub steps: u64,
    /// Rows computed, guesses included.
    pub computed_rows: u64,
    /// Rows that were not computed because others had been.
    pub adopted_rows: u64,
    /// Sequences that lost their blocks and had to start again.
    pub preemptions: u64,
    /// Tokens guessed.
    pub drafts: u64,
    /// Guesses that held.
    pub drafts_held: u64,
}

/// Place in the order of sequences: smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    /// Rows of work done at arrival, later by the class's delay.
    due_rows: u64,
    arrival: u64,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    rows: SequenceRows,
    table: BlockTable,
    max_tokens: usize,
    draft_length: DraftLength,
    /// What its grammar says will follow its tokens.
    forced: Vec<u32>,
    /// Prompt rows that were adopted before the sequence was first preempted.
    cached_rows: usize,
    was_preempted: bool,
}

/// A step in the making.
struct Plan {
    budget: usize,
    parts: BTreeMap<Order, Part>,
}

/// One sequence's part in a step.
#[derive(Default)]
struct Part {
    rows: usize,
    drafts: Vec<u32>,
}

impl Sequence {
    /// Rows known and not computed; at least the last one.
    fn open_rows(&self) -> usize {
        self.rows.tokens().len() - self.table.rows()
    }

    /// Whether only its newest token is left to compute.
    fn generates(&self) -> bool {
        self.open_rows() == 1 && !self.rows.generated().is_empty()
    }

    /// At most `most` guesses: what the grammar says, else what followed the last time.
    fn drafts(&self, lookup: Option<&PromptLookup>, most: usize) -> Vec<u32> {
        if !self.forced.is_empty() {
            return self.forced[..self.forced.len().min(most)].to_vec();
        }
        let most = most.min(self.draft_length.get());
        lookup.map_or_else(Vec::new, |lookup| {
            lookup.propose(self.rows.tokens(), most).to_vec()
        })
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_rows: self.rows.prompt_len(),
            cached_rows: self.cached_rows,
            generated_tokens: self.rows.generated().len(),
        }
    }
}

impl Scheduler {
    /// A scheduler with nothing to do.
    pub fn new(config: SchedulerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            cache: PagedCache::new(config.blocks, config.block_rows, config.sharing),
            config,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            orders: HashMap::new(),
            arrivals: 0,
            counters: Counters::default(),
        })
    }

    /// What there is to share out.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sequences that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sequences that have their turn.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Blocks that no sequence uses.
    pub fn available_blocks(&self) -> usize {
        self.cache.available()
    }

    /// Whether there is no sequence.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Puts a request's samples in line, or says why they can never be served.
    pub fn add(&mut self, job: Job) -> Result<(), AdmissionError> {
        if job.samples == 0 || job.samples > MAX_SAMPLES {
            return Err(AdmissionError::Samples {
                samples: job.samples,
            });
        }
        self.config.check_size(job.prompt.len(), job.max_tokens)?;
        let (waiting, limit) = (self.waiting.len(), self.config.waiting_sequences);
        if waiting + job.samples as usize > limit {
            return Err(AdmissionError::Busy { waiting, limit });
        }
        for sample in 0..job.samples {
            let id = SequenceId {
                request: job.id,
                sample,
            };
            let due_rows = self.counters.computed_rows + job.priority.delay_rows();
            let order = Order {
                due_rows,
                arrival: self.arrivals,
            };
            self.arrivals += 1;
            let sequence = Sequence {
                id,
                rows: SequenceRows::new(Arc::clone(&job.prompt)),
                table: BlockTable::default(),
                max_tokens: job.max_tokens,
                draft_length: DraftLength::default(),
                forced: Vec::new(),
                cached_rows: 0,
                was_preempted: false,
            };
            assert!(
                self.orders.insert(id, order).is_none(),
                "request ids are used once"
            );
            self.waiting.insert(order, sequence);
        }
        Ok(())
    }

    /// Ends a sequence, finished or not; `None` where it has ended already.
    pub fn remove(&mut self, id: SequenceId) -> Option<Usage> {
        let order = self.orders.remove(&id)?;
        let sequence = self
            .running
            .remove(&order)
            .or_else(|| self.waiting.remove(&order));
        let mut sequence = sequence?;
        self.cache.retire(&mut sequence.table, &sequence.rows);
        Some(sequence.usage())
    }

    /// The next step's work.
    pub fn schedule(&mut self) -> Batch {
        self.admit();
        let mut plan = Plan {
            budget: self.config.step_rows,
            parts: BTreeMap::new(),
        };
        self.plan_generation(&mut plan);
        if !self.plan_prompts(&mut plan) {
            self.plan_drafts(&mut plan);
        }
        self.batch(plan)
    }

    /// Counts a span's rows as computed. `tokens` are what was sampled from its logits, one after
    /// another for as long as the guesses agreed.
    pub fn update(&mut self, span: &Span, tokens: &[u32]) {
        let order = self.orders.get(&span.sequence);
        let Some(sequence) = order.and_then(|order| self.running.get_mut(order)) else {
            return;
        };
        let held = tokens.len().saturating_sub(1);
        let was_forced = !std::mem::take(&mut sequence.forced).is_empty();
        sequence.rows.extend(tokens);
        self.cache
            .commit(&mut sequence.table, span.rows.len() - span.drafts + held);
        if let Some(lookup) = self.config.speculation.as_ref().filter(|_| !was_forced) {
            sequence
                .draft_length
                .learn(lookup, tokens.len(), span.drafts, held);
        }
        self.counters.drafts_held += held as u64;
    }

    /// Notes what is likely to follow a sequence's tokens, until the next of them is known.
    pub fn guess(&mut self, id: SequenceId, tokens: Vec<u32>) {
        let order = self.orders.get(&id);
        if let Some(sequence) = order.and_then(|order| self.running.get_mut(order)) {
            sequence.forced = tokens;
        }
    }

    /// After a step that failed, or a change of weights: nothing in the cache holds any more. All
    /// running sequences start again, from their prompts and what they generated.
    pub fn reset_cache(&mut self) {
        while let Some((&order, _)) = self.running.last_key_value() {
            self.preempt(order);
        }
        self.cache.take_copies();
        self.cache.forget();
    }

    /// Checks what must hold between steps: every block's owners, and everybody's place in line.
    pub fn audit(&self) -> Result<(), String> {
        self.cache
            .audit(self.running.values().map(|sequence| &sequence.table))?;
        let all = self.waiting.iter().chain(&self.running);
        for (order, sequence) in all {
            if self.orders.get(&sequence.id) != Some(order) {
                return Err(format!("{:?} is not in line", sequence.id));
            }
        }
        if self.orders.len() != self.waiting.len() + self.running.len() {
            return Err("someone in line neither waits nor runs".to_owned());
        }
        if self
            .waiting
            .values()
            .any(|sequence| !sequence.table.blocks().is_empty())
        {
            return Err("a waiting sequence has blocks".to_owned());
        }
        Ok(())
    }

    /// Gives places to waiting sequences, first in order first.
    fn admit(&mut self) {
        while let Some((&order, sequence)) = self.waiting.first_key_value() {
            let last = self.running.last_key_value().map(|(&last, _)| last);
            let goes_before_another = last.is_some_and(|last| order < last);
            let full = self.running.len() == self.config.running_sequences;
            let has_room = || {
                let needed =
                    self.cache.blocks_for(sequence.rows.tokens().len()) + self.running.len();
                needed <= self.cache.available()
                    || needed - self.cache.blocks_in_use(&sequence.rows) <= self.cache.available()
            };
            let admitted = match last {
                None => true,
                Some(_) => goes_before_another || !full && has_room(),
            };
            if !admitted {
                return;
            }
            if let (true, Some(last)) = (full, last) {
                self.preempt(last);
            }
            if let Some(sequence) = self.waiting.remove(&order) {
                self.running.insert(order, sequence);
            }
        }
    }

    /// One row for each sequence that generates.
    fn plan_generation(&mut self, plan: &mut Plan) {
        for order in self.running_orders(Sequence::generates) {
            self.plan_rows(order, 1, plan);
        }
    }

    /// Rows of prompts: a quarter of the step for each, so that a long prompt does not keep a short
    /// one waiting, then the rest in order. Returns whether there are any prompts.
    fn plan_prompts(&mut self, plan: &mut Plan) -> bool {
        let reading = self.running_orders(|sequence| !sequence.generates());
        let share = (self.config.step_rows / 4).max(self.config.block_rows);
        for limit in [share, usize::MAX] {
            for &order in &reading {
                self.plan_rows(order, limit, plan);
            }
        }
        !reading.is_empty()
    }

    /// Plans up to `limit` more rows of a sequence, as far as budget and blocks reach.
    fn plan_rows(&mut self, order: Order, limit: usize, plan: &mut Plan) {
        if plan.budget == 0 || !self.running.contains_key(&order) {
            return;
        }
        let planned = plan.parts.get(&order).map_or(0, |part| part.rows);
        if planned == 0 && !self.adopt(order, plan) {
            return;
        }
        let Some(sequence) = self.running.get(&order) else {
            return;
        };
        let from = sequence.table.rows() + planned;
        let wanted = sequence
            .rows
            .tokens()
            .len()
            .min(from + limit.min(plan.budget));
        let until = self.reserve(order, wanted, plan);
        let Some(sequence) = self.running.get_mut(&order).filter(|_| until > from) else {
            return;
        };
        let to_the_end = until == sequence.rows.tokens().len() && !sequence.generates();
        self.cache
            .announce(&mut sequence.table, &sequence.rows, until, to_the_end);
        plan.budget -= until - from;
        plan.parts.entry(order).or_default().rows += until - from;
    }

    /// Lets a sequence take over what others computed. False where it should wait for this step.
    fn adopt(&mut self, order: Order, plan: &mut Plan) -> bool {
        loop {
            let Some(sequence) = self.running.get_mut(&order) else {
                return false;
            };
            if sequence.generates() {
                return true;
            }
            // The last row is computed in any case: its logits are wanted.
            let limit = sequence.rows.tokens().len() - 1;
            let before = sequence.table.rows();
            let adoption = self.cache.adopt(&mut sequence.table, &sequence.rows, limit);
            let adopted = sequence.table.rows() - before;
            self.counters.adopted_rows += adopted as u64;
            if !sequence.was_preempted {
                sequence.cached_rows += adopted;
            }
            match adoption {
                Adoption::Proceed => return true,
                Adoption::Wait => return false,
                // Without room for a copy, the rows are computed where there is room for rows.
                Adoption::NoBlock if self.preempt_after(order, plan) => {}
                Adoption::NoBlock => return true,
            }
        }
    }

    /// Reserves blocks up to row `wanted`, taking those of sequences later in order where there are
    /// no others. Returns up to where there are blocks now.
    fn reserve(&mut self, order: Order, wanted: usize, plan: &mut Plan) -> usize {
        while let Some(sequence) = self.running.get_mut(&order) {
            if self.cache.reserve(&mut sequence.table, wanted).is_ok() {
                return wanted;
            }
            let reserved = sequence.table.blocks().len() * self.config.block_rows;
            if !self.preempt_after(order, plan) {
                return reserved;
            }
        }
        0
    }

    /// Guesses for the sequences that generate, with blocks that nobody else needs.
    fn plan_drafts(&mut self, plan: &mut Plan) {
        for (order, part) in &mut plan.parts {
            let Some(sequence) = self.running.get_mut(order) else {
                continue;
            };
            let wanted_tokens = sequence.max_tokens - sequence.rows.generated().len();
            let most = (wanted_tokens - 1).min(plan.budget);
            let drafts = sequence.drafts(self.config.speculation.as_ref(), most);
            // Where there are too few blocks, a part of the guesses still has room.
            let rows = sequence.rows.tokens().len();
            let _ = self.cache.reserve(&mut sequence.table, rows + drafts.len());
            let room = sequence.table.blocks().len() * self.config.block_rows - rows;
            part.drafts = drafts;
            part.drafts.truncate(room);
            plan.budget -= part.drafts.len();
            self.counters.drafts += part.drafts.len() as u64;
        }
    }

    /// Preempts the last sequence in order, if that is not `order` itself.
    fn preempt_after(&mut self, order: Order, plan: &mut Plan) -> bool {
        let last = self.running.last_key_value().map(|(&last, _)| last);
        match last.filter(|&last| last > order) {
            Some(last) => {
                if let Some(part) = plan.parts.remove(&last) {
                    plan.budget += part.rows;
                }
                self.preempt(last);
                true
            }
            None => false,
        }
    }

    /// Takes a sequence's blocks; it goes back in line at its place in order.
    fn preempt(&mut self, order: Order) {
        if let Some(mut sequence) = self.running.remove(&order) {
            self.cache.retire(&mut sequence.table, &sequence.rows);
            sequence.was_preempted = true;
            self.counters.preemptions += 1;
            self.waiting.insert(order, sequence);
        }
    }

    fn running_orders(&self, of: impl Fn(&Sequence) -> bool) -> Vec<Order> {
        let running = self.running.iter().filter(|(_, sequence)| of(sequence));
        running.map(|(&order, _)| order).collect()
    }

    fn batch(&mut self, plan: Plan) -> Batch {
        let mut batch = Batch {
            copies: self.cache.take_copies(),
            ..Batch::default()
        };
        for (order, part) in plan.parts {
            let sequence = &self.running[&order];
            batch.push(
                sequence.id,
                &sequence.rows,
                &sequence.table,
                part.rows,
                &part.drafts,
            );
        }
        if !batch.rows.is_empty() {
            self.counters.steps += 1;
            self.counters.computed_rows += batch.rows.len() as u64;
        }
        batch
    }
}
