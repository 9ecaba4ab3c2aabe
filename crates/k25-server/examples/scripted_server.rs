//! A server whose model is a script, for the contract suite: what a client gets is known to the letter.
//!
//! `scripted_server [KEY_FILE]` prints its address and serves until it is asked to stop. With
//! `K25_KIMI_STRICT` it keeps the hosted service's rules.

#[path = "../tests/support/scripted.rs"]
mod scripted;

use k25_chat::dialect::openai::Rules;
use k25_server::{App, KeyFile, Server, ServerOptions};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() {
    let keys = std::env::args_os().nth(1);
    let keys = keys.map(|path| KeyFile::open(path.as_ref()).expect("a key file"));
    let rules = match std::env::var_os("K25_KIMI_STRICT") {
        Some(_) => Rules::Kimi,
        None => Rules::Free,
    };
    let options = ServerOptions {
        rules,
        ..ServerOptions::default()
    };
    let models = vec![scripted::Scripted::default().model()];
    let app = App::new(models, keys.as_ref(), options).expect("an app");
    let address = "127.0.0.1:0".parse().expect("an address");
    let server = Server::bind(app, address).await.expect("a port");
    println!(
        "listening on http://{}",
        server.address().expect("an address")
    );
    let mut terminate = signal(SignalKind::terminate()).expect("a signal");
    server
        .run(async move {
            terminate.recv().await;
        })
        .await;
}
