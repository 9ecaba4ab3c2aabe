//! `k25 serve`: a model behind HTTP.

mod local;
mod upstream;

use std::collections::HashSet;
use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k25_chat::dialect::openai::Rules;
use k25_client::PriceTable;
use k25_server::{
    App, AuditOptions, FetchOptions, FileOptions, KeyFile, Model, RedactionRules, Server,
    ServerOptions, TelemetryOptions,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, documents};
use crate::args::{LogForm, ServeArgs};
use crate::model_name::ModelName;

/// Threads that serve connections. The model computes on others.
const CONNECTION_THREADS: usize = 2;

pub fn run(args: &ServeArgs) -> Result<Outcome> {
    log(args.log);
    // A key file that is not as it should be shows before the model is read.
    let keys = args.keys.as_deref().map(KeyFile::open).transpose()?;
    let options = options(args)?;
    let models = models(args)?;
    let names: Vec<_> = models.iter().map(|model| model.info.name.clone()).collect();
    let app = App::new(models, keys.as_ref(), options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONNECTION_THREADS)
        .enable_all()
        .build()
        .context("cannot start the threads that serve connections")?;
    let ended = runtime.block_on(serve(app, args, &names.join(", ")))?;
    // Answers that hang after the time to drain are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(if ended {
        Outcome::Done
    } else {
        Outcome::FallsShort
    })
}

/// The checkpoint of this machine and the models of other endpoints, as far as they are named.
fn models(args: &ServeArgs) -> Result<Vec<Model>> {
    let mut models = upstream::open(args)?;
    // Nobody who names an endpoint alone wants nano beside it.
    if args.dir.is_some() || models.is_empty() {
        let name = ModelName::chosen(args.dir.as_ref());
        models.insert(0, local::open(&name, args)?);
    }
    let mut taken = HashSet::new();
    for model in &models {
        for name in std::iter::once(&model.info.name).chain(&model.aliases) {
            if !taken.insert(name) {
                bail!("two models are called {name}\n  hint: give one another --name");
            }
        }
    }
    Ok(models)
}

fn prices(path: &Path) -> Result<PriceTable> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    PriceTable::parse(&text).with_context(|| {
        format!(
            "{} is no price table\n  hint: {{\"currency\": \"USD\", \"models\": {{\"NAME\": {{\"input\": 0.6, \
             \"cached_input\": 0.1, \"output\": 3.0}}}}}}",
            path.display()
        )
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

fn options(args: &ServeArgs) -> Result<ServerOptions> {
    let defaults = ServerOptions::default();
    Ok(ServerOptions {
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
        prices: args.prices.as_deref().map(prices).transpose()?,
        usage_file: args.usage.clone(),
        audit: audit(args)?,
        telemetry: args.otlp.clone().map(|endpoint| TelemetryOptions {
            endpoint,
            with_content: args.otlp_content,
        }),
        files: args.data.clone().map(|folder| FileOptions {
            extract_text: Arc::new(text_of),
            ..FileOptions::new(folder)
        }),
        ..defaults
    })
}

fn audit(args: &ServeArgs) -> Result<Option<AuditOptions>> {
    let Some(file) = args.audit.clone() else {
        return Ok(None);
    };
    let rules = match &args.audit_rules {
        None => RedactionRules::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| anyhow!("cannot read {}: {error}", path.display()))?;
            RedactionRules::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?
        }
    };
    Ok(Some(AuditOptions { file, rules }))
}

/// The text of an uploaded document, as agents read it: plain text, HTML, PDF.
fn text_of(path: &Path) -> Result<String, String> {
    let folder = path.parent().ok_or("no folder")?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let documents = documents::open(folder).map_err(|error| error.to_string())?;
    let document = documents.read(&name).map_err(|error| error.to_string())?;
    let lines = (1..=document.line_count()).filter_map(|number| document.line(number));
    Ok(lines.collect::<Vec<_>>().join("\n"))
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
