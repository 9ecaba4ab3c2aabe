//! Which member of the family a configuration is.

use k25_config::{ModelConfig, Quantization, TextConfig};

/// The name of the member whose numbers these are; else the name of the architecture.
pub(super) fn guess(config: &ModelConfig) -> String {
    let text = &config.text;
    let shape = (
        text.hidden_size,
        text.num_hidden_layers,
        text.n_routed_experts,
    );
    let is_kimi = shape == (7168, 61, 384);
    match config.model_type.as_str() {
        "kimi_k25" if is_kimi && ends_turns(config) => "Kimi K2.6",
        "kimi_k25" if is_kimi => "Kimi K2.5",
        "kimi_k25" => "Kimi K2.5 architecture",
        "kimi_k2" if is_kimi && config.quantization == Quantization::PackedInt4 => {
            "Kimi K2 Thinking"
        }
        "kimi_k2" if is_kimi => "Kimi K2",
        "kimi_k2" => "Kimi K2 architecture",
        _ if shape == (7168, 61, 256) => "DeepSeek-V3",
        _ if shape == (2048, 27, 64) => "Moonlight",
        _ => "DeepSeek-V3 architecture",
    }
    .to_owned()
}

/// K2.6 names the end of a turn as its end of sequence, K2.5 the end of the text (spec:
/// architecture §1). Special ids count from the end of the base vocabulary, 256 before the last.
fn ends_turns(config: &ModelConfig) -> bool {
    let TextConfig { vocab_size, .. } = config.text;
    let im_end = (vocab_size as u32).saturating_sub(256) + 2;
    config.eos_token_ids.contains(&im_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_apart() {
        let mut config = ModelConfig::kimi_k25();
        assert_eq!(guess(&config), "Kimi K2.5");
        config.eos_token_ids = vec![163_586];
        assert_eq!(guess(&config), "Kimi K2.6");
        config.text.hidden_size = 64;
        assert_eq!(guess(&config), "Kimi K2.5 architecture");
        config.model_type = "deepseek_v3".to_owned();
        assert_eq!(guess(&config), "DeepSeek-V3 architecture");
        let text = &mut config.text;
        (
            text.hidden_size,
            text.num_hidden_layers,
            text.n_routed_experts,
        ) = (2048, 27, 64);
        assert_eq!(guess(&config), "Moonlight");
    }
}
