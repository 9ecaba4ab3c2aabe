//! The engine as a whole, over a model whose every token depends on every row before it.

mod fairness;
mod hash_model;
mod room;
mod sharing;
mod simulator;
mod speculation;
mod thread;

use std::sync::mpsc::Receiver;

use hash_model::{HashModel, VOCAB};
use k25_engine::{
    Engine, Event, FinishReason, InputRow, Prompt, Request, SamplingParams, SchedulerConfig,
    event_channel,
};

/// Tokens that follow no pattern, different for every `salt`.
fn text(salt: u64, count: usize) -> Vec<u32> {
    let chance = |row| k25_engine::sampling::uniform(salt, row as u64);
    (0..count)
        .map(|row| (chance(row) * VOCAB as f64) as u32)
        .collect()
}

/// A request for up to `max_tokens` tokens after `tokens`.
fn request(tokens: &[u32], max_tokens: usize) -> Request {
    let params = SamplingParams {
        max_tokens,
        seed: 1,
        ..SamplingParams::thinking()
    };
    Request::new(Prompt::text(tokens.to_vec()).expect("a prompt"), params)
}

/// What `request` generates alone.
fn alone(request: &Request, tokens: &[u32], sample: usize) -> Vec<u32> {
    let inputs: Vec<InputRow> = tokens.iter().map(|&token| InputRow::Token(token)).collect();
    hash_model::generate(
        &inputs,
        &request.prompt,
        &request.params.for_sample(sample),
        None,
    )
}

fn engine(config: SchedulerConfig) -> Engine<HashModel> {
    Engine::new(config, HashModel::new(config.blocks, config.block_rows))
        .expect("a valid configuration")
}

fn submit(engine: &mut Engine<HashModel>, request: Request) -> Receiver<Event> {
    let (sink, events) = event_channel();
    engine.submit(request, sink).expect("an acceptable request");
    events
}

fn run_to_the_end(engine: &mut Engine<HashModel>) {
    while engine.step() {
        engine.scheduler().audit().expect("a sound scheduler");
    }
}

/// The tokens of sample 0 so far.
fn tokens_of(events: &Receiver<Event>) -> Vec<u32> {
    let token = |event| match event {
        Event::Token {
            sample: 0, token, ..
        } => Some(token),
        _ => None,
    };
    events.try_iter().filter_map(token).collect()
}

/// Why sample 0 ended, after its tokens.
fn end_of(events: &Receiver<Event>) -> (Vec<u32>, Option<FinishReason>) {
    let (mut tokens, mut end) = (Vec::new(), None);
    for event in events.try_iter() {
        match event {
            Event::Token {
                sample: 0, token, ..
            } => tokens.push(token),
            Event::Finished {
                sample: 0, reason, ..
            } => end = Some(reason),
            _ => {}
        }
    }
    (tokens, end)
}
