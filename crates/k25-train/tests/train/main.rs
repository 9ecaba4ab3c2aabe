//! The trainer from the outside.

mod data;
mod export;
mod golden;
mod gradients;
mod lora;
mod models;
mod pictures;
mod prefixes;
mod vision;
