//! What happens in a run, as data. The journal keeps it; state, live view, resume, audit and training
//! traces are folds over it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::Contract;
use crate::table::{Cell, Settlement};

/// The main agent's task: the orchestrator, or the single agent.
pub const MAIN: &str = "main";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number in the run, from 1.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The task it belongs to: [`MAIN`], or a sub-agent's.
    pub task: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A run begins.
    RunOpened {
        /// What is asked.
        question: String,
        /// How it is to be worked on; what a resume needs.
        settings: Value,
        /// What lies at the top of the documents.
        #[serde(default)]
        documents: Vec<String>,
    },
    /// The columns, or their next version.
    ContractFrozen {
        /// The contract.
        contract: Contract,
    },
    /// `create_subagent`.
    AgentCreated {
        /// The name.
        name: String,
        /// Its own instructions, behind the common ones.
        system_prompt: String,
    },
    /// `assign_task`, or a task of an edit.
    TaskAssigned {
        /// The agent.
        agent: String,
        /// What it is to do.
        prompt: String,
        /// The main agent's call that this answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<String>,
        /// The columns to fill; empty for all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        columns: Vec<String>,
    },
    /// A model answered: one step.
    Replied {
        /// The answer.
        reply: Reply,
        /// Tokens.
        usage: Usage,
        /// Money.
        money: f64,
        /// How long it took.
        ms: u64,
    },
    /// A request failed.
    RequestFailed {
        /// What sort of failure, as the client names it.
        error: String,
        /// What happened.
        message: String,
        /// What is done about it.
        then: String,
        /// Tokens that it cost, guessed where nobody said.
        #[serde(default, skip_serializing_if = "Usage::is_none")]
        usage: Usage,
        /// Money that it cost.
        #[serde(default, skip_serializing_if = "is_zero")]
        money: f64,
    },
    /// A model answered beside a conversation: it summed up, judged, or chose. No step of an agent.
    AnsweredAside {
        /// What it was asked for.
        purpose: String,
        /// What it said.
        text: String,
        /// Tokens.
        usage: Usage,
        /// Money.
        money: f64,
        /// How long it took.
        ms: u64,
    },
    /// An effect that must not happen twice is about to.
    ToolIntent {
        /// The call.
        call: String,
    },
    /// A tool call is closed.
    ToolReturned {
        /// The call.
        call: String,
        /// The tool.
        tool: String,
        /// What the model reads.
        text: String,
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
        /// How long it took.
        ms: u64,
    },
    /// A call gave pictures, which the model sees beside the text.
    Pictured {
        /// The call.
        call: String,
        /// The pictures.
        pictures: Vec<Picture>,
    },
    /// Values were taken into the table.
    CellsAccepted {
        /// The values.
        cells: Vec<Cell>,
    },
    /// A value was not taken.
    CellRejected {
        /// The place.
        place: String,
        /// Why.
        reason: String,
    },
    /// Places are to be looked up again.
    CellsStale {
        /// Row and column of each.
        places: Vec<(String, String)>,
    },
    /// Values that differ were judged.
    ConflictSettled {
        /// The row.
        row: String,
        /// The column.
        column: String,
        /// What was settled on.
        settlement: Settlement,
    },
    /// The mode was not given but chosen.
    ModeChosen {
        /// Its name.
        mode: String,
        /// Why, for a person.
        why: String,
    },
    /// A long document was outlined for all agents.
    PageOutlined {
        /// The document.
        source: String,
        /// What it is kept under, see [`RunState::outlines`](crate::run::RunState::outlines).
        key: String,
        /// What stands where.
        text: String,
    },
    /// Rows were taken out of the table: columns that tell rows apart were amended after a trial.
    RowsDropped {
        /// Their keys.
        rows: Vec<String>,
    },
    /// A limit is near; the agent has one turn left to say what it has.
    LastTurn {
        /// The limit.
        why: String,
        /// What the agent is told.
        text: String,
    },
    /// Something that the runtime says to an agent between its turns.
    Nudged {
        /// The text.
        text: String,
    },
    /// The history before this point is replaced by a summary.
    Summarised {
        /// The summary.
        text: String,
        /// Turns that it stands for.
        turns: usize,
    },
    /// A task ended.
    TaskEnded {
        /// How.
        end: TaskEnd,
        /// The last words of its agent, or what stopped it.
        text: String,
    },
    /// The run rests, to be resumed.
    RunPaused {
        /// Why.
        reason: String,
    },
    /// It goes on.
    RunResumed,
    /// It is over.
    RunEnded {
        /// The main agent's last words.
        text: String,
    },
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// The agent said so.
    Done,
    /// A limit stopped it; what it handed in stays.
    Partial,
    /// It could not go on.
    Failed,
    /// Someone cancelled it, or another attempt was faster.
    Cancelled,
}

impl TaskEnd {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskEnd::Done => "done",
            TaskEnd::Partial => "partial",
            TaskEnd::Failed => "failed",
            TaskEnd::Cancelled => "cancelled",
        }
    }
}

/// An answer of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reply {
    /// The reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
}

/// A tool call as the model wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// `functions.NAME:IDX`, unique within the task.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, verbatim.
    pub arguments: String,
}

/// A picture that a model sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// What it is called.
    pub name: String,
    /// The picture as a `data:` URI. Shared, for histories are copied at each step.
    #[serde(with = "shared_text")]
    pub data: Arc<str>,
}

/// A shared text as plain text.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Arc::from)
    }
}

/// Tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// The prompt.
    pub prompt: u64,
    /// Those of the prompt that were cached.
    pub cached: u64,
    /// The answer.
    pub completion: u64,
    /// Those of the answer that were reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// Whether it cost nothing.
    pub fn is_none(&self) -> bool {
        *self == Usage::default()
    }
}

/// Events leave out money that was not paid.
fn is_zero(money: &f64) -> bool {
    *money == 0.0
}

impl From<k25_chat::ChatUsage> for Usage {
    fn from(usage: k25_chat::ChatUsage) -> Self {
        Usage {
            prompt: usage.prompt_tokens,
            cached: usage.cached_tokens,
            completion: usage.completion_tokens,
            reasoning: usage.reasoning_tokens,
        }
    }
}

impl From<Usage> for k25_chat::ChatUsage {
    fn from(usage: Usage) -> Self {
        k25_chat::ChatUsage {
            prompt_tokens: usage.prompt,
            cached_tokens: usage.cached,
            completion_tokens: usage.completion,
            reasoning_tokens: usage.reasoning,
        }
    }
}
