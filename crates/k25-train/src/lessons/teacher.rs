//! Who answers while lessons are recorded: a script that knows what is true of a folder, and does what a good model would.
//!
//! Now and then it makes a mistake on purpose, so that what the tools say about it and how one goes on from there is learned too;
//! the mistaken message itself counts nothing.

mod thread;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use k25_chat::{
    Arguments, ChatClient, ChatError, ChatEvent, ChatRequest, ChatStream, ChatUsage, Conversation,
    Message, ParserEvent, ReplyEnd, Role,
};
use serde_json::Value;

use crate::random::Random;
use crate::world::Folder;

use thread::{Thread, text};
use turn::Turn;

/// What the teacher says.
#[derive(Debug, Clone, Default, PartialEq)]
struct Answer {
    content: String,
    calls: Vec<(&'static str, Value)>,
    /// It is wrong on purpose.
    is_mistake: bool,
}

impl Answer {
    fn text(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            ..Self::default()
        }
    }

    fn call(name: &'static str, arguments: Value) -> Self {
        Self {
            calls: vec![(name, arguments)],
            ..Self::default()
        }
    }

    fn mistaken(self) -> Self {
        Self {
            is_mistake: true,
            ..self
        }
    }
}

/// A conversation as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What was said, tools declared.
    pub conversation: Conversation,
    /// For every answer of the assistant, how much it counts.
    pub weights: Vec<f32>,
}

/// A [`ChatClient`] that knows a folder.
pub struct Teacher {
    folder: Arc<Folder>,
    mistakes: f64,
    state: Mutex<State>,
}

struct State {
    random: Random,
    /// By the first two messages: the conversation so far, and the weights of its answers.
    threads: BTreeMap<String, Recorded>,
    /// Mistakes that were made, by thread.
    mistakes: HashMap<String, usize>,
}

impl Teacher {
    /// A teacher of a folder that makes mistakes in this part of all tasks.
    pub fn new(folder: Arc<Folder>, random: Random, mistakes: f64) -> Self {
        let state = State {
            random,
            threads: BTreeMap::new(),
            mistakes: HashMap::new(),
        };
        Self {
            folder,
            mistakes,
            state: Mutex::new(state),
        }
    }

    /// The conversations that were held, longest states only.
    pub fn recorded(&self) -> Vec<Recorded> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.threads.values().cloned().collect()
    }

    fn answer(&self, request: &ChatRequest) -> Answer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = Thread::of(request);
        let made = state.mistakes.get(&thread.id).copied().unwrap_or(0);
        let errs = made == 0 && state.random.chance(self.mistakes);
        let turn = Turn {
            folder: &self.folder,
            thread: &thread,
            errs,
            erred: made > 0,
        };
        let answer = turn.answer(&mut state.random);
        if answer.is_mistake {
            *state.mistakes.entry(thread.id.clone()).or_default() += 1;
        }
        state.note(request, &thread, &answer);
        answer
    }
}

impl State {
    fn note(&mut self, request: &ChatRequest, thread: &Thread<'_>, answer: &Answer) {
        let messages = &request.conversation.messages;
        let said = messages
            .iter()
            .filter(|message| message.role == Role::Assistant)
            .count();
        let before = self.threads.get(&thread.id);
        let mut weights = before
            .map(|recorded| recorded.weights.clone())
            .unwrap_or_default();
        // A history that was made shorter is a new conversation, whose earlier answers have counted already.
        let id = match weights.len() == said {
            true => thread.id.clone(),
            false => {
                weights = vec![0.0; said];
                format!("{}\n{}", thread.id, messages.len())
            }
        };
        weights.push(if answer.is_mistake { 0.0 } else { 1.0 });
        let mut conversation = request.conversation.clone();
        conversation.messages.push(message_of(answer, messages));
        self.threads.insert(
            id,
            Recorded {
                conversation,
                weights,
            },
        );
    }
}

/// The answer as a message, with the ids that the runtime will give its calls.
fn message_of(answer: &Answer, messages: &[Message]) -> Message {
    let first: usize = messages
        .iter()
        .map(|message| message.tool_calls.len())
        .sum();
    let calls = answer
        .calls
        .iter()
        .enumerate()
        .map(|(index, (name, arguments))| k25_chat::ToolCall {
            id: format!("functions.{name}:{}", first + index),
            name: (*name).to_owned(),
            arguments: Arguments::Text(arguments.to_string()),
        });
    Message {
        tool_calls: calls.collect(),
        ..Message::assistant(answer.content.clone())
    }
}

impl ChatClient for Teacher {
    fn chat(&self, request: ChatRequest) -> ChatStream {
        let answer = self.answer(&request);
        let prompt: usize = request
            .conversation
            .messages
            .iter()
            .map(|message| text(message).len())
            .sum();
        Box::pin(Said(
            events(answer, &request.conversation.messages, prompt as u64 / 3).into_iter(),
        ))
    }
}

fn events(answer: Answer, messages: &[Message], prompt_tokens: u64) -> Vec<ChatEvent> {
    let message = message_of(&answer, messages);
    let mut outputs = Vec::new();
    if !answer.content.is_empty() {
        outputs.push(ParserEvent::ContentDelta(answer.content));
    }
    let reason = if message.tool_calls.is_empty() {
        ReplyEnd::Stop
    } else {
        ReplyEnd::ToolCalls
    };
    for (index, (call, (_, arguments))) in
        message.tool_calls.into_iter().zip(answer.calls).enumerate()
    {
        outputs.push(ParserEvent::ToolCallBegin {
            index,
            id: call.id,
            name: call.name,
        });
        outputs.push(ParserEvent::ToolCallArgumentsDelta {
            index,
            delta: arguments.to_string(),
        });
        outputs.push(ParserEvent::ToolCallEnd { index });
    }
    let usage = ChatUsage {
        prompt_tokens,
        completion_tokens: 50,
        ..ChatUsage::default()
    };
    let outputs = outputs.into_iter().map(ChatEvent::Output);
    outputs
        .chain([ChatEvent::Finished { reason, usage }])
        .collect()
}

/// Events that are there already.
struct Said(std::vec::IntoIter<ChatEvent>);

impl Stream for Said {
    type Item = Result<ChatEvent, ChatError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}
