//! How the file says that weights are stored (spec: architecture §1, `quantization_config`).
//!
//! The tensors decide how each weight is read; this description only lets a checkpoint that k25
//! would misread be refused before any tensor is touched.

use serde_json::{Value, json};

use crate::ConfigError;
use crate::fields::{Fields, Problems, shorten};

/// The storage of the quantised weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quantization {
    /// None: every weight is stored as floating point.
    None,
    /// compressed-tensors, pack-quantized: 4 bit, symmetric, one bf16 scale per group of 32.
    PackedInt4,
    /// Another method, which k25 does not read; `fp8` in DeepSeek-V3 and in Kimi K2.
    Unsupported {
        /// `quant_method` as the file has it; empty where it has none.
        method: String,
        /// Full path of that field.
        field: String,
    },
}

impl Quantization {
    /// Refuses a quantisation whose weights k25 cannot read.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] that names the method and what is supported.
    pub fn check_supported(&self) -> Result<(), ConfigError> {
        let problems = Problems::default();
        if let Self::Unsupported { method, field } = self {
            let reason = format!("weights of the method {method:?} are not supported");
            problems.note(field, method, reason, SUPPORTED);
        }
        problems.stop_if_any("config.json")
    }
}

const METHOD: &str = "compressed-tensors";
const SUPPORTED: &str = "k25 reads compressed-tensors, pack-quantized: int, 4 bit, symmetric, groups of 32, weights only";

/// Reads `quantization_config` of `fields`, if there is one.
///
/// Another method passes, since its tensors are recognisably different. compressed-tensors with
/// other numbers is a fault: its tensors have the same names and would be read as wrong values.
pub(crate) fn read(fields: &Fields<'_>) -> Option<Quantization> {
    let quantization = fields.child("quantization_config")?;
    let method = quantization.text("quant_method").unwrap_or_default();
    if method != METHOD {
        return Some(Quantization::Unsupported {
            method: shorten(method.to_owned()),
            field: quantization.path_of("quant_method"),
        });
    }
    supported(&quantization, "format", &json!("pack-quantized"));
    supported(&quantization, "kv_cache_scheme", &Value::Null);
    let Some(groups) = quantization.child("config_groups") else {
        if !quantization.has_key("config_groups") {
            quantization.note("config_groups", "must be there", SUPPORTED);
        }
        return Some(Quantization::PackedInt4);
    };
    for group in groups.children() {
        read_group(&group);
    }
    Some(Quantization::PackedInt4)
}

fn read_group(group: &Fields<'_>) {
    supported(group, "format", &json!("pack-quantized"));
    supported(group, "input_activations", &Value::Null);
    supported(group, "output_activations", &Value::Null);
    let Some(weights) = group.child("weights") else {
        if group.value("weights").is_none() {
            group.note("weights", "must be there", SUPPORTED);
        }
        return;
    };
    for (name, value) in [("num_bits", json!(4)), ("group_size", json!(32))] {
        if weights.value(name).is_none() {
            weights.note(name, "must be there", SUPPORTED);
        }
        supported(&weights, name, &value);
    }
    supported(&weights, "type", &json!("int"));
    supported(&weights, "symmetric", &json!(true));
    supported(&weights, "strategy", &json!("group"));
    supported(&weights, "dynamic", &json!(false));
    supported(&weights, "actorder", &Value::Null);
    supported(&weights, "block_structure", &Value::Null);
}

fn supported(fields: &Fields<'_>, name: &str, only: &Value) {
    if fields.value(name).is_some_and(|value| value != only) {
        fields.note(name, format!("only {only} is supported"), SUPPORTED);
    }
}

/// `quantization_config` as K2.5's file has it.
pub(crate) fn packed_int4_json() -> Value {
    json!({
        "config_groups": {
            "group_0": {
                "input_activations": null,
                "output_activations": null,
                "targets": ["Linear"],
                "weights": {
                    "actorder": null,
                    "block_structure": null,
                    "dynamic": false,
                    "group_size": 32,
                    "num_bits": 4,
                    "observer": "minmax",
                    "observer_kwargs": {},
                    "strategy": "group",
                    "symmetric": true,
                    "type": "int"
                }
            }
        },
        "format": "pack-quantized",
        "ignore": [
            "lm_head",
            "re:.*self_attn.*",
            "re:.*shared_experts.*",
            "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"
        ],
        "kv_cache_scheme": null,
        "quant_method": METHOD,
        "quantization_status": "compressed"
    })
}
