//! The client: attempts, waits between them, and the thread that they run on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use k25_chat::dialect::openai::write_request;
use k25_chat::{ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatRequest, ChatStream, Retry};
use reqwest::redirect::Policy;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::attempt::{Endpoint, Events, Question};
use crate::gate::{Gate, Place};
use crate::lookup::ListedModel;
use crate::options::{ClientError, OpenAiOptions, RetryPolicy};

/// Events that wait for whoever reads them; then the endpoint waits.
const EVENTS_AHEAD: usize = 256;

/// An endpoint as a [`ChatClient`]. Clones share the thread, the connections and the limit on answers
/// at once.
#[derive(Clone)]
pub struct OpenAiClient {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Arc<Endpoint>,
    gate: Arc<Gate>,
    attempts: Arc<AtomicU64>,
    /// Taken when dropped.
    runtime: Option<Runtime>,
}

impl OpenAiClient {
    /// A client of the endpoint that `options` name. Nothing is sent yet.
    ///
    /// # Errors
    /// If the address or the key cannot be, or the system gives no thread.
    pub fn new(options: OpenAiOptions) -> Result<Self, ClientError> {
        let url = options.completions_url()?;
        let key_fits = |key: &String| key.bytes().all(|byte| byte.is_ascii_graphic());
        if !options.api_key.as_ref().is_none_or(key_fits) {
            return Err(ClientError::ApiKey);
        }
        // Two parts of a program may both want the provider: whoever comes second finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("k25/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            // A redirect would carry the key to who knows whom.
            .redirect(Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| ClientError::Http(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("k25-client")
            .enable_all()
            .build()
            .map_err(|error| ClientError::Http(error.to_string()))?;
        let gate = Arc::new(Gate::new(options.max_concurrency));
        let endpoint = Arc::new(Endpoint { http, url, options });
        let shared = Shared {
            endpoint,
            gate,
            attempts: Arc::new(AtomicU64::new(0)),
            runtime: Some(runtime),
        };
        Ok(OpenAiClient {
            shared: Arc::new(shared),
        })
    }

    /// The models that the endpoint lists. Blocks: not for threads of a runtime.
    ///
    /// # Errors
    /// If it cannot be reached, refuses, or tells no list.
    pub fn models(&self) -> Result<Vec<ListedModel>, ChatError> {
        self.block_on(self.shared.endpoint.models())
    }

    /// Tokens of a request's prompt, as the endpoint counts them. Blocks: not for threads of a runtime.
    ///
    /// # Errors
    /// If it cannot be reached, refuses, or counts no tokens.
    pub fn count_tokens(&self, request: &ChatRequest) -> Result<u64, ChatError> {
        let mut request = request.clone();
        if let Some(model) = &self.shared.endpoint.options.model {
            request.model.clone_from(model);
        }
        self.block_on(self.shared.endpoint.count_tokens(&request))
    }

    /// The address before `/chat/completions`, as it was given.
    pub fn base_url(&self) -> &str {
        &self.shared.endpoint.options.base_url
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self.shared.runtime.as_ref();
        runtime.expect("taken only when dropped").block_on(work)
    }

    /// Answers that are asked for at once now: fewer than allowed after the endpoint refused.
    pub fn concurrency(&self) -> usize {
        self.shared.gate.limit()
    }

    /// Requests that were sent, repeated ones included.
    pub fn attempts(&self) -> u64 {
        self.shared.attempts.load(Ordering::Relaxed)
    }
}

impl ChatClient for OpenAiClient {
    fn chat(&self, mut request: ChatRequest) -> ChatStream {
        let Shared {
            endpoint,
            gate,
            attempts,
            runtime,
        } = &*self.shared;
        if let Some(model) = &endpoint.options.model {
            request.model.clone_from(model);
        }
        let (events, incoming) = mpsc::channel(EVENTS_AHEAD);
        let (endpoint, gate, attempts) =
            (Arc::clone(endpoint), Arc::clone(gate), Arc::clone(attempts));
        let work = async move {
            let body = write_request(&request, endpoint.options.usage);
            let question = Question {
                body: &body,
                stops: &request.stop,
            };
            tokio::select! {
                () = events.closed() => {}
                () = answer(&endpoint, &gate, &attempts, question, &events) => {}
            }
        };
        if let Some(runtime) = runtime {
            runtime.spawn(work);
        }
        Box::pin(Incoming {
            events: incoming,
            over: false,
            _shared: Arc::clone(&self.shared),
        })
    }
}

/// Asks until there is an answer, or no more point in asking.
async fn answer(
    endpoint: &Endpoint,
    gate: &Arc<Gate>,
    attempts: &AtomicU64,
    question: Question<'_>,
    events: &Events,
) {
    let policy = endpoint.options.retry;
    for attempt in 1.. {
        let place = gate.enter().await;
        attempts.fetch_add(1, Ordering::Relaxed);
        let failure = match endpoint.ask(question, events).await {
            Ok(()) => {
                place.succeeded();
                return;
            }
            Err(failure) => failure,
        };
        judge(&place, failure.error.kind);
        drop(place);
        let wait = wait_before(attempt + 1, &policy, &failure.error);
        match wait {
            Some(wait) if !failure.told => sleep(wait).await,
            _ => {
                let _ = events.send(Err(failure.error)).await;
                return;
            }
        }
    }
}

fn judge(place: &Place, kind: ChatErrorKind) {
    if matches!(kind, ChatErrorKind::RateLimited | ChatErrorKind::Overloaded) {
        place.refused();
    }
}

/// How long to wait before this attempt; `None` if it is not to be made.
fn wait_before(attempt: u32, policy: &RetryPolicy, error: &ChatError) -> Option<Duration> {
    if attempt > policy.attempts {
        return None;
    }
    match error.retry() {
        Retry::Never => None,
        Retry::After(time) => (time <= policy.longest_wait).then_some(time),
        Retry::Backoff => {
            let doublings = attempt.saturating_sub(2).min(20);
            let wait = policy.first_wait.saturating_mul(1 << doublings);
            Some(wait.min(policy.longest_wait).mul_f64(jitter()))
        }
    }
}

/// From a half to one, so that clients that were refused together do not come back together.
fn jitter() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |time| time.subsec_nanos());
    0.5 + f64::from(nanoseconds % 1000) / 2000.0
}

