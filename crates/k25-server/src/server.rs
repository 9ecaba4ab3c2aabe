//! Accepting connections, and ending well.

mod stalls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::error::ServerError;
use stalls::StallGuard;

/// Most bytes of a request's line and headers.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Time between writings of what was used.
const USAGE_PAUSE: Duration = Duration::from_secs(5);
/// How long the last spans may take on their way.
const SENDING_PATIENCE: Duration = Duration::from_secs(5);
/// Rest after the system refuses a connection, as it does when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that has its port and serves when [`Server::run`] is called.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
}

impl Server {
    /// Takes a port; port 0 takes any that is free.
    ///
    /// # Errors
    /// If the address is not to be had.
    pub async fn bind(app: Arc<App>, address: SocketAddr) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServerError::Bind { address, source })?;
        Ok(Server { app, listener })
    }

    /// The address that it has; `None` if the system does not tell.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until `stop` is ready, then accepts nobody, lets answers end for as long as the options
    /// say, and returns whether all of them did.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let Server { app, listener } = self;
        let router = app.router();
        let places = Arc::new(Semaphore::new(app.options.max_connections.max(1)));
        let (draining, _) = watch::channel(false);
        tokio::pin!(stop);
        let keeping = tokio::spawn(keep_usage(Arc::clone(&app)));
        let sending = app.telemetry.clone().map(|it| tokio::spawn(it.run()));
        loop {
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place.expect("never closed"),
                () = &mut stop => break,
            };
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = &mut stop => break,
            };
            let served = serve(
                Arc::clone(&app),
                router.clone(),
                stream,
                draining.subscribe(),
            );
            tokio::spawn(async move {
                served.await;
                drop(place);
            });
        }
        drop(listener);
        app.drain();
        // Nobody listens where no connection is open.
        let _ = draining.send(true);
        let ended = timeout(app.options.drain_timeout, draining.closed()).await;
        keeping.abort();
        if let (Some(telemetry), Some(sending)) = (&app.telemetry, sending) {
            telemetry.stop();
            let _ = timeout(SENDING_PATIENCE, sending).await;
        }
        save_usage(&app);
        ended.is_ok()
    }
}

/// Writes from time to time what was used.
async fn keep_usage(app: Arc<App>) {
    loop {
        sleep(USAGE_PAUSE).await;
        let app = Arc::clone(&app);
        let _ = tokio::task::spawn_blocking(move || save_usage(&app)).await;
    }
}

fn save_usage(app: &App) {
    if let Err(error) = app.ledger.save() {
        let error = error.to_string();
        tracing::warn!(error, "what was used cannot be written");
    }
}

/// Serves one connection until it ends; when draining begins, until its answer does.
async fn serve(
    app: Arc<App>,
    router: Router,
    stream: TcpStream,
    mut draining: watch::Receiver<bool>,
) {
    // Pieces of answers are small, and are wanted at once.
    let _ = stream.set_nodelay(true);
    app.metrics.connections.fetch_add(1, Ordering::Relaxed);
    let io = TokioIo::new(StallGuard::new(stream, app.options.write_pause));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.options.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let draining_began = async {
        let _ = draining.changed().await;
    };
    // A client that went away or sent nonsense has been answered as far as it can be.
    let is_open = tokio::select! {
        _ = &mut connection => false,
        () = draining_began => true,
    };
    if is_open {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
    app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
}
