//! `k25 swarm` and `k25 agent` as people run them: the real program, a real endpoint over HTTP, and a
//! model behind it that follows a script.

#[path = "../common/mod.rs"]
mod common;
mod endings;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{MODEL, serve, texts};
use k25_chat::{ChatErrorKind, Content};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use k25_testkit::world::{Truth, write_packages};
use serde_json::Value;

struct Desk {
    dir: tempfile::TempDir,
    truth: Truth,
    url: String,
}

impl Desk {
    fn new(count: usize, client: ScriptedClient) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let truth = write_packages(&dir.path().join("docs"), count, 51).expect("documents");
        Desk {
            dir,
            truth,
            url: serve(Arc::new(client)),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_k25"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("K25_MODEL", &self.url)
            .env("TERM", "dumb")
            .env_remove("NO_COLOR")
            .env_remove("MOONSHOT_API_KEY")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .expect("the program starts")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stdout).expect("text");
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{error}: {text}\n{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Waits until somebody has worked on the only run for so many events.
    fn wait_for_events(&self, count: usize) {
        let events = || {
            let runs = std::fs::read_dir(self.dir.path().join("runs")).ok()?;
            let journal = runs.flatten().next()?.path().join("journal.db");
            let events = k25_agent::journal::SqliteJournal::look(&journal).ok()?;
            Some(events.len())
        };
        let began = Instant::now();
        while events().unwrap_or(0) < count && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn only_run(&self) -> String {
        let runs = self.json(&["swarm", "list", "--json"]);
        runs[0]["run"].as_str().expect("a run").to_owned()
    }
}

fn teacher() -> ScriptedClient {
    ScriptedClient::new(|request, _| Script::Reply(teach(request, 40)))
}

/// A teacher who takes its time.
fn slow_teacher() -> ScriptedClient {
    let slow = |time| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(time))
    };
    teacher().slow(Arc::new(slow), Duration::from_millis(300))
}

const QUESTION: &str = "For each package: version, license, edition.";
const START: [&str; 7] = [
    "swarm",
    QUESTION,
    "--docs",
    "docs",
    "--model-name",
    MODEL,
    "--instant",
];

