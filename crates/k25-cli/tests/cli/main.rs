//! The `k25` command as people run it: the real program on fixtures and on broken input.

mod chat;
mod command;
mod doctor;
mod forms;
mod generate;
mod inspect;
mod nano;
mod render;
mod serve;
mod synth;
mod tokenize;
mod usage;
mod verify;
