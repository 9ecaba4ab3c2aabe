//! Writing a configuration as the `config.json` of a checkpoint.

use serde_json::{Map, Value, json};

use crate::quantization::packed_int4_json;
use crate::{ModelConfig, Quantization, TextConfig, VisionConfig, Yarn};

/// The model type whose file nests the language model under `text_config`.
pub(crate) const NESTED_MODEL_TYPE: &str = "kimi_k25";

impl ModelConfig {
    /// The text of a `config.json` in the published layout: nested for `kimi_k25`, flat for the
    /// text-only members. Reading it gives an equal configuration, except that an unsupported
    /// quantisation is not written.
    pub fn to_checkpoint_json(&self) -> String {
        let object = if self.model_type == NESTED_MODEL_TYPE {
            self.nested()
        } else {
            self.flat()
        };
        // `{:#}` is serde_json's indented form; writing a value to text cannot fail.
        format!("{:#}\n", Value::Object(object))
    }

    fn nested(&self) -> Map<String, Value> {
        let mut text = self.text_fields("kimi_k2");
        text.extend(self.token_ids());
        let mut top = object(json!({
            "architectures": ["KimiK25ForConditionalGeneration"],
            "dtype": "bfloat16",
            "ignore_index": -100,
            "media_placeholder_token_id": self.media_placeholder_token_id,
            "model_type": self.model_type,
            "text_config": text,
            "tie_word_embeddings": self.text.tie_word_embeddings,
            "use_unified_vision_chunk": true,
            "video_placeholder": "<|kimi_k25_video_placeholder|>",
            "vision_config": self.vision.as_ref().map(VisionConfig::checkpoint_fields),
        }));
        top.extend(self.token_ids());
        top.sort_keys();
        top
    }

    fn flat(&self) -> Map<String, Value> {
        let mut top = self.text_fields(&self.model_type);
        top.extend(self.token_ids());
        top.sort_keys();
        top
    }

    fn text_fields(&self, model_type: &str) -> Map<String, Value> {
        let mut fields = self.text.checkpoint_fields();
        fields.insert("model_type".to_owned(), json!(model_type));
        if self.quantization == Quantization::PackedInt4 {
            fields.insert("quantization_config".to_owned(), packed_int4_json());
        }
        fields
    }

    fn token_ids(&self) -> Map<String, Value> {
        let end = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        object(json!({
            "bos_token_id": self.bos_token_id,
            "eos_token_id": end,
            "pad_token_id": self.pad_token_id,
        }))
    }
}

impl TextConfig {
    fn checkpoint_fields(&self) -> Map<String, Value> {
        object(json!({
            "architectures": ["DeepseekV3ForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "dtype": "bfloat16",
            "first_k_dense_replace": self.first_k_dense_replace,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "kv_lora_rank": self.kv_lora_rank,
            "max_position_embeddings": self.max_position_embeddings,
            "moe_intermediate_size": self.moe_intermediate_size,
            "moe_layer_freq": self.moe_layer_freq,
            "n_group": self.n_group,
            "n_routed_experts": self.n_routed_experts,
            "n_shared_experts": self.n_shared_experts,
            "norm_topk_prob": self.norm_topk_prob,
            "num_attention_heads": self.num_attention_heads,
            "num_experts_per_tok": self.num_experts_per_tok,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_attention_heads,
            "num_nextn_predict_layers": self.num_nextn_predict_layers,
            "q_lora_rank": self.q_lora_rank,
            "qk_nope_head_dim": self.qk_nope_head_dim,
            "qk_rope_head_dim": self.qk_rope_head_dim,
            "rms_norm_eps": shortest(self.rms_norm_eps),
            "rope_scaling": self.rope_scaling.as_ref().map(Yarn::checkpoint_fields),
            "rope_theta": self.rope_theta,
            "routed_scaling_factor": shortest(self.routed_scaling_factor),
            "scoring_func": "sigmoid",
            "tie_word_embeddings": self.tie_word_embeddings,
            "topk_group": self.topk_group,
            "topk_method": "noaux_tc",
            "v_head_dim": self.v_head_dim,
            "vocab_size": self.vocab_size,
        }))
    }
}

impl Yarn {
    fn checkpoint_fields(&self) -> Value {
        json!({
            "beta_fast": self.beta_fast,
            "beta_slow": self.beta_slow,
            "factor": self.factor,
            "mscale": self.mscale,
            "mscale_all_dim": self.mscale_all_dim,
            "original_max_position_embeddings": self.original_max_position_embeddings,
            "type": "yarn",
        })
    }
}

impl VisionConfig {
    fn checkpoint_fields(&self) -> Value {
        json!({
            "init_pos_emb_height": self.init_pos_emb_height,
            "init_pos_emb_time": self.init_pos_emb_time,
            "init_pos_emb_width": self.init_pos_emb_width,
            "merge_kernel_size": self.merge_kernel_size,
            "merge_type": "sd2_tpool",
            "mm_hidden_size": self.mm_hidden_size,
            "mm_projector_type": "patchmerger",
            "patch_size": self.patch_size,
            "pos_emb_type": "divided_fixed",
            "projector_hidden_act": "gelu",
            "projector_ln_eps": shortest(self.projector_ln_eps),
            "text_hidden_size": self.text_hidden_size,
            "video_attn_type": "spatial_temporal",
            "vt_hidden_size": self.hidden_size,
            "vt_intermediate_size": self.intermediate_size,
            "vt_num_attention_heads": self.num_attention_heads,
            "vt_num_hidden_layers": self.num_hidden_layers,
        })
    }
}

/// The map in an object literal.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The shortest decimal that reads back as this f32, so that 1e-5 is not written with the f64
/// digits of its f32 neighbour.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
