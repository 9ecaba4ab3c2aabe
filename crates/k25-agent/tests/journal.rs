//! What every journal promises, asked of each of them.
#![allow(clippy::unwrap_used)]

use k25_agent::event::EventKind;
use k25_agent::journal::{Journal, JournalError, MemoryJournal, NewEvent, SqliteJournal};

fn event(task: &str, text: &str) -> NewEvent {
    NewEvent {
        task: task.to_owned(),
        at_ms: 7,
        kind: EventKind::Nudged {
            text: text.to_owned(),
        },
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// Numbers count from 1 without gaps, batches stay together, reading gives what was appended.
fn conforms(journal: std::sync::Arc<dyn Journal>) {
    block_on(async {
        assert_eq!(journal.read().unwrap(), []);
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..20 {
            let journal = std::sync::Arc::clone(&journal);
            writers.spawn(async move {
                for batch in 0..5 {
                    let task = format!("{writer}");
                    let pair = vec![
                        event(&task, &format!("{batch}a")),
                        event(&task, &format!("{batch}b")),
                    ];
                    let kept = journal.append(pair).await.unwrap();
                    assert_eq!(kept[0].seq + 1, kept[1].seq);
                }
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer.unwrap();
        }
    });
    let events = journal.read().unwrap();
    assert_eq!(events.len(), 200);
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event.seq, number);
    }
    for pair in events.chunks(2) {
        assert_eq!(pair[0].task, pair[1].task, "a batch is not torn apart");
    }
    for writer in 0..20 {
        let mine = events
            .iter()
            .filter(|event| event.task == writer.to_string());
        let texts: Vec<_> = mine.map(|event| event.kind.clone()).collect();
        let expected = (0..5).flat_map(|batch| ["a", "b"].map(|half| format!("{batch}{half}")));
        let expected: Vec<_> = expected.map(|text| EventKind::Nudged { text }).collect();
        assert_eq!(texts, expected, "each writer's order is kept");
    }
}

#[test]
fn memory_conforms() {
    conforms(std::sync::Arc::new(MemoryJournal::default()));
}

#[test]
fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conforms(std::sync::Arc::new(
        SqliteJournal::open(&dir.path().join("journal.db")).unwrap(),
    ));
}

#[test]
fn a_journal_goes_on_where_it_ended_and_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    block_on(journal.append(vec![event("a", "1")])).unwrap();
    assert!(matches!(
        SqliteJournal::open(&path),
        Err(JournalError::Busy { .. })
    ));
    assert_eq!(
        SqliteJournal::look(&path).unwrap().len(),
        1,
        "looking is allowed"
    );
    drop(journal);
    let journal = SqliteJournal::open(&path).unwrap();
    let kept = block_on(journal.append(vec![event("a", "2")])).unwrap();
    assert_eq!(kept[0].seq, 2);
}

#[test]
fn a_change_by_hand_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    block_on(journal.append((0..5).map(|i| event("a", &i.to_string())).collect())).unwrap();
    drop(journal);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let change = "UPDATE event SET body = replace(body, '\"2\"', '\"9\"') WHERE seq = 3";
    assert_eq!(connection.execute(change, []).unwrap(), 1);
    drop(connection);
    for error in [
        SqliteJournal::look(&path).unwrap_err(),
        SqliteJournal::open(&path).unwrap_err(),
    ] {
        assert!(
            matches!(error, JournalError::Broken { seq: 3, .. }),
            "{error}"
        );
    }
}
