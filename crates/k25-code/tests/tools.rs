//! The tools over the real sandbox. This program is its own launcher, hence its own `main`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k25_agent::agent::ModelChoice;
use k25_agent::budget::{Budget, Prices};
use k25_agent::documents::Documents;
use k25_agent::journal::{Journal, MemoryJournal};
use k25_agent::run::{Clock, Run, RunParts};
use k25_agent::swarm::{Mode, Settings, Swarm, SwarmParts};
use k25_agent::tools::{CallContext, FailureKind, Tool, ToolError};
use k25_chat::{ChatRequest, Content, Message, Part};
use k25_code::{Language, RunCode, ViewImage, Workspaces};
use k25_sandbox::{Limits, Sandbox};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use serde_json::{Value, json};

fn main() {
    if k25_sandbox::is_stage() {
        k25_sandbox::stage_main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        files_stay_within_a_task().await;
        a_call_made_again_finds_what_it_found().await;
        results_say_what_happened().await;
        documents_can_be_laid_in().await;
        pictures_reach_the_model().await;
        only_pictures_are_shown().await;
        a_dropped_call_leaves_no_trace().await;
    });
    println!("7 tests passed");
}

struct Place {
    dir: tempfile::TempDir,
    workspaces: Arc<Workspaces>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = Arc::new(Workspaces::new(dir.path().join("files")));
        Place { dir, workspaces }
    }

    fn tool(&self, language: Language) -> RunCode {
        RunCode::new(language, Sandbox::new(), Arc::clone(&self.workspaces)).unwrap()
    }

    fn documents(&self) -> Arc<Documents> {
        let folder = self.dir.path().join("docs");
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::write(folder.join("data/prices.csv"), "item,price\na,3\nb,4\n").unwrap();
        std::fs::write(folder.join("note.txt"), "not a picture").unwrap();
        Arc::new(Documents::open(&folder).unwrap())
    }
}

async fn call(
    tool: &dyn Tool,
    task: &str,
    number: usize,
    arguments: Value,
) -> Result<String, ToolError> {
    let context = CallContext {
        task: task.to_owned(),
        call: format!("functions.{}:{number}", tool.name()),
        group: 1,
    };
    tool.call(arguments, context)
        .await
        .map(|output| output.text)
}

async fn run(tool: &dyn Tool, task: &str, number: usize, code: &str) -> String {
    call(tool, task, number, json!({ "code": code }))
        .await
        .unwrap()
}

async fn files_stay_within_a_task() {
    let place = Place::new();
    let (python, javascript) = (
        place.tool(Language::Python),
        place.tool(Language::JavaScript),
    );
    let text = run(&python, "main", 0, "open('n.txt', 'w').write('41')").await;
    assert_eq!(text, "2\n[files written: n.txt (2 bytes)]");
    // Another language, the same folder.
    let text = run(&javascript, "main", 1, "Number(readFile('n.txt')) + 1").await;
    assert_eq!(text, "42\n");
    // Another task, another folder.
    let text = run(&python, "reader/1", 0, "import os; os.listdir()").await;
    assert_eq!(text, "[]\n");
    let shown = place.dir.path().join("files/main/n.txt");
    assert_eq!(std::fs::read_to_string(shown).unwrap(), "41");
    // Calls of one turn go one after the other: no count is lost.
    let add = "n = int(open('n.txt').read()) + 1; open('n.txt', 'w').write(str(n)); None";
    let mut running = tokio::task::JoinSet::new();
    let python = Arc::new(python);
    for number in 2..10 {
        let python = Arc::clone(&python);
        running.spawn(async move { run(python.as_ref(), "main", number, add).await });
    }
    running.join_all().await;
    assert_eq!(
        run(&javascript, "main", 20, "readFile('n.txt')").await,
        "49\n"
    );
}

