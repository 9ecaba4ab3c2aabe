//! The swarm's scheduling under a seeded simulator: real runtime, virtual time, made-up endpoint.
//!
//! A seed says how many tasks there are, what the run may cost, how many requests the endpoint bears,
//! and what goes wrong when: requests that are refused, broken, silent, slow; tools that fail, panic or
//! take long; processes that end in the middle. Whatever it says, the same things must hold.
//!
//! `K25_SIM_SEEDS=100000 cargo test -p k25-agent --test scheduler` tries more of them; a seed that
//! fails is named.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{PRICES, World, choice, parts, swarm_of, wait};
use k25_agent::budget::Budget;
use k25_agent::contract::{Contract, parse_columns};
use k25_agent::documents::Documents;
use k25_agent::event::{Event, EventKind};
use k25_agent::journal::{Journal, MemoryJournal};
use k25_agent::run::{Observer, Random, Run, RunError, RunParts, RunState, RunStatus, Turn};
use k25_agent::swarm::{Settings, Swarm, Wrap};
use k25_agent::tools::{CallContext, Calling, Effect, FailureKind, Tool, ToolError};
use k25_chat::{ChatClient, ChatErrorKind, ChatRequest, ChatStream};
use k25_testkit::scripted::{Script, ScriptedClient, ScriptedReply};
use k25_testkit::teacher::teach;
use serde_json::Value;
use tokio::sync::Notify;

/// Seeds that the check tries.
const SEEDS: u64 = 1_000;
/// No simulated run takes longer than this, in virtual time.
const LONGEST: Duration = Duration::from_secs(40 * 3600);

/// How often the process of one run ends.
const MOST_CRASHES: u64 = 40;

/// What a seed says.
#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    width: usize,
    parallel: usize,
    budget: Budget,
    /// Probability of each fault of a request: refused for now, broken, silent, slow, useless.
    requests: [f64; 5],
    /// Probability of each fault of a tool: fails, panics, slow.
    tools: [f64; 3],
    /// Requests at once that the endpoint bears; it refuses more.
    bears: usize,
    /// Events after which the process ends, again and again.
    crashes: Option<usize>,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut below = |most: u64| random.next_u64() % most;
        let mut fault = |most: f64| match below(3) {
            0 => 0.0,
            n => most * n as f64 / 2.0,
        };
        let requests = [fault(0.2), fault(0.1), fault(0.03), fault(0.2), fault(0.05)];
        let tools = [fault(0.15), fault(0.05), fault(0.1)];
        let limits = below(8);
        let limit = |at: u64, least: u64, more: u64| (limits == at).then_some(least + more);
        let (tokens, more) = (below(60_000), below(20));
        Plan {
            seed,
            // A group of all is as likely as all others: only there second attempts begin.
            width: (1 + below(2 * WORLD as u64) as usize).min(WORLD),
            parallel: 1 + below(12) as usize,
            budget: Budget {
                tokens: limit(0, 2_000, tokens),
                money: limit(1, 1, more).map(|cents| cents as f64 * 0.005),
                seconds: limit(2, 5, below(120)),
                critical_steps: limit(3, 1, more),
                tool_calls: limit(4, 1, more),
                tasks: limit(5, 0, more / 2),
            },
            requests,
            tools,
            bears: 1 + below(12) as usize,
            crashes: (below(3) == 0).then(|| 3 + below(40) as usize),
        }
    }

    /// Whether nothing stands in the way of a full table but faults that pass.
    fn is_unlimited(&self) -> bool {
        self.budget
            == Budget {
                tokens: None,
                money: None,
                seconds: None,
                critical_steps: None,
                tool_calls: None,
                tasks: None,
            }
    }
}

/// An endpoint with a place for so many requests.
struct Endpoint {
    model: ScriptedClient,
    at_work: Arc<AtomicUsize>,
    most: AtomicUsize,
    bears: usize,
}

