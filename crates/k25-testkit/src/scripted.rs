//! A model that follows a script: a function from the request to what happens.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use k25_chat::{
    Arguments, ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatRequest, ChatStream, ChatUsage,
    Content, Message, ParserEvent, ReplyEnd,
};

/// What a model does with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Script {
    /// It answers.
    Reply(ScriptedReply),
    /// It refuses.
    Error(ChatErrorKind),
    /// It begins an answer and the connection breaks.
    Broken(ScriptedReply),
    /// It never says a word.
    Stall,
    /// It takes its time first.
    After(Duration, Box<Script>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScriptedReply {
    /// The reasoning.
    pub reasoning: String,
    /// The text.
    pub content: String,
    /// Names and arguments of calls.
    pub calls: Vec<(String, String)>,
    /// It ends for want of room.
    pub is_cut: bool,
}

impl ScriptedReply {
    /// A text.
    pub fn text(content: impl Into<String>) -> Self {
        ScriptedReply {
            content: content.into(),
            ..Self::default()
        }
    }

    /// One call.
    pub fn call(name: &str, arguments: &serde_json::Value) -> Self {
        Self::calls([(name, arguments.clone())])
    }

    /// Several calls.
    pub fn calls<'a>(calls: impl IntoIterator<Item = (&'a str, serde_json::Value)>) -> Self {
        let calls = calls
            .into_iter()
            .map(|(name, arguments)| (name.to_owned(), arguments.to_string()));
        ScriptedReply {
            calls: calls.collect(),
            ..Self::default()
        }
    }
}

/// A wait, by whatever clock the test has.
pub type Wait = Arc<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

type Rule = dyn Fn(&ChatRequest, u64) -> Script + Send + Sync;

/// A [`ChatClient`] that follows a script.
pub struct ScriptedClient {
    rule: Box<Rule>,
    wait: Option<(Wait, Duration)>,
    counts: bool,
    /// How often each conversation was asked about.
    asked: Mutex<HashMap<u64, u64>>,
}

impl ScriptedClient {
    /// A model that does what `rule` says. The rule is told how often the same conversation was asked
    /// about before.
    pub fn new(rule: impl Fn(&ChatRequest, u64) -> Script + Send + Sync + 'static) -> Self {
        ScriptedClient {
            rule: Box::new(rule),
            wait: None,
            counts: false,
            asked: Mutex::default(),
        }
    }

    /// Takes its time for each answer.
    #[must_use]
    pub fn slow(mut self, wait: Wait, time: Duration) -> Self {
        self.wait = Some((wait, time));
        self
    }

    /// Waits by this clock where the script says so.
    #[must_use]
    pub fn waiting(self, wait: Wait) -> Self {
        self.slow(wait, Duration::ZERO)
    }

    /// Counts four bytes of what is said and heard as a token, and keeps to the longest answer that
    /// the request allows, as endpoints do. Otherwise usage is a plain number per message.
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.counts = true;
        self
    }

    /// How often each conversation was asked about.
    pub fn asked(&self) -> Vec<u64> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .copied()
            .collect()
    }

    /// Requests in all.
    pub fn requests(&self) -> u64 {
        self.asked().iter().sum()
    }
}

/// A number for the conversation of a request.
pub fn conversation_hash(request: &ChatRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", request.conversation.messages).hash(&mut hasher);
    hasher.finish()
}

impl ChatClient for ScriptedClient {
    fn chat(&self, request: ChatRequest) -> ChatStream {
        let before = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let count = asked.entry(conversation_hash(&request)).or_default();
            *count += 1;
            *count - 1
        };
        let (mut script, mut pause) = ((self.rule)(&request, before), Duration::ZERO);
        while let Script::After(time, then) = script {
            (script, pause) = (*then, pause + time);
        }
        let wait = self.wait.as_ref().map(|(wait, time)| wait(*time + pause));
        let is_stalled = script == Script::Stall;
        let size = match self.counts {
            true => Size::counted(&request),
            false => Size::plain(&request),
        };
        let steps = steps(script, &size).into_iter();
        Box::pin(ScriptedStream {
            wait,
            steps,
            is_stalled,
        })
    }
}

/// How much was said, and how much may be answered.
struct Size {
    messages: usize,
    prompt_tokens: u64,
    cached_tokens: u64,
    /// Most tokens of the answer, where they are counted.
    room: Option<u64>,
}

