//! The trainer of k25: the model's own wiring over a tape, optimisers, data.
//!
//! | room | what |
//! |---|---|
//! | `params`, `model` | all trained values in one vector, and the tree that says which is which |
//! | `tape`, `exec` | the operators with their gradients, and `Train`, the execution that records them |
//! | `matmul`, `simd`, `arena` | products, wide loops, memory |
//! | `optimizer`, `schedule`, `balance` | MuonClip, AdamW; learning rates; routers |
//! | `quantize`, `export` | INT4 and bf16 as the exported checkpoint holds them |
//! | `data`, `vocabulary` | documents, masks, packing, mixing; making a tokenizer |
//! | `world`, `lessons` | made-up documents, and conversations about them |
//! | `recipe` | all steps from nothing to a model |
//! | `config`, `run`, `state` | a run from its TOML file to its last step, and back from a kill |

pub mod arena;
pub mod balance;
pub mod config;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod exec;
pub mod export;
pub mod lessons;
mod matmul;
pub mod model;
pub mod optimizer;
pub mod params;
pub mod plot;
pub mod quantize;
pub mod random;
pub mod recipe;
pub mod run;
mod safetensors;
pub mod schedule;
mod simd;
pub mod state;
pub mod tape;
pub mod vocabulary;
pub mod world;

pub use error::TrainError;
