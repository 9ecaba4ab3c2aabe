//! The checkpoint's `config.json` as one typed, validated `ModelConfig`.
