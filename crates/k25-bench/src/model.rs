//! A checkpoint: load, prefill, decode, batches, one MoE layer.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use k25_kernels::Pool;
use k25_model::exec::{Exec, InputRow};
use k25_model::fast::{Act, Fast, FastBatch, FastModel, PagedLatents, SequenceSpan};
use k25_model::weights::{FeedForward, Model, MoeWeights};
use k25_model::{Advice, Rows};

use crate::cost::{self, Cost};
use crate::machine::Machine;
use crate::{BenchError, BenchOptions, Figure, median, sharing};

/// Rows that a prompt is cut into, as the scheduler does.
const CHUNK_ROWS: usize = 512;
const DECODE_STEPS: usize = 24;
const PREFILL_REPETITIONS: usize = 3;

/// An open checkpoint and the machine that it runs on.
pub struct ModelBench<'a> {
    model: Arc<FastModel>,
    machine: &'a Machine,
    pool: Pool,
    random: u64,
}

/// Sequences with blocks of their own in one cache.
struct Sequences {
    cache: PagedLatents,
    blocks: Vec<Vec<u32>>,
}

impl<'a> ModelBench<'a> {
    /// Opens the checkpoint and measures how long that takes and what it costs.
    pub fn open(
        dir: &Path,
        options: &BenchOptions,
        machine: &'a Machine,
        pool: Pool,
        record: &mut dyn FnMut(Figure),
    ) -> Result<Self, BenchError> {
        let start = Instant::now();
        let model = Arc::new(FastModel::new(Model::open(dir)?, options.fast)?);
        let opened = start.elapsed().as_secs_f64();
        let mut bench = Self {
            model,
            machine,
            pool,
            random: 1,
        };
        let mut sequences = bench.sequences(options, 1, 1);
        bench.step(&mut sequences, 1, 0);
        let first_token = start.elapsed().as_secs_f64();
        record(
            Figure::plain("start to first token", first_token, "s")
                .with_note(format!("{opened:.2} s of it opening")),
        );
        // What follows measures a model in use, not the page faults of its first hundred tokens.
        let start = Instant::now();
        bench.model.model().advise(Advice::Populate);
        record(Figure::plain(
            "entering the weights in the page tables",
            start.elapsed().as_secs_f64(),
            "s",
        ));
        Ok(bench)
    }

    /// Every figure that the options ask for.
    pub fn measure(
        mut self,
        options: &BenchOptions,
        record: &mut dyn FnMut(Figure),
    ) -> Result<(), BenchError> {
        for &depth in &options.depths {
            record(self.decode(options, depth));
        }
        for &rows in &options.prompts {
            record(self.prefill(options, rows));
        }
        for &count in &options.batches {
            record(self.batch(options, count));
        }
        for &rows in &options.moe_rows {
            record(self.moe_layer(rows)?);
        }
        record(self.resident());
        if options.sharing > 0 {
            sharing::measure(Arc::clone(&self.model), self.pool, options, record);
        }
        Ok(())
    }

    fn decode(&mut self, options: &BenchOptions, depth: usize) -> Figure {
        let mut sequences = self.sequences(options, 1, depth + DECODE_STEPS);
        self.fill(&mut sequences, depth);
        let seconds = (0..DECODE_STEPS)
            .map(|step| self.step(&mut sequences, 1, depth + step))
            .collect();
        let floor = cost::pass(&self.model, options.cache, 1.0, 1.0, depth as f64)
            .floor_seconds(self.machine);
        Figure::rate(
            format!("decode at depth {depth}"),
            1.0 / median(seconds),
            "tok/s",
            1.0 / floor,
        )
    }

    fn batch(&mut self, options: &BenchOptions, count: usize) -> Figure {
        let mut sequences = self.sequences(options, count, DECODE_STEPS);
        let seconds = (0..DECODE_STEPS)
            .map(|step| self.step(&mut sequences, 1, step))
            .collect();
        let floor = cost::pass(
            &self.model,
            options.cache,
            count as f64,
            1.0,
            DECODE_STEPS as f64 / 2.0,
        );
        let (count_f, floor) = (count as f64, floor.floor_seconds(self.machine));
        Figure::rate(
            format!("decode, {count} sequences together"),
            count_f / median(seconds),
            "tok/s",
            count_f / floor,
        )
    }

    fn prefill(&mut self, options: &BenchOptions, rows: usize) -> Figure {
        let mut sequences = self.sequences(options, 1, rows);
        let mut once = || -> f64 {
            let starts = (0..rows).step_by(CHUNK_ROWS);
            starts
                .map(|start| self.step(&mut sequences, CHUNK_ROWS.min(rows - start), start))
                .sum()
        };
        let seconds = median((0..PREFILL_REPETITIONS).map(|_| once()).collect());
        let floor = cost::pass(&self.model, options.cache, 1.0, rows as f64, 0.0)
            .floor_seconds(self.machine);
        let rows_f = rows as f64;
        Figure::rate(
            format!("prefill of {rows} tokens"),
            rows_f / seconds,
            "tok/s",
            rows_f / floor,
        )
    }

