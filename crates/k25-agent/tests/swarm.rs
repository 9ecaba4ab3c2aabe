//! Whole runs with a scripted model.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{World, begun, budget, choice, flaky, good_model, swarm, swarm_of, wait};
use k25_agent::agent::ContextPolicy;
use k25_agent::budget::Budget;
use k25_agent::contract::parse_columns;
use k25_agent::event::{MAIN, TaskEnd};
use k25_agent::run::{Run, RunError, RunStatus, Stop};
use k25_agent::swarm::{Edit, Mode, Report, Settings, Swarm, timeline_svg};
use k25_agent::table::{CellStatus, to_csv};
use k25_chat::ChatErrorKind;
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_wide_question_becomes_a_true_table() {
    let world = World::new(30, 1);
    let run = begun(&world, &Settings::default()).await;
    swarm(&run, &world, good_model(100), None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    let report = run.with_state(Report::of);
    assert_eq!((report.status, report.rows), ("ended", 30));
    // List, create, assign with the longest sub-agent (two pages at most: open, submit, done), end.
    assert!(report.critical_steps <= 4 + 4, "{}", report.critical_steps);
    assert!(report.total_steps >= 94);
    assert_eq!(report.peak_width, 30);
    let svg = run.with_state(timeline_svg);
    assert!(svg.starts_with("<svg") && svg.contains("critical steps"));
    let csv = run.with_state(|state| to_csv(state.contract.as_ref().unwrap(), &state.table));
    assert_eq!(csv.lines().count(), 31);
}

#[tokio::test(start_paused = true)]
async fn the_model_proposes_columns_where_nobody_names_them() {
    let world = World::new(5, 2);
    let run = Run::open(common::parts(Arc::default_memory(), budget())).unwrap();
    let documents = world.documents();
    Swarm::begin(
        &run,
        common::QUESTION,
        None,
        &Settings::default(),
        &documents,
    )
    .await
    .unwrap();
    swarm(&run, &world, good_model(10), None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_model_says_instead_of_columns_is_shown() {
    let world = World::new(1, 2);
    let run = Run::open(common::parts(Arc::default_memory(), budget())).unwrap();
    let documents = world.documents();
    let question = "Who won?";
    Swarm::begin(&run, question, None, &Settings::default(), &documents)
        .await
        .unwrap();
    let model =
        ScriptedClient::new(|_, _| Script::Reply(ScriptedReply::text("I cannot say.\u{7}")));
    let error = swarm(&run, &world, Arc::new(model), None).go().await;
    let told = error.unwrap_err().to_string();
    let expected = "the model proposed no columns that can be used; it says: I cannot say.";
    assert!(told.starts_with(expected), "{told}");
    assert!(!told.contains('\u{7}'));
}

trait DefaultMemory {
    fn default_memory() -> Self;
}

impl DefaultMemory for Arc<dyn k25_agent::journal::Journal> {
    fn default_memory() -> Self {
        Arc::new(k25_agent::journal::MemoryJournal::default())
    }
}

/// 300 packages, three calls each and more for failures: over a thousand calls.
async fn with_failing_tools(rate: f64) {
    let world = World::new(300, 3);
    let run = begun(&world, &Settings::default()).await;
    // Some calls of the model are malformed as well.
    let random = std::sync::Mutex::new(k25_agent::run::Random::new(7));
    let model = ScriptedClient::new(move |request, _| {
        let mut reply = teach(request, 100);
        let mut random = random.lock().unwrap();
        for (_, arguments) in &mut reply.calls {
            if random.unit() < rate / 4.0 {
                arguments.truncate(arguments.len() / 2);
            }
        }
        Script::Reply(reply)
    });
    let wrap = flaky(rate, Duration::ZERO);
    swarm(&run, &world, Arc::new(model), Some(wrap))
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new(), "{rate}");
    let report = run.with_state(Report::of);
    assert!(report.spent.tool_calls > 900, "{}", report.spent.tool_calls);
    assert!(report.spent.failed_calls > 0);
}

#[tokio::test(start_paused = true)]
async fn every_cell_is_right_with_12_percent_of_calls_failing() {
    with_failing_tools(0.12).await;
}

#[tokio::test(start_paused = true)]
async fn every_cell_is_right_with_30_percent_of_calls_failing() {
    with_failing_tools(0.30).await;
}

#[tokio::test]
async fn a_hundred_sub_agents_start_within_a_second() {
    let world = World::new(100, 4);
    let dir = tempfile::tempdir().unwrap();
    let journal = k25_agent::journal::SqliteJournal::open(&dir.path().join("journal.db")).unwrap();
    let run = Run::open(common::parts(Arc::new(journal), budget())).unwrap();
    common::begin(&run, &world, &Settings::default()).await;
    let times: Arc<std::sync::Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&times);
    let model = ScriptedClient::new(move |request, _| {
        if request.conversation.messages.len() == 2 {
            seen.lock().unwrap().push(Instant::now());
        }
        Script::Reply(teach(request, 100))
    });
    let began = Instant::now();
    swarm(&run, &world, Arc::new(model), None)
        .go()
        .await
        .unwrap();
    let took = began.elapsed();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    let times = times.lock().unwrap();
    // The first request is the main agent's.
    let spread = times[times.len() - 1] - times[1];
    println!("100 sub-agents: first requests within {spread:?}, whole run {took:?}");
    assert_eq!(times.len(), 101);
    assert!(spread < Duration::from_secs(1), "{spread:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quota_error_rests_the_run_and_a_resume_ends_it() {
    let world = World::new(20, 5);
    let run = begun(&world, &Settings::default()).await;
    let served = std::sync::atomic::AtomicU32::new(0);
    let model = ScriptedClient::new(move |request, _| {
        match served.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            25 => Script::Error(ChatErrorKind::QuotaExceeded),
            _ => Script::Reply(teach(request, 100)),
        }
    });
    let model = Arc::new(model);
    let error = swarm(&run, &world, Arc::clone(&model) as _, None)
        .go()
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::Paused(_)), "{error}");
    let (status, rows, steps) = run.with_state(|state| {
        (
            state.status.clone(),
            state.table.row_count(),
            state.spent.steps,
        )
    });
    assert!(matches!(status, RunStatus::Paused(_)));
    // The same journal, as another process would find it.
    let again = reopened(&run);
    swarm(&again, &world, Arc::clone(&model) as _, None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&again), Vec::<String>::new());
    assert!(rows < 20 && steps > 0);
    assert!(
        model.asked().iter().all(|&times| times <= 2),
        "only the refused one is asked again"
    );
}

