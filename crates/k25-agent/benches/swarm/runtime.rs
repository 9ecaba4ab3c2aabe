//! What the runtime costs: time per step, time to the last sub-agent's first request, memory.
//!
//! 100 sub-agents make some 1,500 calls, with the journal on disk. Model and tools are timed too and
//! taken off, since they are not the runtime.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use k25_agent::journal::SqliteJournal;
use k25_agent::run::Run;
use k25_agent::swarm::{Report, Settings, Wrap};
use k25_agent::tools::{CallContext, Calling, Effect, Tool};
use k25_chat::{Content, Role};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use serde_json::{Value, json};

use crate::common::{self, World};

/// The argument of the process that is measured.
pub const CHILD: &str = "measure-runtime";
const AGENTS: usize = 100;
/// Documents that a sub-agent looks at before its own.
const LOOKS: usize = 13;

/// Measures in a fresh process, prints, and writes `runtime.json`.
pub fn run(folder: &Path) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg(CHILD).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    print!("{text}");
    std::fs::write(folder.join("runtime.json"), text).unwrap();
}

/// Measures in this process and prints JSON.
pub fn measure_here() {
    let world = World::new(AGENTS, 4);
    let dir = tempfile::tempdir().unwrap();
    // One thread, so that times add up.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let before_mb = memory_mb("VmRSS:");
    let figures = runtime.block_on(work(&world, dir.path()));
    let figures = json!({
        "machine": machine(),
        "agents": AGENTS,
        "steps": figures.steps,
        "tool_calls": figures.tool_calls,
        "events": figures.events,
        "seconds": rounded(figures.total_ms / 1000.0),
        "model_and_tools_seconds": rounded(figures.outside_ms / 1000.0),
        "overhead_ms_per_step": rounded((figures.total_ms - figures.outside_ms) / figures.steps as f64),
        "processor_ms_per_step": rounded(figures.processor_ms / figures.steps as f64),
        "last_first_request_ms": rounded(figures.last_first_request_ms),
        "peak_resident_mb": memory_mb("VmHWM:"),
        "resident_before_mb": before_mb,
    });
    println!("{}", serde_json::to_string_pretty(&figures).unwrap());
}

struct Figures {
    steps: u64,
    tool_calls: u64,
    events: usize,
    total_ms: f64,
    outside_ms: f64,
    processor_ms: f64,
    last_first_request_ms: f64,
}

async fn work(world: &World, dir: &Path) -> Figures {
    let journal = SqliteJournal::open(&dir.join("journal.db")).unwrap();
    let run = Run::open(common::parts(Arc::new(journal), common::budget())).unwrap();
    common::begin(&run, world, &Settings::default()).await;
    let outside: Arc<AtomicU64> = Arc::default();
    let firsts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (spent, seen) = (Arc::clone(&outside), Arc::clone(&firsts));
    let names: Vec<String> = world
        .documents()
        .list("")
        .unwrap()
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    let model = ScriptedClient::new(move |request, _| {
        let began = Instant::now();
        let messages = &request.conversation.messages;
        if messages.len() == 2 {
            seen.lock().unwrap().push(began);
        }
        let user = match &messages[1].content {
            Some(Content::Text(text)) => text.as_str(),
            _ => "",
        };
        let looked = messages
            .iter()
            .filter(|message| message.role == Role::Tool)
            .count();
        let reply = if user.starts_with("Fill the row of ") && looked < LOOKS {
            // Never its own, of which it would read but a part then.
            let others: Vec<&String> = names.iter().filter(|name| !user.ends_with(*name)).collect();
            let other = others[(user.len() * 7 + looked * 31) % others.len()];
            ScriptedReply::call(
                "open",
                &json!({"path": format!("{other}Cargo.toml"), "line": 1 + looked}),
            )
        } else {
            teach(request, AGENTS)
        };
        spent.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Script::Reply(reply)
    });
    let swarm = common::swarm(&run, world, Arc::new(model), Some(timed(&outside)));
    let (began, processor_before) = (Instant::now(), processor_ms());
    swarm.go().await.unwrap();
    let total_ms = began.elapsed().as_secs_f64() * 1e3;
    let processor_ms = processor_ms() - processor_before;
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    let report = run.with_state(Report::of);
    let firsts = firsts.lock().unwrap();
    assert_eq!(firsts.len(), AGENTS + 1, "the first is the orchestrator's");
    Figures {
        steps: report.total_steps,
        tool_calls: report.spent.tool_calls,
        events: run.journal().read().unwrap().len(),
        total_ms,
        outside_ms: outside.load(Ordering::Relaxed) as f64 / 1e6,
        processor_ms,
        last_first_request_ms: (firsts[AGENTS] - firsts[1]).as_secs_f64() * 1e3,
    }
}

/// A tool whose time is counted. The orchestrator's tools are not wrapped.
struct Timed {
    inner: Arc<dyn Tool>,
    spent: Arc<AtomicU64>,
}

impl Tool for Timed {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn description(&self) -> &str {
        self.inner.description()
    }
    fn schema(&self) -> Value {
        self.inner.schema()
    }
    fn effect(&self) -> Effect {
        self.inner.effect()
    }
    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_> {
        Box::pin(async move {
            let began = Instant::now();
            let result = self.inner.call(arguments, context).await;
            self.spent
                .fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            result
        })
    }
}

fn timed(spent: &Arc<AtomicU64>) -> Wrap {
    let spent = Arc::clone(spent);
    Arc::new(move |inner| {
        Arc::new(Timed {
            inner,
            spent: Arc::clone(&spent),
        })
    })
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A figure of this process's memory, where the system tells.
fn memory_mb(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1000)
}

/// Milliseconds that all threads of this process have computed, waits for a core or a disk not counted;
/// model and tools are in it.
fn processor_ms() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e6
}

/// The processor's name and how many of them.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cores} threads",
        name.map_or("unknown", |(_, name)| name)
    )
}
