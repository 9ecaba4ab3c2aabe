//! Guessing changes how many steps a text takes, and nothing else.

use k25_engine::grammar::{Allowed, GrammarError};
use k25_engine::{Grammar, PromptLookup, SchedulerConfig, TokenMask};

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

/// A grammar that knows the text.
#[derive(Clone)]
struct Dictation {
    text: Vec<u32>,
    at: usize,
    guesses: bool,
}

impl Grammar for Dictation {
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<Allowed, GrammarError> {
        mask.allow(self.text[self.at]);
        Ok(Allowed::Masked)
    }

    fn accept(&mut self, _: u32) -> Result<(), GrammarError> {
        self.at += 1;
        Ok(())
    }

    fn forced(&mut self, most: usize) -> Vec<u32> {
        let rest = &self.text[self.at..];
        let count = if self.guesses {
            rest.len().min(most)
        } else {
            0
        };
        rest[..count].to_vec()
    }

    fn fork(&self) -> Box<dyn Grammar> {
        Box::new(self.clone())
    }
}

#[test]
fn what_a_grammar_forces_is_computed_together() {
    let dictated = text(5, 90);
    let mut steps = Vec::new();
    for guesses in [false, true] {
        let mut engine = engine(SchedulerConfig::new(100, 4_096));
        let mut request = request(&text(1, 10), dictated.len());
        request.samples = 2;
        request.grammar = Some(Box::new(Dictation {
            text: dictated.clone(),
            at: 0,
            guesses,
        }));
        let events = submit(&mut engine, request);
        run_to_the_end(&mut engine);
        assert_eq!(tokens_of(&events), dictated);
        steps.push(engine.snapshot().counters.steps);
    }
    // After the prompt's token, nine a step instead of one.
    assert_eq!(steps, [90, 11]);
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