async fn a_call_made_again_finds_what_it_found() {
    let place = Place::new();
    let python = place.tool(Language::Python);
    let add = "open('log', 'a').write('x'); print(open('log').read())";
    assert!(run(&python, "main", 0, add).await.starts_with("x\n"));
    // As after a crash between the effect and the record of it, also in a new process.
    for _ in 0..3 {
        let workspaces = Arc::new(Workspaces::new(place.dir.path().join("files")));
        let python = RunCode::new(Language::Python, Sandbox::new(), workspaces).unwrap();
        assert!(run(&python, "main", 1, add).await.starts_with("xx\n"));
    }
    assert!(run(&python, "main", 2, add).await.starts_with("xxx\n"));
}

async fn results_say_what_happened() {
    let place = Place::new();
    let limits = Limits {
        wall: Duration::from_millis(1_500),
        ..Limits::default()
    };
    let javascript = place.tool(Language::JavaScript).with_limits(limits);
    let python = place.tool(Language::Python);
    assert_eq!(
        run(&javascript, "main", 0, "let a = 1").await,
        "(no output)"
    );
    let text = run(&javascript, "main", 1, "print('so far'); for (;;);").await;
    assert!(
        text.starts_with("so far\n[stopped by the time limit (1 s, 1024 MiB"),
        "{text}"
    );
    let text = run(&python, "main", 2, "print('a')\n1 / 0").await;
    assert!(
        text.starts_with("a\nTraceback") && text.contains("ZeroDivisionError"),
        "{text}"
    );
    let text = run(&python, "main", 3, "import sys; sys.exit(3)").await;
    assert_eq!(text, "[exit code 3]");
    let text = run(
        &python,
        "main",
        4,
        "import os; os.symlink('/etc/passwd', 'l'); 5",
    )
    .await;
    assert_eq!(text, "5\n[not kept: \"l\", neither a file nor a folder]");
    let text = run(
        &python,
        "main",
        5,
        "import socket; socket.create_connection(('1.1.1.1', 80))",
    )
    .await;
    assert!(text.contains("Operation not permitted"), "{text}");
    let error = call(&javascript, "main", 6, json!({"code": " ".repeat(2 << 20)}))
        .await
        .unwrap_err();
    assert_eq!(error.kind, FailureKind::Arguments);
    assert_eq!((python.name(), javascript.name()), ("python", "javascript"));
}

async fn documents_can_be_laid_in() {
    let place = Place::new();
    let python = place
        .tool(Language::Python)
        .with_documents(place.documents());
    assert!(python.schema()["properties"]["documents"].is_object());
    let code = "import csv; sum(int(r['price']) for r in csv.DictReader(open('prices.csv')))";
    let arguments = json!({"code": code, "documents": ["data/prices.csv"]});
    assert_eq!(call(&python, "main", 0, arguments).await.unwrap(), "7\n");
    for path in ["../files", "/etc/passwd", "none.csv"] {
        let error = call(
            &python,
            "main",
            1,
            json!({"code": "1", "documents": [path]}),
        )
        .await;
        assert_eq!(error.unwrap_err().kind, FailureKind::Refused, "{path}");
    }
    let alone = place.tool(Language::Python);
    assert!(alone.schema()["properties"].get("documents").is_none());
}

/// A white picture of 8 by 8 by means of Python's own libraries.
const DRAW: &str = "
import struct, zlib
def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
rows = b''.join(b'\\0' + b'\\xff' * 8 for _ in range(8))
png = b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 8, 8, 8, 0, 0, 0, 0))
png += chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
open('plot.png', 'wb').write(png)
None";

fn choice(client: Arc<ScriptedClient>) -> ModelChoice {
    ModelChoice {
        client,
        name: "scripted".to_owned(),
        context_tokens: 200_000,
        max_tokens: None,
        temperature: None,
        prices: Prices::default(),
        fallback: None,
    }
}

fn run_over(journal: &Arc<MemoryJournal>) -> Arc<Run> {
    let journal: Arc<dyn Journal> = Arc::clone(journal) as _;
    let parts = RunParts {
        journal,
        clock: Clock::system(),
        seed: 1,
        budget: Budget::default(),
        max_parallel: 1,
        observer: None,
    };
    Run::open(parts).unwrap()
}

fn sources(message: &Message) -> Vec<String> {
    let Some(Content::Parts(parts)) = &message.content else {
        return Vec::new();
    };
    let source = |part: &Part| match part {
        Part::Media(media) => media.source.clone(),
        Part::Text(_) => None,
    };
    parts.iter().filter_map(source).collect()
}

