//! How a run is worked on, where flags leave it open: a model with a small context works as such models
//! are trained to.

use k25_agent::agent::ContextPolicy;
use k25_agent::swarm::{Mode, Settings};

use super::model::Models;
use crate::args::{BudgetArgs, Context, MainAgentArgs};

/// Most steps of a sub-agent with a small context: one that has not found it by then goes round in
/// circles, and whoever fills what is left begins afresh.
const SMALL_STEPS: usize = 8;

/// The settings of a run in this mode. `thinks` is what the mode says of reasoning, if anything.
pub fn settings(
    mode: Mode,
    thinks: Option<bool>,
    main: &MainAgentArgs,
    budget: &BudgetArgs,
    models: &Models,
) -> Settings {
    let small = models.is_small();
    let thinks = match (main.thinking, main.instant) {
        (true, _) => true,
        (_, true) => false,
        _ => thinks.unwrap_or(!small),
    };
    let context = main.context_policy.unwrap_or(match small {
        true => Context::DiscardAll,
        false => Context::HideToolResult,
    });
    Settings {
        mode,
        main_thinks: thinks,
        main_steps: budget.max_steps,
        subagent_steps: match small {
            true => budget.max_steps.min(SMALL_STEPS),
            false => budget.max_steps,
        },
        context: ContextPolicy::from_name(context.as_str()).unwrap_or_default(),
        small,
        ..Settings::default()
    }
}