/// A second run object over the first one's journal.
fn reopened(run: &Arc<Run>) -> Arc<Run> {
    Run::open(common::parts(run.journal(), budget())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_cancel_closes_every_open_call() {
    let world = World::new(20, 6);
    let run = begun(&world, &Settings::default()).await;
    let model = ScriptedClient::new(|request, _| Script::Reply(teach(request, 100)));
    let model = Arc::new(model.slow(wait(), Duration::from_secs(1)));
    let swarm = swarm(&run, &world, model, None);
    let stopping = Arc::clone(&run);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        stopping.ask_to_stop(Stop::Cancel);
    });
    assert_eq!(swarm.go().await, Err(RunError::Cancelled));
    run.with_state(|state| {
        assert_eq!(state.status, RunStatus::Ended);
        for (id, task) in &state.tasks {
            assert!(
                task.turns.iter().all(k25_agent::run::Turn::is_closed),
                "{id} has open calls"
            );
            assert!(task.end.is_some(), "{id} has not ended");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn crowded_and_broken_endpoints_are_borne() {
    let world = World::new(40, 7);
    let run = begun(&world, &Settings::default()).await;
    let random = std::sync::Mutex::new(k25_agent::run::Random::new(9));
    let model = ScriptedClient::new(move |request, _| {
        let roll = random.lock().unwrap().unit();
        let reply = teach(request, 100);
        match roll {
            r if r < 0.15 => Script::Error(ChatErrorKind::RateLimited),
            r if r < 0.20 => Script::Error(ChatErrorKind::Server),
            r if r < 0.23 => Script::Stall,
            r if r < 0.26 => Script::Broken(reply),
            r if r < 0.30 => Script::Reply(ScriptedReply::text("round and round ".repeat(99))),
            r if r < 0.33 => Script::Reply(ScriptedReply::default()),
            r if r < 0.36 => {
                let query = json!({"query": "round and round ".repeat(200)});
                Script::Reply(ScriptedReply::call("search", &query))
            }
            _ => Script::Reply(reply),
        }
    });
    swarm(&run, &world, Arc::new(model), None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    run.with_state(|state| {
        let turns = state.tasks.values().flat_map(|task| &task.turns);
        let mut calls = turns.flat_map(|turn| &turn.reply.calls);
        assert!(calls.all(|call| !call.arguments.contains("round and round")));
    });
}

#[tokio::test(start_paused = true)]
async fn a_straggler_is_overtaken_by_a_second_attempt() {
    let world = World::new(20, 8);
    let run = begun(
        &world,
        &Settings {
            stall_seconds: 100_000,
            ..Settings::default()
        },
    )
    .await;
    let slow = world.truth.keys().next().unwrap().clone();
    let model = ScriptedClient::new(move |request, asked| {
        let user = format!("{:?}", request.conversation.messages[1]);
        let is_slow =
            user.contains(&format!(" {slow}-")) && request.conversation.messages.len() == 2;
        if is_slow && asked == 0 {
            Script::Stall
        } else {
            Script::Reply(teach(request, 100))
        }
    });
    swarm(&run, &world, Arc::new(model), None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    run.with_state(|state| {
        let ends: Vec<_> = state.tasks.values().filter_map(|task| task.end).collect();
        assert_eq!(
            ends.iter()
                .filter(|end| **end == TaskEnd::Cancelled)
                .count(),
            1
        );
        assert_eq!(state.tasks.keys().filter(|id| id.ends_with('b')).count(), 1);
    });
}

#[tokio::test(start_paused = true)]
async fn loops_end_and_what_was_found_stays() {
    let world = World::new(3, 9);
    let run = begun(&world, &Settings::default()).await;
    let model = ScriptedClient::new(|request, _| {
        let is_main = format!("{:?}", request.conversation.tools).contains("assign_task");
        match is_main {
            true => Script::Reply(teach(request, 100)),
            false => Script::Reply(ScriptedReply::call("search", &json!({"query": "license"}))),
        }
    });
    swarm(&run, &world, Arc::new(model), None)
        .go()
        .await
        .unwrap();
    run.with_state(|state| {
        for id in &state.order {
            let task = &state.tasks[id];
            assert_eq!(task.end, Some(TaskEnd::Partial), "{id}");
            assert!(task.steps() <= 12, "{}", task.steps());
        }
        assert_eq!(state.status, RunStatus::Ended);
    });
}

#[tokio::test(start_paused = true)]
async fn budgets_end_a_run_with_what_there_is() {
    let world = World::new(30, 10);
    let cases = [
        Budget {
            tool_calls: Some(40),
            ..budget()
        },
        Budget {
            tokens: Some(15_000),
            ..budget()
        },
        Budget {
            money: Some(0.01),
            ..budget()
        },
        Budget {
            critical_steps: Some(8),
            ..budget()
        },
        Budget {
            tasks: Some(10),
            ..budget()
        },
    ];
    for limits in cases {
        let run = Run::open(common::parts(Arc::default_memory(), limits.clone())).unwrap();
        common::begin(
            &run,
            &world,
            &Settings {
                main_steps: 12,
                ..Settings::default()
            },
        )
        .await;
        swarm(&run, &world, good_model(5), None).go().await.unwrap();
        let report = run.with_state(Report::of);
        assert_eq!(report.status, "ended");
        assert!(
            report.rows < 30 && report.rows > 0,
            "{limits:?} {} rows",
            report.rows
        );
        if let Some(most) = limits.tool_calls {
            assert!(
                report.spent.tool_calls <= most + 12,
                "{}",
                report.spent.tool_calls
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn edits_look_up_only_what_they_touch() {
    let world = World::new(12, 11);
    let run = begun(&world, &Settings::default()).await;
    let model = good_model(100);
    swarm(&run, &world, Arc::clone(&model) as _, None)
        .go()
        .await
        .unwrap();
    let before = run.with_state(|state| state.spent.steps);
    let name = world.truth.keys().next().unwrap().clone();

    let authors = parse_columns("authors").unwrap().remove(0);
    Edit::AddColumn(authors).apply(&run).await.unwrap();
    let mine = Edit::Set {
        row: name.to_uppercase(),
        column: "license".to_owned(),
        value: json!("mine"),
    };
    mine.apply(&run).await.unwrap();
    swarm(&run, &world, Arc::clone(&model) as _, None)
        .go()
        .await
        .unwrap();
    run.with_state(|state| {
        for row in state.table.rows() {
            assert_eq!(
                state.table.get(row, "authors").status,
                CellStatus::Ok,
                "{row}"
            );
        }
        let settled = state.table.get(&name, "license");
        assert_eq!(
            (settled.status, &settled.cell.unwrap().value),
            (CellStatus::Edited, &json!("mine"))
        );
        // A new column costs a task a row, and none for what is known.
        assert_eq!(state.order.len(), 24);
    });
    let redo = Edit::Redo {
        row: Some(name.clone()),
        column: None,
    };
    redo.apply(&run).await.unwrap();
    swarm(&run, &world, model, None).go().await.unwrap();
    run.with_state(|state| {
        assert_eq!(state.order.len(), 25);
        assert_eq!(state.table.get(&name, "license").status, CellStatus::Edited);
        assert_eq!(state.table.get(&name, "version").status, CellStatus::Ok);
    });
    assert!(run.with_state(|state| state.spent.steps) > before);
    let unknown = Edit::Redo {
        row: Some("nothing".to_owned()),
        column: None,
    };
    assert!(matches!(
        unknown.apply(&run).await,
        Err(RunError::Invalid { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn one_agent_fills_a_table_with_each_context_policy() {
    for context in [ContextPolicy::HideToolResult, ContextPolicy::None] {
        let world = World::new(8, 12);
        let settings = Settings {
            mode: Mode::Single,
            context,
            ..Settings::default()
        };
        let run = begun(&world, &settings).await;
        swarm(&run, &world, good_model(1), None).go().await.unwrap();
        assert_eq!(
            world.wrong_places(&run),
            Vec::<String>::new(),
            "{context:?}"
        );
    }
}

/// A model that keeps calling until it is told enough, with a short context.
#[tokio::test(start_paused = true)]
async fn short_contexts_are_shortened_by_each_policy() {
    for context in [
        ContextPolicy::HideToolResult,
        ContextPolicy::Summary,
        ContextPolicy::DiscardAll,
    ] {
        let world = World::new(2, 13);
        let settings = Settings {
            mode: Mode::Single,
            context,
            main_steps: 310,
            ..Settings::default()
        };
        let run = begun(&world, &settings).await;
        let longest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = Arc::clone(&longest);
        let count = std::sync::atomic::AtomicU32::new(0);
        let model = ScriptedClient::new(move |request, _| {
            let messages = &request.conversation.messages;
            let shown = messages
                .iter()
                .filter(|m| !format!("{m:?}").contains("no longer shown"));
            seen.fetch_max(shown.count(), std::sync::atomic::Ordering::SeqCst);
            assert!(
                format!("{:?}", messages[1]).contains("For each package"),
                "the goal stays"
            );
            if request.conversation.tools.is_empty() {
                return Script::Reply(ScriptedReply::text("Found nothing yet."));
            }
            let made = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if made < 300 {
                let query = json!({"query": format!("word{made}")});
                return Script::Reply(ScriptedReply::call("search", &query));
            }
            Script::Reply(ScriptedReply::text("That is all."))
        });
        let model = k25_agent::agent::ModelChoice {
            context_tokens: 3_000,
            ..choice(Arc::new(model))
        };
        let swarm = swarm_of(&run, world.documents(), model, None);
        swarm.go().await.unwrap();
        run.with_state(|state| {
            assert_eq!(state.tasks[MAIN].steps(), 301, "{context:?}");
            assert_eq!(state.tasks[MAIN].end, Some(TaskEnd::Done));
            assert!(state.tasks[MAIN].summary.is_some(), "{context:?}");
        });
        let longest = longest.load(std::sync::atomic::Ordering::SeqCst);
        let most = if context == ContextPolicy::HideToolResult {
            320
        } else {
            60
        };
        assert!(longest < most, "{context:?} showed {longest} messages");
    }
}
