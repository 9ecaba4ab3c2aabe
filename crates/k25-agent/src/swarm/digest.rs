//! What became of tasks, in a few words for whoever assigned them.

use crate::event::TaskEnd;
use crate::run::RunState;
use crate::table::shortened;
use crate::tools::ToolError;

/// Most tasks without rows that are named.
const MAX_NAMED: usize = 8;

/// The words of a task's end, for whoever assigned it.
pub(super) fn of_task(state: &RunState, id: &str) -> String {
    let Some(task) = state.tasks.get(id) else {
        return "failed: no such task".to_owned();
    };
    let end = task.end.unwrap_or(TaskEnd::Failed);
    let mut text = end.as_str().to_owned();
    let why = shortened(task.text.trim(), 200);
    if end != TaskEnd::Done && !why.is_empty() {
        text.push_str(&format!(" ({why})"));
    }
    if task.rows.is_empty() {
        text.push_str(", no rows");
        if end == TaskEnd::Done && !why.is_empty() {
            text.push_str(&format!(": {why}"));
        }
        return text;
    }
    let rows: Vec<String> = task
        .rows
        .iter()
        .take(8)
        .map(|(row, values)| format!("{row} {values} values"))
        .collect();
    text.push_str(&format!(": {}", rows.join("; ")));
    if task.rows.len() > 8 {
        text.push_str(&format!("; {} rows in all", task.rows.len()));
    }
    let open: Vec<String> = state
        .open_places()
        .into_iter()
        .filter(|(row, _)| task.rows.contains_key(row))
        .map(|(row, columns)| format!("{row}: {}", columns.join(", ")))
        .collect();
    if !open.is_empty() {
        text.push_str(&format!(
            "\nnot filled: {}",
            shortened(&open.join("; "), 300)
        ));
    }
    text
}

/// What became of the tasks of one call.
pub(super) struct OfTasks {
    tasks: usize,
    /// Those that ended well with rows.
    pub(super) done: usize,
    rows: usize,
    values: usize,
    /// The document and the words of every other.
    others: Vec<String>,
}

impl OfTasks {
    /// Of each task its document, and the attempt that counts or why there is none.
    pub(super) fn of<'a>(
        state: &RunState,
        outcomes: impl Iterator<Item = (&'a str, Result<String, ToolError>)>,
    ) -> Self {
        let mut sum = OfTasks {
            tasks: 0,
            done: 0,
            rows: 0,
            values: 0,
            others: Vec::new(),
        };
        for (path, outcome) in outcomes {
            sum.tasks += 1;
            let task = outcome.as_ref().ok().and_then(|id| state.tasks.get(id));
            if let Some(task) = task {
                sum.rows += task.rows.len();
                sum.values += task.rows.values().sum::<usize>();
            }
            match (&outcome, task) {
                (_, Some(task)) if task.end == Some(TaskEnd::Done) && !task.rows.is_empty() => {
                    sum.done += 1;
                }
                (Ok(id), _) => sum.others.push(format!("{path}: {}", of_task(state, id))),
                (Err(error), _) => sum.others.push(format!("{path}: {error}")),
            }
        }
        sum
    }

    /// The same in words.
    pub(super) fn text(&self) -> String {
        let OfTasks {
            tasks,
            done,
            rows,
            values,
            others,
        } = self;
        let mut text = format!("{done} of {tasks} tasks done: {rows} rows, {values} values");
        for other in others.iter().take(MAX_NAMED) {
            text.push('\n');
            text.push_str(&shortened(other, 200));
        }
        if others.len() > MAX_NAMED {
            text.push_str(&format!("\nand {} more", others.len() - MAX_NAMED));
        }
        text
    }
}
