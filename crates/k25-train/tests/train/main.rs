//! The trainer from the outside.

mod data;
mod export;
mod golden;
mod gradients;
mod models;
mod pictures;
mod prefixes;
mod vision;
