//! `k25 agent --tools …` as people run it: the real program and the real sandbox, over HTTP with a model
//! that follows a script.

mod common;

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use common::{MODEL, serve, texts};
use k25_chat::Content;
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use serde_json::{Value, json};

/// An agent whose model makes these calls one after the other, then repeats the last result.
struct Desk {
    dir: tempfile::TempDir,
    url: String,
}

impl Desk {
    fn new(calls: &[(&'static str, Value)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let docs = dir.path().join("docs");
        std::fs::create_dir(&docs).expect("a folder");
        std::fs::write(docs.join("prices.csv"), "item,price\na,3\nb,4\n").expect("a file");
        let calls = Mutex::new(calls.to_vec());
        let client = ScriptedClient::new(move |request, _| {
            let mut calls = calls.lock().expect("nobody panics");
            if calls.is_empty() {
                let last = request.conversation.messages.last();
                let Some(Content::Text(text)) = last.and_then(|message| message.content.clone())
                else {
                    return Script::Reply(ScriptedReply::text("no text"));
                };
                return Script::Reply(ScriptedReply::text(format!("last: {text}")));
            }
            let (name, arguments) = calls.remove(0);
            Script::Reply(ScriptedReply::call(name, &arguments))
        });
        Desk {
            url: serve(Arc::new(client)),
            dir,
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env("K25_MODEL", &self.url)
            .env("TERM", "dumb")
            .env_remove("MOONSHOT_API_KEY");
        command
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_k25");
const AGENT: [&str; 6] = [
    "agent",
    "How much?",
    "--docs",
    "docs",
    "--model-name",
    MODEL,
];

/// Runs an agent whose model makes these calls.
fn agent(calls: &[(&'static str, Value)], flags: &[&str]) -> (Output, tempfile::TempDir) {
    let desk = Desk::new(calls);
    let mut command = desk.command(PROGRAM);
    let command = command.args(AGENT).args(flags).stdin(Stdio::null());
    (command.output().expect("the program starts"), desk.dir)
}

/// The same at a terminal, where somebody gives these answers; the result is what the screen showed.
fn at_a_terminal(calls: &[(&'static str, Value)], flags: &[&str], answers: &[&str]) -> String {
    let desk = Desk::new(calls);
    let words = [PROGRAM].iter().chain(&AGENT).chain(flags);
    let quoted: Vec<String> = words.map(|word| format!("'{word}'")).collect();
    let mut child = desk
        .command("script")
        .args(["-qefc", &quoted.join(" "), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a terminal: `script` is there (Debian: bsdutils)");
    let mut keys = child.stdin.take().expect("it was asked for");
    let mut screen = child.stdout.take().expect("it was asked for");
    let (mut shown, mut answered) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = screen.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
        let asked = String::from_utf8_lossy(&shown).matches("run this?").count();
        while answered < asked.min(answers.len()) {
            writeln!(keys, "{}", answers[answered]).expect("the terminal is there");
            answered += 1;
        }
    }
    child.wait().expect("it ends");
    assert_eq!(answered, answers.len(), "each answer was asked for");
    String::from_utf8_lossy(&shown).into_owned()
}

fn text(output: &Output) -> String {
    let (out, err) = texts(output);
    out + &err
}

fn python(code: &str) -> (&'static str, Value) {
    ("python", json!({"code": code, "documents": ["prices.csv"]}))
}

const SUM: &str = "import csv\nopen('out.txt', 'w').write('kept')\n\
                   sum(int(row['price']) for row in csv.DictReader(open('prices.csv')))";

#[test]
fn an_agent_computes_over_documents() {
    let (output, dir) = agent(&[python(SUM)], &["--tools", "python"]);
    assert!(text(&output).contains("last: 7"), "{}", text(&output));
    let runs = std::fs::read_dir(dir.path().join("runs"))
        .expect("a run")
        .flatten();
    let kept = runs
        .map(|run| run.path().join("files/main/out.txt"))
        .find(|path| path.exists());
    assert_eq!(
        std::fs::read_to_string(kept.expect("the file stays")).expect("text"),
        "kept"
    );
    let call = ("javascript", json!({"code": "[1, 2, 3].map((n) => n * n)"}));
    let (output, _dir) = agent(&[call], &["--tools", "javascript"]);
    assert!(
        text(&output).contains("last: [1, 4, 9]"),
        "{}",
        text(&output)
    );
}

#[test]
fn rules_decide_which_calls_run() {
    let (output, _dir) = agent(
        &[python("1")],
        &["--tools", "python", "--deny", "python(code=*)"],
    );
    assert!(
        text(&output).contains("does not allow this call"),
        "{}",
        text(&output)
    );
    // Nobody is at a terminal here.
    let (output, _dir) = agent(&[python("1")], &["--tools", "python", "--ask", "python"]);
    assert!(
        text(&output).contains("did not approve this call"),
        "{}",
        text(&output)
    );
    let flags = ["--tools", "python", "--allow", "python(code=*sum*)"];
    let (output, _dir) = agent(&[python(SUM)], &flags);
    assert!(text(&output).contains("last: 7"), "{}", text(&output));
    // What a rule allows does not put the documents' own tools to the question.
    let open = ("open", json!({"path": "prices.csv"}));
    let (output, _dir) = agent(&[open], &flags);
    assert!(text(&output).contains("item,price"), "{}", text(&output));
    let (output, _dir) = agent(&[], &["--tools", "python", "--deny", "python(x"]);
    assert!(!output.status.success());
    assert!(
        text(&output).contains("a parenthesis stays open"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_person_at_the_terminal_decides() {
    let flags = ["--tools", "python", "--ask", "python"];
    let twice = [python("20 + 1"), python("20 + 2")];
    let screen = at_a_terminal(&twice, &flags, &["y", "n"]);
    assert!(
        screen.contains("20 + 1"),
        "what is asked about is shown: {screen}"
    );
    assert!(screen.contains("did not approve this call"), "{screen}");
    let screen = at_a_terminal(&twice, &flags, &["n", "yes"]);
    assert!(screen.contains("last: 22"), "{screen}");
    let screen = at_a_terminal(&twice, &flags, &["a"]);
    assert!(
        screen.contains("last: 22"),
        "always is asked once: {screen}"
    );
    // Anything else is no consent.
    let screen = at_a_terminal(&twice[..1], &flags, &[""]);
    assert!(screen.contains("did not approve this call"), "{screen}");
}

#[test]
fn a_python_that_does_not_do_is_named_before_the_run_begins() {
    let (output, dir) = agent(&[], &["--python", "/bin/true"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("no Python 3"), "{}", text(&output));
    assert!(text(&output).contains("hint "), "{}", text(&output));
    assert!(!dir.path().join("runs/journal.db").exists());
}