fn check_table(truth: &Truth, table: &Value, folder: &Path) {
    let rows = table["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), truth.len());
    for row in rows {
        let values = &truth[row["key"].as_str().expect("a key")];
        for (column, value) in values {
            let cell = &row["cells"][column];
            assert_eq!(cell["value"].as_str(), value.as_deref(), "{row}");
            let Some(value) = value else { continue };
            let evidence = &cell["evidence"];
            let source = folder.join(evidence["source"].as_str().expect("a source"));
            let text = std::fs::read_to_string(source).expect("the source");
            let line = evidence["line"].as_u64().expect("a line") as usize;
            let line = text.lines().nth(line - 1).expect("the line is there");
            assert_eq!(line.trim(), evidence["quote"].as_str().expect("a quote"));
            assert!(line.contains(value.as_str()));
        }
    }
}

#[test]
fn a_question_becomes_a_table_that_can_be_looked_at_and_edited() {
    let desk = Desk::new(30, teacher());
    let output = desk.run(&START);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("30 rows") && stdout.contains("critical steps"),
        "{stdout}"
    );
    assert!(
        stdout.contains("k25 swarm edit"),
        "every ending has a next step: {stdout}"
    );
    assert!(
        stderr.contains("contract  v1 · name, version, license, edition"),
        "{stderr}"
    );
    assert!(!stderr.contains('\x1b'), "a pipe gets no colours");
    let id = desk.only_run();
    let (events, _) = texts(&desk.run(&["swarm", "show", &id, "--events"]));
    assert_eq!(
        events.matches("\"agent\":\"trial\"").count(),
        3,
        "proposed columns are tried out"
    );
    let shown = desk.json(&["swarm", "show", &id, "--json"]);
    check_table(&desk.truth, &shown["table"], &desk.dir.path().join("docs"));
    for file in ["table.csv", "table.md", "table.json", "timeline.svg"] {
        assert!(
            desk.dir.path().join("runs").join(&id).join(file).is_file(),
            "{file}"
        );
    }

    let name = desk.truth.keys().next().expect("a name");
    let cell = format!("{name}.license");
    let (text, _) = texts(&desk.run(&["swarm", "show", &id, "--cell", &cell]));
    assert!(
        text.contains("Cargo.toml:") && text.contains("license = "),
        "{text}"
    );

    let set = format!("{cell}=mine");
    let output = desk.run(&[
        "swarm",
        "edit",
        &id,
        "--set",
        &set,
        "--add-column",
        "authors",
        "--instant-check",
    ]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "an unknown flag is a fault of usage"
    );
    let output = desk.run(&[
        "swarm",
        "edit",
        &id,
        "--set",
        &set,
        "--add-column",
        "authors",
    ]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    let shown = desk.json(&["swarm", "show", &id, "--json"]);
    let row = &shown["table"]["rows"][0]["cells"];
    assert_eq!(row["license"]["value"], "mine");
    assert_eq!(row["license"]["status"], "edited");
    assert!(row["authors"]["evidence"]["line"].is_u64(), "{row}");

    let out = desk.dir.path().join("out.md");
    let output = desk.run(&["swarm", "export", &id, out.to_str().expect("a path")]);
    assert!(output.status.success());
    assert!(
        std::fs::read_to_string(out)
            .expect("the file")
            .starts_with("| name |")
    );
    let out = desk.dir.path().join("out.xlsx");
    let output = desk.run(&["swarm", "export", &id, out.to_str().expect("a path")]);
    assert!(output.status.success());
    assert!(std::fs::read(out).expect("the file").starts_with(b"PK"));

    let (stdout, _) = texts(&desk.run(&["swarm", "replay", &id, "--speed", "0"]));
    assert!(
        stdout.contains("contract  v1") && stdout.contains("30 rows"),
        "{stdout}"
    );
    let output = desk.run(&["swarm", "cancel", &id]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("over already"), "{stderr}");
}

#[test]
fn ctrl_c_rests_a_run_and_resume_ends_it() {
    let desk = Desk::new(12, slow_teacher());
    let mut command = desk.command(&START);
    command
        .args(["--parallel", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    desk.wait_for_events(30);
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.expect("kill").success());
    let output = child.wait_with_output().expect("the program ends");
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{stdout}\n{stderr}");
    assert!(
        stderr.contains("paused: interrupted") && stderr.contains("k25 swarm resume"),
        "{stderr}"
    );
    let id = desk.only_run();
    let output = desk.run(&["swarm", "resume", &id]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    let shown = desk.json(&["swarm", "show", &id, "--json"]);
    check_table(&desk.truth, &shown["table"], &desk.dir.path().join("docs"));
}

#[test]
fn a_swarm_is_set_beside_a_single_agent() {
    let desk = Desk::new(
        8,
        ScriptedClient::new(|request, _| {
            let is_single = !format!("{:?}", request.conversation.tools).contains("assign_task");
            Script::Reply(teach(request, if is_single { 1 } else { 40 }))
        }),
    );
    let mut arguments = START.to_vec();
    arguments.extend(["--compare", "single", "--trial", "never"]);
    let (stdout, stderr) = texts(&desk.run(&arguments));
    let line = stdout
        .lines()
        .find(|line| line.starts_with("critical steps ") && line.contains('×'));
    assert!(line.is_some(), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("They agree at 32 of the 32 places"),
        "{stdout}"
    );

    arguments.push("--json");
    let both = desk.json(&arguments);
    let comparison = &both["comparison"];
    assert_eq!(comparison["settled_by_both"], 32, "8 rows × 4 columns");
    assert_eq!(comparison["agreeing"], 32);
    assert_eq!(comparison["single"]["rows"], 8);
    let steps = |who: &str| comparison[who]["critical_steps"].as_u64().expect("steps");
    assert!(steps("single") > 2 * steps("swarm"), "{comparison}");
    for table in [&both["table"], &both["single"]["table"]] {
        check_table(&desk.truth, table, &desk.dir.path().join("docs"));
    }
    assert_ne!(both["run"], both["single"]["run"]);
}

#[test]
fn wrong_use_says_what_to_do() {
    let desk = Desk::new(
        1,
        ScriptedClient::new(|_, _| Script::Error(ChatErrorKind::QuotaExceeded)),
    );
    let cases: [(&[&str], i32, &str); 7] = [
        (&["swarm"], 2, "there is no question"),
        (&["swarm", "q"], 2, "--docs DIR"),
        (
            &["swarm", "q", "--docs", "nowhere"],
            1,
            "there is no folder nowhere",
        ),
        (
            &["swarm", "q", "--docs", "docs", "--columns", "a, a"],
            1,
            "two columns",
        ),
        (
            &["swarm", "q", "--docs", "docs", "--out", "table.doc"],
            2,
            ".csv",
        ),
        (&["swarm", "show", "ffff"], 1, "k25 swarm runs"),
        (
            &["agent", "q", "--docs", "docs", "--model", "./nothing"],
            1,
            "hint",
        ),
    ];
    for (arguments, code, expected) in cases {
        let output = desk.run(arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {stdout}\n{stderr}"
        );
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    // Nothing is left to spend: the run rests and says so.
    let output = desk.run(&START);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("paused:") && stderr.contains("resume"),
        "{stderr}"
    );
}

#[test]
fn a_pdf_is_a_document_like_any_other() {
    let desk = Desk::new(
        1,
        ScriptedClient::new(|request, _| {
            let messages = &request.conversation.messages;
            let open = |line: u64| {
                let arguments = serde_json::json!({"path": "report.pdf", "line": line});
                Script::Reply(ScriptedReply::call("open", &arguments))
            };
            match messages.len() {
                2 => Script::Reply(ScriptedReply::call(
                    "search",
                    &serde_json::json!({"query": "cranes North quay"}),
                )),
                4 => open(6),
                // Says what it was shown, so that the test sees it.
                _ => {
                    let shown: Vec<String> = messages
                        .iter()
                        .filter_map(|message| match &message.content {
                            Some(Content::Text(text)) => Some(text.clone()),
                            _ => None,
                        })
                        .collect();
                    Script::Reply(ScriptedReply::text(shown.join("\n")))
                }
            }
        }),
    );
    let report = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../k25-pdf/tests/data/report.pdf"
    );
    std::fs::copy(report, desk.dir.path().join("docs/report.pdf")).expect("the fixture");
    let output = desk.run(&[
        "agent",
        "How many cranes?",
        "--docs",
        "docs",
        "--model-name",
        MODEL,
    ]);
    let (stdout, stderr) = texts(&output);
    assert!(
        stdout.contains("report.pdf:5: Quay Length Cranes"),
        "{stdout}\n{stderr}"
    );
    assert!(stdout.contains("\n6: North 410 m 4\n"), "{stdout}");
}

#[test]
fn an_agent_answers_in_words() {
    let desk = Desk::new(
        2,
        ScriptedClient::new(|request, _| {
            Script::Reply(match request.conversation.messages.len() {
                2 => ScriptedReply::call("search", &serde_json::json!({"query": "license"})),
                _ => ScriptedReply::text("Two packages, see a/Cargo.toml:3."),
            })
        }),
    );
    let output = desk.run(&[
        "agent",
        "How many packages?",
        "--docs",
        "docs",
        "--model-name",
        MODEL,
    ]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stdout, "Two packages, see a/Cargo.toml:3.\n");
}

#[test]
fn one_file_is_read_and_nothing_beside_it() {
    // The tools' results are what the agent answers.
    let echo = ScriptedClient::new(|request, _| {
        let messages = &request.conversation.messages;
        let last = messages.last().and_then(|message| message.content.as_ref());
        Script::Reply(match (messages.len(), last) {
            (2, _) => ScriptedReply::call("open", &serde_json::json!({"path": "."})),
            (_, Some(Content::Text(text))) => ScriptedReply::text(text),
            _ => ScriptedReply::text("nothing"),
        })
    });
    let desk = Desk::new(3, echo);
    let folder = desk.dir.path().join("docs");
    std::fs::write(folder.join("lamps.csv"), "name,height\nbrook,3\n").expect("a file");
    let file = ["agent", "How high is brook?", "--docs", "docs/lamps.csv"];
    let ask = |more: &[&str]| desk.run(&[&file[..], &["--model-name", MODEL], more].concat());
    let (stdout, stderr) = texts(&ask(&[]));
    assert!(stdout.contains("lamps.csv"), "{stdout}\n{stderr}");
    assert!(!stdout.contains('/'), "{stdout}");
    assert!(stderr.contains("documents lamps.csv in "), "{stderr}");
    let (_, stderr) = texts(&ask(&["--sample", "2"]));
    assert!(stderr.contains("a file has no entries"), "{stderr}");
}

/// Names at the top of the documents that the run saw, from its journal.
fn documents(desk: &Desk, id: &str) -> Vec<String> {
    let (events, _) = texts(&desk.run(&["swarm", "show", id, "--events"]));
    let first: Value =
        serde_json::from_str(events.lines().next().expect("an event")).expect("JSON");
    let documents = first["documents"].as_array().expect("documents");
    let name = |document: &Value| document.as_str().expect("a name").to_owned();
    documents.iter().map(name).collect()
}

fn keys(desk: &Desk, id: &str) -> Vec<String> {
    let shown = desk.json(&["swarm", "show", id, "--json"]);
    let rows = shown["table"]["rows"].as_array().expect("rows");
    let key = |row: &Value| row["key"].as_str().expect("a key").to_owned();
    rows.iter().map(key).collect()
}

#[test]
fn a_sample_is_read_and_remembered() {
    let desk = Desk::new(20, teacher());
    let sampled = |seed| [&START[..], &["--sample", "5", "--sample-seed", seed]].concat();
    let output = desk.run(&sampled("4"));
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    let id = desk.only_run();
    let (seen, found) = (documents(&desk, &id), keys(&desk, &id));
    assert_eq!((seen.len(), found.len()), (5, 5));

    // What comes later is not in the sample, and what is looked up again is.
    std::fs::create_dir(desk.dir.path().join("docs/0-new")).expect("a folder");
    std::fs::write(desk.dir.path().join("docs/0-new/Cargo.toml"), "[package]").expect("a file");
    let output = desk.run(&["swarm", "edit", &id, "--add-column", "authors"]);
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    assert_eq!(keys(&desk, &id), found);
    std::fs::remove_dir_all(desk.dir.path().join("docs/0-new")).expect("the folder");

    std::fs::remove_dir_all(desk.dir.path().join("runs")).expect("the runs");
    desk.run(&sampled("5"));
    assert_ne!(
        documents(&desk, &desk.only_run()),
        seen,
        "another seed, another sample"
    );
    std::fs::remove_dir_all(desk.dir.path().join("runs")).expect("the runs");
    desk.run(&sampled("4"));
    let id = desk.only_run();
    assert_eq!(documents(&desk, &id), seen);
    let gone = desk.dir.path().join("docs").join(&seen[0]);
    std::fs::remove_dir_all(gone).expect("a document");
    let (_, stderr) = texts(&desk.run(&["swarm", "resume", &id]));
    assert!(stderr.contains("is no longer there"), "{stderr}");
}

#[test]
fn the_example_is_over_sources_that_cargo_has_unpacked() {
    let desk = Desk::new(1, teacher());
    let example = |home: &Path| {
        let mut command = desk.command(&["swarm", "--example", "crates"]);
        command.args(["--model-name", "teacher", "--instant"]);
        command.env("CARGO_HOME", home).output().expect("it starts")
    };
    let (_, stderr) = texts(&example(desk.dir.path()));
    assert!(
        stderr.contains("no crates") && stderr.contains("cargo fetch"),
        "{stderr}"
    );
    for (registry, entry) in [
        ("small", "zeta-1.0.0"),
        ("large", "alpha-0.9.0"),
        ("large", "alpha-0.10.0"),
        ("large", "beta-2-1.2.3"),
    ] {
        let folder = desk
            .dir
            .path()
            .join("registry/src")
            .join(registry)
            .join(entry);
        std::fs::create_dir_all(&folder).expect("a folder");
        let (name, version) = entry.rsplit_once('-').expect("a name");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nlicense = \"MIT\"\n\
             edition = \"2021\"\nrust-version = \"1.70\"\nrepository = \"https://x.org/{name}\"\n"
        );
        std::fs::write(folder.join("Cargo.toml"), manifest).expect("a file");
    }
    let output = example(desk.dir.path());
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    let id = desk.only_run();
    assert_eq!(documents(&desk, &id), ["alpha-0.10.0/", "beta-2-1.2.3/"]);
    let (stdout, _) = texts(&desk.run(&["swarm", "--example"]));
    assert!(
        stdout.contains("crates") && stdout.contains("For each crate in Cargo.toml: version"),
        "{stdout}"
    );
    let (_, stderr) = texts(&desk.run(&["agent", "--example", "moon"]));
    assert!(stderr.contains("there is crates"), "{stderr}");
}

#[test]
fn a_model_with_a_small_context_is_asked_as_such_models_are_trained() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let desk = Desk::new(
        3,
        ScriptedClient::new(move |request, _| {
            let how = (request.thinking, request.sampling.temperature);
            seen.lock().expect("nobody panicked").push(how);
            Script::Reply(teach(request, 40))
        }),
    );
    let arguments = ["--context", "8000", "--max-answer", "1000"];
    let plain = &START[..START.len() - 1];
    let output = desk.run(&[plain, &arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    let taken = || std::mem::take(&mut *asked.lock().expect("nobody panicked"));
    let hows = taken();
    assert!(!hows.is_empty() && hows.iter().all(|how| *how == (false, Some(0.0))));
    let flags = ["--thinking", "--temperature", "0.5"];
    desk.run(&[plain, &arguments, &flags].concat());
    let hows = taken();
    assert!(
        hows.contains(&(true, Some(0.5))),
        "flags come first: {hows:?}"
    );
}

/// What a terminal of 100 columns and 30 lines got, as `script` records it.
fn on_terminal(desk: &Desk, arguments: &[&str]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let line = format!(
        "stty cols 100 rows 30 && exec {} {}",
        env!("CARGO_BIN_EXE_k25"),
        quoted.join(" ")
    );
    let recording = desk.dir.path().join("recording");
    let mut command = Command::new("script");
    command
        .args(["-qec", &line])
        .arg(&recording)
        .current_dir(desk.dir.path())
        .env("K25_MODEL", &desk.url)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = command.status().expect("script is part of every Linux");
    let text = std::fs::read(&recording).expect("the recording");
    let text = String::from_utf8(text).expect("text");
    assert!(status.success(), "{text}");
    text
}

#[test]
fn a_terminal_shows_the_run_while_it_goes_and_the_table_at_the_end() {
    let slow = |time| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(time))
    };
    let desk = Desk::new(
        12,
        teacher().slow(Arc::new(slow), Duration::from_millis(400)),
    );
    let text = on_terminal(&desk, &[&START[..], &["--trial", "never"]].concat());
    for part in [
        "looks for the columns",
        "contract      name*, version, license, edition · v1",
        "▸ listed 12 documents ▸ created",
        "▸ assigned 12 tasks",
        "/ 12 tasks",
        " ○ ",
        "more at work",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    // Each view takes away the one before; none is left when the table stands there.
    let views = text.matches("\x1b[?7l").count();
    let cleared = text.matches("A\x1b[J").count();
    assert_eq!(views, cleared, "{text}");
    let end = text.rsplit("\x1b[J").next().expect("the end");
    assert!(
        end.contains("12 rows") && !end.contains("orchestrator"),
        "{end}"
    );
}
