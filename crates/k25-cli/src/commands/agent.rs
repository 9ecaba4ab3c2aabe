//! `k25 agent`: one agent reads documents and answers in words.

use anyhow::Result;
use k25_agent::swarm::{Mode, Settings};

use super::swarm::context_policy;
use super::swarm::folder::{RunFolder, RunNote};
use super::swarm::model::Models;
use super::swarm::work::{Begin, Work};
use super::{Outcome, documents};
use crate::args::AgentArgs;

pub fn run(args: AgentArgs) -> Result<Outcome> {
    let documents = documents::open(&args.docs)?;
    let models = Models::open(&args.model, None)?;
    let settings = Settings {
        mode: Mode::Answer,
        main_thinks: !args.instant,
        main_steps: args.budget.max_steps,
        context: context_policy(args.context_policy),
        small: models.is_small(),
        ..Settings::default()
    };
    let note = RunNote::new(&args.docs, &args.model)?;
    let folder = RunFolder::create(&args.runs.dir, &note)?;
    let work = Work {
        folder,
        note,
        models,
        budget: args.budget.budget(),
        json: args.json,
    };
    work.begin(Begin {
        question: &args.question,
        contract: None,
        settings: &settings,
        documents,
    })
}
