//! Agents: a wide question becomes a table that one can trust.

pub mod budget;
pub mod contract;
pub mod documents;
pub mod event;
pub mod journal;
pub mod table;
