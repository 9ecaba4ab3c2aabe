//! Other people's servers as tools: real processes and real HTTP, written in plain Python so that our
//! own library is not its own oracle.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k25_agent::tools::{CallContext, Effect, FailureKind, Tool, ToolError, Toolset};
use k25_mcp::{Config, McpError, Servers};
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server.py");

/// A folder with a server's notes and the configuration that starts it.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Desk { dir }
    }

    fn notes(&self, word: &str) -> usize {
        let notes = std::fs::read_to_string(self.dir.path().join("notes")).unwrap_or_default();
        notes.lines().filter(|line| line.starts_with(word)).count()
    }

    fn config(&self, server: Value) -> Config {
        let path = self.dir.path().join("mcp.json");
        let text = json!({"mcpServers": {"srv": server}}).to_string();
        std::fs::write(&path, text).expect("written");
        Config::read(&path, &|name| (name == "TOKEN").then(|| "t1".to_owned())).expect("read")
    }

    fn stdio(&self, mode: &str, more: Value) -> Config {
        let notes = self.dir.path().join("notes");
        let mut server = json!({"command": "python3", "args": ["-B", SCRIPT, "stdio", mode, notes],
            "env": {"GIVEN": "${TOKEN}"}});
        for (key, value) in more.as_object().expect("an object") {
            server[key] = value.clone();
        }
        self.config(server)
    }

    async fn connect(&self, mode: &str) -> Servers {
        let config = self.stdio(mode, json!({"timeout_seconds": 2}));
        Servers::connect(&config).await.expect("a server")
    }
}

fn tool<'s>(servers: &'s Servers, name: &str) -> &'s Arc<dyn Tool> {
    let found = servers.tools().iter().find(|tool| tool.name() == name);
    found.unwrap_or_else(|| panic!("no tool {name}"))
}

async fn call(servers: &Servers, name: &str, arguments: Value) -> Result<String, ToolError> {
    let context = CallContext {
        task: "t".to_owned(),
        call: "c".to_owned(),
        group: 1,
    };
    let output = tool(servers, name).call(arguments, context).await;
    output.map(|output| output.text)
}

#[tokio::test]
async fn tools_of_a_program_are_tools_of_an_agent() {
    let desk = Desk::new();
    let servers = desk.connect("good").await;
    let add = tool(&servers, "srv__add");
    assert_eq!(
        (add.description(), add.effect()),
        ("Adds.", Effect::Idempotent)
    );
    let send = tool(&servers, "srv__send");
    assert_eq!(
        send.effect(),
        Effect::Once,
        "nobody said that it is harmless"
    );
    let schema = send.schema().to_string();
    for word in ["oneOf", "const", "format"] {
        assert!(!schema.contains(word), "{schema}");
    }
    assert_eq!(
        call(&servers, "srv__add", json!({"a": 2, "b": 40}))
            .await
            .expect("42"),
        "42"
    );
    let sent = call(&servers, "srv__send", json!({"to": "x"}))
        .await
        .expect("sent");
    assert_eq!(sent, "sent {\"to\": \"x\"}\n[picture, image/png]");
    let environment = call(&servers, "srv__env", json!({}))
        .await
        .expect("an environment");
    let environment: Value = serde_json::from_str(&environment).expect("JSON");
    assert_eq!(environment["GIVEN"], "t1");
    assert!(
        environment.get("CARGO_MANIFEST_DIR").is_none(),
        "only what is needed is passed on"
    );
    servers.close().await;
}

