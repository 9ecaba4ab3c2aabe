//! `submit_rows`: how values get into the table.

use std::sync::{Arc, Weak};

use serde_json::Value;

use super::{CallContext, Calling, Effect, FailureKind, Tool, ToolError, ToolOutput};
use crate::contract::{Contract, SUBMIT_ROWS, submission_schema};
use crate::documents::Documents;
use crate::event::EventKind;
use crate::run::Run;
use crate::table::{Author, CellStatus, submit};

/// Checks rows against the contract and the documents and puts the good values into the table.
pub struct SubmitRows {
    run: Weak<Run>,
    documents: Arc<Documents>,
    contract: Contract,
    schema: Value,
}

impl SubmitRows {
    /// The tool for the run's contract.
    pub fn new(run: &Arc<Run>, documents: Arc<Documents>, contract: Contract) -> Self {
        SubmitRows {
            run: Arc::downgrade(run),
            documents,
            schema: submission_schema(&contract),
            contract,
        }
    }

    fn submit(&self, arguments: &Value, context: &CallContext) -> Result<ToolOutput, ToolError> {
        let ended = || ToolError::new(FailureKind::Internal, "the run is over");
        let run = self.run.upgrade().ok_or_else(ended)?;
        let (author, wanted) = run.with_state(|state| {
            let task = state.tasks.get(&context.task);
            let name = task.map(|task| task.agent.clone()).unwrap_or_default();
            let author = Author::Agent {
                name,
                task: context.task.clone(),
            };
            (
                author,
                task.map(|task| task.columns.clone()).unwrap_or_default(),
            )
        });
        let submission = run.with_state(|state| {
            let is_filled = |row: &str, column: &str| {
                let status = state.table.get(row, column).status;
                !matches!(status, CellStatus::Missing | CellStatus::Stale)
            };
            let documents = self.documents.as_ref();
            submit(
                &self.contract,
                documents,
                arguments,
                &author,
                &wanted,
                &is_filled,
            )
        });
        let mut events: Vec<EventKind> = submission
            .problems
            .iter()
            .map(|problem| EventKind::CellRejected {
                place: problem.place.clone(),
                reason: problem.message.clone(),
            })
            .collect();
        let text = submission.text();
        if !submission.accepted.is_empty() {
            events.push(EventKind::CellsAccepted {
                cells: submission.accepted,
            });
        }
        Ok(ToolOutput {
            text,
            events,
            ends_task: false,
        })
    }
}

impl Tool for SubmitRows {
    fn name(&self) -> &str {
        SUBMIT_ROWS
    }

    fn description(&self) -> &str {
        "Hand in rows. Each value needs the line it stands on; null if the document does not state it."
    }

    fn schema(&self) -> Value {
        self.schema.clone()
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_> {
        Box::pin(async move { self.submit(&arguments, &context) })
    }
}