impl Endpoint {
    fn new(plan: &Plan) -> Self {
        let (plan, random) = (plan.clone(), Mutex::new(Random::new(!plan.seed)));
        let at_work: Arc<AtomicUsize> = Arc::default();
        let (bears, now) = (plan.bears, Arc::clone(&at_work));
        let rule = move |request: &ChatRequest, _| {
            let mut random = random.lock().unwrap();
            let reply = teach(request, plan.width);
            let time = Duration::from_millis(20 + random.next_u64() % 400);
            if now.load(Ordering::SeqCst) > plan.bears {
                return Script::Error(ChatErrorKind::RateLimited);
            }
            let roll = |random: &mut Random, at: usize| random.unit() < plan.requests[at];
            let script = if roll(&mut random, 0) {
                let kinds = [
                    ChatErrorKind::RateLimited,
                    ChatErrorKind::Server,
                    ChatErrorKind::Overloaded,
                ];
                Script::Error(kinds[random.next_u64() as usize % kinds.len()])
            } else if roll(&mut random, 1) {
                Script::Broken(reply)
            } else if roll(&mut random, 2) {
                Script::Stall
            } else if roll(&mut random, 4) {
                Script::Reply(ScriptedReply::default())
            } else {
                Script::Reply(reply)
            };
            let slow = if roll(&mut random, 3) { 40 } else { 1 };
            Script::After(time * slow, Box::new(script))
        };
        Endpoint {
            model: ScriptedClient::new(rule).waiting(wait()).counting(),
            at_work,
            most: AtomicUsize::new(0),
            bears,
        }
    }
}

impl ChatClient for Endpoint {
    fn chat(&self, request: ChatRequest) -> ChatStream {
        let now = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        assert!(self.bears > 0);
        Box::pin(Counted {
            stream: self.model.chat(request),
            at_work: Arc::clone(&self.at_work),
        })
    }
}

/// A stream that counts as a request at work until it is dropped.
struct Counted {
    stream: ChatStream,
    at_work: Arc<AtomicUsize>,
}

impl futures_core::Stream for Counted {
    type Item = Result<k25_chat::ChatEvent, k25_chat::ChatError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.stream.as_mut().poll_next(context)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A tool with a seed's faults.
struct Faulty {
    inner: Arc<dyn Tool>,
    random: Arc<Mutex<Random>>,
    faults: [f64; 3],
}

impl Tool for Faulty {
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
        let (fails, panics, slow, kind) = {
            let mut random = self.random.lock().unwrap();
            let mut roll = |at: usize| random.unit() < self.faults[at];
            (roll(0), roll(1), roll(2), roll(0))
        };
        Box::pin(async move {
            if slow {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
            if panics {
                // Not by `panic!`, whose message would drown the log of thousands of runs.
                std::panic::resume_unwind(Box::new("simulated"));
            }
            match (fails, kind) {
                (true, true) => Err(ToolError::new(FailureKind::Internal, "the tool broke")),
                (true, false) => Err(ToolError::new(FailureKind::Transient, "try again")),
                _ => self.inner.call(arguments, context).await,
            }
        })
    }
}

fn faulty(plan: &Plan) -> Wrap {
    let random = Arc::new(Mutex::new(Random::new(plan.seed ^ 0xdead_beef)));
    let faults = plan.tools;
    Arc::new(move |inner| {
        Arc::new(Faulty {
            inner,
            random: Arc::clone(&random),
            faults,
        })
    })
}

/// Looks at every event: no limit is ever passed.
fn watch(plan: &Plan, crash: &Arc<Notify>) -> Observer {
    let (plan, crash) = (plan.clone(), Arc::clone(crash));
    let events = AtomicUsize::new(0);
    Arc::new(move |_, state| {
        if plan.crashes == Some(events.fetch_add(1, Ordering::SeqCst)) {
            crash.notify_one();
        }
        let (budget, spent) = (&plan.budget, &state.spent);
        let within = |limit: Option<u64>, used: u64, what: &str| {
            let is_within = limit.is_none_or(|limit| used <= limit);
            assert!(is_within, "seed {}: {used} {what} of {limit:?}", plan.seed);
        };
        within(budget.tokens, spent.tokens(), "tokens");
        within(budget.tool_calls, spent.tool_calls, "tool calls");
        within(budget.tasks, spent.tasks, "tasks");
        within(
            budget.critical_steps,
            state.critical.total(),
            "critical steps",
        );
        let most = budget.money.unwrap_or(f64::MAX);
        assert!(spent.money <= most + 1e-9, "seed {}: money", plan.seed);
    })
}

/// Entries of the simulated world.
const WORLD: usize = 10;

struct Simulator {
    world: World,
    documents: Arc<Documents>,
    contract: Contract,
}

impl Simulator {
    fn new() -> Self {
        let world = World::new(WORLD, 77);
        Simulator {
            documents: world.documents(),
            contract: Contract::new(parse_columns(common::COLUMNS).unwrap()).unwrap(),
            world,
        }
    }

