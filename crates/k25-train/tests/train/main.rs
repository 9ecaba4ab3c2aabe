//! The trainer from the outside.

mod data;
mod export;
mod golden;
mod gradients;
mod models;
mod prefixes;
mod vision;
