//! The trainer from the outside.

mod golden;
mod gradients;
mod models;
