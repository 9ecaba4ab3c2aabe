//! Equal beginnings are computed once.

use k25_engine::{Event, SchedulerConfig, Sharing};

use super::*;

/// The swarm's load: a hundred requests with one system prompt that ends within a block, all at once.
#[test]
fn a_hundred_requests_prefill_their_common_prompt_once() {
    let (prefix, own) = (text(1, 1_000), 30);
    let prompts: Vec<_> = (0..100)
        .map(|who| [prefix.clone(), text(100 + who, own)].concat())
        .collect();
    let mut computed = Vec::new();
    for sharing in [
        Sharing::On {
            worth_waiting_rows: 16,
        },
        Sharing::Off,
    ] {
        let mut engine = engine(SchedulerConfig {
            sharing,
            ..SchedulerConfig::new(2_000, 4_096)
        });
        let events: Vec<_> = prompts
            .iter()
            .map(|prompt| submit(&mut engine, request(prompt, 1)))
            .collect();
        run_to_the_end(&mut engine);
        for (prompt, events) in prompts.iter().zip(&events) {
            assert_eq!(tokens_of(events), alone(&request(prompt, 1), prompt, 0));
        }
        computed.push(engine.runner().computed_rows);
    }
    // With seven tokens, some prompts go on alike after the prefix, too.
    assert!(
        (3_500..=1_000 + 100 * own).contains(&computed[0]),
        "{computed:?}"
    );
    assert_eq!(computed[1], 100 * (1_000 + own));
}

#[test]
fn samples_of_a_request_share_its_prompt() {
    let prompt = text(2, 150);
    let mut engine = engine(SchedulerConfig::new(100, 4_096));
    let request = Request {
        samples: 8,
        ..request(&prompt, 20)
    };
    let expected: Vec<_> = (0..8)
        .map(|sample| alone(&request, &prompt, sample))
        .collect();
    assert!(
        expected.iter().any(|tokens| *tokens != expected[0]),
        "samples differ"
    );

    let events = submit(&mut engine, request);
    run_to_the_end(&mut engine);
    let mut tokens = vec![Vec::new(); 8];
    for event in events.try_iter() {
        if let Event::Token { sample, token, .. } = event {
            tokens[sample as usize].push(token);
        }
    }
    assert_eq!(tokens, expected);
    // The prompt once; its last row again for each other sample's first logits; then 19 rows each,
    // for the last of 20 tokens is not computed on.
    assert_eq!(engine.runner().computed_rows, 150 + 7 + 8 * 19);
}

/// The next turn of a conversation: prompt, answer, and a new question.
#[test]
fn a_conversation_goes_on_where_it_ended() {
    let mut engine = engine(SchedulerConfig::new(100, 4_096));
    let first = text(3, 200);
    let events = submit(&mut engine, request(&first, 50));
    run_to_the_end(&mut engine);
    let answer = tokens_of(&events);
    let second = [first, answer, text(4, 10)].concat();

    let before = engine.runner().computed_rows;
    let events = submit(&mut engine, request(&second, 1));
    run_to_the_end(&mut engine);
    // Rows 0 to 248 are there; the answer's last token was never computed on.
    assert_eq!(engine.runner().computed_rows - before, second.len() - 249);
    let usage = events.try_iter().find_map(|event| match event {
        Event::Finished { usage, .. } => Some(usage),
        _ => None,
    });
    assert_eq!(usage.map(|usage| usage.cached_rows), Some(249));
}

#[test]
fn a_cancelled_prompt_is_resumed_from_where_it_was() {
    let mut engine = engine(SchedulerConfig {
        step_rows: 130,
        ..SchedulerConfig::new(100, 4_096)
    });
    let prompt = text(5, 400);
    let (sink, _events) = event_channel();
    let id = engine.submit(request(&prompt, 1), sink).expect("accepted");
    assert!(engine.step() && engine.step());
    engine.cancel(id);
    assert!(!engine.step(), "nothing is left to do");
    assert_eq!(engine.runner().computed_rows, 260);

    let events = submit(&mut engine, request(&prompt, 1));
    run_to_the_end(&mut engine);
    assert_eq!(engine.runner().computed_rows, 400);
    assert_eq!(tokens_of(&events), alone(&request(&prompt, 1), &prompt, 0));
}

#[test]
fn the_prefix_used_longest_ago_makes_room() {
    let mut engine = engine(SchedulerConfig::new(8, 4_096));
    let [a, b, c] = [6, 7, 8].map(|salt| text(salt, 192));
    let mut cached = |prompt: &[u32]| {
        let events = submit(&mut engine, request(prompt, 1));
        run_to_the_end(&mut engine);
        let usage = events.try_iter().find_map(|event| match event {
            Event::Finished { usage, .. } => Some(usage),
            _ => None,
        });
        usage.expect("an end").cached_rows
    };
    assert_eq!([cached(&a), cached(&b), cached(&a)], [0, 0, 191]);
    // Three more blocks than the two that are free: from b, which was used before a.
    assert_eq!([cached(&c), cached(&a)], [0, 191]);
    assert!(cached(&b) < 191);
}
