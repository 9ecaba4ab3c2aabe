//! The engine on its own thread.

use std::time::Duration;

use k25_engine::{
    AdmissionError, Batch, Event, FinishReason, MediaItem, ModelRunner, Request, SamplingParams,
    SchedulerConfig, spawn,
};

use super::*;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn requests_are_served_on_the_thread() {
    let (handle, thread) = spawn(engine(SchedulerConfig::new(100, 4_096))).expect("a thread");
    let prompt = text(1, 100);
    let asked: Vec<_> = (0..5)
        .map(|_| {
            let (sink, events) = event_channel();
            handle.submit(request(&prompt, 30), sink).expect("running");
            events
        })
        .collect();
    let (sink, refused) = event_channel();
    handle
        .submit(request(&prompt, 5_000), sink)
        .expect("running");
    drop(handle);
    thread
        .join()
        .expect("it ends when all are served and nobody can ask");

    for events in asked {
        let (tokens, end) = end_of(&events);
        assert_eq!(tokens, alone(&request(&prompt, 30), &prompt, 0));
        assert_eq!(end, Some(FinishReason::Length));
    }
    let event = refused.recv().expect("an answer");
    assert!(
        matches!(event, Event::Rejected(AdmissionError::BeyondContext { .. })),
        "{event:?}"
    );
}

#[test]
fn a_cancelled_request_ends_between_steps() {
    let (handle, thread) = spawn(engine(SchedulerConfig::new(1_000, 100_000))).expect("a thread");
    let (sink, events) = event_channel();
    let id = handle
        .submit(request(&text(1, 10), 60_000), sink)
        .expect("running");
    assert!(matches!(events.recv_timeout(SOON), Ok(Event::Token { .. })));
    handle.cancel(id).expect("running");
    let end = events.iter().find_map(|event| match event {
        Event::Finished { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(end, Some(FinishReason::Cancelled));
    let snapshot = handle.call(|engine| engine.snapshot()).expect("running");
    assert_eq!(snapshot.running_sequences, 0);
    assert!(handle.snapshot().counters.steps > 0);
    drop(handle);
    thread.join().expect("no panic");
}

/// A runner that breaks its contract takes the thread down; everyone who asks learns of it.
#[test]
fn a_dead_engine_says_so() {
    struct Panicking;
    impl ModelRunner for Panicking {
        type Error = &'static str;
        fn vocab_size(&self) -> usize {
            VOCAB
        }
        fn check_media(&self, _: &MediaItem) -> Result<(), &'static str> {
            Ok(())
        }
        fn run(&mut self, _: &Batch, _: &mut Vec<f32>) -> Result<(), &'static str> {
            panic!("a test's panic, on purpose")
        }
    }
    let config = SchedulerConfig::new(10, 100);
    let engine = Engine::new(config, Panicking).expect("a valid configuration");
    let (handle, thread) = spawn(engine).expect("a thread");
    let (sink, events) = event_channel();
    let prompt = Prompt::text(vec![1]).expect("a prompt");
    handle
        .submit(
            Request::new(
                prompt,
                SamplingParams {
                    max_tokens: 1,
                    ..SamplingParams::greedy()
                },
            ),
            sink,
        )
        .expect("still running");
    assert!(events.recv_timeout(SOON).is_err(), "the stream breaks off");
    assert!(thread.join().is_err());
    assert!(handle.call(|_| ()).is_err());
}
