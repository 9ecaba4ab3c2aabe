//! The few commands of the Chrome DevTools Protocol that reading a page takes, over Chromium's pipe:
//! messages of JSON, each ended by a zero byte. No port is open for others to use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};

use crate::WebError;

/// Longest message of the browser; one that sends more is ended.
const MAX_MESSAGE: u64 = 48 << 20;
/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Events of one page that may wait.
const EVENTS: usize = 256;
/// The events that somebody looks at; of all others a page may send as many as it likes.
const HEARD: [&str; 6] = [
    "Page.loadEventFired",
    "Page.lifecycleEvent",
    "Page.javascriptDialogOpening",
    "Network.responseReceived",
    "Network.dataReceived",
    "Inspector.targetCrashed",
];

/// The connection to one browser.
pub(super) struct Connection {
    outbox: mpsc::Sender<Vec<u8>>,
    number: AtomicU64,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// Who hears the events of which session.
    sessions: Mutex<HashMap<String, mpsc::Sender<Value>>>,
    is_closed: std::sync::atomic::AtomicBool,
}

impl Connection {
    /// Speaks on a browser's pipe until it closes.
    pub(super) fn new(input: ChildStdin, output: ChildStdout) -> Self {
        let shared = Arc::new(Shared::default());
        let (outbox, messages) = mpsc::channel(64);
        tokio::spawn(send_all(input, messages));
        let reader = Arc::clone(&shared);
        tokio::spawn(async move {
            read_all(output, &reader).await;
            reader.close();
        });
        Connection {
            outbox,
            number: AtomicU64::new(1),
            shared,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// A command to the browser, or to the page of a session, and its result.
    pub(super) async fn command(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, WebError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": number, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared.waiting).insert(number, sender);
        let gone = || WebError::Request("the browser ended".to_owned());
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let answer = async {
            self.outbox.send(bytes).await.map_err(|_| gone())?;
            if self.is_closed() {
                return Err(gone());
            }
            receiver.await.map_err(|_| gone())
        };
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        lock(&self.shared.waiting).remove(&number);
        let mut answer = answer
            .map_err(|_| WebError::Request(format!("the browser does not answer ({method})")))??;
        match answer["error"]["message"].as_str() {
            Some(text) => Err(WebError::Request(format!("the browser refuses: {text}"))),
            None => Ok(answer["result"].take()),
        }
    }

    /// The events of a session from now on.
    pub(super) fn listen(&self, session: &str) -> mpsc::Receiver<Value> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        lock(&self.shared.sessions).insert(session.to_owned(), sender);
        receiver
    }

    pub(super) fn forget(&self, session: &str) {
        lock(&self.shared.sessions).remove(session);
    }
}

impl Shared {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        lock(&self.waiting).clear();
        lock(&self.sessions).clear();
    }

    fn take(&self, mut message: Value) {
        if let Some(number) = message["id"].as_u64() {
            if let Some(waiting) = lock(&self.waiting).remove(&number) {
                let _ = waiting.send(message);
            }
            return;
        }
        let is_heard = message["method"]
            .as_str()
            .is_some_and(|method| HEARD.contains(&method));
        let session = message["sessionId"].take();
        if let (true, Some(session)) = (is_heard, session.as_str())
            && let Some(listener) = lock(&self.sessions).get(session)
        {
            // One too many is lost: what is waited for has a limit in time.
            let _ = listener.try_send(message);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn send_all(mut input: ChildStdin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if input.write_all(&message).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
}

async fn read_all(output: ChildStdout, shared: &Shared) {
    let mut output = BufReader::new(output);
    let mut message = Vec::new();
    loop {
        message.clear();
        let mut piece = (&mut output).take(MAX_MESSAGE);
        match piece.read_until(0, &mut message).await {
            Ok(_) if message.pop() == Some(0) => {}
            // The end, an error, or a message that is longer than any should be.
            _ => return,
        }
        if let Ok(message) = serde_json::from_slice(&message) {
            shared.take(message);
        }
    }
}
