//! `config.json`, `preprocessor_config.json` and `generation_config.json`.
#![no_main]

use k25_config::{GenerationConfig, MediaConfig, ModelConfig, Quantization};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = MediaConfig::from_json(data);
    let _ = GenerationConfig::from_json(data);
    if let Ok(mut config) = ModelConfig::from_json(data) {
        assert!(config.parameters().total() <= 1 << 48);
        if matches!(config.quantization, Quantization::Unsupported { .. }) {
            config.quantization = Quantization::None;
        }
        let written = config.to_checkpoint_json();
        assert_eq!(ModelConfig::from_json(written).ok(), Some(config));
    }
});
