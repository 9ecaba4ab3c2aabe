//! Wall clock and critical steps by width: a swarm, one agent, one agent with parallel calls, and the
//! same with a short context that is discarded when it is full.
//!
//! Virtual time: a tool takes 300 ms, an answer 200 ms, and nothing else takes any.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k25_agent::agent::{ContextPolicy, ModelChoice};
use k25_agent::swarm::{Mode, Report, Settings};
use k25_chat::{ChatClient, ChatRequest, Content, Message, Role};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use tokio::time::Instant;

use crate::common::{World, begun, choice, flaky, swarm_of, wait};
use crate::plot::{Curve, Panel};

const TOOL: Duration = Duration::from_millis(300);
const MODEL: Duration = Duration::from_millis(200);
const WIDTHS: [usize; 5] = [4, 8, 16, 32, 64];
/// Calls of a turn of the agent that makes several.
const PARALLEL: usize = 8;
/// The context of the agent that discards: some ten documents with their calls.
const SHORT_CONTEXT: u64 = 10_000;

/// Who works, and how.
struct Contestant {
    name: &'static str,
    mode: Mode,
    context: ContextPolicy,
    context_tokens: u64,
    /// Documents or tasks of a turn, given the width.
    at_once: fn(usize) -> usize,
}

const CONTESTANTS: [Contestant; 4] = [
    Contestant {
        name: "one agent",
        mode: Mode::Single,
        context: ContextPolicy::HideToolResult,
        context_tokens: 1_000_000,
        at_once: |_| 1,
    },
    Contestant {
        name: "one agent, 8 calls a turn",
        mode: Mode::Single,
        context: ContextPolicy::HideToolResult,
        context_tokens: 1_000_000,
        at_once: |_| PARALLEL,
    },
    Contestant {
        name: "the same, discard-all at 7,500 tokens",
        mode: Mode::Single,
        context: ContextPolicy::DiscardAll,
        context_tokens: SHORT_CONTEXT,
        at_once: |_| PARALLEL,
    },
    Contestant {
        name: "swarm",
        mode: Mode::Swarm,
        context: ContextPolicy::HideToolResult,
        context_tokens: 1_000_000,
        at_once: |width| width,
    },
];

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    seconds: f64,
    critical_steps: u64,
    total_steps: u64,
    tokens: u64,
}

pub fn run(folder: &Path) {
    let mut table = String::from("width,contestant,seconds,critical_steps,total_steps,tokens\n");
    let mut seconds: Vec<Vec<(f64, f64)>> = vec![Vec::new(); CONTESTANTS.len()];
    let mut critical = seconds.clone();
    println!("width  contestant                                seconds  critical  total  tokens");
    for width in WIDTHS {
        let world = World::new(width, 41);
        for (index, contestant) in CONTESTANTS.iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let figures = runtime.block_on(measure(&world, contestant, width));
            let Figures {
                seconds: time,
                critical_steps,
                total_steps,
                tokens,
            } = figures;
            println!(
                "{width:>5}  {:<40} {time:>8.1} {critical_steps:>9} {total_steps:>6} {tokens:>7}",
                contestant.name
            );
            table.push_str(&format!(
                "{width},\"{}\",{time:.1},{critical_steps},{total_steps},{tokens}\n",
                contestant.name
            ));
            seconds[index].push((width as f64, time));
            critical[index].push((width as f64, critical_steps as f64));
        }
    }
    let curves = |points: Vec<Vec<(f64, f64)>>| {
        let named = CONTESTANTS.iter().zip(points);
        named
            .map(|(contestant, points)| Curve {
                name: contestant.name,
                points,
            })
            .collect()
    };
    let panels = [
        Panel {
            title: "seconds (tools 300 ms, answers 200 ms)",
            curves: curves(seconds),
        },
        Panel {
            title: "critical steps",
            curves: curves(critical),
        },
    ];
    std::fs::write(folder.join("curve.csv"), table).unwrap();
    std::fs::write(
        folder.join("curve.svg"),
        crate::plot::svg("rows of the table", &panels),
    )
    .unwrap();
}

async fn measure(world: &World, contestant: &Contestant, width: usize) -> Figures {
    let settings = Settings {
        mode: contestant.mode,
        context: contestant.context,
        main_steps: 1_000,
        ..Settings::default()
    };
    let run = begun(world, &settings).await;
    let at_once = (contestant.at_once)(width);
    let model = ScriptedClient::new(move |request, _| Script::Reply(answer(request, at_once)));
    let model: Arc<dyn ChatClient> = Arc::new(model.slow(wait(), MODEL).counting());
    let model = ModelChoice {
        context_tokens: contestant.context_tokens,
        ..choice(model)
    };
    let swarm = swarm_of(&run, world.documents(), model, Some(flaky(0.0, TOOL)));
    let began = Instant::now();
    swarm.go().await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(
        world.wrong_places(&run),
        Vec::<String>::new(),
        "{}",
        contestant.name
    );
    let report = run.with_state(Report::of);
    Figures {
        seconds,
        critical_steps: report.critical_steps,
        total_steps: report.total_steps,
        tokens: report.spent.tokens(),
    }
}

/// What a good model says. One that has lost its history believes the note on what is in the table:
/// documents whose rows stand there are done.
fn answer(request: &ChatRequest, at_once: usize) -> ScriptedReply {
    let messages = &request.conversation.messages;
    let Some(rows) = messages.iter().find_map(rows_in_table) else {
        return teach(request, at_once);
    };
    let mut request = request.clone();
    let is_done = |entry: &str| {
        let package = entry.rsplit_once('-').map_or(entry, |(name, _)| name);
        rows.iter().any(|row| row == package)
    };
    for message in &mut request.conversation.messages {
        if message.role != Role::Tool {
            continue;
        }
        let Some(Content::Text(list)) = &message.content else {
            continue;
        };
        if !list
            .lines()
            .next()
            .is_some_and(|line| line.ends_with(" entries"))
        {
            continue;
        }
        let left: Vec<&str> = list.lines().filter(|line| !is_done(line)).collect();
        if left.len() == 1 {
            return ScriptedReply::text("The table is complete.");
        }
        message.content = Some(Content::Text(left.join("\n")));
    }
    teach(&request, at_once)
}

/// The rows that the note after a discarded history names.
fn rows_in_table(message: &Message) -> Option<Vec<String>> {
    let Some(Content::Text(note)) = &message.content else {
        return None;
    };
    if message.role != Role::User || !note.starts_with("You have worked ") {
        return None;
    }
    let rows = note
        .lines()
        .find(|line| line.starts_with("Rows in the table"));
    let rows = rows
        .and_then(|line| line.split_once(": "))
        .map_or("", |(_, rows)| rows);
    Some(rows.split(", ").map(str::to_owned).collect())
}