    /// One MoE layer alone, on rows of random activations.
    fn moe_layer(&mut self, rows: usize) -> Result<Figure, BenchError> {
        let mut sequences = Sequences {
            cache: PagedLatents::new(&self.config().text, Default::default(), 1),
            blocks: Vec::new(),
        };
        let hidden = self.config().text.hidden_size;
        let mut values = Vec::with_capacity(rows * hidden);
        values
            .extend((0..rows * hidden).map(|_| self.next_random() as f32 / u32::MAX as f32 - 0.5));
        let (layer, moe) = first_moe(self.model.model())?;
        let batch = FastBatch {
            positions: &[],
            sequences: &[],
        };
        let once = |sequences: &mut Sequences| {
            let act = Act::new(Rows::from_values(values.clone(), hidden));
            let start = Instant::now();
            Fast::new(&self.model, &self.pool, &mut sequences.cache, batch).moe(layer, moe, &act);
            start.elapsed().as_secs_f64()
        };
        once(&mut sequences);
        let repetitions = if rows > 64 { 3 } else { 7 };
        let seconds = median((0..repetitions).map(|_| once(&mut sequences)).collect());
        let mut cost = Cost::default();
        cost.add_moe(moe, rows as f64, self.config().text.num_experts_per_tok);
        let shape = format!("{} × {}", hidden, self.config().text.moe_intermediate_size);
        let floor = cost.floor_seconds(self.machine);
        Ok(Figure::time(
            format!("MoE layer {shape}, {rows} tokens"),
            seconds * 1e3,
            "ms",
            floor * 1e3,
        ))
    }

    fn resident(&self) -> Figure {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<f64>()
                .ok()
        });
        Figure::plain(
            "peak resident memory",
            kib.unwrap_or(f64::NAN) / 1e6 * 1.024,
            "GB",
        )
    }

    fn config(&self) -> &k25_config::ModelConfig {
        &self.model.model().config
    }

    fn sequences(&self, options: &BenchOptions, count: usize, rows: usize) -> Sequences {
        let each = rows.div_ceil(PagedLatents::BLOCK_ROWS).max(1);
        let cache = PagedLatents::new(&self.config().text, options.cache, count * each);
        let blocks = (0..count)
            .map(|s| {
                (s * each..(s + 1) * each)
                    .map(|block| block as u32)
                    .collect()
            })
            .collect();
        Sequences { cache, blocks }
    }

    /// Makes up `depth` cached rows: what they say does not change what attention over them costs.
    fn fill(&mut self, sequences: &mut Sequences, depth: usize) {
        let (width, layers) = (
            self.config().text.latent_width(),
            self.config().text.num_hidden_layers,
        );
        let row: Vec<f32> = (0..width)
            .map(|_| self.next_random() as f32 / u32::MAX as f32 - 0.5)
            .collect();
        for layer in 0..layers {
            for position in 0..depth {
                let block = sequences.blocks[0][position / PagedLatents::BLOCK_ROWS];
                sequences
                    .cache
                    .write(layer, block, position % PagedLatents::BLOCK_ROWS, &row);
            }
        }
    }

    /// Runs `rows` random tokens of every sequence after `cached_rows`; seconds.
    fn step(&mut self, sequences: &mut Sequences, rows: usize, cached_rows: usize) -> f64 {
        let vocab = self.config().text.vocab_size as u64;
        let count = sequences.blocks.len();
        let input: Vec<InputRow<'_>> = (0..count * rows)
            .map(|_| InputRow::Token((u64::from(self.next_random()) % vocab) as u32))
            .collect();
        let positions: Vec<u32> = (0..count)
            .flat_map(|_| cached_rows as u32..(cached_rows + rows) as u32)
            .collect();
        let spans: Vec<SequenceSpan<'_>> = sequences
            .blocks
            .iter()
            .enumerate()
            .map(|(s, blocks)| SequenceSpan {
                rows: s * rows..(s + 1) * rows,
                cached_rows,
                blocks,
            })
            .collect();
        let wanted: Vec<usize> = spans.iter().map(|span| span.rows.end - 1).collect();
        let batch = FastBatch {
            positions: &positions,
            sequences: &spans,
        };
        let start = Instant::now();
        Fast::new(&self.model, &self.pool, &mut sequences.cache, batch).logits(&input, &wanted);
        start.elapsed().as_secs_f64()
    }

    /// The next of a fixed sequence of numbers (xorshift).
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

fn first_moe(model: &Model) -> Result<(usize, &MoeWeights), BenchError> {
    let layers = model.text.layers.iter().enumerate();
    let mut moes = layers.filter_map(|(index, layer)| match &layer.feed_forward {
        FeedForward::Moe(moe) => Some((index, moe)),
        FeedForward::Dense(_) => None,
    });
    moes.next().ok_or(BenchError::Unfit {
        what: "the model has no layer with experts",
        hint: "write one with `k25 synth layer DIR`",
    })
}
