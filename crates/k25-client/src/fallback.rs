//! Several endpoints as one: by weight, and the next where one fails.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use k25_chat::{ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatRequest, ChatStream};

/// Clients that answer for each other. Each gets its share of the requests; one that fails before it
/// has said anything is replaced by the others, the heaviest first.
pub struct Fallback {
    members: Vec<Member>,
    /// How far each member's turn is, in weights (smooth weighted round robin).
    turns: Mutex<Vec<i64>>,
}

struct Member {
    client: Arc<dyn ChatClient>,
    weight: i64,
}

impl Fallback {
    /// Puts clients together. A weight of 0 answers only where others fail.
    pub fn new(members: impl IntoIterator<Item = (Arc<dyn ChatClient>, u32)>) -> Self {
        let members: Vec<_> = members
            .into_iter()
            .map(|(client, weight)| Member {
                client,
                weight: weight.into(),
            })
            .collect();
        let turns = Mutex::new(vec![0; members.len()]);
        Fallback { members, turns }
    }

    /// Whose turn it is, and who comes after in need.
    fn order(&self) -> Vec<Arc<dyn ChatClient>> {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|&index| -self.members[index].weight);
        let first = self.next_turn();
        order.sort_by_key(|&index| Some(index) != first);
        let client = |index: usize| Arc::clone(&self.members[index].client);
        order.into_iter().map(client).collect()
    }

    fn next_turn(&self) -> Option<usize> {
        let mut turns = self.turns.lock().expect("no panic while locked");
        let total: i64 = self.members.iter().map(|member| member.weight).sum();
        for (turn, member) in turns.iter_mut().zip(&self.members) {
            *turn += member.weight;
        }
        let eligible = (0..turns.len()).filter(|&index| self.members[index].weight > 0);
        // Of equals the first.
        let chosen = eligible.rev().max_by_key(|&index| turns[index])?;
        turns[chosen] -= total;
        Some(chosen)
    }
}

impl ChatClient for Fallback {
    fn chat(&self, request: ChatRequest) -> ChatStream {
        let mut order = self.order();
        order.reverse();
        Box::pin(Trying {
            request,
            left: order,
            current: None,
            told: false,
        })
    }
}

struct Trying {
    request: ChatRequest,
    /// Who has not been asked; the next is the last.
    left: Vec<Arc<dyn ChatClient>>,
    current: Option<ChatStream>,
    told: bool,
}

impl Stream for Trying {
    type Item = Result<ChatEvent, ChatError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.current.is_none() {
                match self.left.pop() {
                    Some(client) => self.current = Some(client.chat(self.request.clone())),
                    None if self.told => return Poll::Ready(None),
                    None => {
                        self.told = true;
                        return Poll::Ready(Some(Err(nobody())));
                    }
                }
            }
            let Some(current) = &mut self.current else {
                continue;
            };
            match current.as_mut().poll_next(context) {
                Poll::Ready(Some(Err(error))) if !self.told && self.has_next_for(&error) => {
                    self.current = None;
                }
                Poll::Ready(event) => {
                    self.told = true;
                    return Poll::Ready(event);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Trying {
    /// Whether another client may do what this one did not. A request that is wrong is wrong everywhere.
    fn has_next_for(&self, error: &ChatError) -> bool {
        use ChatErrorKind as K;
        let own = matches!(
            error.kind,
            K::Authentication | K::PermissionDenied | K::QuotaExceeded | K::ModelNotFound
        );
        !self.left.is_empty() && (own || error.kind.is_transient())
    }
}

fn nobody() -> ChatError {
    ChatError::new(
        ChatErrorKind::Server,
        "no endpoint is configured",
        "give at least one",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use k25_chat::{Message, ParserEvent};

    use super::*;

    /// Says its name, or fails; counts how often it is asked.
    struct Scripted {
        events: Vec<Result<ChatEvent, ChatError>>,
        asked: Arc<AtomicUsize>,
    }

    struct Script(std::vec::IntoIter<Result<ChatEvent, ChatError>>);

    impl Stream for Script {
        type Item = Result<ChatEvent, ChatError>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.next())
        }
    }

    impl ChatClient for Scripted {
        fn chat(&self, _: ChatRequest) -> ChatStream {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(Script(self.events.clone().into_iter()))
        }
    }

    fn says(text: &str) -> Result<ChatEvent, ChatError> {
        Ok(ChatEvent::Output(ParserEvent::ContentDelta(
            text.to_owned(),
        )))
    }

    fn fails(kind: ChatErrorKind) -> Result<ChatEvent, ChatError> {
        Err(ChatError::new(kind, "no", "no"))
    }

    type Scripts = Vec<(Vec<Result<ChatEvent, ChatError>>, u32)>;

    fn fallback(scripts: Scripts) -> (Fallback, Vec<Arc<AtomicUsize>>) {
        let mut counts = Vec::new();
        let members = scripts.into_iter().map(|(events, weight)| {
            let asked = Arc::new(AtomicUsize::new(0));
            counts.push(Arc::clone(&asked));
            let client: Arc<dyn ChatClient> = Arc::new(Scripted { events, asked });
            (client, weight)
        });
        let fallback = Fallback::new(members.collect::<Vec<_>>());
        (fallback, counts)
    }

    fn ask(client: &Fallback) -> Vec<Result<ChatEvent, ChatError>> {
        let mut stream = client.chat(ChatRequest::new("m", vec![Message::user("q")]));
        let mut context = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        while let Poll::Ready(Some(event)) = stream.as_mut().poll_next(&mut context) {
            events.push(event);
        }
        events
    }

    #[test]
    fn shares_follow_the_weights() {
        let (client, counts) = fallback(vec![
            (vec![says("a")], 3),
            (vec![says("b")], 1),
            (vec![says("c")], 0),
        ]);
        for _ in 0..40 {
            assert_eq!(ask(&client).len(), 1);
        }
        let counts: Vec<_> = counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counts, [30, 10, 0]);
    }

    #[test]
    fn others_answer_where_one_fails() {
        let (client, _) = fallback(vec![
            (vec![fails(ChatErrorKind::Overloaded)], 5),
            (vec![fails(ChatErrorKind::Authentication)], 2),
            (vec![says("c")], 1),
        ]);
        assert_eq!(ask(&client), [says("c")]);
    }

    #[test]
    fn what_was_said_or_is_wrong_is_not_asked_again() {
        let (cut, counts) = fallback(vec![
            (vec![says("a"), fails(ChatErrorKind::Connection)], 1),
            (vec![says("b")], 0),
        ]);
        assert_eq!(ask(&cut), [says("a"), fails(ChatErrorKind::Connection)]);
        assert_eq!(counts[1].load(Ordering::Relaxed), 0);
        let (wrong, counts) = fallback(vec![
            (vec![fails(ChatErrorKind::InvalidRequest)], 1),
            (vec![says("b")], 0),
        ]);
        assert_eq!(ask(&wrong), [fails(ChatErrorKind::InvalidRequest)]);
        assert_eq!(counts[1].load(Ordering::Relaxed), 0);
        assert_eq!(
            ask(&fallback(Vec::new()).0).len(),
            1,
            "an error and the end"
        );
    }
}