#[tokio::test]
async fn only_the_tools_that_are_wanted_are_offered() {
    let desk = Desk::new();
    let servers = Servers::connect(&desk.stdio("good", json!({"tools": ["send"]}))).await;
    let servers = servers.expect("a server");
    assert_eq!(servers.tools().len(), 1);
    let missing = Servers::connect(&desk.stdio("good", json!({"tools": ["sent"]}))).await;
    let Err(error) = missing else {
        panic!("there is no such tool");
    };
    assert!(error.to_string().contains("no tool \"sent\""), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_a_few_times() {
    let desk = Desk::new();
    let servers = desk.connect("dies").await;
    let mut kinds = Vec::new();
    for _ in 0..6 {
        let error = call(&servers, "srv__add", json!({"a": 1, "b": 1}))
            .await
            .expect_err("it dies");
        assert!(error.message.contains("MCP server srv"), "{error}");
        kinds.push(error.kind);
    }
    assert_eq!(kinds[0], FailureKind::Transient);
    assert_eq!(kinds[5], FailureKind::Internal);
    assert_eq!((desk.notes("start"), desk.notes("call")), (4, 4));
}

#[tokio::test]
async fn a_server_that_hangs_costs_its_call_and_no_more() {
    let desk = Desk::new();
    let servers = desk.connect("hangs").await;
    let began = Instant::now();
    let error = call(&servers, "srv__add", json!({"a": 1, "b": 1}))
        .await
        .expect_err("no answer");
    assert_eq!(error.kind, FailureKind::Timeout);
    assert!(began.elapsed() < Duration::from_secs(20));
    let began = Instant::now();
    servers.close().await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it is ended, since it does not leave"
    );
}

#[tokio::test]
async fn errors_of_a_tool_are_errors_of_its_call() {
    let desk = Desk::new();
    let servers = desk.connect("fails").await;
    let error = call(&servers, "srv__add", json!({"a": 1, "b": 1}))
        .await
        .expect_err("it fails");
    assert_eq!(
        (error.kind, error.message.as_str()),
        (FailureKind::Refused, "no such row")
    );
}

#[tokio::test]
async fn strange_tools_and_results_are_bounded() {
    let desk = Desk::new();
    let servers = desk.connect("odd").await;
    assert_eq!(servers.tools().len(), 128);
    for tool in servers.tools() {
        let name = tool.name();
        assert!(
            name.len() <= 64
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
            "{name}"
        );
        assert!(tool.description().len() < 1_100);
        assert!(tool.schema().to_string().len() < 20_000);
        assert_eq!(tool.schema()["type"], "object");
    }
    // Every one of them can be declared to a model.
    let declared = Toolset::new(servers.tools().to_vec()).declarations();
    assert!(k25_chat::typescript_declaration(&declared).is_ok());
    let text = call(&servers, "srv__same", json!({}))
        .await
        .expect("a long text");
    assert!(text.len() <= 1 << 20);
}

#[tokio::test]
async fn what_is_no_server_is_said_before_a_run_begins() {
    for mode in ["rubbish", "flood", "mute"] {
        let desk = Desk::new();
        let mut config = desk.stdio(mode, json!({}));
        for server in config.servers.values_mut() {
            server.start = Duration::from_secs(3);
        }
        let Err(error) = Servers::connect(&config).await else {
            panic!("{mode} is no server");
        };
        assert!(matches!(error, McpError::Start { .. }), "{error}");
        assert!(error.to_string().contains("hint"), "{error}");
    }
    let config = Desk::new().config(json!({"command": "no-such-program-anywhere"}));
    assert!(matches!(
        Servers::connect(&config).await,
        Err(McpError::Start { .. })
    ));
}

struct Http(Child);

impl Drop for Http {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn http(mode: &str, notes: &Path) -> (Http, String) {
    let mut child = Command::new("python3")
        .args(["-B", SCRIPT, "http", mode])
        .arg(notes)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("a port");
    let url = format!("http://127.0.0.1:{}/mcp", line.trim());
    (Http(child), url)
}

#[tokio::test]
async fn servers_over_http_get_their_headers_and_may_go_away() {
    let desk = Desk::new();
    let (server, url) = http("good", &desk.dir.path().join("notes"));
    let config = desk.config(
        json!({"url": url, "headers": {"Authorization": "Bearer ${TOKEN}"},
        "timeout_seconds": 3}),
    );
    let servers = Servers::connect(&config).await.expect("a server");
    assert_eq!(
        call(&servers, "srv__add", json!({"a": 1, "b": 2}))
            .await
            .expect("3"),
        "3"
    );
    assert!(desk.notes("authorization Bearer t1") >= 3);
    assert_eq!(desk.notes("authorization none"), 0);
    drop(server);
    let error = call(&servers, "srv__add", json!({"a": 1, "b": 2}))
        .await
        .expect_err("it is gone");
    assert!(error.message.contains("MCP server srv"), "{error}");
}
