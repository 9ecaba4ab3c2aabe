//! Damages of `config.json`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::Damage;

const FILE: &str = "config.json";

pub(super) fn damages() -> Vec<Damage> {
    let mut damages = vec![
        Damage::new("config removed", &[FILE], |dir| {
            fs::remove_file(dir.join(FILE))
        }),
        Damage::new("config empty", &[FILE], |dir| fs::write(dir.join(FILE), "")),
        Damage::new("config cut in half", &[FILE], |dir| {
            let text = fs::read(dir.join(FILE))?;
            fs::write(dir.join(FILE), &text[..text.len() / 2])
        }),
        Damage::new("config nested a million deep", &[FILE], |dir| {
            fs::write(dir.join(FILE), "[".repeat(1_000_000))
        }),
        Damage::new("config is a folder", &[FILE], |dir| {
            fs::remove_file(dir.join(FILE))?;
            fs::create_dir(dir.join(FILE))
        }),
        Damage::new("config of 5 MB", &[FILE], |dir| {
            fs::write(dir.join(FILE), " ".repeat(5 << 20))
        }),
    ];
    let numbers = [
        json!(0),
        json!(-1),
        json!(1_000_000_000_000_u64),
        json!(1.5),
        json!("64"),
        Value::Null,
    ];
    for field in [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "kv_lora_rank",
        "num_experts_per_tok",
    ] {
        damages.extend(
            numbers
                .iter()
                .map(|value| set("/text_config", field, value.clone())),
        );
    }
    damages.extend([
        set("/text_config", "n_group", json!(3)),
        set("/text_config", "qk_rope_head_dim", json!(7)),
        set("/text_config", "scoring_func", json!("softmax")),
        set("/vision_config", "vt_num_attention_heads", json!(5)),
        set("/vision_config", "text_hidden_size", json!(65)),
        set("", "model_type", json!("llama")),
    ]);
    // Believable in itself, but not what the tensors are.
    let wider = |pointer, field, value, named: &[&str]| {
        let mut damage = set(pointer, field, value);
        damage.named = named.iter().map(|&word| word.to_owned()).collect();
        damage
    };
    damages.extend([
        wider(
            "/text_config",
            "intermediate_size",
            json!(161),
            &["layers.0.mlp."],
        ),
        wider(
            "/text_config",
            "kv_lora_rank",
            json!(33),
            &["self_attn.kv_"],
        ),
        wider(
            "/text_config",
            "n_routed_experts",
            json!(9),
            &["layers.1.mlp."],
        ),
        wider(
            "/text_config",
            "num_hidden_layers",
            json!(4),
            &["layers.3."],
        ),
        wider("/text_config", "vocab_size", json!(2560), &["embed_tokens"]),
    ]);
    damages
}

/// Sets one field; the message must name it.
fn set(pointer: &'static str, field: &'static str, value: Value) -> Damage {
    Damage::new(format!("{field} = {value}"), &[FILE, field], move |dir| {
        edit(dir, |config| {
            if let Some(fields) = config.pointer_mut(pointer).and_then(Value::as_object_mut) {
                // No field may depend on another that is left as it was.
                fields.shift_remove("num_key_value_heads");
                fields.insert(field.to_owned(), value.clone());
            }
        })
    })
}

fn edit(dir: &Path, change: impl FnOnce(&mut Value)) -> io::Result<()> {
    let mut config = serde_json::from_slice(&fs::read(dir.join(FILE))?)?;
    change(&mut config);
    fs::write(dir.join(FILE), config.to_string())
}
