//! Agents: a wide question becomes a table that one can trust.
//!
//! An [`Agent`](agent::Agent) asks a [`ChatClient`](k25_chat::ChatClient) it is given and runs the
//! tools that the model calls. A [`Swarm`](swarm::Swarm) is an orchestrator with many of them: the
//! [`Contract`](contract::Contract) is frozen first, rows come in through one checked tool, and the
//! result is a [`Table`](table::Table) of cells with [`Evidence`](table::Evidence). All that happens
//! is an [`Event`](event::Event) in a [`Journal`](journal::Journal); the state of a
//! [`Run`](run::Run) is a fold over it, which is why a run survives anything.

pub mod agent;
pub mod budget;
pub mod contract;
pub mod documents;
pub mod event;
pub mod journal;
pub mod run;
pub mod swarm;
pub mod table;
pub mod tools;
