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
    arguments.extend(["--compare", "single"]);
    let (stdout, stderr) = texts(&desk.run(&arguments));
    let line = stdout
        .lines()
        .find(|line| line.starts_with("critical steps ") && line.contains('×'));
    assert!(line.is_some(), "{stdout}\n{stderr}");
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