    /// A run, and what says that its process is to end.
    fn open(&self, plan: &Plan, journal: Arc<dyn Journal>) -> (Arc<Run>, Arc<Notify>) {
        let crash = Arc::default();
        let run = Run::open(RunParts {
            seed: plan.seed,
            max_parallel: plan.parallel,
            observer: Some(watch(plan, &crash)),
            ..parts(journal, plan.budget.clone())
        })
        .unwrap();
        (run, crash)
    }

    fn swarm(&self, plan: &Plan, run: &Arc<Run>, endpoint: &Arc<Endpoint>) -> Arc<Swarm> {
        let model = choice(Arc::clone(endpoint) as Arc<dyn ChatClient>);
        assert_eq!(model.prices, PRICES);
        swarm_of(run, Arc::clone(&self.documents), model, Some(faulty(plan)))
    }

    /// One seed, from its first event to what must hold at its end.
    async fn play(&self, plan: &Plan) -> Counts {
        let endpoint = Arc::new(Endpoint::new(plan));
        let (mut run, mut crash) = self.open(plan, Arc::new(MemoryJournal::default()));
        let settings = Settings {
            main_steps: 60,
            subagent_steps: 30,
            ..Settings::default()
        };
        let contract = Some(self.contract.clone());
        Swarm::begin(&run, common::QUESTION, contract, &settings, &self.documents)
            .await
            .unwrap();
        let began = tokio::time::Instant::now();
        let (mut parts, mut seen) = (0, 1);
        loop {
            parts += 1;
            assert!(parts < 200, "never ends: {plan:?}");
            let swarm = self.swarm(plan, &run, &endpoint);
            let mut going = tokio::spawn(async move { swarm.go().await });
            tokio::select! {
                biased;
                ended = &mut going => match ended.unwrap() {
                    Ok(()) => break,
                    Err(RunError::Paused(_)) => {}
                    Err(error) => panic!("seed {}: {error}", plan.seed),
                },
                // Processes that end before anything can be done would never let a run end.
                () = crash.notified(), if parts < MOST_CRASHES => {
                    going.abort();
                    let _ = (&mut going).await;
                }
            }
            let events = run.journal().read().unwrap();
            assert!(events.len() >= seen, "seed {}: events are lost", plan.seed);
            seen = events.len();
            (run, crash) = self.open(plan, Arc::new(MemoryJournal::of(events)));
            assert!(began.elapsed() < LONGEST, "seed {}: too long", plan.seed);
        }
        assert!(began.elapsed() < LONGEST, "seed {}: too long", plan.seed);
        self.check(plan, &run, &endpoint);
        Counts::of(&run, parts, &self.world.wrong_places(&run))
    }

