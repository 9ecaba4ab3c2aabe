//! `k25 agent`: one agent reads documents and answers in words.

use anyhow::Result;
use k25_agent::swarm::Mode;

use super::Outcome;
use super::swarm::folder::{RunFolder, RunNote};
use super::swarm::model::Models;
use super::swarm::settings::settings;
use super::swarm::sources::Sources;
use super::swarm::work::{Begin, Printing, Work};
use super::swarm::{example, resume, usage};
use crate::args::{AgentArgs, AgentCommand, AgentStartArgs};

pub fn run(args: AgentArgs) -> Result<Outcome> {
    match args.command {
        None => start(args.start),
        Some(AgentCommand::Resume(args)) => resume(args),
    }
}

fn start(args: AgentStartArgs) -> Result<Outcome> {
    if args.documents.lists_examples() {
        return example::list();
    }
    let example = example::named(&args.documents)?.map(|example| example.agent_question);
    let question = args.question.or(example.map(str::to_owned));
    let question = question
        .ok_or_else(|| usage("there is no question\n  hint: k25 agent \"What …?\" --docs DIR"))?;
    let sources = Sources::of(&args.documents)?.ok_or_else(|| {
        usage("there are no documents\n  hint: name their folder with --docs DIR")
    })?;
    let note = RunNote::new(&sources, &args.model)?.with_tools(&args.tools)?;
    let documents = note.open_documents()?;
    let models = Models::open(&args.model, None)?;
    let settings = settings(Mode::Answer, None, &args.main, &args.budget, &models);
    let folder = RunFolder::create(&args.runs.dir, &note)?;
    let work = Work {
        folder,
        note,
        models,
        budget: args.budget.budget(),
        printing: Printing::of(args.json),
    };
    work.begin(Begin {
        question: &question,
        contract: None,
        settings: &settings,
        documents,
        chooses_mode: false,
    })
}
