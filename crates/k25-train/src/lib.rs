//! The trainer of k25: the model's own wiring over a tape, optimisers, data.
//!
//! | room | what |
//! |---|---|
//! | `params`, `model` | all trained values in one vector, and the tree that says which is which |
//! | `lora`, `frozen`, `values` | adapters on weights that stay as a checkpoint has them; what operators read |
//! | `tape`, `exec` | the operators with their gradients, and `Train`, the execution that records them |
//! | `matmul`, `simd`, `arena` | products, wide loops, memory |
//! | `optimizer`, `schedule`, `balance` | MuonClip, AdamW; learning rates; routers |
//! | `quantize`, `export` | INT4 and bf16 as the exported checkpoint holds them |
//! | `adapter` | a run's adapters in PEFT's layout, or merged into their checkpoint |
//! | `data`, `vocabulary` | documents, masks, packing, mixing; making a tokenizer |
//! | `world`, `lessons` | made-up documents, and conversations about them |
//! | `recipe` | all steps from nothing to a model |
//! | `config`, `run`, `state` | a run from its TOML file to its last step, and back from a kill |

pub mod adapter;
pub mod arena;
pub mod balance;
pub mod config;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod exec;
pub mod export;
pub mod frozen;
pub mod lessons;
pub mod lora;
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
pub mod values;
pub mod vocabulary;
pub mod world;

pub use error::TrainError;
