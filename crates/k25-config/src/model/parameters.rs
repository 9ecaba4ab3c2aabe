//! How many parameters a configuration has (shapes: spec, architecture §2).

use crate::{ModelConfig, TextConfig, VisionConfig};

/// Parameter counts of a model. A quantised weight counts as what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// The language model, all experts included.
    pub text: u64,
    /// Routed experts of all layers (a part of `text`).
    pub routed_experts: u64,
    /// What one token of text passes through: the language model with only the chosen experts.
    pub active: u64,
    /// Vision tower and projector.
    pub vision: u64,
}

impl Parameters {
    /// Everything that the checkpoint holds.
    pub fn total(&self) -> u64 {
        self.text + self.vision
    }
}

impl ModelConfig {
    /// Counts the parameters. A configuration that was read from a file has at most 2^48, see
    /// [`crate::ConfigError::Invalid`]; beyond that the counts saturate.
    pub fn parameters(&self) -> Parameters {
        let narrow = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
        let text = text_total(&self.text);
        let routed =
            moe_layers(&self.text) * self.text.n_routed_experts as u128 * one_expert(&self.text);
        let visited =
            moe_layers(&self.text) * self.text.num_experts_per_tok as u128 * one_expert(&self.text);
        Parameters {
            text: narrow(text),
            routed_experts: narrow(routed),
            active: narrow(text - routed + visited),
            vision: narrow(self.vision.as_ref().map_or(0, vision_total)),
        }
    }
}

/// All parameters, in 128 bits: the range limits of single fields keep this far from overflow.
pub(crate) fn total(text: &TextConfig, vision: Option<&VisionConfig>) -> u128 {
    text_total(text) + vision.map_or(0, vision_total)
}

fn text_total(text: &TextConfig) -> u128 {
    let [hidden, layers, vocabulary, dense_inner] = [
        text.hidden_size,
        text.num_hidden_layers,
        text.vocab_size,
        text.intermediate_size,
    ]
    .map(|n| n as u128);
    let moe_layers = moe_layers(text);
    let embedding_and_head = if text.tie_word_embeddings { 1 } else { 2 };
    let dense_mlp = 3 * hidden * dense_inner;
    embedding_and_head * vocabulary * hidden
        + hidden
        + layers * (attention(text) + 2 * hidden)
        + (layers - moe_layers) * dense_mlp
        + moe_layers * moe(text)
}

fn moe_layers(text: &TextConfig) -> u128 {
    (0..text.num_hidden_layers)
        .filter(|&layer| text.is_moe_layer(layer))
        .count() as u128
}

fn attention(text: &TextConfig) -> u128 {
    let [hidden, heads, latent, nope, rope, value] = [
        text.hidden_size,
        text.num_attention_heads,
        text.kv_lora_rank,
        text.qk_nope_head_dim,
        text.qk_rope_head_dim,
        text.v_head_dim,
    ]
    .map(|n| n as u128);
    let query_width = heads * (nope + rope);
    let query = match text.q_lora_rank {
        Some(rank) => {
            let rank = rank as u128;
            rank * hidden + rank + query_width * rank
        }
        None => query_width * hidden,
    };
    let key_value = (latent + rope) * hidden + latent + heads * (nope + value) * latent;
    query + key_value + hidden * heads * value
}

fn one_expert(text: &TextConfig) -> u128 {
    3 * text.hidden_size as u128 * text.moe_intermediate_size as u128
}

fn moe(text: &TextConfig) -> u128 {
    let router = text.n_routed_experts as u128 * (text.hidden_size as u128 + 1);
    router + (text.n_routed_experts as u128 + text.n_shared_experts as u128) * one_expert(text)
}

fn vision_total(vision: &VisionConfig) -> u128 {
    let [hidden, inner, side, blocks, table, text_hidden] = [
        vision.hidden_size,
        vision.intermediate_size,
        vision.patch_size,
        vision.num_hidden_layers,
        vision.init_pos_emb_height * vision.init_pos_emb_width,
        vision.text_hidden_size,
    ]
    .map(|n| n as u128);
    let layer_norm = 2 * hidden;
    let patch_embedding = hidden * (3 * side * side) + hidden + table * hidden;
    let attention = 3 * hidden * (hidden + 1) + hidden * (hidden + 1);
    let mlp = inner * (hidden + 1) + hidden * (inner + 1);
    let merged = hidden * (vision.merge_kernel_size[0] * vision.merge_kernel_size[1]) as u128;
    let projector = layer_norm + merged * (merged + 1) + text_hidden * (merged + 1);
    patch_embedding + blocks * (2 * layer_norm + attention + mlp) + layer_norm + projector
}