/// The events of one answer. Dropping it cancels the work.
struct Incoming {
    events: mpsc::Receiver<Result<ChatEvent, ChatError>>,
    over: bool,
    /// Answers go on while their client is dropped.
    _shared: Arc<Shared>,
}

impl Stream for Incoming {
    type Item = Result<ChatEvent, ChatError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let event = self.events.poll_recv(context);
        if let Poll::Ready(event) = &event {
            let is_last = |event: &ChatEvent| matches!(event, ChatEvent::Finished { .. });
            self.over = !matches!(event, Some(Ok(event)) if !is_last(event));
        }
        event
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting here could block a thread of someone's runtime.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let policy = RetryPolicy {
            attempts: 8,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(10),
        };
        let busy = ChatError::new(ChatErrorKind::Overloaded, "busy", "wait");
        let within = |attempt, low: f64, high: f64| {
            let wait = wait_before(attempt, &policy, &busy)
                .expect("a wait")
                .as_secs_f64();
            assert!((low..=high).contains(&wait), "{attempt}: {wait}");
        };
        within(2, 0.5, 1.0);
        within(3, 1.0, 2.0);
        within(8, 5.0, 10.0);
        assert_eq!(wait_before(9, &policy, &busy), None);
        let told = |seconds| ChatError {
            retry_after: Some(Duration::from_secs(seconds)),
            ..busy.clone()
        };
        assert_eq!(
            wait_before(2, &policy, &told(3)),
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            wait_before(2, &policy, &told(11)),
            None,
            "longer than anyone waits"
        );
        let wrong = ChatError::new(ChatErrorKind::InvalidRequest, "no", "change it");
        assert_eq!(wait_before(2, &policy, &wrong), None);
    }

    #[test]
    fn odd_options_are_refused_and_keys_not_shown() {
        for url in ["", "api.moonshot.ai/v1", "ftp://x/v1"] {
            let error = OpenAiClient::new(OpenAiOptions::new(url)).err().expect(url);
            assert!(error.to_string().contains("hint:"), "{error}");
        }
        let options = OpenAiOptions {
            api_key: Some("sk-secret\n".to_owned()),
            ..OpenAiOptions::new("http://localhost/v1")
        };
        assert!(!format!("{options:?}").contains("secret"));
        assert!(matches!(
            OpenAiClient::new(options),
            Err(ClientError::ApiKey)
        ));
    }
}
