//! One tensor that a model has: its name, what it is for, how it is kept, its shape.

use std::fmt;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Projections of the routed experts.
    RoutedExperts,
    /// Projections of the shared expert.
    SharedExperts,
    /// Projections of latent attention.
    Attention,
    /// Projections of the dense layers.
    DenseMlp,
    /// Router matrix and its correction bias.
    Router,
    /// The embedding.
    Embedding,
    /// The head.
    Head,
    /// Norms of the language model.
    Norms,
    /// The vision tower.
    Vision,
    /// The projector from vision to language.
    Projector,
}

impl Kind {
    /// Every kind, in the order in which people list them.
    pub const ALL: [Self; 10] = [
        Self::RoutedExperts,
        Self::SharedExperts,
        Self::Attention,
        Self::DenseMlp,
        Self::Router,
        Self::Embedding,
        Self::Head,
        Self::Norms,
        Self::Vision,
        Self::Projector,
    ];

    /// Whether it belongs to the vision tower or its projector.
    pub fn is_vision(self) -> bool {
        matches!(self, Self::Vision | Self::Projector)
    }

    /// Its name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::RoutedExperts => "routed experts",
            Self::SharedExperts => "shared experts",
            Self::Attention => "attention",
            Self::DenseMlp => "dense mlp",
            Self::Router => "router",
            Self::Embedding => "embedding",
            Self::Head => "head",
            Self::Norms => "norms",
            Self::Vision => "vision",
            Self::Projector => "projector",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// How the values of a part are kept once it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A matrix that stays in the file: dense, or packed under three names of its own.
    Matrix,
    /// Few values that become f32: norms, biases, the position table.
    Values,
}

/// One tensor that a model has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of its unquantised form. A packed matrix has `_packed`, `_scale` and `_shape`
    /// appended to it.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// How it is kept.
    pub form: Form,
    /// Sizes of the unquantised form, outermost first.
    pub shape: Vec<usize>,
}

impl Part {
    /// The three tensors of a packed matrix: words, scales, and the shape of what they stand for.
    pub fn packed_names(&self) -> [String; 3] {
        ["_packed", "_scale", "_shape"].map(|suffix| format!("{}{suffix}", self.name))
    }

    /// How many values it has.
    pub fn parameters(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }
}
