//! Ending a run that nobody works on.

use std::sync::Arc;

use crate::event::{EventKind, MAIN};
use crate::run::{Run, RunError, RunStatus};

/// The last words of a run that was cancelled.
pub(super) const CANCELLED: &str = "cancelled";

/// Ends a run that rests: open calls are closed, tasks end, what was handed in stays. A run that is
/// being worked on is told by [`Run::ask_to_stop`] instead.
///
/// # Errors
/// [`RunError::Invalid`] where there is no run or it is over; and when the journal fails.
pub async fn cancel(run: &Arc<Run>) -> Result<(), RunError> {
    let (status, open) = run.with_state(|state| {
        let open = state.tasks.iter().filter(|(_, task)| task.end.is_none());
        let open: Vec<String> = open.map(|(id, _)| id.clone()).collect();
        (state.status.clone(), open)
    });
    if matches!(status, RunStatus::Empty | RunStatus::Ended) {
        return Err(RunError::Invalid {
            what: "the run is over already".to_owned(),
            hint: "`k25 swarm show RUN` prints its table".to_owned(),
        });
    }
    for task in open {
        crate::agent::cancel_task(run, &task).await?;
    }
    let end = EventKind::RunEnded {
        text: CANCELLED.to_owned(),
    };
    run.record(MAIN, vec![end]).await
}
