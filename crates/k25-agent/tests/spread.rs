//! One call that stands for many tasks.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{World, begin, begun, budget, swarm};
use k25_agent::budget::Budget;
use k25_agent::event::MAIN;
use k25_agent::journal::MemoryJournal;
use k25_agent::run::{Run, RunError, RunState};
use k25_agent::swarm::{Report, Settings};
use k25_chat::{ChatErrorKind, ChatRequest, Content, Role};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use serde_json::{Map, Value, json};

/// An orchestrator that gives everything out with one call; its sub-agents work as good models do.
fn spreading(request: &ChatRequest, prompt: &str) -> ScriptedReply {
    let is_main = format!("{:?}", request.conversation.tools).contains("assign_task");
    if !is_main {
        return teach(request, 100);
    }
    let messages = request.conversation.messages.iter();
    let said = messages.filter(|message| message.role == Role::Assistant);
    match said.count() {
        0 => ScriptedReply::call(
            "create_subagent",
            &json!({"name": "reader", "system_prompt": ""}),
        ),
        1 => ScriptedReply::call("assign_task", &json!({"agent": "reader", "prompt": prompt})),
        _ => ScriptedReply::text("The table is complete."),
    }
}

/// A run to its end, in which everything is given out with this prompt.
async fn play(run: &Arc<Run>, world: &World, prompt: &'static str) {
    let model = ScriptedClient::new(move |request, _| Script::Reply(spreading(request, prompt)));
    swarm(run, world, Arc::new(model), None).go().await.unwrap();
}

