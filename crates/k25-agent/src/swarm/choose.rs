//! Which mode a question needs: the cheapest that fits, by rules; where these are unsure, the model is
//! asked for one word.
//!
//! | question | mode |
//! |---|---|
//! | several things asked of each of many documents or things | swarm |
//! | the same of at most eight documents | agent, whose parallel calls are faster there |
//! | something that stands in documents, or changes from day to day | agent |
//! | needs reasons, numbers, a plan, code | thinking |
//! | a fact, a word, a few lines of text | instant |

use std::sync::Arc;

use k25_chat::Message;
use serde::{Deserialize, Serialize};

use super::prompts;
use crate::agent::{Agent, ModelChoice};
use crate::event::MAIN;
use crate::run::{Run, RunError};

/// Up to so many documents one agent with parallel calls is faster than a swarm (docs/swarm.md has the
/// curve).
const FEW_DOCUMENTS: usize = 8;
/// A question of at most so many words is short.
const SHORT: usize = 14;
/// A question of more words than this is a task.
const LONG: usize = 45;

/// How much work a question gets, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// One answer without reasoning.
    Instant,
    /// One answer with reasoning.
    Thinking,
    /// One agent with tools.
    Agent,
    /// An orchestrator with sub-agents.
    Swarm,
}

impl Effort {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Effort::Instant => "instant",
            Effort::Thinking => "thinking",
            Effort::Agent => "agent",
            Effort::Swarm => "swarm",
        }
    }

    const ALL: [Effort; 4] = [
        Effort::Instant,
        Effort::Thinking,
        Effort::Agent,
        Effort::Swarm,
    ];
}

/// What is known when a mode is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The question.
    pub question: &'a str,
    /// How many documents there are to look in; `None` for no folder at all.
    pub documents: Option<usize>,
    /// Whether agents can look things up outside.
    pub has_web: bool,
    /// Whether columns are given.
    pub has_columns: bool,
}

/// A mode, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The mode.
    pub effort: Effort,
    /// Whether the result is a table.
    pub is_table: bool,
    /// Why, in a few words for a person.
    pub why: String,
    /// Whether the rules are sure.
    pub is_sure: bool,
}

/// What the rules say.
pub fn choose(asked: &Asked<'_>) -> Choice {
    let words = Words::of(asked.question);
    let is_table = asked.has_columns || words.is_wide();
    let choice = |effort, why: &str, is_sure| Choice {
        effort,
        is_table: is_table && effort >= Effort::Agent,
        why: why.to_owned(),
        is_sure,
    };
    match asked.documents {
        Some(0) => choice(
            Effort::Thinking,
            "the folder has no documents to look in",
            true,
        ),
        Some(count) if is_table && count <= FEW_DOCUMENTS => choice(
            Effort::Agent,
            "a table of few documents: one agent with parallel calls is faster there",
            true,
        ),
        Some(_) if is_table => choice(Effort::Swarm, "the same is asked of many documents", true),
        Some(_) => choice(
            Effort::Agent,
            "the answer stands in the documents",
            words.points_somewhere(),
        ),
        None if is_table && asked.has_web => {
            choice(Effort::Swarm, "the same is asked of many things", true)
        }
        None if words.is_fresh() && asked.has_web => {
            choice(Effort::Agent, "the answer changes from day to day", true)
        }
        None => without_sources(&words, choice),
    }
}

/// A question that the model has to answer from what it knows.
fn without_sources(words: &Words, choice: impl Fn(Effort, &str, bool) -> Choice) -> Choice {
    if words.needs_reasons() {
        return choice(Effort::Thinking, "it takes reasons, numbers or code", true);
    }
    if words.is_wide() {
        return choice(
            Effort::Thinking,
            "many things at once, and no documents are named to look in (--docs DIR)",
            true,
        );
    }
    if words.is_task_of_words() {
        return choice(Effort::Instant, "a few lines of text", true);
    }
    if words.is_fact() {
        return choice(Effort::Instant, "a short question for a fact", true);
    }
    if words.0.len() > LONG {
        return choice(Effort::Thinking, "a long task", false);
    }
    choice(Effort::Instant, "nothing asks for more", false)
}

