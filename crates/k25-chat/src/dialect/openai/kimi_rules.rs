//! What the hosted Kimi K2.5 accepts of a Chat Completions request (specification of the service
//! surface, section 6). The default of this server is freer.

use super::CompletionRequest;
use crate::client::{ChatRequest, ToolChoice};
use crate::dialect::RequestError;
use crate::dialect::fields::Read;
use crate::message::{Message, Role};

/// Most tokens of an answer where the client says nothing.
const DEFAULT_MAX_TOKENS: u32 = 32_768;
/// Most stop texts, and most bytes of each.
const MAX_STOPS: (usize, usize) = (5, 32);

/// Refuses what the hosted service refuses, and fills in its defaults.
pub(super) fn apply(request: &mut CompletionRequest) -> Read<()> {
    let chat = &mut request.chat;
    let temperature = if chat.thinking { 1.0 } else { 0.6 };
    let sampling = &chat.sampling;
    fixed("temperature", sampling.temperature, temperature)?;
    fixed("top_p", sampling.top_p, 0.95)?;
    fixed("presence_penalty", sampling.presence_penalty, 0.0)?;
    fixed("frequency_penalty", sampling.frequency_penalty, 0.0)?;
    fixed("n", Some(request.choices as f32), 1.0)?;
    let forced = !matches!(chat.tool_choice, ToolChoice::Auto | ToolChoice::None);
    if chat.thinking && forced {
        return Err(RequestError::new(
            "tool_choice",
            "with thinking only auto and none are possible",
            "send \"thinking\": {\"type\": \"disabled\"}, or leave tool_choice out",
        ));
    }
    let (most, longest) = MAX_STOPS;
    if chat.stop.len() > most || chat.stop.iter().any(|stop| stop.len() > longest) {
        return Err(RequestError::new(
            "stop",
            format!("more than {most} texts, or one of more than {longest} bytes"),
            "send fewer or shorter stop texts",
        ));
    }
    check_tool_results(&chat.conversation.messages)?;
    check_reasoning(chat)?;
    chat.max_tokens.get_or_insert(DEFAULT_MAX_TOKENS);
    Ok(())
}

fn fixed(key: &str, sent: Option<f32>, value: f32) -> Read<()> {
    match sent {
        Some(sent) if (sent - value).abs() > 1e-6 => Err(RequestError::new(
            key,
            format!("only {value} is allowed for this model, found {sent}"),
            format!("leave {key} out"),
        )),
        _ => Ok(()),
    }
}

/// Every call needs its result before the next message that is none.
fn check_tool_results(messages: &[Message]) -> Read<()> {
    for (index, message) in messages.iter().enumerate() {
        let results: Vec<_> = messages[index + 1..]
            .iter()
            .take_while(|message| message.role == Role::Tool)
            .map(|message| message.tool_call_id.as_deref())
            .collect();
        for call in &message.tool_calls {
            if !results.contains(&Some(&call.id)) {
                return Err(RequestError::new(
                    format!("messages[{index}].tool_calls"),
                    format!("tool_call_id not found: {:?} has no result", call.id),
                    "add a message {\"role\": \"tool\", \"tool_call_id\": …} for every call",
                ));
            }
        }
    }
    Ok(())
}

/// Within a tool loop the reasoning must be sent back.
fn check_reasoning(chat: &ChatRequest) -> Read<()> {
    let messages = &chat.conversation.messages;
    let is_answer = |message: &Message| {
        message.role == Role::Assistant && message.tool_calls.is_empty() && !message.partial
    };
    let loop_start = messages.iter().rposition(is_answer).map_or(0, |at| at + 1);
    for (index, message) in messages.iter().enumerate().skip(loop_start) {
        if chat.thinking && !message.tool_calls.is_empty() && message.reasoning.is_none() {
            return Err(RequestError::new(
                format!("messages[{index}].reasoning_content"),
                "missing in an assistant message with tool calls",
                "send the assistant's message back as it came, reasoning_content included",
            ));
        }
    }
    Ok(())
}
