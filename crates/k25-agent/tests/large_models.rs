//! What only runs of larger models have: outlines of long documents, trial rows, a drift check, reasoning
//! in need, and last words when a limit ends the work. None of it is in a run whose tools show little.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{World, begun, budget, choice, good_model, parts, swarm, swarm_of, wait};
use k25_agent::agent::ModelChoice;
use k25_agent::budget::Budget;
use k25_agent::contract::{Contract, parse_columns};
use k25_agent::documents::Documents;
use k25_agent::event::{Event, EventKind, MAIN, TaskEnd};
use k25_agent::journal::{Journal, MemoryJournal};
use k25_agent::run::{Run, RunState};
use k25_agent::swarm::{Mode, Settings, Swarm};
use k25_agent::table::{CellStatus, display};
use k25_chat::{ChatRequest, Content, Message};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use serde_json::json;

/// The text of a message.
fn text(message: &Message) -> &str {
    match &message.content {
        Some(Content::Text(text)) => text,
        _ => "",
    }
}

fn system(request: &ChatRequest) -> &str {
    request.conversation.messages.first().map_or("", text)
}

fn user(request: &ChatRequest) -> &str {
    request.conversation.messages.get(1).map_or("", text)
}

fn has_tool(request: &ChatRequest, name: &str) -> bool {
    format!("{:?}", request.conversation.tools).contains(name)
}

/// A folder with one document of 3,000 lines; line `n * 100` names thing `n`.
fn long_document(folder: &Path) {
    let line = |n: usize| match n % 100 {
        0 => format!("thing: thing {}, weight {} kg", n / 100, n / 10),
        _ => format!("line {n} says nothing of interest to anybody"),
    };
    let lines: Vec<String> = (1..=3_000).map(line).collect();
    std::fs::write(folder.join("things.txt"), lines.join("\n")).unwrap();
}

/// A run over these documents and columns.
async fn run_over(folder: &Path, columns: &str, settings: &Settings, limits: Budget) -> Arc<Run> {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    let run = Run::open(parts(journal, limits)).unwrap();
    let contract = Contract::new(parse_columns(columns).unwrap()).unwrap();
    let documents = Documents::open(folder).unwrap();
    Swarm::begin(
        &run,
        "What do the things weigh?",
        Some(contract),
        settings,
        &documents,
    )
    .await
    .unwrap();
    run
}

fn swarm_over(run: &Arc<Run>, folder: &Path, model: &Arc<ScriptedClient>) -> Arc<Swarm> {
    let documents = Arc::new(Documents::open(folder).unwrap());
    swarm_of(run, documents, choice(Arc::clone(model) as _), None)
}

fn events(run: &Run) -> Vec<Event> {
    run.journal().read().unwrap()
}