/// What the main agent's second call, the assignment, came back with.
fn result(state: &RunState) -> String {
    let turn = &state.tasks[MAIN].turns[1];
    let call = &turn.reply.calls[0].id;
    turn.result(call).unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_pattern_gives_a_task_for_each_document() {
    let world = World::new(30, 1);
    let run = begun(&world, &Settings::default()).await;
    let model =
        ScriptedClient::new(|request, _| Script::Reply(spreading(request, "Fill the row of {*/}")));
    swarm(&run, &world, Arc::new(model), None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    let report = run.with_state(Report::of);
    assert_eq!((report.rows, report.peak_width), (30, 30));
    // Create, assign with the longest sub-agent (two pages at most: open, submit, done), end.
    assert!(report.critical_steps <= 3 + 4, "{}", report.critical_steps);
    let told = run.with_state(result);
    assert!(told.starts_with("30 of 30 tasks done: 30 rows, "), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_rests_among_its_tasks_goes_on_with_those_that_are_left() {
    let world = World::new(20, 2);
    let run = begun(&world, &Settings::default()).await;
    let served = AtomicU32::new(0);
    let model =
        ScriptedClient::new(
            move |request, _| match served.fetch_add(1, Ordering::SeqCst) {
                25 => Script::Error(ChatErrorKind::QuotaExceeded),
                _ => Script::Reply(spreading(request, "Fill the row of {*/}")),
            },
        );
    let model = Arc::new(model);
    let error = swarm(&run, &world, Arc::clone(&model) as _, None)
        .go()
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::Paused(_)), "{error}");
    let again = Run::open(common::parts(run.journal(), budget())).unwrap();
    swarm(&again, &world, Arc::clone(&model) as _, None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&again), Vec::<String>::new());
    assert!(
        model.asked().iter().all(|&times| times <= 2),
        "only the refused one is asked again"
    );
    again.with_state(|state| {
        let of_call = state.tasks.values().filter(|task| task.call.is_some());
        assert_eq!(of_call.count(), 20);
    });
}

#[tokio::test(start_paused = true)]
async fn documents_without_a_task_are_named() {
    let world = World::new(12, 3);
    let few = Budget {
        tasks: Some(5),
        ..budget()
    };
    let run = Run::open(common::parts(Arc::new(MemoryJournal::default()), few)).unwrap();
    begin(&run, &world, &Settings::default()).await;
    let model =
        ScriptedClient::new(|request, _| Script::Reply(spreading(request, "Fill the row of {*/}")));
    swarm(&run, &world, Arc::new(model), None)
        .go()
        .await
        .unwrap();
    let told = run.with_state(result);
    assert!(told.starts_with("5 of 12 tasks done: 5 rows, "), "{told}");
    assert!(told.contains("budget used up: 5 tasks"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_pattern_that_matches_nothing_costs_a_call() {
    let world = World::new(3, 4);
    let run = begun(&world, &Settings::default()).await;
    play(&run, &world, "Fill the row of {*.pdf}").await;
    let told = run.with_state(result);
    assert_eq!(told, "error: no document matches {*.pdf}");
}

/// A sub-agent that opens what its task names and hands in every row that it is shown.
fn copying(request: &ChatRequest) -> ScriptedReply {
    let messages = &request.conversation.messages;
    let text = |index: usize| match messages.get(index).and_then(|said| said.content.as_ref()) {
        Some(Content::Text(text)) => text.as_str(),
        _ => "",
    };
    let path = text(1).rsplit(' ').next().unwrap_or_default();
    match messages.len() {
        2 => ScriptedReply::call("open", &json!({"path": path})),
        4 => {
            let rows = text(3).lines().skip(1).map(|line| {
                let (number, row) = line.split_once(": ").unwrap();
                let line: u64 = number.parse().unwrap();
                let row: Map<String, Value> = serde_json::from_str(row).unwrap();
                let cells = row.into_iter().map(|(name, value)| match value.is_null() {
                    true => (name, json!({"value": null})),
                    false => (name, json!({"value": value, "line": line})),
                });
                Value::Object(cells.collect())
            });
            let rows: Vec<Value> = rows.collect();
            ScriptedReply::call("submit_rows", &json!({"source": path, "rows": rows}))
        }
        _ => ScriptedReply::text("done"),
    }
}

/// 60 rows in one document, the last of which has nothing but its name.
async fn a_long_table(rows_per_task: Option<usize>) -> (usize, RunState) {
    let dir = tempfile::tempdir().unwrap();
    let rows = (1..60).map(|row| format!("p{row},1.{row},MIT,2021\n"));
    let text = format!(
        "name,version,license,edition\n{}Notes,,,\n",
        rows.collect::<String>()
    );
    std::fs::write(dir.path().join("all.csv"), text).unwrap();
    let mut world = World::new(0, 5);
    world.root = dir.path().to_owned();
    let settings = Settings {
        rows_per_task,
        ..Settings::default()
    };
    let run = begun(&world, &settings).await;
    let model = ScriptedClient::new(|request, _| {
        let is_main = format!("{:?}", request.conversation.tools).contains("assign_task");
        Script::Reply(match is_main {
            true => spreading(request, "Fill the rows of all.csv"),
            false => copying(request),
        })
    });
    let swarm = swarm(&run, &world, Arc::new(model), None);
    swarm.go().await.unwrap();
    let tasks = run.with_state(|state| {
        let of_call = state.tasks.values().filter(|task| task.call.is_some());
        of_call.count()
    });
    (tasks, run.with_state(Clone::clone))
}

#[tokio::test(start_paused = true)]
async fn the_rows_of_a_long_table_are_given_out_in_parts() {
    for (rows_per_task, parts) in [(None, 3), (Some(1), 60)] {
        let (tasks, state) = a_long_table(rows_per_task).await;
        assert_eq!(tasks, parts);
        let told = result(&state);
        let rows = format!("{parts} of {parts} tasks done: 60 rows, ");
        assert!(told.starts_with(&rows), "{told}");
        let report = Report::of(&state);
        assert_eq!(report.cells.get("missing").copied().unwrap_or(0), 0);
        assert_eq!(report.bare_rows, ["notes"]);
        assert_eq!(
            state.left_note(),
            None,
            "the document was opened by its rows"
        );
        let version = state.table.get("p31", "version");
        let evidence = version.cell.unwrap().evidence.as_ref().unwrap();
        assert_eq!((evidence.source.as_str(), evidence.line), ("all.csv", 32));
        assert_eq!(evidence.quote, "p31,1.31,MIT,2021");
    }
}
