//! Few blocks, few rows, and the requests that do not fit.

use std::sync::Arc;

use k25_engine::{
    AdmissionError, ContentHash, Event, FinishReason, MediaItem, MediaSpan, SamplingParams,
    SchedulerConfig,
};

use super::*;

fn small(blocks: u32, block_rows: usize) -> SchedulerConfig {
    SchedulerConfig {
        block_rows,
        ..SchedulerConfig::new(blocks, 4_096)
    }
}

#[test]
fn a_request_may_fill_the_cache_to_the_last_row() {
    let mut engine = engine(small(4, 8));
    let prompt = text(1, 20);
    let events = submit(&mut engine, request(&prompt, 13));
    let (sink, _) = event_channel();
    let refused = engine.submit(request(&prompt, 14), sink);
    assert!(matches!(
        refused,
        Err(AdmissionError::BeyondCache { cache_rows: 32, .. })
    ));
    run_to_the_end(&mut engine);
    assert_eq!(
        end_of(&events),
        (
            alone(&request(&prompt, 13), &prompt, 0),
            Some(FinishReason::Length)
        )
    );
}

/// The only block holds rows that could be copied, but there is no other block to copy them to.
#[test]
fn a_beginning_without_room_for_a_copy_is_computed() {
    let mut engine = engine(small(1, 8));
    for prompt in [vec![1, 2, 3, 4, 5], vec![1, 2, 3, 6], vec![1, 2, 3, 6, 6]] {
        let events = submit(&mut engine, request(&prompt, 2));
        run_to_the_end(&mut engine);
        assert_eq!(tokens_of(&events), alone(&request(&prompt, 2), &prompt, 0));
    }
}

/// Ten sequences that need forty blocks together have eight: the first in order is never set back.
#[test]
fn sequences_that_do_not_fit_together_take_turns() {
    let mut engine = engine(small(8, 8));
    let prompts: Vec<_> = (0..10).map(|who| text(who, 12)).collect();
    let events: Vec<_> = prompts
        .iter()
        .map(|p| submit(&mut engine, request(p, 20)))
        .collect();
    let mut ended = Vec::new();
    while engine.step() {
        engine.scheduler().audit().expect("a sound scheduler");
        for (who, events) in events.iter().enumerate() {
            let (tokens, end) = end_of(events);
            ended.resize(10, Vec::new());
            ended[who].extend(tokens);
            assert!(matches!(end, None | Some(FinishReason::Length)));
        }
    }
    for (prompt, tokens) in prompts.iter().zip(&ended) {
        assert_eq!(*tokens, alone(&request(prompt, 20), prompt, 0));
    }
    let counters = engine.snapshot().counters;
    assert!(counters.preemptions > 0);
    // Setting back costs little, for it happens to the newest and its rows stay until they must go.
    let needed = 10 * (12 + 19);
    assert!(engine.runner().computed_rows < 2 * needed, "{counters:?}");
}

#[test]
fn refusals_tell_the_reason() {
    let config = SchedulerConfig {
        waiting_sequences: 2,
        context_rows: 100,
        ..small(10, 8)
    };
    let mut engine = engine(config);
    let mut refusal = |request| {
        let (sink, events) = event_channel();
        let error = engine.submit(request, sink).expect_err("refused");
        assert!(events.try_iter().next().is_none());
        assert!(error.to_string().contains("hint:"), "{error}");
        error
    };
    let prompt = text(1, 60);
    assert!(matches!(
        refusal(request(&prompt, 41)),
        AdmissionError::BeyondContext { .. }
    ));
    assert!(matches!(
        refusal(request(&prompt, 22)),
        AdmissionError::BeyondCache { .. }
    ));
    assert!(matches!(
        refusal(request(&[9], 1)),
        AdmissionError::Prompt(_)
    ));
    let samples = |samples| Request {
        samples,
        ..request(&prompt, 1)
    };
    assert!(matches!(
        refusal(samples(0)),
        AdmissionError::Samples { samples: 0 }
    ));
    assert!(matches!(
        refusal(samples(129)),
        AdmissionError::Samples { .. }
    ));
    assert!(matches!(refusal(samples(3)), AdmissionError::Busy { .. }));
    let mut hot = request(&prompt, 1);
    hot.params = SamplingParams {
        temperature: -1.0,
        ..hot.params
    };
    assert!(matches!(refusal(hot), AdmissionError::Sampling(_)));
    let (content, grid) = (ContentHash([0; 32]), [1, 6, 4]);
    let item = Arc::new(MediaItem {
        content,
        grid,
        pixels: Vec::new(),
        rows: 6,
    });
    let picture = Prompt::new(vec![0; 6], vec![MediaSpan { start: 0, item }]).expect("a prompt");
    let picture = Request::new(picture, SamplingParams::greedy());
    assert!(matches!(refusal(picture), AdmissionError::Media(_)));
}

#[test]
fn stop_tokens_end_a_sequence_and_are_delivered() {
    let mut engine = engine(small(10, 8));
    let prompt = text(1, 10);
    let free = alone(&request(&prompt, 20), &prompt, 0);
    let mut stopping = request(&prompt, 20);
    stopping.params.stop_ids = vec![free[6]];
    let events = submit(&mut engine, stopping);
    run_to_the_end(&mut engine);
    let first = free
        .iter()
        .position(|&token| token == free[6])
        .expect("it is there");
    assert_eq!(
        end_of(&events),
        (free[..=first].to_vec(), Some(FinishReason::Stop(free[6])))
    );
}

/// A failing step ends its own sequences and lets the others start again from nothing.
#[test]
fn a_failed_step_spares_who_was_not_in_it() {
    let config = SchedulerConfig {
        running_sequences: 1,
        ..small(10, 8)
    };
    let mut model = HashModel::new(config.blocks, config.block_rows);
    model.failing_runs = [3].into();
    let mut engine = Engine::new(config, model).expect("a valid configuration");
    let prompt = text(1, 10);
    let first = submit(&mut engine, request(&prompt, 20));
    let second = submit(&mut engine, request(&prompt, 20));
    run_to_the_end(&mut engine);
    let expected = alone(&request(&prompt, 20), &prompt, 0);
    let (tokens, end) = end_of(&first);
    assert_eq!(tokens, expected[..3]);
    assert_eq!(
        end,
        Some(FinishReason::Failed("a run that was to fail".to_owned()))
    );
    assert_eq!(end_of(&second), (expected, Some(FinishReason::Length)));
}

/// Nothing is computed for a request whose receiver is gone.
#[test]
fn nobody_listening_is_a_cancellation() {
    let mut engine = engine(small(10, 8));
    let events = submit(
        &mut engine,
        Request {
            samples: 2,
            ..request(&text(1, 10), 50)
        },
    );
    assert!(engine.step());
    drop(events);
    run_to_the_end(&mut engine);
    assert!(engine.snapshot().counters.steps <= 3);
    assert_eq!(engine.snapshot().available_blocks, 10);
}

#[test]
fn logprobs_come_with_the_tokens_that_asked() {
    let mut engine = engine(small(10, 8));
    let mut asking = request(&text(1, 10), 3);
    asking.params.logprobs = Some(2);
    let events = submit(&mut engine, asking);
    run_to_the_end(&mut engine);
    let logprobs: Vec<_> = events
        .try_iter()
        .filter_map(|event| match event {
            Event::Token { logprobs, .. } => logprobs,
            _ => None,
        })
        .collect();
    assert_eq!(logprobs.len(), 3);
    assert!(
        logprobs
            .iter()
            .all(|logprobs| logprobs.top.len() == 2 && logprobs.chosen <= 0.0)
    );
}
