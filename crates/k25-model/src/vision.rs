//! MoonViT-3D and its projector: from image patches to rows of the language model's width
//! (spec: architecture §4).

pub mod weights;
