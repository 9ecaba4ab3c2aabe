//! How whole runs end: conflicts before a judge, a cancel from another process, a mode that was chosen,
//! another model that steps in, a limit that leaves a last turn.

use std::process::Stdio;
use std::sync::Arc;

use k25_chat::{ChatErrorKind, ChatRequest, Content};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use serde_json::{Value, json};

use crate::common::{MODEL, serve, texts};
use crate::{Desk, QUESTION, START, check_table, slow_teacher, teacher};

/// What the message of this number says.
fn said(request: &ChatRequest, number: usize) -> &str {
    match request
        .conversation
        .messages
        .get(number)
        .map(|m| &m.content)
    {
        Some(Some(Content::Text(text))) => text,
        _ => "",
    }
}

/// Two documents that name one thing and state two versions of it; a judge who says this.
fn quarrel(verdict: &'static str) -> Desk {
    let desk = Desk::new(
        0,
        ScriptedClient::new(move |request, _| {
            if said(request, 0).starts_with("Sources state different values") {
                let brief = said(request, 1);
                assert!(
                    brief.contains("old/Cargo.toml:2: version = \"1.0\""),
                    "{brief}"
                );
                assert!(
                    brief.contains("new/Cargo.toml:2: version = \"2.0\""),
                    "{brief}"
                );
                return Script::Reply(ScriptedReply::text(verdict));
            }
            Script::Reply(teach(request, 40))
        }),
    );
    for (folder, version) in [("old", "1.0"), ("new", "2.0")] {
        let folder = desk.dir.path().join("docs").join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let text = format!("name = \"thing\"\nversion = \"{version}\"\n");
        std::fs::write(folder.join("Cargo.toml"), text).expect("a file");
    }
    desk
}

