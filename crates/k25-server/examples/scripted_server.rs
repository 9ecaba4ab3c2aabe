//! A server whose model is a script, for the contract suite: what a client gets is known to the letter.
//!
//! `scripted_server [KEY_FILE]` prints its address and serves until it is asked to stop. With
//! `K25_KIMI_STRICT` it keeps the hosted service's rules, with `K25_DATA` files in that
//! folder, with `K25_PRICES` tokens have prices.

#[path = "../tests/support/scripted.rs"]
mod scripted;

use k25_chat::dialect::openai::Rules;
use k25_client::PriceTable;
use k25_server::{App, FileOptions, KeyFile, Server, ServerOptions};
use tokio::signal::unix::{SignalKind, signal};

fn prices() -> PriceTable {
    let mut table = PriceTable::default();
    let prices = table.models["kimi-k2.5"];
    table.models.insert("scripted".to_owned(), prices);
    table
}

#[tokio::main]
async fn main() {
    let keys = std::env::args_os().nth(1);
    let keys = keys.map(|path| KeyFile::open(path.as_ref()).expect("a key file"));
    let rules = match std::env::var_os("K25_KIMI_STRICT") {
        Some(_) => Rules::Kimi,
        None => Rules::Free,
    };
    let files = std::env::var_os("K25_DATA").map(|folder| FileOptions::new(folder.into()));
    let options = ServerOptions {
        rules,
        files,
        prices: std::env::var_os("K25_PRICES").map(|_| prices()),
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
