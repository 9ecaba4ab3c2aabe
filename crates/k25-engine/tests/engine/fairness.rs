//! Who goes first, and that nobody is forgotten.

use k25_engine::{Priority, SchedulerConfig};

use super::*;

/// Steps until `events` has a token; gives up after `limit`.
fn steps_until_token(
    engine: &mut Engine<HashModel>,
    events: &Receiver<Event>,
    limit: usize,
) -> usize {
    (1..=limit)
        .find(|_| {
            engine.step();
            !tokens_of(events).is_empty()
        })
        .unwrap_or_else(|| panic!("no token in {limit} steps"))
}

#[test]
fn generation_goes_on_while_a_long_prompt_is_read() {
    let mut engine = engine(SchedulerConfig::new(200, 16_384));
    let generating = submit(&mut engine, request(&text(1, 10), 100));
    engine.step();
    let _long = submit(&mut engine, request(&text(2, 8_000), 1));
    for step in 1..=10 {
        engine.step();
        assert!(
            !tokens_of(&generating).is_empty(),
            "no token in step {step}"
        );
    }
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let mut engine = engine(SchedulerConfig::new(200, 16_384));
    let _long = submit(&mut engine, request(&text(2, 8_000), 1));
    engine.step();
    let short = submit(&mut engine, request(&text(3, 300), 1));
    // A quarter of 512 rows per step: 128 + 128 + 44.
    assert_eq!(steps_until_token(&mut engine, &short, 10), 3);
}

#[test]
fn a_step_is_full_while_prompts_are_left() {
    let mut engine = engine(SchedulerConfig::new(200, 16_384));
    let _long = submit(&mut engine, request(&text(2, 5_000), 1));
    let _other = submit(&mut engine, request(&text(3, 100), 1));
    for step in 1..=9 {
        engine.step();
        assert_eq!(engine.runner().computed_rows, step * 512);
    }
}

/// Background work holds every place; someone interactive takes one at once.
#[test]
fn an_interactive_request_takes_a_place_from_background_work() {
    let config = SchedulerConfig {
        running_sequences: 4,
        ..SchedulerConfig::new(200, 16_384)
    };
    let mut engine = engine(config);
    let background: Vec<_> = (0..8)
        .map(|who| {
            let prompt = text(who, 50);
            let request = Request {
                priority: Priority::Background,
                ..request(&prompt, 40)
            };
            (prompt, submit(&mut engine, request))
        })
        .collect();
    for _ in 0..10 {
        engine.step();
    }
    let interactive = Request {
        priority: Priority::Interactive,
        ..request(&text(99, 50), 1)
    };
    let events = submit(&mut engine, interactive);
    assert_eq!(steps_until_token(&mut engine, &events, 2), 1);
    run_to_the_end(&mut engine);
    for (prompt, events) in background {
        assert_eq!(tokens_of(&events), alone(&request(&prompt, 40), &prompt, 0));
    }
}

/// Interactive requests never stop coming and fill every place; background work still ends.
#[test]
fn background_work_does_not_starve() {
    let config = SchedulerConfig {
        running_sequences: 2,
        ..SchedulerConfig::new(200, 16_384)
    };
    let mut engine = engine(config);
    let request_of = |priority, salt| Request {
        priority,
        ..request(&text(salt, 200), 4)
    };
    let background = submit(&mut engine, request_of(Priority::Background, 0));
    let mut interactive = Vec::new();
    for step in 1.. {
        while engine.snapshot().waiting_sequences + engine.snapshot().running_sequences < 8 {
            let salt = interactive.len() as u64 + 1;
            interactive.push(submit(&mut engine, request_of(Priority::Interactive, salt)));
        }
        engine.step();
        if end_of(&background).1.is_some() {
            break;
        }
        assert!(step < 10_000, "the background request starves");
    }
    // It waited for its class's delay of 65,536 rows and not much longer.
    let computed = engine.runner().computed_rows;
    assert!((60_000..80_000).contains(&computed), "{computed} rows");
    assert!(interactive.len() > 100);
}
