//! Guessing changes how many steps a text takes, and nothing else.

use k25_engine::{PromptLookup, SchedulerConfig};

use super::*;

/// A text that a greedy reader of this model repeats again and again.
fn repetitive(max_tokens: usize) -> (Vec<u32>, Request) {
    let prompt: Vec<u32> = text(1, 6).repeat(10);
    let mut request = request(&prompt, max_tokens);
    request.params.temperature = 0.3;
    (prompt, request)
}

#[test]
fn guesses_save_steps_and_change_no_token() {
    let mut steps = Vec::new();
    for speculation in [
        None,
        Some(PromptLookup {
            ngram: 2,
            max_drafts: 8,
        }),
    ] {
        let mut engine = engine(SchedulerConfig {
            speculation,
            ..SchedulerConfig::new(100, 4_096)
        });
        let (prompt, request) = repetitive(300);
        let expected = alone(&request, &prompt, 0);
        let events = submit(&mut engine, request);
        run_to_the_end(&mut engine);
        assert_eq!(tokens_of(&events), expected);
        steps.push(engine.snapshot().counters.steps);
    }
    assert_eq!(steps[0], 300);
    assert!(steps[1] < 270, "{steps:?}");
}

/// Guesses never cost anyone a block or a prompt a row.
#[test]
fn guesses_take_only_what_is_left() {
    let speculation = Some(PromptLookup {
        ngram: 1,
        max_drafts: 8,
    });
    let config = SchedulerConfig {
        block_rows: 8,
        speculation,
        ..SchedulerConfig::new(12, 96)
    };
    let mut engine = engine(config);
    let (prompt, request) = repetitive(36);
    let expected = alone(&request, &prompt, 0);
    let events = submit(&mut engine, request);
    run_to_the_end(&mut engine);
    assert_eq!(tokens_of(&events), expected);
    assert_eq!(engine.snapshot().counters.preemptions, 0);
}
