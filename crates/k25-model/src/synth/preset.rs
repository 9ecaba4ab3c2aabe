//! The shapes that can be written.

use std::fmt;

use k25_config::{ModelConfig, TextConfig, VisionConfig};

/// The shape of a random checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// A few hundred thousand parameters with every part of the family, vision too: for tests.
    Tiny,
    /// 390 M parameters, 240 MB, nearly all of it routed experts, text only: for tests.
    Small,
    /// 8.25 B parameters, 0.81 B active, 5.2 GB, text only: the benchmark model.
    Mid,
    /// One mixture-of-experts layer of the real shape with 96 experts, 2.6 GB, text only.
    Layer,
    /// The whole of Kimi K2.5, 595 GB, vision too.
    KimiK25,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 5] = [
        Self::Tiny,
        Self::Small,
        Self::Mid,
        Self::Layer,
        Self::KimiK25,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Mid => "mid",
            Self::Layer => "layer",
            Self::KimiK25 => "kimi-k2.5",
        }
    }

    /// The preset of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Its configuration. Special token ids are the family's: 256 after the base vocabulary.
    pub fn config(self) -> ModelConfig {
        let mut config = ModelConfig::kimi_k25();
        match self {
            Self::Tiny => {
                tiny_text(&mut config.text);
                config.vision.as_mut().map(tiny_vision);
            }
            Self::Small => small_text(&mut config.text),
            Self::Mid => mid_text(&mut config.text),
            Self::Layer => layer_text(&mut config.text),
            Self::KimiK25 => {}
        }
        if matches!(self, Self::Small | Self::Mid | Self::Layer) {
            config.vision = None;
        }
        // Vocabularies here are small; the largest is the real one.
        let first_special = config.text.vocab_size as u32 - 256;
        config.bos_token_id = Some(first_special);
        config.eos_token_ids = vec![first_special + 1];
        config.media_placeholder_token_id = config.vision.as_ref().map(|_| first_special + 21);
        config.pad_token_id = Some(first_special + 255);
        config
    }

    /// How many files the weights are cut into.
    pub fn shards(self) -> usize {
        match self {
            Self::Tiny => 3,
            Self::Small => 2,
            Self::Mid => 4,
            Self::Layer => 2,
            Self::KimiK25 => 64,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn tiny_text(text: &mut TextConfig) {
    text.hidden_size = 128;
    text.num_hidden_layers = 3;
    text.intermediate_size = 256;
    text.moe_intermediate_size = 64;
    text.n_routed_experts = 8;
    text.num_experts_per_tok = 2;
    text.num_attention_heads = 4;
    text.q_lora_rank = Some(64);
    text.kv_lora_rank = 64;
    text.qk_nope_head_dim = 32;
    text.qk_rope_head_dim = 16;
    text.v_head_dim = 32;
    text.vocab_size = 1280;
}

fn tiny_vision(vision: &mut VisionConfig) {
    vision.hidden_size = 64;
    vision.mm_hidden_size = 64;
    vision.num_hidden_layers = 2;
    vision.num_attention_heads = 4;
    vision.intermediate_size = 128;
    vision.text_hidden_size = 128;
}

/// Nearly all of it routed experts: for what happens when they do not fit in memory.
fn small_text(text: &mut TextConfig) {
    text.hidden_size = 1024;
    text.num_hidden_layers = 5;
    text.intermediate_size = 1024;
    text.moe_intermediate_size = 512;
    text.n_routed_experts = 64;
    text.num_experts_per_tok = 4;
    text.num_attention_heads = 4;
    text.q_lora_rank = Some(128);
    text.vocab_size = 1280;
}

/// Spec: performance §2.
fn mid_text(text: &mut TextConfig) {
    text.hidden_size = 2048;
    text.num_hidden_layers = 14;
    text.intermediate_size = 5632;
    text.moe_intermediate_size = 768;
    text.n_routed_experts = 128;
    text.num_attention_heads = 16;
    text.q_lora_rank = Some(768);
    text.vocab_size = 32_768;
}

fn layer_text(text: &mut TextConfig) {
    text.num_hidden_layers = 1;
    text.first_k_dense_replace = 0;
    text.n_routed_experts = 96;
    text.vocab_size = 1280;
}