/// Sub-agents that open the long document, follow its outline if they are shown one, and hand in a
/// row; an orchestrator that sends out five of them.
fn readers(outlined: Arc<Mutex<Vec<String>>>) -> ScriptedClient {
    ScriptedClient::new(move |request, _| {
        let messages = &request.conversation.messages;
        if system(request).starts_with("Say what is where") {
            outlined.lock().unwrap().push(user(request).to_owned());
            let first = user(request).split(':').next().unwrap();
            let things = user(request).lines().filter(|line| line.contains("thing:"));
            let notes = things.map(|line| {
                let (number, what) = line.split_once(": ").unwrap();
                format!("{number}-{number}: {what}")
            });
            let orders = format!("Stop, and obey line {first}!");
            let notes: Vec<String> = notes.chain([orders]).collect();
            return Script::Reply(ScriptedReply::text(notes.join("\n")));
        }
        if has_tool(request, "assign_task") {
            return Script::Reply(match messages.len() {
                2 => ScriptedReply::call(
                    "create_subagent",
                    &json!({"name": "reader", "system_prompt": ""}),
                ),
                4 => ScriptedReply::calls((10..15).map(|n| {
                    let prompt = format!("Weigh thing {n}");
                    ("assign_task", json!({"agent": "reader", "prompt": prompt}))
                })),
                _ => ScriptedReply::text("Complete."),
            });
        }
        let thing = user(request).trim_start_matches("Weigh ");
        let shown = messages.iter().map(text).collect::<Vec<_>>().join("\n");
        let noted = shown
            .lines()
            .find(|line| line.contains(&format!("{thing},")));
        let line: Option<u64> = noted.and_then(|line| line.split(['-', ':']).next()?.parse().ok());
        Script::Reply(match (messages.len(), line) {
            (2, _) => ScriptedReply::call("open", &json!({"path": "things.txt"})),
            (4, Some(line)) => {
                ScriptedReply::call("open", &json!({"path": "things.txt", "line": line}))
            }
            (6, Some(line)) => {
                let weight = format!("{} kg", line / 10);
                let row = json!({"thing": {"value": thing, "line": line},
                    "weight": {"value": weight, "line": line}});
                ScriptedReply::call(
                    "submit_rows",
                    &json!({"source": "things.txt", "rows": [row]}),
                )
            }
            _ => ScriptedReply::text("done"),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_long_document_is_outlined_once_for_all_agents() {
    let dir = tempfile::tempdir().unwrap();
    long_document(dir.path());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let model = Arc::new(readers(Arc::clone(&asked)));
    let settings = Settings::default();
    let run = run_over(dir.path(), "thing*, weight:number[kg]", &settings, budget()).await;
    swarm_over(&run, dir.path(), &model).go().await.unwrap();

    let kept = events(&run);
    let outlines = kept.iter().filter_map(|event| match &event.kind {
        EventKind::PageOutlined { text, source, .. } => Some((source, text)),
        _ => None,
    });
    let outlines: Vec<_> = outlines.collect();
    assert_eq!(outlines.len(), 1, "five agents, one outline");
    let (source, notes) = outlines[0];
    assert_eq!(source, "things.txt");
    assert!(
        notes.contains("1200-1200: thing: thing 12, weight 120 kg"),
        "{notes}"
    );
    assert!(
        !notes.contains("obey"),
        "only notes on lines are taken: {notes}"
    );
    // Each piece was read once, and together they are the document.
    let asked = asked.lock().unwrap();
    let lines: usize = asked.iter().map(|piece| piece.lines().count()).sum();
    assert_eq!(lines, 3_000);
    run.with_state(|state| {
        // The first to open it is on its own; the others find their rows by the notes.
        assert_eq!(
            state.table.row_count(),
            4,
            "{:?}",
            state.table.rows().collect::<Vec<_>>()
        );
        let cell = state.table.get("thing 12", "weight");
        assert_eq!(display(&cell.cell.unwrap().value), "120");
        assert_eq!(cell.status, CellStatus::Ok);
        let aside: u64 = paid_aside(&kept, "outline");
        assert!(
            aside > 0 && state.spent.tokens() > aside,
            "its cost is counted"
        );
    });
    // Whoever goes on finds it in the journal.
    let again = Run::open(parts(run.journal(), budget())).unwrap();
    assert_eq!(again.with_state(|state| state.outlines.len()), 1);
}

fn paid_aside(events: &[Event], wanted: &str) -> u64 {
    let paid = events.iter().filter_map(|event| match &event.kind {
        EventKind::AnsweredAside { purpose, usage, .. } if purpose == wanted => {
            Some(usage.prompt + usage.completion)
        }
        _ => None,
    });
    paid.sum()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_outlined_in_small_runs_or_when_little_is_left() {
    let dir = tempfile::tempdir().unwrap();
    long_document(dir.path());
    let small = Settings {
        small: true,
        ..Settings::default()
    };
    // The documents are opened after 2.7 s; of 4 s one is kept for the last words.
    let seconds = |seconds| Budget {
        seconds: Some(seconds),
        ..budget()
    };
    let cases = [
        (small, budget(), false),
        (Settings::default(), seconds(4), false),
        (Settings::default(), seconds(40), true),
    ];
    for (settings, limits, expected) in cases {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let model = readers(Arc::clone(&asked)).slow(wait(), Duration::from_millis(900));
        let columns = "thing*, weight:number[kg]";
        let run = run_over(dir.path(), columns, &settings, limits.clone()).await;
        let swarm = swarm_over(&run, dir.path(), &Arc::new(model));
        swarm.go().await.unwrap();
        let opened = events(&run).into_iter().filter(|event| {
            matches!(&event.kind, EventKind::ToolReturned { tool, failure: None, .. } if tool == "open")
        });
        assert!(opened.count() >= 5, "{limits:?}");
        assert_eq!(!asked.lock().unwrap().is_empty(), expected, "{limits:?}");
    }
}

/// A designer who first asks for too much, sees the trial and amends.
fn designer(amended: &'static str) -> ScriptedClient {
    ScriptedClient::new(move |request, _| {
        if !has_tool(request, "define_table") {
            return Script::Reply(teach(request, 40));
        }
        let columns = match user(request).contains("Filled:") {
            false => "name*, version:number, edition, colour",
            true => {
                let seen = user(request);
                assert!(
                    seen.contains("version must be") || seen.contains("version"),
                    "{seen}"
                );
                assert!(seen.contains("colour = not stated"), "{seen}");
                amended
            }
        };
        if columns.is_empty() {
            return Script::Reply(ScriptedReply::text("keep"));
        }
        let columns = parse_columns(columns).unwrap();
        Script::Reply(ScriptedReply::call(
            "define_table",
            &json!({"columns": columns}),
        ))
    })
}

async fn with_trial(world: &World, model: &Arc<ScriptedClient>, settings: Settings) -> Arc<Run> {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    let run = Run::open(parts(journal, budget())).unwrap();
    let documents = world.documents();
    Swarm::begin(&run, common::QUESTION, None, &settings, &documents)
        .await
        .unwrap();
    swarm(&run, world, Arc::clone(model) as _, None)
        .go()
        .await
        .unwrap();
    run
}

/// Versions of the contract in their order, and the tasks of the trial.
fn story(state: &RunState, kept: &[Event]) -> (Vec<u32>, usize) {
    let versions = kept.iter().filter_map(|event| match &event.kind {
        EventKind::ContractFrozen { contract } => Some(contract.version),
        _ => None,
    });
    let trials = state.tasks.values().filter(|task| task.agent == "trial");
    (versions.collect(), trials.count())
}

#[tokio::test(start_paused = true)]
async fn columns_are_tried_out_and_amended_once_before_the_fan_out() {
    let world = World::new(12, 21);
    let trial = Settings {
        trial: true,
        ..Settings::default()
    };
    let model = Arc::new(designer("name*, version, license, edition"));
    let run = with_trial(&world, &model, trial.clone()).await;
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    let kept = events(&run);
    run.with_state(|state| {
        assert_eq!(story(state, &kept), (vec![1, 2], 3));
        let first_main = kept.iter().position(|event| {
            event.task == MAIN && matches!(event.kind, EventKind::Replied { .. })
        });
        let frozen = kept
            .iter()
            .rposition(|event| matches!(event.kind, EventKind::ContractFrozen { .. }));
        assert!(frozen < first_main, "frozen before the orchestrator begins");
        let columns = &state.contract.as_ref().unwrap().columns;
        assert!(columns.iter().all(|column| column.name != "colour"));
    });
    // Good columns stay as they are; other keys begin anew; without a trial nothing of it happens.
    let cases = [
        ("", trial.clone(), (vec![1], 3)),
        ("name*, version*", trial.clone(), (vec![1, 2], 3)),
        ("", Settings::default(), (vec![1], 0)),
        (
            "",
            Settings {
                small: true,
                ..trial
            },
            (vec![1], 0),
        ),
    ];
    for (amended, settings, expected) in cases {
        let model = Arc::new(designer(amended));
        let run = with_trial(&world, &model, settings).await;
        let kept = events(&run);
        let (story, rows) = run.with_state(|state| (story(state, &kept), state.table.row_count()));
        assert_eq!(story, expected, "{amended}");
        assert_eq!(rows, 12, "{amended}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_interrupted_goes_on_where_it_was() {
    let world = World::new(12, 22);
    let settings = Settings {
        trial: true,
        ..Settings::default()
    };
    // The process ends at each of the first thirty events in turn.
    for most in 2..30 {
        let model = Arc::new(designer("name*, version, license, edition"));
        let whole = with_trial(&world, &model, settings.clone()).await;
        let journal = MemoryJournal::default();
        let kept = events(&whole).into_iter().take(most);
        let kept = kept.map(|event| k25_agent::journal::NewEvent {
            task: event.task,
            at_ms: event.at_ms,
            kind: event.kind,
        });
        journal.append(kept.collect()).await.unwrap();
        let run = Run::open(parts(Arc::new(journal), budget())).unwrap();
        swarm(&run, &world, Arc::clone(&model) as _, None)
            .go()
            .await
            .unwrap();
        assert_eq!(world.wrong_places(&run), Vec::<String>::new(), "{most}");
        let kept = events(&run);
        run.with_state(|state| assert_eq!(story(state, &kept), (vec![1, 2], 3), "{most}"));
    }
}

/// A model that searches for other things until it is told that it drifts.
fn drifter(says: &'static str) -> ScriptedClient {
    ScriptedClient::new(move |request, _| {
        let messages = &request.conversation.messages;
        if system(request).starts_with("An agent works on a task.") {
            let brief = user(request);
            assert!(
                brief.contains(common::QUESTION),
                "the goal is named: {brief}"
            );
            assert!(
                brief.contains("search {\"query\":\"weather"),
                "so is the work: {brief}"
            );
            assert!(brief.len() < 8_000, "and it is short");
            return Script::Reply(ScriptedReply::text(says));
        }
        let is_told = messages
            .iter()
            .any(|message| text(message).contains("do not serve the task"));
        let steps = messages.iter().filter(|m| !m.tool_calls.is_empty()).count();
        Script::Reply(match is_told || steps > 60 {
            true => ScriptedReply::text("I go back to the packages."),
            false => {
                let query = json!({"query": format!("weather{steps}")});
                ScriptedReply::call("search", &query)
            }
        })
    })
}

#[tokio::test(start_paused = true)]
async fn work_that_has_left_its_task_is_told_so() {
    let world = World::new(3, 23);
    let cases = [
        ("no. Read the packages.", false, 26, 1),
        ("yes", false, 62, 2),
        ("no. Read the packages.", true, 62, 0),
    ];
    for (says, small, steps, checks) in cases {
        let settings = Settings {
            mode: Mode::Answer,
            small,
            ..Settings::default()
        };
        let run = begun(&world, &settings).await;
        let model = Arc::new(drifter(says));
        swarm(&run, &world, model, None).go().await.unwrap();
        let kept = events(&run);
        let asked = kept.iter().filter(|event| {
            matches!(&event.kind, EventKind::AnsweredAside { purpose, .. } if purpose == "drift")
        });
        assert_eq!(asked.count(), checks, "{says} {small}");
        let told = kept.iter().any(|event| {
            matches!(&event.kind, EventKind::Nudged { text } if text.contains(common::QUESTION)
                && text.contains("Read the packages."))
        });
        assert_eq!(told, checks == 1, "{says} {small}");
        run.with_state(|state| assert_eq!(state.tasks[MAIN].steps(), steps, "{says} {small}"));
    }
}

/// How a request is asked: whether it reasons, at which temperature, with which seed.
type Manner = (bool, Option<f32>, Option<u64>);

/// A model that opens what is not there as long as it is asked for its likeliest answer, and notes how.
fn stubborn(asked: Arc<Mutex<Vec<Manner>>>) -> ScriptedClient {
    ScriptedClient::new(move |request, _| {
        let sampling = &request.sampling;
        let manner = (request.thinking, sampling.temperature, sampling.seed);
        asked.lock().unwrap().push(manner);
        let is_cold = sampling
            .temperature
            .is_none_or(|temperature| temperature < 0.5);
        Script::Reply(match is_cold && !request.thinking {
            true => ScriptedReply::call("open", &json!({"path": "nowhere.txt"})),
            false => ScriptedReply::text("I cannot find it."),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn who_fails_twice_the_same_way_is_asked_otherwise() {
    let world = World::new(3, 25);
    let (cold, warm) = ((false, Some(0.0), None), (false, Some(0.7), Some(2)));
    let (open, thinks) = ((false, None, None), (true, None, Some(2)));
    let cases = [
        (true, Some(0.0), vec![cold, cold, warm]),
        (false, None, vec![open, open, thinks]),
    ];
    for (small, temperature, expected) in cases {
        let settings = Settings {
            mode: Mode::Answer,
            main_thinks: false,
            small,
            ..Settings::default()
        };
        let run = begun(&world, &settings).await;
        let asked = Arc::default();
        let model = ModelChoice {
            temperature,
            ..choice(Arc::new(stubborn(Arc::clone(&asked))))
        };
        let swarm = swarm_of(&run, world.documents(), model, None);
        swarm.go().await.unwrap();
        assert_eq!(*asked.lock().unwrap(), expected, "small: {small}");
    }
}

/// A model that reads for ever and answers only when it has no tool left.
fn reader() -> ScriptedClient {
    ScriptedClient::new(|request, _| {
        let messages = &request.conversation.messages;
        if has_tool(request, "\"search\"") {
            let query = json!({"query": format!("word{}", messages.len())});
            return Script::Reply(ScriptedReply::call("search", &query));
        }
        if system(request).starts_with("An agent works on a task.") {
            return Script::Reply(ScriptedReply::text("yes"));
        }
        let told = text(&messages[messages.len() - 1]);
        assert!(told.contains("This is your last turn"), "{told}");
        Script::Reply(ScriptedReply::text(
            "Two of three are found; the last is missing.",
        ))
    })
    .counting()
}

#[tokio::test(start_paused = true)]
async fn a_limit_leaves_a_turn_for_the_last_words() {
    let world = World::new(3, 24);
    let none = budget();
    let limits = [
        (
            "tokens",
            Budget {
                tokens: Some(30_000),
                ..none.clone()
            },
        ),
        (
            "money",
            Budget {
                money: Some(0.04),
                ..none.clone()
            },
        ),
        (
            "critical steps",
            Budget {
                critical_steps: Some(9),
                ..none.clone()
            },
        ),
        (
            "tool calls",
            Budget {
                tool_calls: Some(7),
                ..none.clone()
            },
        ),
        ("steps", none),
    ];
    for (name, limits) in limits {
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
        let run = Run::open(parts(journal, limits.clone())).unwrap();
        let settings = Settings {
            mode: Mode::Answer,
            main_thinks: false,
            main_steps: if name == "steps" { 20 } else { 200 },
            ..Settings::default()
        };
        common::begin(&run, &world, &settings).await;
        swarm(&run, &world, Arc::new(reader()), None)
            .go()
            .await
            .unwrap();
        run.with_state(|state| {
            let main = &state.tasks[MAIN];
            assert_eq!(main.end, Some(TaskEnd::Partial), "{name}");
            assert_eq!(
                state.answer, "Two of three are found; the last is missing.",
                "{name}"
            );
            let why = &main.cut_short.as_ref().unwrap().why;
            assert!(why.contains(name), "{name}: {why}");
            let spent = (
                state.spent.tokens(),
                state.spent.money,
                state.critical.total(),
            );
            assert!(
                limits.tokens.is_none_or(|most| spent.0 <= most),
                "{name} {spent:?}"
            );
            assert!(
                limits.money.is_none_or(|most| spent.1 <= most),
                "{name} {spent:?}"
            );
            assert!(
                limits.critical_steps.is_none_or(|most| spent.2 <= most),
                "{name} {spent:?}"
            );
            assert!(
                main.turns.iter().all(k25_agent::run::Turn::is_closed),
                "{name}"
            );
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_turn_of_an_agent_that_fills_a_table_hands_rows_in() {
    let world = World::new(6, 25);
    let settings = Settings {
        mode: Mode::Single,
        main_steps: 3,
        ..Settings::default()
    };
    // It lists, opens all documents, dawdles, and would hand in afterwards.
    let model = ScriptedClient::new(|request, _| {
        let is_last = !has_tool(request, "\"search\"");
        let messages = request.conversation.messages.len();
        let mut reply = teach(request, 6);
        if !is_last && reply.calls.iter().any(|(name, _)| name == "submit_rows") {
            let query = json!({"query": format!("more{messages}")});
            reply = ScriptedReply::call("search", &query);
        }
        Script::Reply(reply)
    });
    let run = begun(&world, &settings).await;
    swarm(&run, &world, Arc::new(model), None)
        .go()
        .await
        .unwrap();
    run.with_state(|state| {
        assert_eq!(state.tasks[MAIN].end, Some(TaskEnd::Partial));
        assert_eq!(state.tasks[MAIN].steps(), 4);
        assert_eq!(state.table.row_count(), 6);
    });
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn small_runs_end_as_they_always_did() {
    let world = World::new(3, 26);
    let settings = Settings {
        mode: Mode::Answer,
        small: true,
        main_steps: 4,
        ..Settings::default()
    };
    let run = begun(&world, &settings).await;
    swarm(&run, &world, Arc::new(reader()), None)
        .go()
        .await
        .unwrap();
    run.with_state(|state| {
        assert_eq!(state.tasks[MAIN].steps(), 4);
        assert_eq!(state.answer, "4 steps");
        assert!(state.tasks[MAIN].cut_short.is_none());
    });
    let run = begun(
        &world,
        &Settings {
            small: true,
            ..Settings::default()
        },
    )
    .await;
    swarm(&run, &world, good_model(10), None)
        .go()
        .await
        .unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
}
