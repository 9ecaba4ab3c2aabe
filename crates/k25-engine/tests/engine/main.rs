//! The engine as a whole, over a model whose every token depends on every row before it.

mod hash_model;
mod simulator;

use hash_model::HashModel;
