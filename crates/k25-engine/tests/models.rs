//! The engine over both executions of a real model: what comes out is what the reference computed
//! for one sequence alone, whatever else is in the batch.
//!
//! Oracle: the fixtures' greedy tokens and logits. Tolerance on log-probabilities: 2e-3, for logits of
//! about 9 agree to 1e-3, and the normaliser moves by as much.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use k25_engine::{
    AdmissionError, ContentHash, Engine, Event, FastRunner, MediaItem, MediaSpan, ModelRunner,
    Prompt, PromptLookup, ReferenceRunner, Request, SamplingParams, SchedulerConfig, Sharing,
    event_channel,
};
use k25_kernels::Pool;
use k25_model::fast::{FastModel, FastOptions, LatentFormat, PagedLatents};
use k25_model::weights::Model;
use k25_model::{SafetensorsFile, Tensor};

const LOGPROB_TOLERANCE: f32 = 2e-3;
const TEXT_MODELS: [&str; 3] = ["t1", "t2", "t3g"];

fn fixtures(path: &str) -> String {
    format!("{}/../../fixtures/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn tensor(file: &str, name: &str) -> Tensor {
    let file = SafetensorsFile::open(fixtures(file)).expect("a fixture file");
    file.tensor(name)
        .unwrap_or_else(|| panic!("{name} is missing"))
}

fn ids(file: &str, name: &str) -> Vec<u32> {
    tensor(file, name)
        .as_i32()
        .iter()
        .map(|&id| id as u32)
        .collect()
}

fn open(model: &str) -> Model {
    Model::open(fixtures(model)).expect("a fixture model")
}

fn reference(model: &str, config: SchedulerConfig) -> Engine<ReferenceRunner> {
    let runner = ReferenceRunner::new(Arc::new(open(model)), &config);
    Engine::new(config, runner).expect("a valid configuration")
}

fn fast(model: &str, config: SchedulerConfig) -> Engine<FastRunner> {
    let config = SchedulerConfig {
        block_rows: PagedLatents::BLOCK_ROWS,
        ..config
    };
    let model = FastModel::new(open(model), FastOptions::default()).expect("options that fit");
    let blocks = config.blocks as usize;
    let runner = FastRunner::new(Arc::new(model), Pool::new(2), LatentFormat::F32, blocks);
    Engine::new(config, runner).expect("a valid configuration")
}

/// Steps so small that every prompt is read in pieces, beside others.
fn crowded() -> SchedulerConfig {
    SchedulerConfig {
        block_rows: 8,
        step_rows: 12,
        running_sequences: 6,
        sharing: Sharing::On {
            worth_waiting_rows: 2,
        },
        speculation: Some(PromptLookup {
            ngram: 1,
            max_drafts: 4,
        }),
        ..SchedulerConfig::new(60, 400)
    }
}

fn greedy(tokens: &[u32], max_tokens: usize) -> Request {
    let params = SamplingParams {
        max_tokens,
        ..SamplingParams::greedy()
    };
    Request::new(Prompt::text(tokens.to_vec()).expect("a prompt"), params)
}

fn submit<R: ModelRunner>(engine: &mut Engine<R>, request: Request) -> Receiver<Event> {
    let (sink, events) = event_channel();
    engine.submit(request, sink).expect("an acceptable request");
    events
}

fn tokens_of(events: &Receiver<Event>) -> Vec<u32> {
    let token = |event| match event {
        Event::Token { token, .. } => Some(token),
        _ => None,
    };
    events.try_iter().filter_map(token).collect()
}

/// The greedy continuation, several times over and among other requests that share parts of it.
fn assert_greedy_tokens_among_others<R: ModelRunner>(name: &str, mut engine: Engine<R>) {
    let file = format!("{name}/expected_text.safetensors");
    let (prompt, expected) = (ids(&file, "p9.input_ids"), ids(&file, "greedy.tokens"));
    let (others, count) = (ids(&file, "p130.input_ids"), expected.len());
    let first = submit(&mut engine, greedy(&prompt, count));
    let mut noise = greedy(&[&prompt[..], &others[..50]].concat(), 10);
    noise.params = SamplingParams {
        max_tokens: 10,
        seed: 3,
        ..SamplingParams::thinking()
    };
    noise.samples = 3;
    let _noise = submit(&mut engine, noise);
    for _ in 0..3 {
        engine.step();
    }
    let second = submit(&mut engine, greedy(&prompt, count));
    // The answer so far as a prompt: what is left of it follows.
    let half = count / 2;
    let half_answered = [&prompt[..], &expected[..half]].concat();
    let third = submit(&mut engine, greedy(&half_answered, count - half));
    while engine.step() {
        engine.scheduler().audit().expect("a sound scheduler");
    }
    assert_eq!(tokens_of(&first), expected, "{name}");
    assert_eq!(tokens_of(&second), expected, "{name}, from shared rows");
    assert_eq!(
        tokens_of(&third),
        expected[half..],
        "{name}, from the middle"
    );
    assert!(
        engine.snapshot().counters.adopted_rows > 0,
        "nothing was shared"
    );
}

#[test]
fn reference_gives_the_fixtures_greedy_tokens_in_a_crowd() {
    for name in TEXT_MODELS {
        assert_greedy_tokens_among_others(name, reference(name, crowded()));
    }
}

#[test]
fn fast_gives_the_fixtures_greedy_tokens_in_a_crowd() {
    for name in TEXT_MODELS {
        assert_greedy_tokens_among_others(name, fast(name, crowded()));
    }
}

/// The first token's log-probabilities of a prompt, against a logits row of the reference.
fn assert_logprobs<R: ModelRunner>(
    name: &str,
    engine: &mut Engine<R>,
    prompt: Prompt,
    logits: &[f32],
) {
    let params = SamplingParams {
        max_tokens: 1,
        logprobs: Some(20),
        ..SamplingParams::greedy()
    };
    let events = submit(engine, Request::new(prompt, params));
    while engine.step() {}
    let logprobs = events.try_iter().find_map(|event| match event {
        Event::Token { logprobs, .. } => logprobs,
        _ => None,
    });
    let logprobs = logprobs.expect("a token with log-probabilities");
    let normaliser = logits
        .iter()
        .map(|&logit| f64::from(logit).exp())
        .sum::<f64>()
        .ln() as f32;
    assert_eq!(logprobs.top.len(), 20);
    for (token, logprob) in logprobs.top {
        let error = (logprob - (logits[token as usize] - normaliser)).abs();
        assert!(
            error <= LOGPROB_TOLERANCE,
            "{name}, token {token}: off by {error}"
        );
    }
}

/// A prompt of several blocks and steps, twice: computed, and then from shared rows.
#[test]
fn logits_of_a_long_prompt_are_the_references() {
    for name in TEXT_MODELS {
        let file = format!("{name}/expected_text.safetensors");
        let logits = tensor(&file, "p130.logits");
        let last = logits
            .as_f32()
            .chunks_exact(logits.shape()[1])
            .next_back()
            .expect("four rows");
        let prompt = || Prompt::text(ids(&file, "p130.input_ids")).expect("a prompt");
        let (mut slow, mut quick) = (reference(name, crowded()), fast(name, crowded()));
        for _ in 0..2 {
            assert_logprobs(name, &mut slow, prompt(), last);
            assert_logprobs(name, &mut quick, prompt(), last);
        }
    }
}

/// The fixture's prompt with two pictures, its pads made places of media.
fn picture_prompt() -> Prompt {
    let tokens = ids("t1/expected_vision.safetensors", "mm.two_images.input_ids");
    let pictures = [("gray_45x61", [1, 6, 4]), ("rgba_50x33", [1, 4, 4])];
    let pad = *tokens
        .iter()
        .max_by_key(|&&id| tokens.iter().filter(|&&t| t == id).count())
        .expect("pads");
    let mut free = 0;
    let media = pictures.map(|(name, grid)| {
        let pixels = tensor(
            "images/processed.safetensors",
            &format!("{name}.pixel_values"),
        );
        let pixels = pixels.to_f32_vec().expect("floats");
        let start = free
            + tokens[free..]
                .iter()
                .position(|&id| id == pad)
                .expect("a place for it");
        let rows = grid[1] * grid[2] / 4;
        assert!(
            tokens[start..start + rows].iter().all(|&id| id == pad),
            "{name} fills its pads"
        );
        free = start + rows;
        let content = ContentHash([grid[1] as u8; 32]);
        MediaSpan {
            start,
            item: Arc::new(MediaItem {
                content,
                grid,
                pixels,
                rows,
            }),
        }
    });
    Prompt::new(tokens, media.into()).expect("a prompt")
}

#[test]
fn pictures_are_read_in_pieces_and_shared() {
    let logits = tensor(
        "t1/expected_vision.safetensors",
        "mm.two_images.logits_last8",
    );
    let last = logits
        .as_f32()
        .chunks_exact(logits.shape()[1])
        .next_back()
        .expect("eight rows");
    let (mut slow, mut quick) = (reference("t1", crowded()), fast("t1", crowded()));
    for _ in 0..2 {
        assert_logprobs("t1", &mut slow, picture_prompt(), last);
        assert_logprobs("t1", &mut quick, picture_prompt(), last);
    }
    let adopted = slow.snapshot().counters.adopted_rows as usize;
    assert_eq!(adopted, picture_prompt().len() - 1);
}

/// What the vision tower cannot read never reaches a batch.
#[test]
fn unreadable_pictures_are_refused_at_the_door() {
    let refusal = |engine: &mut Engine<ReferenceRunner>, grid, values, rows| {
        let content = ContentHash([1; 32]);
        let item = Arc::new(MediaItem {
            content,
            grid,
            pixels: vec![0.0; values],
            rows,
        });
        let media = vec![MediaSpan { start: 0, item }];
        let prompt = Prompt::new(vec![0; 8], media).expect("a prompt");
        let (sink, _) = event_channel();
        match engine.submit(Request::new(prompt, SamplingParams::greedy()), sink) {
            Err(AdmissionError::Media(reason)) => reason,
            other => panic!("{other:?}"),
        }
    };
    let config = SchedulerConfig::new(1_000, 100_000);
    let with_vision = &mut reference("t1", config);
    assert!(refusal(with_vision, [1, 3, 4], 12 * 588, 3).contains("windows"));
    assert!(refusal(with_vision, [1, 4, 4], 100, 4).contains("100"));
    assert!(refusal(with_vision, [1, 4, 4], 16 * 588, 3).contains("3 rows"));
    assert!(refusal(with_vision, [0, 4, 4], 0, 4).contains("hint:"));
    assert!(refusal(&mut reference("t3g", config), [1, 4, 4], 16 * 588, 4).contains("vision"));
}