impl Size {
    fn plain(request: &ChatRequest) -> Self {
        let messages = request.conversation.messages.len();
        Size {
            messages,
            prompt_tokens: 100 * messages as u64,
            cached_tokens: 50 * messages as u64,
            room: None,
        }
    }

    fn counted(request: &ChatRequest) -> Self {
        let conversation = &request.conversation;
        let said = conversation.messages.iter().map(said_bytes).sum::<usize>();
        let tools = conversation
            .tools
            .iter()
            .map(|tool| format!("{tool:?}").len() / 2);
        let prompt_tokens = (said + tools.sum::<usize>()) as u64 / 4;
        Size {
            messages: conversation.messages.len(),
            prompt_tokens,
            cached_tokens: prompt_tokens / 2,
            room: Some(request.max_tokens.map_or(u64::MAX, u64::from)),
        }
    }
}

/// Bytes of a message that a model reads.
fn said_bytes(message: &Message) -> usize {
    let content = match &message.content {
        Some(Content::Text(text)) => text.len(),
        _ => 0,
    };
    let calls = message.tool_calls.iter().map(|call| match &call.arguments {
        Arguments::Text(text) => call.name.len() + text.len(),
        Arguments::Json(_) => call.name.len(),
    });
    content + message.reasoning.as_ref().map_or(0, String::len) + calls.sum::<usize>()
}

fn steps(script: Script, size: &Size) -> Vec<Result<ChatEvent, ChatError>> {
    match script {
        Script::Stall | Script::After(..) => Vec::new(),
        Script::Error(kind) => vec![Err(ChatError::new(
            kind,
            format!("scripted {kind:?}"),
            "none",
        ))],
        Script::Broken(reply) => {
            let mut events = events(reply, size);
            events.truncate(events.len() / 2);
            let error = ChatError::new(ChatErrorKind::Connection, "scripted break", "none");
            events.into_iter().map(Ok).chain([Err(error)]).collect()
        }
        Script::Reply(reply) => events(reply, size).into_iter().map(Ok).collect(),
    }
}

fn events(mut reply: ScriptedReply, size: &Size) -> Vec<ChatEvent> {
    let mut outputs = Vec::new();
    let messages = size.messages;
    let mut length = reply.reasoning.len() + reply.content.len();
    let mut completion_tokens = 10 + length as u64 / 4;
    if let Some(room) = size.room {
        let calls = reply.calls.iter();
        length += calls
            .map(|(name, arguments)| name.len() + arguments.len())
            .sum::<usize>();
        completion_tokens = 1 + length as u64 / 4;
        if completion_tokens > room {
            // What does not fit is not begun.
            reply = ScriptedReply {
                content: "…".to_owned(),
                is_cut: true,
                ..ScriptedReply::default()
            };
            completion_tokens = room;
        }
    }
    if !reply.reasoning.is_empty() {
        outputs.push(ParserEvent::ReasoningDelta(reply.reasoning));
    }
    if !reply.content.is_empty() {
        outputs.push(ParserEvent::ContentDelta(reply.content));
    }
    let has_calls = !reply.calls.is_empty();
    for (index, (name, arguments)) in reply.calls.into_iter().enumerate() {
        // As endpoints write them that do not know the model's own form.
        let id = format!("call_{messages}_{index}");
        outputs.push(ParserEvent::ToolCallBegin { index, id, name });
        outputs.push(ParserEvent::ToolCallArgumentsDelta {
            index,
            delta: arguments,
        });
        outputs.push(ParserEvent::ToolCallEnd { index });
    }
    let reason = match (reply.is_cut, has_calls) {
        (true, _) => ReplyEnd::Length,
        (false, true) => ReplyEnd::ToolCalls,
        (false, false) => ReplyEnd::Stop,
    };
    let usage = ChatUsage {
        prompt_tokens: size.prompt_tokens,
        cached_tokens: size.cached_tokens,
        completion_tokens,
        reasoning_tokens: 0,
    };
    let events = outputs.into_iter().map(ChatEvent::Output);
    events
        .chain([ChatEvent::Finished { reason, usage }])
        .collect()
}

struct ScriptedStream {
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    steps: std::vec::IntoIter<Result<ChatEvent, ChatError>>,
    is_stalled: bool,
}

impl Stream for ScriptedStream {
    type Item = Result<ChatEvent, ChatError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(wait) = &mut self.wait {
            match wait.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.wait = None,
            }
        }
        if self.is_stalled {
            return Poll::Pending;
        }
        Poll::Ready(self.steps.next())
    }
}