async fn pictures_reach_the_model() {
    let place = Place::new();
    let seen: Arc<Mutex<Vec<ChatRequest>>> = Arc::default();
    let requests = Arc::clone(&seen);
    let client = Arc::new(ScriptedClient::new(move |request, _| {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        Script::Reply(match requests.len() {
            1 => ScriptedReply::call("python", &json!({"code": DRAW})),
            2 => ScriptedReply::call("view_image", &json!({"path": "plot.png"})),
            _ => ScriptedReply::text("It is white."),
        })
    }));
    let journal = Arc::new(MemoryJournal::default());
    let run = run_over(&journal);
    let documents = place.documents();
    let settings = Settings {
        mode: Mode::Answer,
        ..Settings::default()
    };
    Swarm::begin(&run, "What colour?", None, &settings, &documents)
        .await
        .unwrap();
    let view = ViewImage::new(
        Arc::clone(&place.workspaces),
        Some(documents.root().to_owned()),
    );
    let parts = SwarmParts {
        documents,
        main: choice(Arc::clone(&client)),
        subagents: choice(client),
        more_tools: vec![Arc::new(place.tool(Language::Python)), Arc::new(view)],
        wrap: None,
    };
    Swarm::new(Arc::clone(&run), parts)
        .unwrap()
        .go()
        .await
        .unwrap();
    assert_eq!(run.with_state(|state| state.answer.clone()), "It is white.");
    let requests = seen.lock().unwrap();
    let last = requests[2].conversation.messages.last().unwrap();
    let [picture] = sources(last).try_into().unwrap();
    assert!(
        picture.starts_with("data:image/png;base64,iVBORw0KGgo"),
        "{picture}"
    );
    // What a resume reads is the same: the journal holds the picture.
    let again = run_over(&journal);
    let kept = again.with_state(|state| {
        let turns = &state.tasks["main"].turns;
        turns
            .iter()
            .flat_map(|turn| &turn.pictures)
            .map(|(_, picture)| picture.data.to_string())
            .collect::<Vec<_>>()
    });
    assert_eq!(kept, [picture]);
}

async fn only_pictures_are_shown() {
    let place = Place::new();
    let documents = place.documents();
    let root = documents.root().to_owned();
    let secret = place.dir.path().join("secret.png");
    std::fs::write(&secret, b"\x89PNG\r\n\x1a\nsecret").unwrap();
    std::os::unix::fs::symlink(&secret, root.join("link.png")).unwrap();
    std::fs::write(root.join("own.gif"), b"GIF89a...").unwrap();
    let view = ViewImage::new(Arc::clone(&place.workspaces), Some(root));
    let refused = async |path: &str| {
        let error = call(&view, "main", 0, json!({ "path": path }))
            .await
            .unwrap_err();
        assert_eq!(error.kind, FailureKind::Refused);
        error.message
    };
    assert!(refused("note.txt").await.contains("no picture"));
    assert!(refused("../secret.png").await.contains("no path below"));
    assert!(
        refused(secret.to_str().unwrap())
            .await
            .contains("no path below")
    );
    assert!(refused("link.png").await.contains("leads out"));
    assert!(refused("data").await.contains("no file"));
    assert!(refused("none.png").await.contains("there is no"));
    let shown = call(&view, "main", 0, json!({"path": "./own.gif"}))
        .await
        .unwrap();
    assert_eq!(shown, "own.gif (gif, 9 bytes)");
}

async fn a_dropped_call_leaves_no_trace() {
    let place = Place::new();
    let python = place.tool(Language::Python);
    let slow = run(
        &python,
        "main",
        0,
        "open('x', 'w').write('x'); import time; time.sleep(60)",
    );
    assert!(
        tokio::time::timeout(Duration::from_millis(400), slow)
            .await
            .is_err()
    );
    assert_eq!(
        run(&python, "main", 1, "import os; os.listdir()").await,
        "[]\n"
    );
    assert!(!Path::new(&place.dir.path().join("files/main/x")).exists());
}
