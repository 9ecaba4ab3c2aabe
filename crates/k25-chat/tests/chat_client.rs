//! A client made of a script: the trait can be implemented and used without any runtime.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use k25_chat::{
    ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatReply, ChatRequest, ChatStream, ChatUsage,
    Conversation, Message, ParserEvent, RenderOptions, ReplyEnd, Retry, render, segments_to_text,
};

/// Answers every request with the same events.
struct Scripted(Vec<Result<ChatEvent, ChatError>>);

struct Script(std::vec::IntoIter<Result<ChatEvent, ChatError>>);

impl Stream for Script {
    type Item = Result<ChatEvent, ChatError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

impl ChatClient for Scripted {
    fn chat(&self, _: ChatRequest) -> ChatStream {
        Box::pin(Script(self.0.clone().into_iter()))
    }
}

fn answer(client: &dyn ChatClient) -> Result<ChatReply, ChatError> {
    let mut stream = client.chat(ChatRequest::new("kimi-k2.5", vec![Message::user("q")]));
    let mut reply = ChatReply::default();
    while let Poll::Ready(Some(event)) = stream
        .as_mut()
        .poll_next(&mut Context::from_waker(Waker::noop()))
    {
        reply.add(&event?);
    }
    Ok(reply)
}

#[test]
fn events_add_up_to_a_message_of_the_history() {
    let usage = ChatUsage {
        prompt_tokens: 9,
        cached_tokens: 4,
        completion_tokens: 7,
        reasoning_tokens: 2,
    };
    let events = [
        ParserEvent::ReasoningDelta("w".to_owned()),
        ParserEvent::ReasoningDelta("hy".to_owned()),
        ParserEvent::ContentDelta("Look:".to_owned()),
        ParserEvent::ToolCallBegin {
            index: 0,
            id: "functions.f:0".to_owned(),
            name: "f".to_owned(),
        },
        ParserEvent::ToolCallArgumentsDelta {
            index: 0,
            delta: "{}".to_owned(),
        },
        ParserEvent::ToolCallEnd { index: 0 },
    ];
    let mut script: Vec<_> = events.map(|event| Ok(ChatEvent::Output(event))).into();
    script.push(Ok(ChatEvent::Finished {
        reason: ReplyEnd::ToolCalls,
        usage,
    }));
    let reply = answer(&Scripted(script)).expect("a whole answer");
    assert_eq!((reply.end, reply.usage), (Some(ReplyEnd::ToolCalls), usage));

    let conversation = Conversation::new(vec![reply.into_message()]);
    let options = RenderOptions {
        add_generation_prompt: false,
        ..RenderOptions::default()
    };
    assert_eq!(
        segments_to_text(&render(&conversation, &options).segments),
        "<|im_assistant|>assistant<|im_middle|><think>why</think>Look:<|tool_calls_section_begin|>\
         <|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>\
         <|tool_calls_section_end|><|im_end|>"
    );

    let mut total = usage;
    total += usage;
    assert_eq!((total.prompt_tokens, total.reasoning_tokens), (18, 4));
}

#[test]
fn an_error_ends_the_answer_and_says_whether_to_ask_again() {
    let busy = ChatError::new(
        ChatErrorKind::Overloaded,
        "the endpoint is busy",
        "wait a moment",
    );
    let script = vec![
        Ok(ChatEvent::Output(ParserEvent::ContentDelta("a".to_owned()))),
        Err(busy.clone()),
    ];
    let error = answer(&Scripted(script)).expect_err("cut off");
    assert_eq!(error, busy);
    assert_eq!(
        error.to_string(),
        "the endpoint is busy; hint: wait a moment"
    );
    assert_eq!(error.retry(), Retry::Backoff);
    let timed = ChatError {
        retry_after: Some(Duration::from_secs(3)),
        ..busy
    };
    assert_eq!(timed.retry(), Retry::After(Duration::from_secs(3)));
    let quota = ChatError {
        kind: ChatErrorKind::QuotaExceeded,
        ..timed
    };
    assert_eq!(
        quota.retry(),
        Retry::Never,
        "waiting does not fill an account"
    );
}
