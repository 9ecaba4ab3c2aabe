//! Approvals: the rules of the flags, and the person at the terminal.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use k25_agent::swarm::Wrap;
use k25_agent::tools::Tool;
use k25_agent::tools::approval::{
    Answering, Approver, Guarded, NobodyThere, Question, Rule, Rules,
};
use serde::{Deserialize, Serialize};

use crate::args::ToolArgs;
use crate::output::Screen;

/// Which calls run, are asked about, are refused; as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleNote {
    /// Calls that run.
    pub allow: Vec<String>,
    /// Calls that are asked about.
    pub ask: Vec<String>,
    /// Calls that are refused.
    pub deny: Vec<String>,
}

/// Tools that read the documents and fill the table. They run unless a rule says otherwise: what a
/// person allows beside them does not make them a matter of asking.
const OWN: [&str; 3] = ["search", "open", "submit_rows"];

impl RuleNote {
    /// What these flags say.
    pub fn new(args: &ToolArgs) -> Result<Self> {
        let note = RuleNote {
            allow: args.allow.clone(),
            ask: args.ask.clone(),
            deny: args.deny.clone(),
        };
        note.rules().map(|_| note)
    }

    fn rules(&self) -> Result<Rules> {
        let read = |rules: &[String]| -> Result<Vec<Rule>> {
            let read = rules.iter().map(|rule| {
                Rule::new(rule).map_err(|error| anyhow!("{error}\n  hint: {}", error.hint()))
            });
            read.collect()
        };
        Ok(Rules {
            allow: read(&self.allow)?,
            ask: read(&self.ask)?,
            deny: read(&self.deny)?,
        })
    }

    /// Puts the rules around each tool; `None` where there are none.
    pub fn wrap(&self, approvals: &Approvals) -> Result<Option<Wrap>> {
        if *self == RuleNote::default() {
            return Ok(None);
        }
        let rules = self.rules()?;
        let of_own = Arc::new(Rules {
            allow: Vec::new(),
            ..rules.clone()
        });
        let (rules, approver) = (Arc::new(rules), approvals.approver());
        Ok(Some(Arc::new(move |tool: Arc<dyn Tool>| {
            let rules = if OWN.contains(&tool.name()) {
                &of_own
            } else {
                &rules
            };
            Arc::new(Guarded::new(tool, Arc::clone(rules), Arc::clone(&approver)))
        })))
    }
}

/// Whoever is asked about calls: the person at the terminal, or nobody.
pub struct Approvals {
    person: Option<Arc<Person>>,
}

impl Approvals {
    /// The person, if a run is watched and there is a terminal to ask at.
    pub fn new(is_watched: bool) -> Self {
        let is_there = is_watched && io::stdin().is_terminal() && io::stderr().is_terminal();
        Approvals {
            person: is_there.then(Arc::default),
        }
    }

    /// Whether a question stands on the terminal, which is then not to be written over.
    pub fn is_asking(&self) -> bool {
        let is_asking = |person: &Arc<Person>| person.is_asking.load(Ordering::Relaxed);
        self.person.as_ref().is_some_and(is_asking)
    }

    fn approver(&self) -> Arc<dyn Approver> {
        match &self.person {
            Some(person) => Arc::clone(person) as _,
            None => Arc::new(NobodyThere),
        }
    }
}

/// The person at the terminal.
#[derive(Debug, Default)]
struct Person {
    is_asking: AtomicBool,
    /// One question at a time.
    turn: tokio::sync::Mutex<()>,
    /// Tools that were allowed for the rest of the run.
    always: Mutex<HashSet<String>>,
}

/// How long the live view needs to leave.
const LEAVE: Duration = Duration::from_millis(250);

impl Person {
    fn is_always(&self, tool: &str) -> bool {
        let always = self.always.lock().unwrap_or_else(PoisonError::into_inner);
        always.contains(tool)
    }

    async fn ask(&self, question: Question) -> bool {
        let _turn = self.turn.lock().await;
        if self.is_always(&question.tool) {
            return true;
        }
        self.is_asking.store(true, Ordering::Relaxed);
        tokio::time::sleep(LEAVE).await;
        let screen = Screen::stderr();
        let _ = write!(
            io::stderr(),
            "\n{} · {}\n{}\nrun this? [y]es, [n]o, [a]lways this tool: ",
            screen.foreign(&question.task),
            screen.foreign(&question.tool),
            screen.foreign(&question.arguments),
        );
        let answer = line().await;
        self.is_asking.store(false, Ordering::Relaxed);
        match answer.trim() {
            "y" | "yes" => true,
            "a" | "always" => {
                let mut always = self.always.lock().unwrap_or_else(PoisonError::into_inner);
                always.insert(question.tool)
            }
            _ => false,
        }
    }
}

/// A line from the terminal, read by a thread of its own: the runtime does not wait for it at its end.
async fn line() -> String {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = io::stdin().read_line(&mut text);
        let _ = answer.send(text);
    });
    answered.await.unwrap_or_default()
}

impl Approver for Person {
    fn approve(&self, question: Question) -> Answering<'_> {
        Box::pin(self.ask(question))
    }
}
