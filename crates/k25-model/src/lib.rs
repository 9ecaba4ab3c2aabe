//! A K2.5-family checkpoint and its forward pass.

pub mod adapter;
pub mod checkpoint;
pub mod exec;
pub mod fast;
pub mod inspect;
pub mod linear;
pub mod load;
pub mod media;
pub mod names;
pub mod reference;
pub mod rope;
pub mod router;
mod rows;
pub mod synth;
pub mod tensor;
pub mod text;
pub mod vision;
pub mod weights;

pub use adapter::{AdapterError, LoraAdapter};
pub use checkpoint::{Checkpoint, CheckpointError, SafetensorsFile};
pub use inspect::Inspection;
pub use load::LoadError;
pub use reference::{LatentCache, MlaForm, Reference, ReferenceOptions, VisionReference};
pub use rows::Rows;
pub use tensor::{Advice, DType, Tensor};
