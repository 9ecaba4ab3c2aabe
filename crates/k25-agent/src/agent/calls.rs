//! Running the calls of one turn, side by side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Agent;
use super::guard::Repeats;
use crate::budget::Limit;
use crate::event::{Call, EventKind};
use crate::run::{Reservation, Run, RunError, Share, TaskState};
use crate::table::shortened;
use crate::tools::{CallContext, Effect, FailureKind, Tool, ToolError, ToolOutput, Toolset};

/// Most calls of one turn that run; a model that makes more is looping.
const MAX_CALLS: usize = 128;
/// How often a call runs that fails in a way that may pass.
const MAX_TRIES: u32 = 4;
/// How long calls may take to leave when the run stops.
const GRACE: Duration = Duration::from_secs(2);

/// A call that came back.
struct Returned {
    call: Call,
    result: Result<ToolOutput, ToolError>,
    ms: u64,
}

impl Agent {
    /// Runs the open calls of the last turn and records each result when it comes. `true` if one of
    /// them ends the task.
    pub(super) async fn run_calls(
        &self,
        run: &Arc<Run>,
        task: &str,
        state: &TaskState,
    ) -> Result<bool, RunError> {
        let Some(turn) = state.turns.last() else {
            return Ok(false);
        };
        let mut work = Work::default();
        let now = Repeats::of(&state.turns);
        let before = Repeats::of(&state.turns[..state.turns.len() - 1]);
        for (index, call) in turn.reply.calls.iter().enumerate() {
            if turn.result(&call.id).is_some() {
                continue;
            }
            let group = turn
                .reply
                .calls
                .iter()
                .filter(|other| other.name == call.name)
                .count();
            let context = CallContext {
                task: task.to_owned(),
                call: call.id.clone(),
                group,
            };
            let (reservation, admitted) = match reserve(run, self.share()) {
                Ok(held) => (Some(held), self.admit(state, (&now, &before), call, index)),
                Err(error) => (None, Err(error)),
            };
            let (run, made) = (Arc::clone(run), call.clone());
            let is_unknown = state.intents.contains(&call.id);
            work.spawn(call, reservation, async move {
                let began = Instant::now();
                let result = match admitted {
                    Err(error) => Err(error),
                    Ok(Admitted::Known(text)) => Ok(text.into()),
                    Ok(Admitted::Runs(tool, arguments)) => {
                        perform(&run, tool.as_ref(), arguments, context, is_unknown).await?
                    }
                };
                Ok(Returned {
                    call: made,
                    result,
                    ms: began.elapsed().as_millis() as u64,
                })
            });
        }
        self.collect(run, task, work).await
    }

    /// Takes results as they come; a wish to stop aborts what is still at work.
    async fn collect(&self, run: &Arc<Run>, task: &str, mut work: Work) -> Result<bool, RunError> {
        let mut ends = false;
        loop {
            let returned = tokio::select! {
                biased;
                returned = work.next() => returned,
                stop = run.stopped() => {
                    leave_in_order(run, task, work, &self.tools).await?;
                    return Err(Run::stop_error(stop));
                }
            };
            match returned {
                None => return Ok(ends),
                Some((returned, held)) => {
                    ends |= record(run, task, returned?, held, &self.tools).await?;
                }
            }
        }
    }

    fn admit(
        &self,
        state: &TaskState,
        (now, before): (&Repeats, &Repeats),
        call: &Call,
        index: usize,
    ) -> Result<Admitted, ToolError> {
        let refused = |text: &str| Err(ToolError::new(FailureKind::Refused, text));
        if index >= MAX_CALLS {
            return refused("too many calls in one turn");
        }
        if before.removed_tools().contains(&call.name) {
            return refused("this tool is closed; finish with what you have");
        }
        let (tool, arguments) = self.tools.admit(call)?;
        let may_repeat = tool.effect() != Effect::Once;
        if may_repeat && let Some(text) = now.known_result(&state.turns, call) {
            return Ok(Admitted::Known(text));
        }
        Ok(Admitted::Runs(tool, arguments))
    }
}

/// Sets a call aside. What the model was paid for is done even where tokens or money are used up.
fn reserve(run: &Arc<Run>, share: Share) -> Result<Reservation, ToolError> {
    let used_up =
        |limit: Limit| ToolError::new(FailureKind::Budget, format!("budget used up: {limit}"));
    if run.time_left(share).is_some_and(|left| left.is_zero()) {
        return Err(used_up(Limit::Time));
    }
    run.reserve_call(share).map_err(used_up)
}

/// Calls at work, and what of the budget is set aside for each.
#[derive(Default)]
struct Work {
    calls: JoinSet<Result<Returned, RunError>>,
    made: HashMap<tokio::task::Id, (Call, Option<Reservation>)>,
}

