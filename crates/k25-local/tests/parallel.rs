//! Many conversations at once over one model, as the sub-agents of a swarm have them.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use k25_chat::{ChatClient, ChatReply, ChatRequest, Message};
use k25_local::{LocalClient, LocalModel, LocalOptions};

const AGENTS: usize = 32;
const CONTEXT: usize = 512;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

fn client(sequences: Option<usize>) -> LocalClient {
    let options = LocalOptions {
        tokenizer: Some(fixture("tokenizer")),
        context_tokens: Some(CONTEXT),
        sequences,
        ..LocalOptions::default()
    };
    let model = LocalModel::open(fixture("t1"), &options).expect("a sound model");
    LocalClient::new(Arc::new(model)).expect("threads")
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A greedy answer to a prompt of its own of some length.
fn ask(client: &LocalClient, agent: usize) -> ChatReply {
    let words: Vec<String> = (0..25)
        .map(|n| format!("word {}", agent * 1_000 + n))
        .collect();
    let mut request = ChatRequest::new("", vec![Message::user(words.join(" "))]);
    request.sampling.temperature = Some(0.0);
    request.max_tokens = Some(48);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut stream = client.chat(request);
    let mut reply = ChatReply::default();
    loop {
        match stream.as_mut().poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(event)) => reply.add(&event.expect("no error")),
            Poll::Ready(None) => return reply,
            Poll::Pending => thread::park_timeout(Duration::from_secs(60)),
        }
    }
}

/// Answers of all agents side by side, and how often one had to make room.
fn ask_all(client: &LocalClient) -> (Vec<Option<String>>, u64) {
    let replies = thread::scope(|scope| {
        let asked: Vec<_> = (0..AGENTS)
            .map(|agent| scope.spawn(move || ask(client, agent)))
            .collect();
        let replies = asked
            .into_iter()
            .map(|asked| asked.join().expect("an answer"));
        replies.map(|reply| reply.message.content).collect()
    });
    (replies, client.model().snapshot().counters.preemptions)
}

#[test]
fn sub_agents_side_by_side_do_not_make_room_for_each_other() {
    let (replies, preempted) = ask_all(&client(None));
    assert_eq!(preempted, 0, "there is room for {AGENTS} contexts");
    // With room for one they wait and make room, and say the same.
    let (cramped, _) = ask_all(&client(Some(1)));
    assert_eq!(replies, cramped);
}
