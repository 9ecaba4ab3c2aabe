//! Configurations that are published, number by number (spec: architecture §1).

use crate::{ModelConfig, Quantization, TextConfig, VisionConfig, Yarn};

impl ModelConfig {
    /// Kimi K2.5: 61 layers, 384 experts of which 8 are visited, MoonViT-3D.
    pub fn kimi_k25() -> Self {
        Self {
            model_type: "kimi_k25".to_owned(),
            text: TextConfig::kimi_k25(),
            vision: Some(VisionConfig::kimi_k25()),
            media_placeholder_token_id: Some(163_605),
            bos_token_id: Some(163_584),
            eos_token_ids: vec![163_585],
            pad_token_id: Some(163_839),
            quantization: Quantization::PackedInt4,
        }
    }
}

impl TextConfig {
    /// K2.5's language model.
    pub fn kimi_k25() -> Self {
        Self {
            hidden_size: 7168,
            num_hidden_layers: 61,
            first_k_dense_replace: 1,
            moe_layer_freq: 1,
            intermediate_size: 18_432,
            moe_intermediate_size: 2048,
            n_routed_experts: 384,
            num_experts_per_tok: 8,
            n_shared_experts: 1,
            n_group: 1,
            topk_group: 1,
            norm_topk_prob: true,
            routed_scaling_factor: 2.827,
            num_attention_heads: 64,
            q_lora_rank: Some(1536),
            kv_lora_rank: 512,
            qk_nope_head_dim: 128,
            qk_rope_head_dim: 64,
            v_head_dim: 128,
            rms_norm_eps: 1e-5,
            vocab_size: 163_840,
            max_position_embeddings: 262_144,
            rope_theta: 50_000.0,
            rope_scaling: Some(Yarn::kimi_k25()),
            tie_word_embeddings: false,
            num_nextn_predict_layers: 0,
        }
    }
}

impl Yarn {
    /// K2.5's extension from 4,096 to 262,144 positions.
    pub fn kimi_k25() -> Self {
        Self {
            factor: 64.0,
            original_max_position_embeddings: 4096,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: 1.0,
            mscale_all_dim: 1.0,
        }
    }
}

impl VisionConfig {
    /// K2.5's MoonViT-3D and projector.
    pub fn kimi_k25() -> Self {
        Self {
            patch_size: 14,
            hidden_size: 1152,
            num_hidden_layers: 27,
            num_attention_heads: 16,
            intermediate_size: 4304,
            merge_kernel_size: [2, 2],
            init_pos_emb_height: 64,
            init_pos_emb_width: 64,
            init_pos_emb_time: 4,
            mm_hidden_size: 1152,
            text_hidden_size: 7168,
            projector_ln_eps: 1e-5,
        }
    }
}
