//! Thousands of small worlds, each from one seed: requests come, share, are cancelled, run out of
//! blocks, fail. Whatever happens, every sequence gets the tokens that it would get alone.
//!
//! A failure prints its seed; `K25_SIMULATOR_SEED=<seed> cargo test -p k25-engine --test engine
//! simulator` runs that world again, and `K25_SIMULATOR_SEEDS=<count>` runs more of them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use k25_engine::grammar::{Allowed, GrammarError};
use k25_engine::prompt::MediaItem;
use k25_engine::request::Usage;
use k25_engine::sampling::uniform;
use k25_engine::{
    AdmissionError, ContentHash, Engine, Event, FinishReason, Grammar, InputRow, MediaSpan,
    Priority, Prompt, PromptLookup, Request, RequestId, SamplingParams, SchedulerConfig, Sharing,
    TokenMask, event_channel,
};

use crate::HashModel;
use crate::hash_model::{VOCAB, generate};

/// Seeds of an ordinary run.
const SEEDS: u64 = 12_000;

#[test]
fn every_world_gives_every_sequence_its_own_tokens() {
    if let Ok(seed) = std::env::var("K25_SIMULATOR_SEED") {
        let seed = seed.parse().expect("K25_SIMULATOR_SEED is a number");
        println!("{:?}", World::new(seed).live());
        return;
    }
    let seeds = match std::env::var("K25_SIMULATOR_SEEDS") {
        Ok(count) => count.parse().expect("K25_SIMULATOR_SEEDS is a number"),
        Err(_) => SEEDS,
    };
    let started = std::time::Instant::now();
    let total = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || live_all((half..seeds).step_by(2))));
        halves.map(|half| half.join().expect("a world fell apart; its seed is above"))
    });
    let total = total[0].plus(&total[1]);
    println!(
        "{seeds} worlds in {:.1} s: {total:?}",
        started.elapsed().as_secs_f64()
    );
    total.assert_everything_happened();
}

fn live_all(seeds: impl Iterator<Item = u64>) -> Chronicle {
    seeds.fold(Chronicle::default(), |total, seed| {
        let world = std::panic::catch_unwind(|| World::new(seed).live());
        match world {
            Ok(chronicle) => total.plus(&chronicle),
            Err(panic) => {
                eprintln!(
                    "seed {seed} failed; again with\n    K25_SIMULATOR_SEED={seed} cargo test -p k25-engine \
                     --test engine simulator"
                );
                std::panic::resume_unwind(panic);
            }
        }
    })
}

/// Chance by counter.
struct Dice {
    seed: u64,
    throws: u64,
}

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.throws += 1;
        (uniform(self.seed, self.throws) * limit as f64) as usize
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// What happened, to know that the worlds were eventful.
#[derive(Debug, Default)]
struct Chronicle {
    requests: u64,
    finished: u64,
    cancelled: u64,
    failed: u64,
    rejected: u64,
    tokens: u64,
    steps: u64,
    computed_rows: u64,
    adopted_rows: u64,
    preemptions: u64,
    drafts: u64,
    drafts_held: u64,
}

impl Chronicle {
    fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            finished: self.finished + other.finished,
            cancelled: self.cancelled + other.cancelled,
            failed: self.failed + other.failed,
            rejected: self.rejected + other.rejected,
            tokens: self.tokens + other.tokens,
            steps: self.steps + other.steps,
            computed_rows: self.computed_rows + other.computed_rows,
            adopted_rows: self.adopted_rows + other.adopted_rows,
            preemptions: self.preemptions + other.preemptions,
            drafts: self.drafts + other.drafts,
            drafts_held: self.drafts_held + other.drafts_held,
        }
    }

    fn assert_everything_happened(&self) {
        let rare = [
            self.finished,
            self.cancelled,
            self.failed,
            self.rejected,
            self.adopted_rows,
            self.preemptions,
            self.drafts_held,
            self.drafts - self.drafts_held,
        ];
        assert!(rare.iter().all(|&count| count > 100), "too quiet: {self:?}");
    }
}

/// A request as the world knows it.
struct Asked {
    id: RequestId,
    /// `None` once nobody listens.
    events: Option<Receiver<Event>>,
    /// What every sample generates when it is left alone.
    expected: Vec<Vec<u32>>,
    heard: Vec<Heard>,
    prompt_rows: usize,
    cancelled: bool,
}

#[derive(Default, Clone)]
struct Heard {
    tokens: Vec<u32>,
    end: Option<(FinishReason, Usage)>,
}

