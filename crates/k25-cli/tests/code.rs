//! `k25 agent --tools …` as people run it: the real program and the real sandbox, over HTTP with a model
//! that follows a script.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use k25_chat::{ChatClient, ChatError, ChatRequest, Content};
use k25_server::{App, Model, ModelInfo, Server, ServerOptions, TokenCounter};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use serde_json::{Value, json};

struct NoCounter;

impl TokenCounter for NoCounter {
    fn count(&self, _: &ChatRequest) -> Result<u64, ChatError> {
        Ok(1)
    }
}

fn serve(client: Arc<dyn ChatClient>) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let info = ModelInfo {
                name: "scripted".to_owned(),
                created: 0,
                context_length: 262_144,
                supports_image_in: true,
                supports_video_in: false,
                supports_reasoning: true,
            };
            let model = Model {
                info,
                aliases: Vec::new(),
                upstreams: Vec::new(),
                client,
                counter: Arc::new(NoCounter),
            };
            let app = App::new(vec![model], None, ServerOptions::default()).expect("an app");
            let any_port: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            let server = Server::bind(app, any_port).await.expect("a port");
            let address = server.address().expect("an address");
            sender.send(address).expect("someone waits");
            server.run(std::future::pending::<()>()).await;
        });
    });
    format!("http://{}/v1", receiver.recv().expect("the server starts"))
}

/// Runs an agent whose model makes these calls one after the other, then repeats the last result.
fn agent(calls: &[(&'static str, Value)], flags: &[&str]) -> (Output, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let docs = dir.path().join("docs");
    std::fs::create_dir(&docs).expect("a folder");
    std::fs::write(docs.join("prices.csv"), "item,price\na,3\nb,4\n").expect("a file");
    let calls = Mutex::new(calls.to_vec());
    let client = ScriptedClient::new(move |request, _| {
        let mut calls = calls.lock().expect("nobody panics");
        if calls.is_empty() {
            let last = request.conversation.messages.last();
            let Some(Content::Text(text)) = last.and_then(|message| message.content.clone()) else {
                return Script::Reply(ScriptedReply::text("no text"));
            };
            return Script::Reply(ScriptedReply::text(format!("last: {text}")));
        }
        let (name, arguments) = calls.remove(0);
        Script::Reply(ScriptedReply::call(name, &arguments))
    });
    let output = Command::new(env!("CARGO_BIN_EXE_k25"))
        .args([
            "agent",
            "How much is it?",
            "--docs",
            "docs",
            "--model-name",
            "scripted",
        ])
        .args(flags)
        .current_dir(dir.path())
        .env("K25_MODEL", serve(Arc::new(client)))
        .env("TERM", "dumb")
        .env_remove("MOONSHOT_API_KEY")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    (output, dir)
}

fn text(output: &Output) -> String {
    let [out, err] =
        [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned());
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
fn a_python_that_does_not_do_is_named_before_the_run_begins() {
    let (output, dir) = agent(&[], &["--python", "/bin/true"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("no Python 3"), "{}", text(&output));
    assert!(text(&output).contains("hint "), "{}", text(&output));
    assert!(!dir.path().join("runs/journal.db").exists());
}