/// A call that came back, and what was set aside for it.
type Back = (Result<Returned, RunError>, Option<Reservation>);

impl Work {
    fn spawn(
        &mut self,
        call: &Call,
        reservation: Option<Reservation>,
        work: impl Future<Output = Result<Returned, RunError>> + Send + 'static,
    ) {
        let id = self.calls.spawn(work).id();
        self.made.insert(id, (call.clone(), reservation));
    }

    /// The next call that comes back. A tool that panics costs its call and nothing else.
    async fn next(&mut self) -> Option<Back> {
        let joined = self.calls.join_next_with_id().await?;
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(fault) => fault.id(),
        };
        let (call, reservation) = self.made.remove(&id)?;
        let result = match joined {
            Ok((_, returned)) => returned,
            Err(_) => {
                let message = "the tool broke down; this is a bug of the tool";
                Ok(Returned {
                    call,
                    result: Err(ToolError::new(FailureKind::Internal, message)),
                    ms: 0,
                })
            }
        };
        Some((result, reservation))
    }
}

/// Calls at work see the wish to stop too; those that do not leave soon are dropped.
async fn leave_in_order(
    run: &Arc<Run>,
    task: &str,
    mut work: Work,
    tools: &Toolset,
) -> Result<(), RunError> {
    let grace = tokio::time::sleep(GRACE);
    tokio::pin!(grace);
    loop {
        let returned = tokio::select! {
            returned = work.next() => returned,
            () = &mut grace => return Ok(()),
        };
        match returned {
            None => return Ok(()),
            Some((Ok(returned), held)) => {
                record(run, task, returned, held, tools).await?;
            }
            Some((Err(_), _)) => {}
        }
    }
}

enum Admitted {
    /// The same call has been made before.
    Known(String),
    Runs(Arc<dyn Tool>, Value),
}

/// Runs a tool, again where that may help and does no harm.
async fn perform(
    run: &Arc<Run>,
    tool: &dyn Tool,
    arguments: Value,
    context: CallContext,
    is_unknown: bool,
) -> Result<Result<ToolOutput, ToolError>, RunError> {
    let effect = tool.effect();
    if is_unknown && effect == Effect::Once {
        let text = "it is not known whether this happened before an interruption; not repeated";
        return Ok(Err(ToolError::new(FailureKind::Unknown, text)));
    }
    if effect == Effect::Once {
        let intent = EventKind::ToolIntent {
            call: context.call.clone(),
        };
        run.record(&context.task, vec![intent]).await?;
    }
    let mut attempt = 1;
    loop {
        let result = timed(tool, arguments.clone(), context.clone()).await;
        let may_pass =
            |error: &ToolError| matches!(error.kind, FailureKind::Transient | FailureKind::Timeout);
        match result {
            Err(error) if may_pass(&error) && effect != Effect::Once && attempt < MAX_TRIES => {
                tokio::time::sleep(run.backoff(attempt) / 10).await;
                attempt += 1;
            }
            result => return Ok(result),
        }
    }
}

async fn timed(
    tool: &dyn Tool,
    arguments: Value,
    context: CallContext,
) -> Result<ToolOutput, ToolError> {
    let call = tool.call(arguments, context);
    let Some(timeout) = tool.timeout() else {
        return call.await;
    };
    let late = |_| {
        let message = format!(
            "no result within {} s",
            timeout.max(Duration::from_secs(1)).as_secs()
        );
        ToolError::new(FailureKind::Timeout, message)
    };
    tokio::time::timeout(timeout, call).await.map_err(late)?
}

/// Closes a call: its result and what it changed are kept together.
async fn record(
    run: &Arc<Run>,
    task: &str,
    Returned { call, result, ms }: Returned,
    reservation: Option<Reservation>,
    tools: &Toolset,
) -> Result<bool, RunError> {
    let is_left_open = |error: &ToolError| error.kind == FailureKind::Cancelled;
    if run.stop().is_some() && result.as_ref().is_err_and(is_left_open) {
        // A rest takes the call up again; a cancel closes it with all others.
        return Ok(false);
    }
    let most = tools
        .get(&call.name)
        .map_or(1_000, |tool| tool.max_output_bytes());
    let (output, failure) = match result {
        Ok(output) => (output, None),
        Err(error) => {
            let kind = error.kind.as_str().to_owned();
            (format!("error: {error}").into(), Some(kind))
        }
    };
    let ends = output.ends_task;
    let mut text = shortened(&output.text, most);
    if text.len() < output.text.len() {
        text.push_str("\ncut off here");
    }
    let mut events = output.events;
    events.push(EventKind::ToolReturned {
        call: call.id,
        tool: call.name,
        text,
        failure,
        ms,
    });
    run.settle(task, events, reservation).await?;
    Ok(ends)
}