/// What the rules say, and where they are unsure, what the model says. What it cost is in the journal.
///
/// # Errors
/// When the run is asked to stop or its journal fails.
pub async fn choose_mode(
    run: &Arc<Run>,
    model: &ModelChoice,
    asked: &Asked<'_>,
) -> Result<Choice, RunError> {
    let ruled = choose(asked);
    if ruled.is_sure {
        return Ok(ruled);
    }
    let model = ModelChoice {
        max_tokens: Some(16),
        ..model.clone()
    };
    let agent = Agent::for_asides(model, std::time::Duration::from_secs(60));
    let sources = match asked.documents {
        Some(count) => format!("There are {count} documents."),
        None => "There are no documents.".to_owned(),
    };
    let messages = vec![
        Message::system(prompts::MODE),
        Message::user(format!("{}\n\n{sources}", asked.question)),
    ];
    let said = agent.ask_aside(run, MAIN, "mode", messages).await?;
    let word = said.as_deref().and_then(first_mode);
    // Nothing can be looked up where there is nothing to look in.
    let most = match asked.documents.is_some() || asked.has_web {
        true => Effort::Swarm,
        false => Effort::Thinking,
    };
    Ok(match word {
        Some(effort) => Choice {
            effort: effort.min(most),
            is_table: effort == Effort::Swarm && most == Effort::Swarm,
            why: format!(
                "the model says so; the rules lean to {}",
                ruled.effort.as_str()
            ),
            is_sure: true,
        },
        None => ruled,
    })
}

/// The first word that is a mode's name.
fn first_mode(text: &str) -> Option<Effort> {
    let lower = text.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    words.find_map(|word| {
        Effort::ALL
            .into_iter()
            .find(|effort| effort.as_str() == word)
    })
}

/// A question's words in lower case, and where a list of columns begins.
struct Words(Vec<String>, bool);