    fn check(&self, plan: &Plan, run: &Arc<Run>, endpoint: &Endpoint) {
        let seed = plan.seed;
        assert!(
            run.has_no_reservations(),
            "seed {seed}: a reservation is left"
        );
        assert_eq!(
            endpoint.at_work.load(Ordering::SeqCst),
            0,
            "seed {seed}: a request is left"
        );
        let most = endpoint.most.load(Ordering::SeqCst);
        assert!(
            most <= plan.parallel,
            "seed {seed}: {most} requests at once"
        );
        run.with_state(|state| check_state(seed, state));
        if plan.is_unlimited() {
            let wrong = self.world.wrong_places(run);
            assert_eq!(wrong, Vec::<String>::new(), "seed {seed}: {plan:?}");
        }
        let wrong = stated_wrongly(&self.world, run);
        assert_eq!(
            wrong,
            Vec::<String>::new(),
            "seed {seed}: values that nobody stated"
        );
    }
}

fn check_state(seed: u64, state: &RunState) {
    assert_eq!(state.status, RunStatus::Ended, "seed {seed}");
    for (id, task) in &state.tasks {
        assert!(task.end.is_some(), "seed {seed}: {id} never ended");
        let is_closed = task.turns.iter().all(Turn::is_closed);
        let is_loser = id.ends_with('b') || state.tasks.contains_key(&format!("{id}b"));
        assert!(is_closed || is_loser, "seed {seed}: {id} has open calls");
        for turn in &task.turns {
            let mut ids: Vec<&str> = turn.returns.iter().map(|(id, _)| id.as_str()).collect();
            ids.sort_unstable();
            let all = ids.len();
            ids.dedup();
            assert_eq!(ids.len(), all, "seed {seed}: {id}: a call is closed twice");
        }
    }
}

/// A limit may leave places open, but never a wrong value in them.
fn stated_wrongly(world: &World, run: &Run) -> Vec<String> {
    let wrong = world.wrong_places(run).into_iter();
    wrong
        .filter(|place| place.contains(" Ok") || place.contains("Conflict"))
        .collect()
}

/// What the seeds met, so that a simulator that tests nothing is seen.
#[derive(Debug, Default)]
struct Counts {
    runs: u64,
    full: u64,
    parts: u64,
    failed_requests: u64,
    failed_calls: u64,
    refused_by_budget: u64,
    second_attempts: u64,
    wasted_tokens: u64,
}

impl Counts {
    fn of(run: &Run, parts: u64, wrong: &[String]) -> Self {
        let events: Vec<Event> = run.journal().read().unwrap();
        let failed = events
            .iter()
            .filter(|event| matches!(event.kind, EventKind::RequestFailed { .. }));
        run.with_state(|state| Counts {
            runs: 1,
            full: u64::from(wrong.is_empty()),
            parts,
            failed_requests: failed.count() as u64,
            failed_calls: state.spent.failed_calls,
            refused_by_budget: state
                .tasks
                .values()
                .filter(|task| task.text.starts_with("budget"))
                .count() as u64
                + state.failures.get("budget").copied().unwrap_or(0),
            second_attempts: state.tasks.keys().filter(|id| id.ends_with('b')).count() as u64,
            wasted_tokens: state.spent.wasted_tokens,
        })
    }

    fn add(&mut self, other: &Counts) {
        self.runs += other.runs;
        self.full += other.full;
        self.parts += other.parts;
        self.failed_requests += other.failed_requests;
        self.failed_calls += other.failed_calls;
        self.refused_by_budget += other.refused_by_budget;
        self.second_attempts += other.second_attempts;
        self.wasted_tokens += other.wasted_tokens;
    }
}

#[test]
fn whatever_goes_wrong_a_run_ends_well_and_within_its_budget() {
    let seeds = std::env::var("K25_SIM_SEEDS").ok();
    let seeds: u64 = seeds.map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let first = std::env::var("K25_SIM_FIRST").map_or(0, |first| first.parse().unwrap());
    let began = std::time::Instant::now();
    let simulator = Simulator::new();
    let counts = Mutex::new(Counts::default());
    let next = AtomicU64::new(first);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + seeds {
                return;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let met = runtime.block_on(simulator.play(&Plan::new(seed)));
            counts.lock().unwrap().add(&met);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let counts = counts.into_inner().unwrap();
    println!("{counts:?} in {:?}", began.elapsed());
    if seeds >= SEEDS {
        // The simulator meets what it is for.
        assert!(
            counts.full * 4 > counts.runs && counts.full < counts.runs,
            "{counts:?}"
        );
        assert!(counts.parts > counts.runs, "{counts:?}");
        let met = [
            counts.failed_requests,
            counts.failed_calls,
            counts.refused_by_budget,
            counts.wasted_tokens,
            // They need a group of ten, of which nine are done.
            counts.second_attempts * 20,
        ];
        assert!(met.iter().all(|count| *count > seeds / 4), "{counts:?}");
    }
}
