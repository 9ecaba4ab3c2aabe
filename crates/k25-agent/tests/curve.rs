//! Wall clock and critical steps of a swarm against a single agent, in virtual time: the tools and
//! the model take as long as said, so the figures are those of the schedule and nothing else.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, begun, flaky, swarm, wait};
use k25_agent::agent::ContextPolicy;
use k25_agent::swarm::{Mode, Report, Settings};
use k25_testkit::scripted::{Script, ScriptedClient};
use k25_testkit::teacher::teach;
use tokio::time::Instant;

const TOOL_MS: u64 = 300;
const MODEL_MS: u64 = 200;

struct Figures {
    seconds: f64,
    critical: u64,
}

async fn measure(world: &World, mode: Mode, context: ContextPolicy, width: usize) -> Figures {
    let settings = Settings {
        mode,
        context,
        main_steps: 1_000,
        ..Settings::default()
    };
    let run = begun(world, &settings).await;
    let model = ScriptedClient::new(move |request, _| Script::Reply(teach(request, width)));
    let model = Arc::new(model.slow(wait(), Duration::from_millis(MODEL_MS)));
    let began = Instant::now();
    let wrap = flaky(0.0, Duration::from_millis(TOOL_MS));
    swarm(&run, world, model, Some(wrap)).go().await.unwrap();
    assert_eq!(world.wrong_places(&run), Vec::<String>::new());
    let critical = run.with_state(Report::of).critical_steps;
    Figures {
        seconds: began.elapsed().as_secs_f64(),
        critical,
    }
}

#[tokio::test(start_paused = true)]
async fn a_swarm_is_several_times_faster_than_one_agent() {
    println!("width  rows  single       parallel calls  swarm        speed-up  critical steps");
    for width in [4, 8, 16, 32, 64] {
        let world = World::new(width, 41);
        let policy = ContextPolicy::HideToolResult;
        let single = measure(&world, Mode::Single, policy, 1).await;
        let parallel = measure(&world, Mode::Single, policy, 8).await;
        let swarm = measure(&world, Mode::Swarm, policy, width).await;
        let speed_up = single.seconds / swarm.seconds;
        println!(
            "{width:>5}  {width:>4}  {:>6.1} s     {:>6.1} s        {:>6.1} s     {speed_up:>5.1} ×   {} / {} / {}",
            single.seconds,
            parallel.seconds,
            swarm.seconds,
            single.critical,
            parallel.critical,
            swarm.critical
        );
        assert!(swarm.critical <= single.critical);
        if width >= 32 {
            assert!(speed_up >= 4.5, "width {width}: {speed_up:.1} ×");
            assert!(single.critical >= 3 * swarm.critical, "width {width}");
        }
    }
}