impl Words {
    fn of(question: &str) -> Self {
        let lower = question.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'');
        let words = words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        // "For each crate: version, license": what stands behind a colon is a list.
        let lists = |(_, rest): (&str, &str)| {
            rest.split(',')
                .filter(|part| !part.trim().is_empty())
                .count()
                >= 2
        };
        Words(words, question.split_once(':').is_some_and(lists))
    }

    fn has(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            self.0.windows(phrase.len()).any(|window| window == phrase)
        })
    }

    fn begins(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            self.0.len() >= phrase.len() && self.0[..phrase.len()] == phrase[..]
        })
    }

    /// Whether the same is asked of many things.
    fn is_wide(&self) -> bool {
        const EACH: [&str; 12] = [
            "for each",
            "for every",
            "for all",
            "each of",
            "every one of",
            "of all",
            "of every",
            "list all",
            "list every",
            "compare all",
            "across all",
            "per company",
        ];
        const TABLE: [&str; 6] = [
            "make a table",
            "build a table",
            "fill a table",
            "as a table",
            "a table of",
            "a spreadsheet",
        ];
        self.has(&EACH) || self.has(&TABLE) || (self.1 && self.has(&["each", "every", "all"]))
    }

    /// Whether it asks for something that stands somewhere.
    fn points_somewhere(&self) -> bool {
        const ASKS: [&str; 16] = [
            "what",
            "which",
            "when",
            "where",
            "who",
            "whose",
            "does",
            "did",
            "is",
            "are",
            "find",
            "show",
            "how many",
            "how much",
            "how long",
            "summarise",
        ];
        const PLACES: [&str; 7] = [
            "documents",
            "document",
            "files",
            "file",
            "folder",
            "according to",
            "mentioned",
        ];
        self.begins(&ASKS) || self.has(&PLACES)
    }

    /// Whether the answer changes from day to day.
    fn is_fresh(&self) -> bool {
        const NOW: [&str; 12] = [
            "latest",
            "today",
            "yesterday",
            "current",
            "currently",
            "right now",
            "this week",
            "this month",
            "this year",
            "news",
            "price of",
            "weather",
        ];
        self.has(&NOW)
    }

    fn needs_reasons(&self) -> bool {
        const REASONS: [&str; 28] = [
            "why",
            "prove",
            "proof",
            "derive",
            "calculate",
            "compute",
            "solve",
            "how many ways",
            "optimise",
            "optimize",
            "plan",
            "design",
            "debug",
            "refactor",
            "implement",
            "write a function",
            "write a program",
            "algorithm",
            "step by step",
            "trade offs",
            "tradeoffs",
            "pros and cons",
            "compare",
            "analyse",
            "analyze",
            "evaluate",
            "estimate",
            "puzzle",
        ];
        let numbers = self
            .0
            .iter()
            .filter(|word| word.bytes().all(|b| b.is_ascii_digit()));
        self.has(&REASONS) || numbers.count() >= 3
    }

    /// Whether it asks for a text to be made of a text.
    fn is_task_of_words(&self) -> bool {
        const TASKS: [&str; 12] = [
            "translate",
            "rewrite",
            "rephrase",
            "shorten",
            "correct",
            "spell",
            "proofread",
            "hello",
            "hi",
            "thanks",
            "write a short",
            "write a haiku",
        ];
        self.begins(&TASKS)
    }

    fn is_fact(&self) -> bool {
        const FACTS: [&str; 16] = [
            "what is",
            "what's",
            "what are",
            "what does",
            "what was",
            "who",
            "when",
            "where",
            "which",
            "define",
            "is",
            "are",
            "does",
            "do",
            "how do you say",
            "name",
        ];
        self.0.len() <= SHORT && self.begins(&FACTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hand-made list: the question, how many documents, and the mode that a person would choose.
    const QUESTIONS: [(&str, Option<usize>, Effort); 46] = [
        // A fact, a word, a few lines.
        ("What is the capital of Mongolia?", None, Effort::Instant),
        ("Who wrote The Master and Margarita?", None, Effort::Instant),
        ("When did the Berlin wall fall?", None, Effort::Instant),
        ("Where is Lake Titicaca?", None, Effort::Instant),
        (
            "Translate 'good morning' into Finnish",
            None,
            Effort::Instant,
        ),
        (
            "Rephrase: we regret to inform you that the order is late",
            None,
            Effort::Instant,
        ),
        ("Hello!", None, Effort::Instant),
        ("Thanks, that helped", None, Effort::Instant),
        ("Define entropy", None, Effort::Instant),
        ("What does HTTP 429 mean?", None, Effort::Instant),
        ("Is a tomato a fruit?", None, Effort::Instant),
        ("Write a haiku about autumn rain", None, Effort::Instant),
        (
            "How do you say cheese in Portuguese?",
            None,
            Effort::Instant,
        ),
        ("Spell accommodate", None, Effort::Instant),
        ("Name three rivers of France", None, Effort::Instant),
        // Reasons, numbers, plans, code.
        (
            "Why is the sky dark at night although there are so many stars?",
            None,
            Effort::Thinking,
        ),
        (
            "Prove that the square root of 2 is irrational",
            None,
            Effort::Thinking,
        ),
        (
            "Calculate the monthly rate of a loan of 240000 at 3.9 percent over 25 years",
            None,
            Effort::Thinking,
        ),
        (
            "Write a function that merges two sorted lists",
            None,
            Effort::Thinking,
        ),
        (
            "Plan a week in Lisbon with two children",
            None,
            Effort::Thinking,
        ),
        ("Debug this: my loop never ends", None, Effort::Thinking),
        ("Compare Raft and Paxos", None, Effort::Thinking),
        (
            "What are the pros and cons of heat pumps?",
            None,
            Effort::Thinking,
        ),
        (
            "Solve the puzzle: a wolf, a goat and a cabbage cross a river",
            None,
            Effort::Thinking,
        ),
        (
            "Estimate how many piano tuners work in Chicago",
            None,
            Effort::Thinking,
        ),
        (
            "Design a schema for a library's loans",
            None,
            Effort::Thinking,
        ),
        (
            "How many ways are there to climb 12 stairs in steps of 1 or 2?",
            None,
            Effort::Thinking,
        ),
        (
            "For each country of Europe: population, area, capital",
            None,
            Effort::Thinking,
        ),
        ("What is in the documents?", Some(0), Effort::Thinking),
        // It stands in documents.
        ("Which crates use edition 2024?", Some(200), Effort::Agent),
        ("What changed in March?", Some(30), Effort::Agent),
        (
            "When does the lease of the Hamburg office end?",
            Some(12),
            Effort::Agent,
        ),
        (
            "Who signed the contract with Northwind?",
            Some(80),
            Effort::Agent,
        ),
        (
            "Is there a clause on early termination?",
            Some(4),
            Effort::Agent,
        ),
        (
            "How many employees does the annual report mention?",
            Some(3),
            Effort::Agent,
        ),
        (
            "Find the function that parses dates",
            Some(500),
            Effort::Agent,
        ),
        (
            "According to the files, what was the revenue of 2023?",
            Some(9),
            Effort::Agent,
        ),
        ("Summarise the minutes of May", Some(14), Effort::Agent),
        (
            "For each invoice: number, date, sum",
            Some(6),
            Effort::Agent,
        ),
        // The same of many.
        (
            "For each crate: version, license, edition",
            Some(34),
            Effort::Swarm,
        ),
        (
            "For every phone in the folder find price, weight and battery",
            Some(60),
            Effort::Swarm,
        ),
        (
            "List all contracts with their end dates",
            Some(120),
            Effort::Swarm,
        ),
        (
            "Make a table of the suppliers: name, country, VAT number",
            Some(45),
            Effort::Swarm,
        ),
        (
            "Compare all quarterly reports by revenue and profit",
            Some(40),
            Effort::Swarm,
        ),
        (
            "Who is the author of every one of these papers?",
            Some(300),
            Effort::Swarm,
        ),
        (
            "Build a table of licences across all packages",
            Some(1000),
            Effort::Swarm,
        ),
    ];

    fn asked(question: &str, documents: Option<usize>) -> Asked<'_> {
        Asked {
            question,
            documents,
            has_web: false,
            has_columns: false,
        }
    }

    #[test]
    fn the_rules_choose_as_a_person_would() {
        let wrong: Vec<String> = QUESTIONS
            .iter()
            .filter_map(|(question, documents, expected)| {
                let choice = choose(&asked(question, *documents));
                (choice.effort != *expected || !choice.is_sure)
                    .then(|| format!("{question}: {choice:?}"))
            })
            .collect();
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn columns_make_a_table_and_the_web_something_to_look_in() {
        let with = |has_columns, has_web, documents| {
            let asked = Asked {
                has_columns,
                has_web,
                documents,
                ..asked("The phones of this year", documents)
            };
            let choice = choose(&asked);
            (choice.effort, choice.is_table)
        };
        assert_eq!(with(true, false, Some(50)), (Effort::Swarm, true));
        assert_eq!(with(true, false, Some(3)), (Effort::Agent, true));
        assert_eq!(with(true, true, None), (Effort::Swarm, true));
        assert_eq!(with(false, true, None), (Effort::Agent, false));
    }

    #[test]
    fn where_the_rules_are_unsure_they_say_so() {
        let unsure = [
            "The thing with the blue cover that my grandmother used to tell us about in winter",
            "Gardens",
        ];
        for question in unsure {
            assert!(!choose(&asked(question, None)).is_sure, "{question}");
        }
        assert!(!choose(&asked("Gardens", Some(20))).is_sure);
    }

    #[test]
    fn a_models_word_is_found_in_what_it_says() {
        assert_eq!(first_mode("Swarm."), Some(Effort::Swarm));
        assert_eq!(first_mode("I would say: **agent**"), Some(Effort::Agent));
        assert_eq!(first_mode("It depends"), None);
    }
}
