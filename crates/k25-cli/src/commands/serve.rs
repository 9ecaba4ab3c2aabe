//! `k25 serve`: a model behind HTTP.

mod local;

use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k25_chat::dialect::openai::Rules;
use k25_server::{App, FetchOptions, KeyFile, Server, ServerOptions};
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use crate::args::{LogForm, ServeArgs};

/// Threads that serve connections. The model computes on others.
const CONNECTION_THREADS: usize = 2;

pub fn run(args: &ServeArgs) -> Result<Outcome> {
    log(args.log);
    // A key file that is not as it should be shows before the model is read.
    let keys = args.keys.as_deref().map(KeyFile::open).transpose()?;
    let model = local::open(args)?;
    let name = model.info.name.clone();
    let app = App::new(vec![model], keys.as_ref(), options(args))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONNECTION_THREADS)
        .enable_all()
        .build()
        .context("cannot start the threads that serve connections")?;
    let ended = runtime.block_on(serve(app, args, &name))?;
    // Answers that hang after the time to drain are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(if ended {
        Outcome::Done
    } else {
        Outcome::FallsShort
    })
}

async fn serve(app: Arc<App>, args: &ServeArgs, name: &str) -> Result<bool> {
    let server = Server::bind(app, SocketAddr::new(args.host, args.port)).await?;
    let stop = stop_signal()?;
    let address = server
        .address()
        .unwrap_or(SocketAddr::new(args.host, args.port));
    announce(address, name, args)?;
    let ended = server.run(stop).await;
    if !ended {
        eprintln!("stopped with answers unfinished after {} s", args.drain);
    }
    Ok(ended)
}

/// Tells the address on standard output, and what else a person wants to know beside it.
fn announce(address: SocketAddr, name: &str, args: &ServeArgs) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{name} is served at http://{address}/v1")?;
    stdout.flush()?;
    if args.keys.is_none() && !is_loopback(args.host) {
        eprintln!(
            "warning: anyone who reaches {address} may ask\n  hint: make keys with `k25 keys add NAME \
             --file keys.json` and serve with --keys keys.json"
        );
    }
    Ok(())
}

fn is_loopback(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
}

/// Ready when someone asks the program to stop: Ctrl-C, or SIGTERM as service managers send it.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn options(args: &ServeArgs) -> ServerOptions {
    let defaults = ServerOptions::default();
    ServerOptions {
        rules: if args.kimi_strict {
            Rules::Kimi
        } else {
            Rules::Free
        },
        max_running: args.max_running.unwrap_or(defaults.max_running),
        max_waiting: args.max_waiting.unwrap_or(defaults.max_waiting),
        max_body_bytes: args
            .max_body
            .map_or(defaults.max_body_bytes, |mib| mib.saturating_mul(1 << 20)),
        drain_timeout: Duration::from_secs(args.drain),
        fetch: (!args.no_fetch).then(FetchOptions::default),
        ..defaults
    }
}

/// Log lines on standard error: one per request and one per answer.
fn log(form: LogForm) {
    use tracing_subscriber::filter::LevelFilter;
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(LevelFilter::INFO)
        .with_target(false);
    match form {
        LogForm::Text => lines.compact().with_ansi(false).init(),
        LogForm::Json => lines.json().flatten_event(true).init(),
        LogForm::Off => {}
    }
}
