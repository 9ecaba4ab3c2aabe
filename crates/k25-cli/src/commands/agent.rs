//! `k25 agent`: one agent reads documents and answers in words.

use anyhow::Result;
use k25_agent::swarm::{Mode, Settings};

use super::swarm::context_policy;
use super::swarm::folder::{RunFolder, RunNote};
use super::swarm::model::Models;
use super::swarm::work::{Begin, Work};
use super::swarm::{resume, usage};
use super::{Outcome, documents};
use crate::args::{AgentArgs, AgentCommand, AgentStartArgs};

pub fn run(args: AgentArgs) -> Result<Outcome> {
    match args.command {
        None => start(args.start),
        Some(AgentCommand::Resume(args)) => resume(args),
    }
}

fn start(args: AgentStartArgs) -> Result<Outcome> {
    let question = args.question.ok_or_else(|| {
        usage("there is no question\n  hint: k25 agent \"What …?\" --docs DIR --model DIR|URL")
    })?;
    let docs = args.docs.ok_or_else(|| {
        usage("there are no documents\n  hint: name their folder with --docs DIR")
    })?;
    let documents = documents::open(&docs)?;
    let models = Models::open(&args.model, None)?;
    let settings = Settings {
        mode: Mode::Answer,
        main_thinks: !args.instant,
        main_steps: args.budget.max_steps,
        context: context_policy(args.context_policy),
        small: models.is_small(),
        ..Settings::default()
    };
    let note = RunNote::new(&docs, &args.model)?.with_tools(&args.tools)?;
    let folder = RunFolder::create(&args.runs.dir, &note)?;
    let work = Work {
        folder,
        note,
        models,
        budget: args.budget.budget(),
        json: args.json,
    };
    work.begin(Begin {
        question: &question,
        contract: None,
        settings: &settings,
        documents,
        chooses_mode: false,
    })
}