#[test]
fn a_judge_settles_what_sources_state_differently() {
    let cases = [
        (Some("2. The newer page."), 0, "ok", "2.0"),
        (Some("0. Neither quote tells."), 1, "conflict", "1.0"),
        (None, 1, "conflict", "1.0"),
    ];
    for (verdict, code, status, value) in cases {
        let desk = quarrel(verdict.unwrap_or("nobody asks"));
        let rule = verdict.map_or("keep", |_| "judge");
        let mut arguments = START.to_vec();
        arguments.extend(["--columns", "name*, version", "--conflicts", rule]);
        let output = desk.run(&arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
        let id = desk.only_run();
        let shown = desk.json(&["swarm", "show", &id, "--json"]);
        let cell = &shown["table"]["rows"][0]["cells"]["version"];
        assert_eq!(cell["status"], status, "{verdict:?} {cell}");
        assert_eq!(cell["value"], value, "{verdict:?} {cell}");
        let (text, _) = texts(&desk.run(&["swarm", "show", &id, "--cell", "thing.version"]));
        assert!(
            text.contains("old/Cargo.toml:2") && text.contains("new/Cargo.toml:2"),
            "{text}"
        );
        assert_eq!(text.contains("The newer page."), status == "ok", "{text}");
        let (events, _) = texts(&desk.run(&["swarm", "show", &id, "--events"]));
        let asked = events.matches("\"purpose\":\"judge\"").count();
        assert_eq!(
            asked,
            usize::from(verdict.is_some()),
            "it is paid for and in the journal"
        );
    }
}

#[test]
fn a_run_that_works_in_another_process_is_cancelled() {
    let desk = Desk::new(12, slow_teacher());
    let mut command = desk.command(&START);
    command.args(["--parallel", "3"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    desk.wait_for_events(30);
    let id = desk.only_run();
    let output = desk.run(&["swarm", "cancel", &id]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("is cancelled") && stdout.contains("k25 swarm show"),
        "{stdout}"
    );
    let output = child.wait_with_output().expect("the program ends");
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}\n{stderr}");
    assert!(stderr.contains("cancelled:"), "{stderr}");

    // Every call that was open has a result, every task an end, and the run is over for good.
    let (events, _) = texts(&desk.run(&["swarm", "show", &id, "--events"]));
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let mut calls = Vec::new();
    for event in &events {
        let task = event["task"].as_str().expect("a task").to_owned();
        match event["kind"].as_str() {
            Some("replied") => {
                let made = event["reply"]["calls"].as_array();
                for call in made.into_iter().flatten() {
                    calls.push((task.clone(), call["id"].clone()));
                }
            }
            Some("tool_returned") => {
                calls.retain(|(of, id)| *of != task || *id != event["call"]);
            }
            _ => {}
        }
    }
    assert_eq!(calls, [], "no call stays open");
    let last = events.last().expect("an end");
    assert_eq!(
        (&last["kind"], &last["text"]),
        (&json!("run_ended"), &json!("cancelled"))
    );
    let (_, stderr) = texts(&desk.run(&["swarm", "cancel", &id]));
    assert!(stderr.contains("over already"), "{stderr}");
}

#[test]
fn the_mode_is_chosen_by_the_question_and_said() {
    let many = Desk::new(12, teacher());
    let few = Desk::new(3, teacher());
    let fact = ScriptedClient::new(|request, _| {
        assert!(request.conversation.tools.is_empty() && !request.thinking);
        Script::Reply(ScriptedReply::text("Paris."))
    });
    let none = Desk::new(0, fact);
    let docs = ["--docs", "docs", "--trial", "never"];
    let cases: [(&Desk, &str, &[&str], &str, &str); 3] = [
        (&many, QUESTION, &docs, "mode      swarm · ", "12 rows"),
        (&few, QUESTION, &docs, "mode      agent · ", "3 rows"),
        (
            &none,
            "What is the capital of France?",
            &[],
            "mode      instant · ",
            "Paris.",
        ),
    ];
    for (desk, question, docs, mode, result) in cases {
        let mut arguments = vec!["swarm", question, "--mode", "auto", "--model-name", MODEL];
        arguments.extend(docs);
        let output = desk.run(&arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
        assert!(stderr.contains(mode), "{question}: {stderr}");
        assert!(stdout.contains(result), "{question}: {stdout}");
    }
    let (events, _) = texts(&many.run(&["swarm", "show", &many.only_run(), "--events"]));
    assert!(events.contains("\"kind\":\"mode_chosen\""), "{events}");
    assert!(events.contains("\"trial\":false"), "{events}");
    let shown = many.json(&["swarm", "show", &many.only_run(), "--json"]);
    check_table(&many.truth, &shown["table"], &many.dir.path().join("docs"));
}

#[test]
fn another_model_steps_in_where_the_first_one_fails() {
    // The account of the first endpoint is empty; the second endpoint has the same model.
    let empty = ScriptedClient::new(|_, _| Script::Error(ChatErrorKind::QuotaExceeded));
    let desk = Desk::new(4, empty);
    let elsewhere = format!("{}#{MODEL}", serve(Arc::new(teacher())));
    let mut arguments = START.to_vec();
    arguments.extend([
        "--fallback-model",
        "nowhere-to-be-found",
        "--fallback-model",
        &elsewhere,
    ]);
    let output = desk.run(&arguments);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(
        stderr.contains("request   QuotaExceeded, another model"),
        "{stderr}"
    );
    let id = desk.only_run();
    let shown = desk.json(&["swarm", "show", &id, "--json"]);
    check_table(&desk.truth, &shown["table"], &desk.dir.path().join("docs"));
    // Without it the run rests and says why.
    let (_, stderr) = texts(&desk.run(&START));
    assert!(stderr.contains("paused:"), "{stderr}");
}

#[test]
fn an_answer_that_a_limit_ends_is_what_there_is() {
    let reader = ScriptedClient::new(|request, _| {
        let count = request.conversation.messages.len();
        Script::Reply(match request.conversation.tools.is_empty() {
            false => ScriptedReply::call("search", &json!({"query": format!("word{count}")})),
            true => ScriptedReply::text("Found one of two."),
        })
    });
    let desk = Desk::new(2, reader);
    let arguments = [
        "agent",
        "Which two?",
        "--docs",
        "docs",
        "--model-name",
        MODEL,
    ];
    let output = desk.run(&[&arguments[..], &["--max-steps", "3"]].concat());
    let (stdout, stderr) = texts(&output);
    assert_eq!(stdout, "Found one of two.\n", "{stderr}");
    assert!(
        stderr.contains("3 steps") && stderr.contains("--max-steps"),
        "{stderr}"
    );
}
