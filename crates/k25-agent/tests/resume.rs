//! A run survives the end of its process at any moment.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{World, begun, budget, good_model, parts, swarm, wait};
use k25_agent::event::{Event, EventKind};
use k25_agent::journal::{MemoryJournal, SqliteJournal};
use k25_agent::run::{Random, Run, RunStatus};
use k25_agent::swarm::Settings;
use k25_agent::table::to_json;
use k25_chat::ChatClient;
use k25_testkit::scripted::{Script, ScriptedClient};
use k25_testkit::teacher::teach;

fn table(run: &Run) -> String {
    let json = run.with_state(|state| to_json(state.contract.as_ref().unwrap(), &state.table));
    json.to_string()
}

/// What the journal says was answered, to be compared with what the model was asked.
fn replies(events: &[Event]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Replied { .. }))
        .count()
}

/// A process that ends leaves a prefix of the journal: every commit is one. So every prefix is tried,
/// which is more than random instants would hit.
#[tokio::test(start_paused = true)]
async fn every_prefix_of_a_journal_resumes_to_the_same_table() {
    let world = World::new(6, 21);
    let run = begun(&world, &Settings::default()).await;
    swarm(&run, &world, good_model(4), None).go().await.unwrap();
    let expected = table(&run);
    let events = run.journal().read().unwrap();
    let all = replies(&events);
    for cut in 2..=events.len() {
        let prefix = events[..cut].to_vec();
        let kept = replies(&prefix);
        let run = Run::open(parts(Arc::new(MemoryJournal::of(prefix)), budget())).unwrap();
        let model = good_model(4);
        swarm(
            &run,
            &world,
            Arc::clone(&model) as Arc<dyn ChatClient>,
            None,
        )
        .go()
        .await
        .unwrap();
        assert_eq!(table(&run), expected, "cut after event {cut}");
        assert_eq!(
            model.requests() as usize,
            all - kept,
            "no answer is paid twice: event {cut}"
        );
        let state_is_the_fold = run.with_state(|state| {
            let mut folded = k25_agent::run::RunState::default();
            run.journal()
                .read()
                .unwrap()
                .iter()
                .for_each(|event| folded.apply(event));
            folded.status == RunStatus::Ended
                && folded.spent == state.spent
                && folded.table == state.table
        });
        assert!(state_is_the_fold, "cut after event {cut}");
    }
}

const CHILD: &str = "K25_TEST_CHILD_FOLDER";
const PACKAGES: usize = 10;

/// Not a test of its own: the process that is killed. Without its folder it does nothing.
#[test]
fn child_process() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(work(Path::new(&folder), true)).unwrap();
}

/// Begins or resumes the run in a folder and works to its end.
async fn work(folder: &Path, is_slow: bool) -> Result<Arc<Run>, k25_agent::run::RunError> {
    let world = World::at(&folder.join("documents"), PACKAGES, 22);
    let journal = SqliteJournal::open(&folder.join("journal.db"))?;
    let run = Run::open(parts(Arc::new(journal), budget()))?;
    if run.with_state(|state| state.status == RunStatus::Empty) {
        common::begin(&run, &world, &Settings::default()).await;
    }
    let mut model = ScriptedClient::new(|request, _| Script::Reply(teach(request, 5)));
    if is_slow {
        model = model.slow(wait(), Duration::from_millis(4));
    }
    swarm(&run, &world, Arc::new(model), None).go().await?;
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    Ok(run)
}

/// Real processes and a real SIGKILL, at random instants, several times per run.
#[test]
fn kill_9_loses_no_completed_step() {
    let program = std::env::current_exe().unwrap();
    let mut random = Random::new(5);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let expected = {
        let dir = tempfile::tempdir().unwrap();
        table(&runtime.block_on(work(dir.path(), false)).unwrap())
    };
    let (mut kills, began) = (0, Instant::now());
    while kills < 200 && began.elapsed() < Duration::from_secs(40) {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = 0;
        for _ in 0..4 {
            let mut child = Command::new(&program)
                .args(["child_process", "--exact", "--test-threads=1"])
                .env(CHILD, dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(2_000 + random.next_u64() % 90_000));
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            let journal = dir.path().join("journal.db");
            let events = match journal.exists() {
                true => SqliteJournal::look(&journal).unwrap_or_default(),
                false => Vec::new(),
            };
            assert!(events.len() >= kept, "events are never lost");
            kept = events.len();
        }
        let run = runtime.block_on(work(dir.path(), false)).unwrap();
        assert_eq!(table(&run), expected);
        let events = run.journal().read().unwrap();
        let replies = replies(&events);
        // List, create, two groups, end; open, submit, done of each (some have two pages).
        let once = 5 + PACKAGES * 3;
        assert!(
            (once..=once + PACKAGES).contains(&replies),
            "{replies} answers, {once} expected"
        );
    }
    println!("{kills} kills in {:?}", began.elapsed());
    assert!(kills >= 20, "only {kills} kills in {:?}", began.elapsed());
}
