//! What clients rely on in tool calls beyond what the model wrote.

use std::collections::HashSet;

use k25_chat::{ChatEvent, Conversation, ParserEvent};

/// Keeps a call's id unlike every other in the conversation, and calls to one where the client wants
/// only one.
#[derive(Debug)]
pub(super) struct CallRules {
    /// Ids of the history and of this answer.
    taken: HashSet<String>,
    parallel: bool,
    /// A second call began where one is wanted.
    has_enough: bool,
}

impl CallRules {
    pub fn new(conversation: &Conversation, parallel: bool) -> Self {
        let calls = conversation
            .messages
            .iter()
            .flat_map(|message| &message.tool_calls);
        CallRules {
            taken: calls.map(|call| call.id.clone()).collect(),
            parallel,
            has_enough: false,
        }
    }

    /// Whether the answer may end here: what follows is not told.
    pub fn has_enough(&self) -> bool {
        self.has_enough
    }

    /// The event as the client is told; `None` if it is not.
    pub fn apply(&mut self, event: ChatEvent) -> Option<ChatEvent> {
        let ChatEvent::Output(output) = event else {
            return Some(event);
        };
        let output = match output {
            ParserEvent::ToolCallBegin { index, .. }
            | ParserEvent::ToolCallArgumentsDelta { index, .. }
            | ParserEvent::ToolCallEnd { index }
                if index > 0 && !self.parallel =>
            {
                self.has_enough = true;
                return None;
            }
            ParserEvent::ToolCallBegin { index, id, name } => {
                let id = self.unlike_others(id, &name);
                ParserEvent::ToolCallBegin { index, id, name }
            }
            other => other,
        };
        Some(ChatEvent::Output(output))
    }

    /// The id as the model wrote it, unless another call has it: results refer to calls by id.
    fn unlike_others(&mut self, id: String, name: &str) -> String {
        let is_free = !id.is_empty() && !self.taken.contains(&id);
        let id = match is_free {
            true => id,
            false => (self.taken.len()..)
                .map(|number| format!("functions.{name}:{number}"))
                .find(|id| !self.taken.contains(id))
                .expect("there are more numbers than ids"),
        };
        self.taken.insert(id.clone());
        id
    }
}

#[cfg(test)]
mod tests {
    use k25_chat::{Arguments, Message, ToolCall};

    use super::*;

    fn begin(index: usize, id: &str) -> ChatEvent {
        ChatEvent::Output(ParserEvent::ToolCallBegin {
            index,
            id: id.to_owned(),
            name: "f".to_owned(),
        })
    }

    fn history() -> Conversation {
        let call = ToolCall {
            id: "functions.f:0".to_owned(),
            name: "f".to_owned(),
            arguments: Arguments::Text("{}".to_owned()),
        };
        Conversation::new(vec![Message {
            tool_calls: vec![call],
            ..Message::assistant("")
        }])
    }

    #[test]
    fn ids_stay_as_written_unless_they_are_taken() {
        let mut rules = CallRules::new(&history(), true);
        assert_eq!(
            rules.apply(begin(0, "functions.f:1")),
            Some(begin(0, "functions.f:1"))
        );
        assert_eq!(
            rules.apply(begin(1, "functions.f:0")),
            Some(begin(1, "functions.f:2"))
        );
        assert_eq!(rules.apply(begin(2, "")), Some(begin(2, "functions.f:3")));
        assert_eq!(
            rules.apply(begin(3, "functions.f:3")),
            Some(begin(3, "functions.f:4"))
        );
    }

    #[test]
    fn one_call_where_one_is_wanted() {
        let mut rules = CallRules::new(&Conversation::default(), false);
        assert!(rules.apply(begin(0, "functions.f:0")).is_some());
        assert_eq!(rules.apply(begin(1, "functions.f:1")), None);
        let end = ChatEvent::Output(ParserEvent::ToolCallEnd { index: 1 });
        assert_eq!(rules.apply(end), None);
        let text = ChatEvent::Output(ParserEvent::ContentDelta("x".to_owned()));
        assert_eq!(rules.apply(text.clone()), Some(text));
    }
}