struct World {
    dice: Dice,
    engine: Engine<HashModel>,
    config: SchedulerConfig,
    /// Beginnings that prompts have in common.
    documents: Vec<Vec<u32>>,
    asked: Vec<Asked>,
    chronicle: Chronicle,
    may_fail: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice { seed, throws: 0 };
        let config = config(&mut dice);
        let mut model = HashModel::new(config.blocks, config.block_rows);
        let may_fail = dice.one_in(8);
        if may_fail {
            model.failing_runs = (0..4).map(|_| dice.below(40)).collect();
        }
        let documents = (0..3).map(|_| tokens(&mut dice, 40)).collect();
        let engine = Engine::new(config, model).expect("a valid configuration");
        let (asked, chronicle) = (Vec::new(), Chronicle::default());
        Self {
            dice,
            engine,
            config,
            documents,
            asked,
            chronicle,
            may_fail,
        }
    }

    fn live(mut self) -> Chronicle {
        let requests = self.dice.between(1, 12);
        let rush = self.dice.between(1, 8);
        let mut steps = 0;
        while self.asked.len() + (self.chronicle.rejected as usize) < requests
            || !self.engine.is_idle()
        {
            if self.asked.len() + (self.chronicle.rejected as usize) < requests
                && self.dice.one_in(rush)
            {
                self.ask();
            }
            self.disturb();
            self.engine.step();
            self.engine.scheduler().audit().expect("a sound scheduler");
            self.listen();
            steps += 1;
            assert!(steps < 20_000, "someone starves");
        }
        self.judge();
        self.chronicle
    }

    fn ask(&mut self) {
        let (request, inputs) = self.request();
        let expected = (0..request.samples as usize).map(|sample| {
            let params = request.params.for_sample(sample);
            generate(
                &inputs,
                &request.prompt,
                &params,
                request.grammar.as_deref(),
            )
        });
        let expected: Vec<_> = expected.collect();
        let prompt_rows = request.prompt.len();
        let (rows, samples) = (prompt_rows + request.params.max_tokens, request.samples);
        let (sink, events) = event_channel();
        match self.engine.submit(request, sink) {
            Ok(id) => {
                let heard = vec![Heard::default(); samples as usize];
                let events = Some(events);
                self.asked.push(Asked {
                    id,
                    events,
                    expected,
                    heard,
                    prompt_rows,
                    cancelled: false,
                });
                self.chronicle.requests += 1;
            }
            Err(error) => {
                let true_reason = match error {
                    AdmissionError::BeyondCache { .. } => rows - 1 > self.config.cache_rows(),
                    AdmissionError::BeyondContext { .. } => rows > self.config.context_rows,
                    AdmissionError::Busy { .. } => true,
                    _ => false,
                };
                assert!(true_reason, "{error}");
                self.chronicle.rejected += 1;
            }
        }
    }

    /// A request, and its rows as the model will read them.
    fn request(&mut self) -> (Request, Vec<InputRow>) {
        let dice = &mut self.dice;
        let document = &self.documents[dice.below(self.documents.len())];
        let mut tokens = document[..dice.below(document.len() + 1)].to_vec();
        tokens.extend((0..dice.below(6)).map(|_| dice.below(VOCAB) as u32));
        if tokens.is_empty() {
            tokens.push(1);
        }
        let mut inputs: Vec<InputRow> =
            tokens.iter().map(|&token| InputRow::Token(token)).collect();
        let mut media = Vec::new();
        let mut free = 0;
        while free < tokens.len() && dice.one_in(3) {
            let start = dice.between(free, tokens.len() - 1);
            let rows = dice.between(1, (tokens.len() - start).min(5));
            let content = ContentHash([dice.below(2) as u8; 32]);
            let item = Arc::new(MediaItem {
                content,
                grid: [1, 2, 2],
                pixels: Vec::new(),
                rows,
            });
            for row in 0..rows {
                let item = Arc::clone(&item);
                inputs[start + row] = InputRow::Media { item, row };
            }
            free = start + rows;
            media.push(MediaSpan { start, item });
        }
        let prompt = Prompt::new(tokens, media).expect("a valid prompt");
        let mut request = Request::new(prompt, params(dice));
        request.samples = if dice.one_in(3) {
            dice.between(2, 4) as u32
        } else {
            1
        };
        request.priority = [
            Priority::Interactive,
            Priority::Normal,
            Priority::Background,
        ][dice.below(3)];
        if dice.one_in(6) {
            request.grammar = Some(Box::new(Alternation {
                odd: dice.one_in(2),
                insight: dice.below(4),
            }));
        }
        (request, inputs)
    }

    /// Cancels somebody, stops listening to somebody, or takes the cache's content from everybody.
    fn disturb(&mut self) {
        if self.asked.is_empty() || !self.dice.one_in(15) {
            return;
        }
        let who = self.dice.below(self.asked.len());
        let asked = &mut self.asked[who];
        match self.dice.below(5) {
            0 | 1 => {
                asked.cancelled = true;
                self.engine.cancel(asked.id);
            }
            2 | 3 => {
                asked.cancelled = true;
                asked.events = None;
            }
            _ => self.engine.change_model(HashModel::scramble),
        }
    }

    fn listen(&mut self) {
        for asked in &mut self.asked {
            let Some(events) = &asked.events else {
                continue;
            };
            loop {
                match events.try_recv() {
                    Ok(Event::Token { sample, token, .. }) => {
                        let heard = &mut asked.heard[sample as usize];
                        assert_eq!(heard.end, None, "a token after the end");
                        heard.tokens.push(token);
                    }
                    Ok(Event::Finished {
                        sample,
                        reason,
                        usage,
                    }) => {
                        let heard = &mut asked.heard[sample as usize];
                        assert_eq!(heard.end, None, "one end only");
                        heard.end = Some((reason, usage));
                    }
                    Ok(Event::Rejected(error)) => panic!("rejected after it was accepted: {error}"),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
        }
    }

    fn judge(&mut self) {
        for asked in &self.asked {
            for (heard, expected) in asked.heard.iter().zip(&asked.expected) {
                assert!(
                    expected.starts_with(&heard.tokens),
                    "{:?} not {expected:?}",
                    heard.tokens
                );
                self.chronicle.tokens += heard.tokens.len() as u64;
                if asked.events.is_none() {
                    continue;
                }
                let (reason, usage) = heard.end.as_ref().expect("everyone comes to an end");
                assert_eq!(usage.prompt_rows, asked.prompt_rows);
                assert_eq!(usage.generated_tokens, heard.tokens.len());
                assert!(usage.cached_rows < usage.prompt_rows);
                match reason {
                    FinishReason::Cancelled => assert!(asked.cancelled),
                    FinishReason::Failed(_) => assert!(self.may_fail),
                    _ => assert_eq!(&heard.tokens, expected, "finished too early"),
                }
                match reason {
                    FinishReason::Cancelled => self.chronicle.cancelled += 1,
                    FinishReason::Failed(_) => self.chronicle.failed += 1,
                    _ => self.chronicle.finished += 1,
                }
            }
        }
        let snapshot = self.engine.snapshot();
        assert_eq!(
            snapshot.available_blocks, self.config.blocks as usize,
            "a block leaked"
        );
        assert!(self.engine.runner().largest_run <= self.config.step_rows);
        let counters = snapshot.counters;
        self.chronicle.steps = counters.steps;
        self.chronicle.computed_rows = counters.computed_rows;
        self.chronicle.adopted_rows = counters.adopted_rows;
        self.chronicle.preemptions = counters.preemptions;
        self.chronicle.drafts = counters.drafts;
        self.chronicle.drafts_held = counters.drafts_held;
    }
}

fn config(dice: &mut Dice) -> SchedulerConfig {
    let block_rows = dice.between(1, 8);
    let running_sequences = dice.between(1, 8);
    SchedulerConfig {
        block_rows,
        blocks: dice.between(60 / block_rows, 240 / block_rows) as u32,
        context_rows: dice.between(50, 90),
        step_rows: running_sequences + dice.between(1, 40),
        running_sequences,
        waiting_sequences: dice.between(4, 40),
        sharing: match dice.below(4) {
            0 => Sharing::Off,
            _ => Sharing::On {
                worth_waiting_rows: dice.between(1, 8),
            },
        },
        speculation: match dice.below(2) {
            0 => None,
            _ => Some(PromptLookup {
                ngram: dice.between(1, 3),
                max_drafts: dice.between(1, 8),
            }),
        },
        grammar_drafts: dice.below(4),
    }
}

fn params(dice: &mut Dice) -> SamplingParams {
    let mut params = SamplingParams {
        temperature: [0.0, 0.6, 1.0][dice.below(3)],
        top_p: [0.95, 1.0][dice.below(2)],
        seed: dice.below(1000) as u64,
        max_tokens: dice.between(1, 30),
        ..SamplingParams::default()
    };
    if dice.one_in(4) {
        params.stop_ids = vec![dice.below(VOCAB) as u32];
    }
    if dice.one_in(4) {
        params.repetition_penalty = 1.2;
        params.frequency_penalty = 0.3;
    }
    params
}

fn tokens(dice: &mut Dice, most: usize) -> Vec<u32> {
    (0..dice.between(1, most))
        .map(|_| dice.below(VOCAB) as u32)
        .collect()
}

/// Even and odd tokens in turn.
#[derive(Clone)]
struct Alternation {
    odd: bool,
    /// How many tokens it guesses, some of them well.
    insight: usize,
}

impl Grammar for Alternation {
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<Allowed, GrammarError> {
        let first = u32::from(self.odd);
        (first..VOCAB as u32)
            .step_by(2)
            .for_each(|token| mask.allow(token));
        Ok(Allowed::Masked)
    }

    fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        assert_eq!(token % 2 == 1, self.odd, "only what the mask allowed");
        self.odd = !self.odd;
        Ok(())
    }

    fn forced(&mut self, most: usize) -> Vec<u32> {
        let guess = |step: usize| (usize::from(self.odd) + step) % 2 + 2 * (step % 3);
        (0..self.insight.min(most))
            .map(|step| guess(step) as u32)
            .collect()
    }

    fn fork(&self) -> Box<dyn Grammar> {
        Box::new(self.clone())
    }
}
