//! What tests of runs share: an endpoint over HTTP with a model behind it that follows a script.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;

use k25_chat::{ChatClient, ChatError, ChatRequest};
use k25_server::{App, Model, ModelInfo, Server, ServerOptions, TokenCounter};

/// The name of the model at the endpoint.
pub const MODEL: &str = "teacher";

struct NoCounter;

impl TokenCounter for NoCounter {
    fn count(&self, _: &ChatRequest) -> Result<u64, ChatError> {
        Ok(1)
    }
}

fn app(client: Arc<dyn ChatClient>) -> Arc<App> {
    let info = ModelInfo {
        name: MODEL.to_owned(),
        created: 0,
        context_length: 262_144,
        supports_image_in: true,
        supports_video_in: false,
        supports_reasoning: true,
    };
    let model = Model {
        info,
        aliases: Vec::new(),
        upstreams: Vec::new(),
        client,
        counter: Arc::new(NoCounter),
    };
    App::new(vec![model], None, ServerOptions::default()).expect("an app")
}

/// Serves the model for as long as the test's process lives, and returns its address.
pub fn serve(client: Arc<dyn ChatClient>) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let any_port: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            let server = Server::bind(app(client), any_port).await.expect("a port");
            let address = server.address().expect("an address");
            sender.send(address).expect("someone waits");
            server.run(std::future::pending::<()>()).await;
        });
    });
    format!("http://{}/v1", receiver.recv().expect("the server starts"))
}

/// Both streams as text.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
