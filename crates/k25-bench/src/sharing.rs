//! Many requests with one prefix through the engine: with sharing, and without.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use k25_engine::{
    Engine, Event, FastRunner, Prompt, Request, SamplingParams, SchedulerConfig, Sharing,
    event_channel,
};
use k25_kernels::Pool;
use k25_model::fast::{FastModel, PagedLatents};

use crate::{BenchOptions, Figure};

const PREFIX_TOKENS: usize = 1024;
const OWN_TOKENS: usize = 32;
const GENERATED_TOKENS: usize = 16;

/// Requests that are served without sharing: each costs the same, so a few tell as much as all.
const UNSHARED_REQUESTS: usize = 4;

/// The requests with one prefix, then a few of them without sharing; generated tokens per second of wall time.
pub fn measure(
    model: Arc<FastModel>,
    pool: Pool,
    options: &BenchOptions,
    record: &mut dyn FnMut(Figure),
) {
    let threads = pool.threads();
    let mut pool = Some(pool);
    let shared = SchedulerConfig::new(1, 1).sharing;
    for (sharing, requests, words) in [
        (shared, options.sharing, "shared"),
        (
            Sharing::Off,
            options.sharing.min(UNSHARED_REQUESTS),
            "computed by each",
        ),
    ] {
        let pool = pool.take().unwrap_or_else(|| Pool::new(threads));
        let (seconds, computed_rows) = serve(Arc::clone(&model), pool, options, sharing, requests);
        let tokens = (requests * GENERATED_TOKENS) as f64;
        let name = format!("{requests} requests, prefix of {PREFIX_TOKENS} tokens {words}");
        let note = format!("{computed_rows} rows computed, {seconds:.1} s");
        record(Figure::plain(name, tokens / seconds, "tok/s").with_note(note));
    }
}

fn serve(
    model: Arc<FastModel>,
    pool: Pool,
    options: &BenchOptions,
    sharing: Sharing,
    requests: usize,
) -> (f64, u64) {
    let vocab = model.model().config.text.vocab_size as u32;
    let rows = PREFIX_TOKENS + OWN_TOKENS + GENERATED_TOKENS;
    let blocks = requests * rows.div_ceil(PagedLatents::BLOCK_ROWS) + 1;
    let runner = FastRunner::new(model, pool, options.cache, blocks);
    let config = SchedulerConfig {
        sharing,
        running_sequences: requests,
        ..SchedulerConfig::new(blocks as u32, rows)
    };
    let mut engine = Engine::new(config, runner).expect("the configuration is valid");
    let start = Instant::now();
    let answers: Vec<Receiver<Event>> = (0..requests as u32)
        .map(|request| {
            let prefix = (0..PREFIX_TOKENS as u32).map(|i| i * 7919 % vocab);
            let own = (0..OWN_TOKENS as u32).map(|i| (i * 104_729 + request * 31) % vocab);
            let prompt = Prompt::text(prefix.chain(own).collect()).expect("a prompt with tokens");
            let params = SamplingParams {
                max_tokens: GENERATED_TOKENS,
                ..SamplingParams::greedy()
            };
            let (sink, answers) = event_channel();
            engine
                .submit(Request::new(prompt, params), sink)
                .expect("there is room for every request");
            answers
        })
        .collect();
    while engine.step() {}
    let seconds = start.elapsed().as_secs_f64();
    drop(answers);
    (seconds, engine.snapshot().counters.computed_rows)
}
