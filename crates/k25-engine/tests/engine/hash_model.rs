//! A model without arithmetic: what it writes for a row is a hash of all rows before it, read from the
//! cache. A row in the wrong place, overwritten, or shared by mistake changes every later token.

use std::collections::HashSet;

use k25_engine::batch::{Batch, Span};
use k25_engine::grammar::Allowed;
use k25_engine::prompt::{MediaItem, Prompt};
use k25_engine::sampling::{Sampler, SamplingParams, TokenHistory};
use k25_engine::{Grammar, InputRow, ModelRunner, TokenMask};

pub const VOCAB: usize = 7;

pub struct HashModel {
    block_rows: usize,
    cache: Vec<u64>,
    /// Rows computed so far.
    pub computed_rows: usize,
    /// Fails the runs with these numbers, counted from 0.
    pub failing_runs: HashSet<usize>,
    pub runs: usize,
    /// Most rows of one run.
    pub largest_run: usize,
}

impl HashModel {
    pub fn new(blocks: u32, block_rows: usize) -> Self {
        Self {
            block_rows,
            // Never zero: a row that nobody wrote must not look like anything.
            cache: vec![0xdead; blocks as usize * block_rows],
            computed_rows: 0,
            failing_runs: HashSet::new(),
            runs: 0,
            largest_run: 0,
        }
    }

    /// Makes every cached row wrong, as new weights would.
    pub fn scramble(&mut self) {
        self.cache.fill(0xfa11);
    }

    fn slot(&self, batch: &Batch, span: &Span, position: usize) -> usize {
        let (block, row) = batch.place(span, position, self.block_rows);
        block.index() * self.block_rows + row
    }

    fn run_span(&mut self, batch: &Batch, span: &Span, logits: &mut Vec<f32>) {
        let mut state = State::default();
        for position in 0..span.cached_rows {
            state.push(self.cache[self.slot(batch, span, position)]);
        }
        let first_with_logits = span.rows.end - span.logits.len();
        for row in span.rows.clone() {
            assert_eq!(
                batch.positions[row] as usize, state.rows,
                "positions follow each other"
            );
            let value = state.value(&batch.rows[row]);
            let slot = self.slot(batch, span, state.rows);
            self.cache[slot] = value;
            state.push(value);
            if row >= first_with_logits {
                logits.extend_from_slice(&logits_of(value, &batch.rows[row]));
            }
        }
    }
}

impl ModelRunner for HashModel {
    type Error = &'static str;

    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn check_media(&self, item: &MediaItem) -> Result<(), &'static str> {
        if item.rows <= 5 {
            Ok(())
        } else {
            Err("too large a picture\n  hint: send a smaller one")
        }
    }

    fn run(&mut self, batch: &Batch, logits: &mut Vec<f32>) -> Result<(), &'static str> {
        self.runs += 1;
        if self.failing_runs.contains(&(self.runs - 1)) {
            self.scramble();
            return Err("a run that was to fail");
        }
        for copy in &batch.copies {
            let (from, to) = (
                copy.from.index() * self.block_rows,
                copy.to.index() * self.block_rows,
            );
            self.cache.copy_within(from..from + copy.rows, to);
        }
        self.assert_no_row_is_shared(batch);
        for span in &batch.spans {
            self.run_span(batch, span, logits);
        }
        assert_eq!(logits.len(), batch.logits_rows.len() * VOCAB);
        self.computed_rows += batch.rows.len();
        self.largest_run = self.largest_run.max(batch.rows.len());
        Ok(())
    }
}

impl HashModel {
    /// What one sequence writes in this step, no other one reads or writes in this step.
    fn assert_no_row_is_shared(&self, batch: &Batch) {
        let mut written = HashSet::new();
        for span in &batch.spans {
            for position in span.cached_rows..span.cached_rows + span.rows.len() {
                assert!(
                    written.insert(self.slot(batch, span, position)),
                    "one row, two writers"
                );
            }
        }
        for span in &batch.spans {
            for position in 0..span.cached_rows {
                assert!(
                    !written.contains(&self.slot(batch, span, position)),
                    "read while written"
                );
            }
        }
    }
}

/// What a row sees: all rows before it.
#[derive(Default)]
struct State {
    sum: u64,
    rows: usize,
}

impl State {
    fn push(&mut self, value: u64) {
        self.sum = self.sum.wrapping_add(mix(value ^ (self.rows as u64) << 48));
        self.rows += 1;
    }

    /// What row `self.rows` writes.
    fn value(&self, input: &InputRow) -> u64 {
        mix(self.sum ^ mix(key(input)))
    }
}

fn key(input: &InputRow) -> u64 {
    match input {
        InputRow::Token(token) => u64::from(*token),
        InputRow::Media { item, row } => {
            let bytes = item.content.0.iter();
            bytes.fold(
                1000 + *row as u64,
                |hash, &byte| mix(hash ^ u64::from(byte)),
            )
        }
    }
}

/// Noise from everything before, and a liking for one successor of the row's own input, so that the
/// text repeats itself and guesses sometimes hold.
fn logits_of(value: u64, input: &InputRow) -> [f32; VOCAB] {
    let liked = mix(key(input)) as usize % VOCAB;
    std::array::from_fn(|token| {
        let noise = mix(value ^ token as u64) % 1024;
        noise as f32 / 256.0 + if token == liked { 2.5 } else { 0.0 }
    })
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30))
        .wrapping_add(0x9e37_79b9_7f4a_7c15)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The oracle: what a sequence generates alone, one row after the other, without any cache.
pub fn generate(
    inputs: &[InputRow],
    prompt: &Prompt,
    params: &SamplingParams,
    grammar: Option<&dyn Grammar>,
) -> Vec<u32> {
    let mut sampler = Sampler::new();
    let mut history = TokenHistory::new(params, prompt.text_tokens());
    let mut grammar = grammar.map(|grammar| grammar.fork());
    let mut state = State::default();
    let mut tokens = Vec::new();
    let mut next = inputs.to_vec();
    loop {
        let mut logits = [0.0; VOCAB];
        for input in next.drain(..) {
            let value = state.value(&input);
            state.push(value);
            logits = logits_of(value, &input);
        }
        let mut mask = TokenMask::none(VOCAB);
        let constrained = grammar.as_mut().is_some_and(|grammar| {
            grammar.allowed(&mut mask).expect("a grammar that works") == Allowed::Masked
        });
        let mask = constrained.then_some(&mask);
        let Some(sampled) = sampler.sample(&logits, params, &history, mask, state.rows as u64)
        else {
            return tokens;
        };
        tokens.push(sampled.token);
        history.accept(sampled.token);
        if params.stop_ids.contains(&sampled.token) || tokens.len() == params.max_tokens {
            return tokens;
        }
        if let Some(grammar) = &mut grammar {
            grammar.accept(sampled.token).expect("a grammar that works");
        }
        next.push(InputRow::Token(sampled.token));
    }
}
