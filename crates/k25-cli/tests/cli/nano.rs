//! Without a model named, nano answers: the small model within the program.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::command::{Folder, fixture, program};

/// The program with a home of its own.
struct Home(Folder);

impl Home {
    fn new() -> Self {
        Self(Folder::empty())
    }

    fn cache(&self) -> PathBuf {
        self.0.path("cache")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .args(arguments)
            .current_dir(self.0.path(""))
            .env("XDG_CACHE_HOME", self.cache())
            .env("TMPDIR", self.0.path(""));
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self
            .command(arguments)
            .output()
            .expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// What the run was told of how to work, from its journal.
    fn settings_of_only_run(&self) -> Value {
        let runs = fs::read_dir(self.0.path("runs")).expect("runs");
        let run = runs.flatten().next().expect("a run").file_name();
        let run = run.to_str().expect("a name");
        let (code, events, _) = self.run(&["swarm", "show", run, "--events"]);
        assert_eq!(code, Some(0));
        let first = events.lines().next().expect("an event");
        let first: Value = serde_json::from_str(first).expect("JSON");
        first["settings"].clone()
    }
}

const LINE: &str = "model nano (";

#[test]
fn chat_without_a_model_is_with_nano_and_says_so_once() {
    let home = Home::new();
    let mut child = home
        .command(&["chat", "--max-tokens", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"Hello\n/quit\n").expect("sent");
    let output = child.wait_with_output().expect("the program ends");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in [LINE, "active, INT4, built in", "k25 chat DIR"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(!output.stdout.is_empty());
}

#[test]
fn a_model_of_the_environment_comes_before_nano() {
    let home = Home::new();
    let mut command = home.command(&["chat", "--tokenizer", &fixture("tokenizer")]);
    let output = command.env("K25_MODEL", fixture("t1")).output();
    let output = output.expect("the program starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!home.cache().exists(), "nano is not even unpacked");
    let mut command = home.command(&["chat"]);
    let output = command.env("K25_MODEL", "https://example.org/v1").output();
    let stderr = String::from_utf8(output.expect("it starts").stderr).expect("text");
    assert!(stderr.contains("is an endpoint"), "{stderr}");
}

#[test]
fn nano_answers_alike_from_a_cache_that_was_damaged_or_cannot_be_written() {
    let home = Home::new();
    let ask = || home.run(&["generate", "nano", "--max-tokens", "8", "Which license?"]);
    let whole = ask();
    assert_eq!((whole.0, whole.2.as_str()), (Some(0), ""));
    let folder = fs::read_dir(home.cache().join("k25")).expect("the cache");
    let folder = folder.flatten().next().expect("the model").path();
    let weights = folder.join("model-00001-of-000001.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    bytes.truncate(5_000);
    fs::write(&weights, bytes).expect("damage");
    assert_eq!(ask(), whole, "at temperature 0 an answer is the same again");

    fs::remove_dir_all(home.cache()).expect("the cache goes");
    fs::write(home.cache(), "a file where the cache should be").expect("a file");
    assert_eq!(ask(), whole);
    let entries = fs::read_dir(home.0.path("")).expect("a folder").flatten();
    let left: Vec<_> = entries
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with("k25-nano"))
        .collect();
    assert!(left.is_empty(), "temporary folders go away: {left:?}");
}

#[test]
fn commands_that_take_a_folder_take_nano() {
    let home = Home::new();
    let (code, stdout, _) = home.run(&["inspect", "nano", "--json"]);
    let inspected: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(code, Some(0), "a sound checkpoint: {inspected}");
    let (_, ids, _) = home.run(&["tokenize", "nano", "license"]);
    let (_, text, _) = home.run(&[
        "tokenize",
        "nano",
        "--decode",
        &ids.trim().replace(' ', ","),
    ]);
    assert_eq!(text.trim(), "license");
}

/// A server of nano; its address, as it tells it.
fn serve(home: &Home) -> (Child, String) {
    let mut server = home
        .command(&["serve", "--port", "0", "--log", "off"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let stdout = server.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("nano is served at ");
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    (server, address)
}

/// A folder of one document, as `docs`.
fn write_document(home: &Home) {
    let docs = home.0.path("docs/a-1.0.0");
    fs::create_dir_all(&docs).expect("a folder");
    let manifest = "[package]\nname = \"a\"\nversion = \"1.0.0\"\n";
    fs::write(docs.join("Cargo.toml"), manifest).expect("a file");
}

/// Short: what nano says is not looked at here.
const SWARM: [&str; 10] = [
    "swarm",
    "For each crate: version.",
    "--docs",
    "docs",
    "--columns",
    "name*, version",
    "--max-answer",
    "100",
    "--max-critical-steps",
    "1",
];

#[test]
fn behind_a_server_of_ours_the_swarm_hears_what_it_hears_here() {
    let home = Home::new();
    write_document(&home);
    let (mut server, address) = serve(&home);
    let first_answer = |more: &[&str]| {
        let arguments = [&SWARM[..], &["--json"], more].concat();
        let (_, stdout, stderr) = home.run(&arguments);
        let result: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
        let run = result["run"].as_str().expect("a run");
        let (_, events, _) = home.run(&["swarm", "show", run, "--events"]);
        let mut events = events.lines().map(|line| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            event
        });
        let answer = events.find(|event| event["kind"] == "replied");
        answer.unwrap_or_else(|| panic!("no answer: {stderr}"))["reply"].clone()
    };
    let inspected = home.run(&["inspect", "nano", "--json"]).1;
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    let context = inspected["architecture"]["context"].to_string();
    let there = [
        "--model",
        &address,
        "--model-name",
        "nano",
        "--context",
        &context,
    ];
    let (here, there) = (first_answer(&[]), first_answer(&there));
    server.kill().expect("it is there");
    server.wait().expect("it ends");
    assert_eq!(here, there);
}

#[test]
fn the_example_takes_34_crates_from_the_registry_of_this_machine() {
    let home = Home::new();
    // Whoever builds this program has its crates; what nano makes of them is measured elsewhere.
    let arguments = [
        "swarm",
        "--example",
        "crates",
        "--columns",
        "name*, version",
    ];
    let limits = ["--max-critical-steps", "1", "--max-answer", "100", "--json"];
    let (code, stdout, stderr) = home.run(&[&arguments[..], &limits].concat());
    assert!(matches!(code, Some(0 | 1)), "{stderr}");
    let result: Value = serde_json::from_str(&stdout).expect("one JSON object");
    let question = result["report"]["question"].as_str();
    assert!(question.is_some_and(|question| question.starts_with("For each crate in Cargo.toml")));
    let run = result["run"].as_str().expect("a run");
    let (_, events, _) = home.run(&["swarm", "show", run, "--events"]);
    let first = events.lines().next().expect("an event");
    let first: Value = serde_json::from_str(first).expect("JSON");
    let documents = first["documents"].as_array().expect("documents");
    assert_eq!(documents.len(), 34, "{documents:?}");
}

#[test]
fn a_swarm_without_a_model_works_as_nano_was_trained() {
    let home = Home::new();
    write_document(&home);
    let (code, _, stderr) = home.run(&SWARM);
    assert!(matches!(code, Some(0 | 1)), "{stderr}");
    assert!(stderr.starts_with(LINE), "{stderr}");
    let settings = home.settings_of_only_run();
    assert_eq!(settings["small"], true, "{settings}");
    assert_eq!(settings["main_thinks"], false);
    assert_eq!(settings["context"], "discard-all");

    fs::remove_dir_all(home.0.path("runs")).expect("runs");
    let flags = ["--thinking", "--context-policy", "summary"];
    home.run(&[&SWARM[..], &flags].concat());
    let settings = home.settings_of_only_run();
    assert_eq!(settings["main_thinks"], true, "flags come first");
    assert_eq!(settings["context"], "summary");
}
